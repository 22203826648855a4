"""The ledger as evidence: what it holds and what it does not know, as the values that proofs are made from."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.core.errors import DataError
from trader_cli.core.proofs.evidence import Books, LedgerOrder
from trader_cli.storage.ledger_reading import LedgerReading

if TYPE_CHECKING:
    from pathlib import Path

    from trader_cli.settings.workspace import LedgerPlaces
    from trader_cli.storage.ledger_rows import Intent

_REAL = ("demo", "live")
"""Modes whose account lies at an exchange: two of them can mean the same one."""


def books_of(ledger: LedgerReading, others: tuple[str, ...] = ()) -> Books:
    """What this ledger knows, as a value."""
    held = {symbol: ledger.holding(symbol).amount for symbol in ledger.symbols()}
    unbooked = {symbol: sum(map(abs, ledger.unbooked(symbol)), Decimal(0)) for symbol in held}
    noted = [intent for intent in ledger.unsettled() if ledger.last_note(intent.client_id) is not None]
    kept = [_kept(ledger, intent) for intent in noted]
    return Books(
        held={symbol: amount for symbol, amount in held.items() if amount != 0},
        known=frozenset(ledger.client_ids()),
        moving=tuple(k for k in kept if k.purpose in {"entry", "exit"}),
        unbooked={symbol: amount for symbol, amount in unbooked.items() if amount != 0},
        resting=tuple(k for k in kept if k.purpose not in {"entry", "exit"} and k.status == "open"),
        others=others,
        dead=ledger.dead_entries(),
    )


def _kept(ledger: LedgerReading, intent: Intent) -> LedgerOrder:
    """An intent and the last word about it. A backstop closes everything, whatever quantity was written down."""
    status = ledger.status(intent.client_id) or ""
    quantity = None if intent.purpose == "backstop" else intent.quantity
    return LedgerOrder(intent.symbol, intent.client_id, intent.purpose, status, intent.trigger_price, quantity)


def other_ledgers(ledgers: LedgerPlaces) -> tuple[str, ...]:
    """Sentences about ledgers that another profile keeps of the same account, where something is open in them.

    And about a second one of this very profile.
    """
    if ledgers.mode not in _REAL:
        return ()
    kept = [path for mode in _REAL if mode != ledgers.mode for path in ledgers.files(mode)]
    second = second_ledger(ledgers)
    return (*([] if second is None else [second]), *(said for path in kept if (said := _open_in(path))))


def second_ledger(ledgers: LedgerPlaces) -> str | None:
    """The sentence about another ledger of this account and mode, kept when its host was spelled out; else `None`."""
    mine = ledgers.path
    others = [path for path in ledgers.files(ledgers.mode) if path != mine and path.exists()]
    if not others:
        return None
    return (
        f"this account has two ledgers, {mine} and {others[0]}, from two spellings of the exchange's address: close"
        " what is open in both, move one away, then `trader reset`"
    )


def _open_in(path: Path) -> str | None:
    mode = path.stem.rpartition("-")[2]
    run = f"run `trader status --profile {mode}`"
    try:
        with LedgerReading.shown(path) as ledger:
            books = None if ledger is None else books_of(ledger)
    except DataError as error:
        return (
            f"profile {mode} keeps a ledger of this very account, and it cannot be looked into: {error.sentence} {run}"
        )
    if books is None or not (books.held or books.moving or books.unbooked):
        return None
    what = ", ".join(f"{symbol} {amount:f}" for symbol, amount in books.held.items()) or "an order of unknown end"
    return f"profile {mode} holds {what} on this very account; {run}"


def anything_open(ledger: LedgerReading) -> bool:
    """Whether something of ours is open, or may be: care comes first then, whatever the clock or the account say."""
    noted = any(ledger.last_note(intent.client_id) is not None for intent in ledger.unsettled())
    return noted or any(ledger.holding(symbol).amount != 0 for symbol in ledger.symbols())
