"""The lines of the ledger as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from trader_cli.core.money.assets import QUOTE, Flow, settled_in
from trader_cli.core.money.plans import TradePlan

if TYPE_CHECKING:
    from decimal import Decimal

    from trader_cli.core.identity.ids import Purpose
    from trader_cli.core.json_values import JsonObject


@dataclass(frozen=True)
class Decided:
    """A decision as written down: a plan, or a refusal or abstention with code and sentence in its `body`."""

    decision_id: str
    symbol: str
    decision_ms: int
    kind: str
    body: JsonObject

    @property
    def plan(self) -> TradePlan:
        """The plan that was approved. Raises `KeyError` or `ArithmeticError` where the decision was none."""
        return TradePlan.from_dict(self.body)


@dataclass(frozen=True)
class Assessed:
    """A line about a position or the account: what was done or seen, how it was put, when (UTC ms)."""

    action: str
    body: JsonObject
    at_ms: int

    def is_of(self, plan: TradePlan) -> bool:
        """Whether the line is about the position of a plan. Raises `KeyError` for lines that name none."""
        return self.body["plan_id"] == plan.plan_id


@dataclass(frozen=True)
class Intent:
    """What an order or stop is for, written down before it is sent. Its client id is the digest of what it means."""

    client_id: str
    decision_id: str
    symbol: str
    purpose: Purpose
    side: Literal["BUY", "SELL"]
    quantity: Decimal | None
    at_ms: int
    price: Decimal | None = None
    trigger_price: Decimal | None = None
    reduce_only: bool = False


@dataclass(frozen=True)
class Note:
    """A line about an intent: its status, the exchange's id and words, the time."""

    status: str
    exchange_id: str | None
    note: str
    at_ms: int


@dataclass(frozen=True)
class Booked:
    """A fill as booked, and what its order was for."""

    symbol: str
    trade_id: int
    client_id: str
    purpose: Purpose
    side: str
    price: Decimal
    quantity: Decimal
    commission: Decimal
    realized: Decimal
    time_ms: int
    commission_asset: str = QUOTE

    @property
    def flows(self) -> tuple[Flow, Flow]:
        """What it did to the wallets: the profit in the contract's margin asset, the fee in its own."""
        margin = settled_in(self.symbol, self.commission_asset)
        return (
            Flow(self.time_ms, self.realized, margin, margin),
            Flow(self.time_ms, -self.commission, self.commission_asset, margin),
        )


@dataclass(frozen=True)
class Holding:
    """The fold of our fills of a symbol: signed amount, average entry of what is held."""

    symbol: str
    amount: Decimal
    entry_price: Decimal


def cost_after(amount: Decimal, cost: Decimal, signed: Decimal, price: Decimal) -> Decimal:
    """Signed cost of what is held after a fill: adds the price paid, shrinks in proportion, starts anew on a turn."""
    if amount * signed >= 0:
        return cost + signed * price
    if abs(signed) <= abs(amount):
        return cost * (amount + signed) / amount
    return (amount + signed) * price
