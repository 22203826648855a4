"""Rows of the ledger's tables as values. Raises `LedgerDamaged` for what the tables cannot hold."""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

from trader_cli.core.identity.ids import is_a_purpose
from trader_cli.storage.ledger_faults import (
    REBUILD,
    LedgerDamaged,
)
from trader_cli.storage.ledger_money import decimal_of
from trader_cli.storage.ledger_rows import Booked, Decided, Intent

if TYPE_CHECKING:
    from trader_cli.core.json_values import JsonObject
    from trader_cli.core.money.orders import TradeState
    from trader_cli.storage.ledger_faults import Row


def decision_of(r: Row) -> Decided:
    return Decided(r[0], r[1], r[2], r[3], document_of(r[4]))


def intent_of(r: Row) -> Intent:
    if not is_a_purpose(r[3]) or r[4] not in {"BUY", "SELL"}:
        raise LedgerDamaged(f"The ledger's intent {r[0]} has the purpose {r[3]!r}, side {r[4]!r}.", hint=REBUILD)
    quantity, price, trigger = (decimal_or_none(r[at]) for at in (5, 7, 8))
    return Intent(r[0], r[1], r[2], r[3], r[4], quantity, r[6], price, trigger, bool(r[9]))


def booked_fill(r: Row) -> Booked:
    price, quantity, commission, realized = (decimal_of(value) for value in r[5:9])
    return Booked(r[0], r[1], r[2], r[3], r[4], price, quantity, commission, realized, r[9], r[10])


def fill_row(client_id: str, trade: TradeState) -> Row:
    """The row of a fill: whose order it was, and what the exchange told of it."""
    return (
        trade.symbol,
        trade.trade_id,
        client_id,
        trade.side,
        str(trade.price),
        str(trade.quantity),
        str(trade.commission),
        trade.commission_asset,
        str(trade.realized_profit),
        int(trade.maker),
        trade.time_ms,
    )


def decimal_or_none(value: str | None) -> Decimal | None:
    return None if value is None else decimal_of(value)


def document_of(text: str) -> JsonObject:
    """A body as written. Raises `LedgerDamaged`."""
    try:
        return dict(json.loads(text))
    except (ValueError, TypeError) as error:
        raise LedgerDamaged(f"The ledger holds a line that cannot be read: {error}.", hint=REBUILD) from error


def filled_quantity(note: str | None) -> Decimal:
    """The quantity in the words of a note, such as "FILLED 0.5"."""
    _, _, quantity = (note or "").partition(" ")
    try:
        return Decimal(quantity or 0)
    except InvalidOperation:
        return Decimal(0)
