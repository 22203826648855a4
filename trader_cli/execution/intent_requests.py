"""What an intent stands for at the exchange: the order or stop that is sent for it, and the stop that rests. Pure."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.core.money.orders import OrderRequest, StopRequest, StopState

if TYPE_CHECKING:
    from trader_cli.storage.ledger_rows import Intent, Note


def order_request(intent: Intent) -> OrderRequest:
    """The order an entry or exit stands for: at market or at its price, immediate or cancelled."""
    assert intent.quantity is not None
    return OrderRequest(
        intent.client_id,
        intent.symbol,
        intent.side,
        intent.quantity,
        price=intent.price,
        time_in_force="IOC",
        reduce_only=intent.reduce_only,
    )


def stop_request(intent: Intent) -> StopRequest:
    """The stop or take-profit an intent stands for; the backstop has no quantity and closes everything."""
    assert intent.trigger_price is not None
    return StopRequest(
        intent.client_id,
        intent.symbol,
        intent.side,
        "take_profit" if intent.purpose == "take_profit" else "stop",
        intent.trigger_price,
        None if intent.purpose == "backstop" else intent.quantity,
    )


def resting_stop(intent: Intent, note: Note | None) -> StopState | None:
    """The stop of an intent that the last line about it says the exchange has; `None` where it says no such thing."""
    if intent.trigger_price is None or note is None or note.status != "open":
        return None
    return StopState(
        stop_id=note.exchange_id or "",
        client_id=intent.client_id,
        symbol=intent.symbol,
        side=intent.side,
        kind=stop_request(intent).kind,
        status="NEW",
        trigger_price=intent.trigger_price,
        quantity=intent.quantity or Decimal(0),
        close_position=intent.quantity is None,
        reduce_only=intent.quantity is not None,
        by_mark_price=True,
        actual_order_id=None,
        update_ms=note.at_ms,
    )
