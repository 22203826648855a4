"""Everything an account has ever sent, and what became of it, as plain rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trader_cli.venue.engine.books import ZERO

if TYPE_CHECKING:
    from decimal import Decimal

    from trader_cli.venue.engine.books import Account, AlgoOrder, Order


def sent_orders(account: Account) -> list[tuple[object, ...]]:
    """(time, client id, symbol, side, type, quantity, price, trigger, status, filled, updated), by time; None: none.

    A conditional order that was triggered is followed by the order it became, under the same id.
    """
    sent = [_row(o, (o.quantity, o.price, o.stop_price), o.filled) for o in account.orders.values()]
    sent += [_row(a, (a.quantity, a.price, a.trigger_price), ZERO) for a in account.algos.values()]
    return sorted(sent, key=lambda row: row[:2])


def _row(order: Order | AlgoOrder, numbers: tuple[Decimal, ...], filled: Decimal) -> tuple[object, ...]:
    given = (float(number) if number else None for number in numbers)
    named = (order.time_ms, order.client_id, order.symbol, order.side, order.type)
    return (*named, *given, order.status, float(filled), order.update_ms or order.time_ms)
