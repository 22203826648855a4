"""What an entry came to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trader_cli.core.money.averages import readable

if TYPE_CHECKING:
    from decimal import Decimal

    from trader_cli.core.money.orders import OrderState
    from trader_cli.core.money.plans import TradePlan
    from trader_cli.execution.protection import Cover


@dataclass(frozen=True)
class EntryResult:
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
    def average(self) -> str:
        """The average price as it is shown, to two digits more than the tick's."""
        plan = self.plan
        return f"{readable(self.average_price, plan.stop_price, plan.backstop_price, plan.take_profit_price):f}"

    @property
    def filled(self) -> str:
        """Side, quantity and average price, in words."""
        price = f"at {self.average}" if self.average_price else "at a price that is not booked yet"
        return f"{self.plan.side} {self.quantity:f} {price}"
