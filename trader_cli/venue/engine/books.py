"""What an exchange keeps for one account: orders, conditional orders, positions, fills, income. Values only.

Money and quantities are `Decimal`. Long and short are the sign of a position's amount (one-way mode).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from itertools import islice
from typing import Generic, TypeVar

from trader_cli.core.money.assets import CREDITS, DOLLARS, QUOTE, margin_asset_of

ZERO = Decimal(0)
OPEN = frozenset({"NEW", "PARTIALLY_FILLED"})


@dataclass
class Order:
    """An order at the matching engine."""

    order_id: int
    client_id: str
    symbol: str
    side: str
    type: str
    quantity: Decimal
    time_ms: int
    price: Decimal = ZERO
    time_in_force: str = "GTC"
    reduce_only: bool = False
    close_position: bool = False
    original_type: str = ""
    stop_price: Decimal = ZERO
    status: str = "NEW"
    filled: Decimal = ZERO
    filled_quote: Decimal = ZERO
    update_ms: int = 0
    leverage: int = 1
    good_till_ms: int = 0

    @property
    def sign(self) -> int:
        """+1 buy, −1 sell."""
        return 1 if self.side == "BUY" else -1

    @property
    def remaining(self) -> Decimal:
        """Quantity not yet filled."""
        return self.quantity - self.filled

    @property
    def is_open(self) -> bool:
        """Resting at the engine."""
        return self.status in OPEN


@dataclass
class AlgoOrder:
    """A conditional order, held by the algo service until its trigger."""

    algo_id: int
    client_id: str
    symbol: str
    side: str
    type: str
    trigger_price: Decimal
    time_ms: int
    quantity: Decimal = ZERO
    price: Decimal = ZERO
    working_type: str = "CONTRACT_PRICE"
    price_protect: bool = False
    reduce_only: bool = False
    close_position: bool = False
    time_in_force: str = "GTC"
    status: str = "NEW"
    update_ms: int = 0
    trigger_ms: int = 0
    actual_order_id: int | None = None

    @property
    def is_open(self) -> bool:
        """Waiting for its trigger."""
        return self.status == "NEW"

    @property
    def by_mark(self) -> bool:
        """Whether the mark price triggers it; else the last price does."""
        return self.working_type == "MARK_PRICE"

    @property
    def is_stop(self) -> bool:
        """A stop, not a target."""
        return self.type.startswith("STOP")

    @property
    def triggers_below(self) -> bool:
        """Whether it waits for the price to fall to the trigger: a sell stop or a buy take-profit."""
        return (self.side == "SELL") == self.type.startswith("STOP")


@dataclass
class Position:
    """A one-way position; `isolated` is its own margin under isolated margin."""

    symbol: str
    amount: Decimal = ZERO
    entry: Decimal = ZERO
    isolated: Decimal = ZERO
    update_ms: int = 0


@dataclass
class SymbolOptions:
    """What an account has chosen for a symbol."""

    leverage: int = 20
    isolated: bool = False


@dataclass(frozen=True)
class Fill:
    """One execution."""

    trade_id: int
    order_id: int
    symbol: str
    side: str
    price: Decimal
    quantity: Decimal
    commission: Decimal
    realized: Decimal
    maker: bool
    time_ms: int
    commission_asset: str = QUOTE


@dataclass(frozen=True)
class Income:
    """A change of the wallet of an asset, by kind."""

    kind: str
    symbol: str
    amount: Decimal
    time_ms: int
    trade_id: int | None = None
    asset: str = QUOTE


@dataclass(frozen=True)
class Owed:
    """What was held at a full hour whose funding rate was not known yet, and the mark price then."""

    symbol: str
    time_ms: int
    amount: Decimal
    mark: Decimal


_Waiting = TypeVar("_Waiting", Order, AlgoOrder)


class _Newest(Generic[_Waiting]):
    """What has come to a table since the last look. A table only grows."""

    def __init__(self) -> None:
        self._known = 0

    def of(self, table: dict[int, _Waiting]) -> list[_Waiting]:
        """The new ones, oldest first."""
        if len(table) == self._known:
            return []
        count, self._known = len(table) - self._known, len(table)
        return list(islice(reversed(table.values()), count))[::-1] if count > 0 else []


class _StillOpen(Generic[_Waiting]):
    """Which of a table's orders are open: one that has ended is not looked at again, for it never opens again."""

    def __init__(self) -> None:
        self._newest: _Newest[_Waiting] = _Newest()
        self._open: list[_Waiting] = []

    def of(self, table: dict[int, _Waiting], symbol: str | None) -> list[_Waiting]:
        """Open ones, of a symbol or all, oldest first."""
        self._open += self._newest.of(table)
        self._open = [order for order in self._open if order.status in OPEN]
        return [order for order in self._open if symbol is None or order.symbol == symbol]


