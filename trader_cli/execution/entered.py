"""What an entry came to."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Context, Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trader_cli.core.orders import OrderState
    from trader_cli.core.plans import TradePlan
    from trader_cli.execution.protection import Cover

_SHOWN = Context(prec=10)


@dataclass(frozen=True)
class Entered:
    """What an entry came to. `fresh` is False where the same plan had been carried out before and nothing was sent.

    `average_price` is 0 where it is not known yet: the exchange has not shown the trades.
    """

    plan: TradePlan
    order: OrderState | None
    quantity: Decimal
    average_price: Decimal
    cover: Cover | None
    uncovered_ms: int
    fresh: bool
    closed: str | None = None

    @property
    def filled(self) -> str:
        """Side, quantity and average price, in words."""
        price = f"at {_SHOWN.plus(self.average_price):f}" if self.average_price else "at a price that is not booked yet"
        return f"{self.plan.side} {self.quantity:f} {price}"
