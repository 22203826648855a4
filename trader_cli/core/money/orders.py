"""Orders, stops, positions and accounts as values, and the three things that can come of sending an order.

Money and quantities are `Decimal`, as the exchange wrote them. A reply that is lost, late, empty or garbled is
`Unknown`, never a failure: only a look by client id can tell.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_DOWN, ROUND_UP, Decimal
from typing import TYPE_CHECKING, Literal

from trader_cli.core.money.assets import QUOTE

if TYPE_CHECKING:
    from collections.abc import Mapping

OrderSide = Literal["BUY", "SELL"]
INCOME_PAGE = 1000
"""The most rows of one answer about income; a full one means that there are more."""
UNREADABLE = -1
"""The code of a refusal by HTTP alone: a firewall or a limit, before the matching engine."""


@dataclass(frozen=True)
class OrderRequest:
    """An order to be sent. Without `price` a market order; with it a limit order of this time in force."""

    client_id: str
    symbol: str
    side: OrderSide
    quantity: Decimal
    price: Decimal | None = None
    time_in_force: Literal["GTC", "IOC", "FOK", "GTX"] = "GTC"
    reduce_only: bool = False


@dataclass(frozen=True)
class StopRequest:
    """A stop or take-profit to rest at the exchange, triggered by mark price.

    `quantity` None closes the whole position (the exchange allows one such stop per direction); otherwise it is
    reduce-only.
    """

    client_id: str
    symbol: str
    side: OrderSide
    kind: Literal["stop", "take_profit"]
    trigger_price: Decimal
    quantity: Decimal | None = None


@dataclass(frozen=True)
class OrderState:
    """An order as the exchange has it. `average_price` is None where the exchange did not say; trades tell then."""

    order_id: str
    client_id: str
    symbol: str
    side: OrderSide
    status: str
    quantity: Decimal
    filled: Decimal
    average_price: Decimal | None
    reduce_only: bool
    update_ms: int

    @property
    def is_open(self) -> bool:
        """Whether it can still fill."""
        return self.status in {"NEW", "PARTIALLY_FILLED"}


@dataclass(frozen=True)
class StopState:
    """A conditional order as the exchange has it. `actual_order_id` names the order it became, once triggered."""

    stop_id: str
    client_id: str
    symbol: str
    side: OrderSide
    kind: Literal["stop", "take_profit"]
    status: str
    trigger_price: Decimal
    quantity: Decimal
    close_position: bool
    reduce_only: bool
    by_mark_price: bool
    actual_order_id: str | None
    update_ms: int
    create_ms: int = 0

    @property
    def is_open(self) -> bool:
        """Whether it still waits for its trigger."""
        return self.status == "NEW"


@dataclass(frozen=True)
class TradeState:
    """One fill. The only source of prices paid and fees charged."""

    trade_id: int
    order_id: str
    symbol: str
    side: OrderSide
    price: Decimal
    quantity: Decimal
    commission: Decimal
    commission_asset: str
    realized_profit: Decimal
    maker: bool
    time_ms: int


@dataclass(frozen=True)
class IncomeState:
    """A change of the wallet: funding, a fee, a realised profit, a transfer …"""

    income_id: str
    kind: str
    symbol: str
    amount: Decimal
    asset: str
    time_ms: int


@dataclass(frozen=True)
class PositionState:
    """A position: signed amount, entry, mark and liquidation price (None where there is none)."""

    symbol: str
    amount: Decimal
    entry_price: Decimal
    mark_price: Decimal
    liquidation_price: Decimal | None
    unrealized_profit: Decimal
    isolated_wallet: Decimal
    update_ms: int


@dataclass(frozen=True)
class AccountState:
    """Balances of one asset, USDT unless named; `others` are those of every other asset the account shows."""

    wallet: Decimal
    available: Decimal
    unrealized_profit: Decimal
    asset: str = QUOTE
    others: tuple[AccountState, ...] = ()

    def of(self, asset: str) -> AccountState:
        """The balances of an asset, zero where the account shows none."""
        nothing = AccountState(Decimal(0), Decimal(0), Decimal(0), asset)
        return next((state for state in (self, *self.others) if state.asset == asset), nothing)

    @property
    def wallets(self) -> dict[str, Decimal]:
        """Wallet balance by asset."""
        return {state.asset: state.wallet for state in (self, *self.others)}

    @property
    def equity(self) -> Decimal:
        """What the account would be worth flat, at mark prices and without costs."""
        return self.wallet + self.unrealized_profit


@dataclass(frozen=True)
class MarginSettings:
    """Leverage and margin mode in force for a symbol. `isolated`: its margin is its own, not shared (cross)."""

    leverage: int
    isolated: bool


@dataclass(frozen=True)
class Lots:
    """Quantities a filter lets pass: in whole steps, from the least to the most. None holds nothing back."""

    step: Decimal | None = None
    least: Decimal | None = None
    most: Decimal | None = None

    def up(self, quantity: Decimal) -> Decimal | None:
        """The nearest that passes and is no less, else the largest that passes; None where none does."""
        wanted = max(quantity, self.least or Decimal(0))
        lots = min(self._stepped(wanted, ROUND_UP), self._largest())
        return lots if lots >= (self.least or Decimal(0)) and lots > 0 else None

    def down(self, quantity: Decimal) -> Decimal | None:
        """The nearest that passes and is no more; None where none does."""
        lots = min(self._stepped(quantity, ROUND_DOWN), self._largest())
        return lots if lots >= (self.least or Decimal(0)) and lots > 0 else None

    def _largest(self) -> Decimal:
        return Decimal("Infinity") if self.most is None else self._stepped(self.most, ROUND_DOWN)

    def _stepped(self, quantity: Decimal, rounding: str) -> Decimal:
        if self.step is None:
            return quantity
        return (quantity / self.step).to_integral_value(rounding=rounding) * self.step


@dataclass(frozen=True)
class SymbolRules:
    """The exchange's filters of a symbol. What is switched off there, or not listed, holds nothing back.

    `step`, `min_quantity` and `max_market_quantity` fit limit orders and market orders alike: what opens keeps both.
    `limit_lots` and `market_lots` are those of each; None where they are no others.
    `delivery_ms`: when it is settled and listed no longer; None for a perpetual without an end. An order's price may
    lie from `band_down` to `band_up` times the mark price; None where no band is listed.
    """

    symbol: str
    tick: Decimal
    step: Decimal
    min_quantity: Decimal
    max_market_quantity: Decimal
    min_notional: Decimal
    status: str = "TRADING"
    delivery_ms: int | None = None
    contract_type: str = "PERPETUAL"
    band_up: Decimal | None = None
    band_down: Decimal | None = None
    max_orders: int | None = None
    max_stop_orders: int | None = None
    min_price: Decimal | None = None
    max_price: Decimal | None = None
    limit_lots: Lots | None = None
    market_lots: Lots | None = None
    margin_asset: str = QUOTE

    def quantity_down(self, quantity: Decimal) -> Decimal:
        """Rounded down to whole steps, never up."""
        return (quantity / self.step).to_integral_value(rounding=ROUND_DOWN) * self.step

    def price_down(self, price: Decimal) -> Decimal:
        """Rounded down to whole ticks."""
        return (price / self.tick).to_integral_value(rounding=ROUND_DOWN) * self.tick

    def price_up(self, price: Decimal) -> Decimal:
        """Rounded up to whole ticks."""
        return (price / self.tick).to_integral_value(rounding=ROUND_UP) * self.tick

    @property
    def lots(self) -> Lots:
        """What limit orders and market orders alike may have."""
        return Lots(self.step, self.min_quantity, self.max_market_quantity)


@dataclass(frozen=True)
class LeverageBracket:
    """Up to `notional_cap`: the highest leverage, the maintenance margin rate and its offset."""

    notional_cap: Decimal
    max_leverage: int
    maintenance_rate: Decimal
    offset: Decimal


@dataclass(frozen=True)
class KeyRights:
    """What an API key may do."""

    can_trade_futures: bool
    can_withdraw: bool
    ip_restricted: bool


@dataclass(frozen=True)
class Placed:
    """The exchange has the order or stop."""

    state: OrderState | StopState


@dataclass(frozen=True)
class NotPlaced:
    """The exchange said no, and certainly does not have it. `code` is its own number."""

    code: int
    sentence: str


@dataclass(frozen=True)
class Unknown:
    """Nobody knows whether the exchange has it: look by client id before anything else."""

    sentence: str


Sent = Placed | NotPlaced | Unknown


@dataclass(frozen=True)
class PreparedRequest:
    """A request as it would be sent, without time and signature: for a person to read."""

    method: str
    path: str
    parameters: Mapping[str, str | int]
