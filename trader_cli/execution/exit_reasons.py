"""Why positions of ours ended, by what closed them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trader_cli.execution.fill_booking import FORCED

if TYPE_CHECKING:
    from trader_cli.storage.ledger_reading import LedgerReading


def exit_reason(ledger: LedgerReading, symbol: str, decision: str) -> str:
    """Why the position of a decision ended, the exchange's own acts by their names; "unknown" where none closed it."""
    fills = [fill for fill in ledger.fills(decision_id=decision) if fill.purpose != "entry"]
    if not fills:
        return "unknown"
    last = fills[-1]
    if last.purpose == "external":
        note = ledger.last_note(last.client_id)
        return note.note if note is not None and note.note in FORCED else "external"
    if last.purpose != "exit":
        return last.purpose
    told = ledger.assessments(symbol, 0, ("exit",))
    return next(
        (str(line.body["reason"]) for line in reversed(told) if line.body["client_id"] == last.client_id), "exit"
    )
