"""Lines about orders that went out while the ledger could not take them; the next owner folds them into it.

A file beside the ledger, one JSON object a line, on disk before a call returns. It is written as far as the disk lets
it: what reduces is never kept waiting by it.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.storage.ledger_rows import Intent

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from trader_cli.core.json_values import JsonObject
    from trader_cli.core.money.orders import OrderRequest
    from trader_cli.storage.ledger_writing import LedgerWriting

DECISION = "side-journal"
"""The decision of lines about a symbol on which the ledger has no entry."""


class SideJournal:
    """Where lines about the ledger at `path` go meanwhile."""

    def __init__(self, path: Path) -> None:
        self.path = path.with_suffix(".side")

    def intend(self, order: OrderRequest, at_ms: int) -> bool:
        """An exit that is about to be sent. Whether the line is on disk."""
        named = {"client_id": order.client_id, "symbol": order.symbol, "side": order.side}
        return self._append({"intent": {**named, "quantity": f"{order.quantity:f}", "at_ms": at_ms}})

    def note(self, client_id: str, status: str, at_ms: int, *, exchange_id: str | None = None, note: str = "") -> bool:
        """What became of it, in the ledger's words. Whether the line is on disk."""
        line = {"client_id": client_id, "status": status, "at_ms": at_ms, "exchange_id": exchange_id, "note": note}
        return self._append({"note": line})

    def lines(self) -> Iterator[tuple[str, JsonObject]]:
        """("intent" or "note", its fields), oldest first; a line that was cut off is left out."""
        try:
            written = self.path.read_text("utf-8", "replace").splitlines()
        except OSError:
            return
        for line in written:
            with suppress(ValueError, AttributeError):
                yield from json.loads(line).items()

    def forget(self) -> None:
        """Everything in it is in the ledger."""
        with suppress(OSError):
            self.path.unlink()

    def _append(self, line: Mapping[str, object]) -> bool:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.write(file, b"\n" + json.dumps(dict(line)).encode() + b"\n")
                os.fsync(file)
            finally:
                os.close(file)
        except OSError:
            return False
        return True


def fold_in(ledger: LedgerWriting) -> int:
    """Write the side journal's lines into the ledger, each once; how many intents were new.

    A ledger without any intents takes none: it was made anew, and is to be rebuilt from the exchange first.
    """
    journal = SideJournal(ledger.path)
    if not journal.path.exists() or not ledger.symbols():
        return 0
    new = 0
    for kind, fields in journal.lines():
        with suppress(KeyError, TypeError, ValueError, ArithmeticError):
            new += _write(ledger, kind, fields)
    journal.forget()
    return new


def _write(ledger: LedgerWriting, kind: str, fields: JsonObject) -> bool:
    client_id, at_ms = str(fields["client_id"]), int(str(fields["at_ms"]))
    if kind == "intent":
        return ledger.intend(_exit(ledger, client_id, fields, at_ms))
    status, exchange_id = str(fields["status"]), fields["exchange_id"]
    there = ledger.latest_note(client_id, status)
    if ledger.intent(client_id) is not None and (there is None or there.at_ms < at_ms):
        named = None if exchange_id is None else str(exchange_id)
        ledger.note(client_id, status, at_ms, exchange_id=named, note=str(fields["note"]))
    return False


def _exit(ledger: LedgerWriting, client_id: str, fields: JsonObject, at_ms: int) -> Intent:
    """An exit as the line has it. Raises `ValueError` or `ArithmeticError` for one that is none."""
    symbol, side = str(fields["symbol"]), fields["side"]
    if side not in {"BUY", "SELL"}:
        raise ValueError(side)
    decision = (ledger.entries(symbol) or [DECISION])[-1]
    quantity = Decimal(str(fields["quantity"]))
    return Intent(
        client_id, decision, symbol, "exit", "BUY" if side == "BUY" else "SELL", quantity, at_ms, reduce_only=True
    )
