"""What an entry came to."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.core.money.averages import readable
from trader_cli.core.money.orders import OrderState

if TYPE_CHECKING:
    from trader_cli.core.money.plans import TradePlan
    from trader_cli.execution.execution_context import ExecutionContext
    from trader_cli.execution.order_submitter import OrderSubmitter
    from trader_cli.execution.protection import Cover
    from trader_cli.storage.ledger_reading import LedgerReading
    from trader_cli.storage.ledger_rows import Intent


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


def entered(
    context: ExecutionContext, plan: TradePlan, entry: Intent, cover: Cover | None, *, fresh: bool, closed: str | None
) -> EntryResult:
    """What an entry came to, by the ledger: quantity, average price and order as they are known there."""
    submitter = context.submitter
    fills = submitter.ledger.fills(client_id=entry.client_id)
    booked = sum((f.quantity for f in fills), Decimal(0))
    cost = sum((f.quantity * f.price for f in fills), Decimal(0))
    quantity = filled_quantity(submitter.ledger, entry.client_id)
    average = cost / booked if booked else submitter.averages.get(entry.client_id, Decimal(0))
    order = _order(submitter, entry, plan, quantity, average)
    return EntryResult(plan, order, quantity, average, cover, context.coverage.missing_ms(plan), fresh, closed)


def filled_quantity(ledger: LedgerReading, client_id: str) -> Decimal:
    """How much of an order has filled: by its trades, or by the exchange's word where they are not booked yet."""
    booked = sum((fill.quantity for fill in ledger.fills(client_id=client_id)), Decimal(0))
    return max(booked, ledger.filled(client_id))


def _order(
    submitter: OrderSubmitter, entry: Intent, plan: TradePlan, quantity: Decimal, average: Decimal
) -> OrderState | None:
    """The order of an entry as the last line about it has it; `None` where the exchange has not named it."""
    note = submitter.ledger.last_note(entry.client_id)
    if note is None or not note.exchange_id:
        return None
    return OrderState(
        note.exchange_id,
        entry.client_id,
        plan.symbol,
        entry.side,
        note.note.partition(" ")[0],
        plan.quantity,
        quantity,
        average or None,
        reduce_only=False,
        update_ms=note.at_ms,
    )