class _ByClientId(Generic[_Waiting]):
    """The latest order of each client id."""

    def __init__(self) -> None:
        self._newest: _Newest[_Waiting] = _Newest()
        self._latest: dict[str, _Waiting] = {}

    def of(self, table: dict[int, _Waiting]) -> dict[str, _Waiting]:
        """Of every order there ever was."""
        for order in self._newest.of(table):
            self._latest[order.client_id] = order
        return self._latest


@dataclass
class Account:
    """Everything of one account. `wallet` is of USDT, `others` are the wallets of further assets by name.

    `fees_in_bnb`: fees are paid in BNB, a tenth lower, while there is enough of it; `multi_assets`: every asset backs
    every position; `maker_fee` and `taker_fee` are the account's own rates, negative for a rebate; `credits_mode`:
    the account shows one asset, BNFCR, that stands for all of them; `countdowns`: when all orders of a symbol are
    cancelled unless that is put off, UTC ms.
    """

    wallet: Decimal
    hedge_mode: bool = False
    positions: dict[str, Position] = field(default_factory=dict)
    options: dict[str, SymbolOptions] = field(default_factory=dict)
    orders: dict[int, Order] = field(default_factory=dict)
    algos: dict[int, AlgoOrder] = field(default_factory=dict)
    fills: list[Fill] = field(default_factory=list)
    income: list[Income] = field(default_factory=list)
    others: dict[str, Decimal] = field(default_factory=dict)
    fees_in_bnb: bool = False
    maker_fee: Decimal | None = None
    taker_fee: Decimal | None = None
    multi_assets: bool = False
    credits_mode: bool = False
    owed: list[Owed] = field(default_factory=list)
    countdowns: dict[str, int] = field(default_factory=dict)
    _open_orders: _StillOpen[Order] = field(default_factory=_StillOpen[Order], repr=False, compare=False)
    _open_algos: _StillOpen[AlgoOrder] = field(default_factory=_StillOpen[AlgoOrder], repr=False, compare=False)
    _order_ids: _ByClientId[Order] = field(default_factory=_ByClientId[Order], repr=False, compare=False)
    _algo_ids: _ByClientId[AlgoOrder] = field(default_factory=_ByClientId[AlgoOrder], repr=False, compare=False)

    def position(self, symbol: str) -> Position:
        """The position of a symbol, flat if there is none."""
        return self.positions.setdefault(symbol, Position(symbol))

    def option(self, symbol: str) -> SymbolOptions:
        """The leverage and margin type of a symbol."""
        return self.options.setdefault(symbol, SymbolOptions())

    def open_orders(self, symbol: str | None = None) -> list[Order]:
        """Orders resting at the engine, oldest first."""
        return self._open_orders.of(self.orders, symbol)

    def open_algos(self, symbol: str | None = None) -> list[AlgoOrder]:
        """Conditional orders waiting, oldest first."""
        return self._open_algos.of(self.algos, symbol)

    def orders_by_id(self) -> dict[str, Order]:
        """The latest order of each client id. Not to be changed."""
        return self._order_ids.of(self.orders)

    def algos_by_id(self) -> dict[str, AlgoOrder]:
        """The latest conditional order of each client id. Not to be changed."""
        return self._algo_ids.of(self.algos)

    def earn(self, income: Income) -> None:
        """Book an income."""
        self.income.append(income)
        if income.asset in {QUOTE, CREDITS}:  # credits are shown in place of USDT
            self.wallet += income.amount
        else:
            self.others[income.asset] = self.balance(income.asset) + income.amount

    def pays_in(self, symbol: str) -> str:
        """The asset in which a contract's profit, fees and funding are booked now."""
        margin = margin_asset_of(symbol)
        return CREDITS if self.credits_mode and margin in DOLLARS else margin

    def balance(self, asset: str) -> Decimal:
        """The wallet of an asset."""
        return self.wallet if asset == QUOTE else self.others.get(asset, ZERO)

    def assets(self) -> list[str]:
        """The assets the account shows, USDT first."""
        return [QUOTE, *sorted(self.others)]


@cache
def places(step: Decimal) -> int:
    """Decimals that write every multiple of a step: 0.001 → 3, 0.50 → 1, 10 → 0."""
    return max(0, -int(step.normalize().as_tuple().exponent))
