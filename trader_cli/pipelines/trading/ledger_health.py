"""Whether a ledger can be relied on by what reduces: why it cannot be used, and what it holds."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from trader_cli.core.errors import (
    DataError,
)
from trader_cli.storage.ledger_reading import LedgerReading

if TYPE_CHECKING:
    from decimal import Decimal
    from pathlib import Path


_HINT = "Run `trader ledger rebuild` to have it made again."


UNREADABLE = (sqlite3.Error, OSError, ValueError, ArithmeticError, TypeError, DataError)
"""What reading a damaged ledger can raise."""


def unusable(path: Path) -> str | None:
    """Why the ledger at `path` cannot be used, read whole; `None` if it can."""
    if path.is_dir():
        return f"A folder lies where the ledger {path} should be."
    if not path.exists():
        return f"There is no ledger {path}."
    if path.stat().st_size == 0:
        return f"The ledger {path} is empty."
    try:
        _read_whole(path)
    except UNREADABLE as error:
        return f"The ledger {path} cannot be read: {error}."
    return None


def hint_for(path: Path) -> str:
    """What mends a ledger that cannot be used: where the disk takes nothing, room or rights; else to make it again."""
    try:
        disk = os.statvfs(path.parent)
    except OSError:
        return _HINT
    if disk.f_flag & os.ST_RDONLY or not os.access(path.parent, os.W_OK):
        return f"Make {path.parent} writable again."
    return "Free some disk." if disk.f_bavail == 0 else _HINT


def _read_whole(path: Path) -> None:
    """Read everything that what reduces relies on. Raises what `UNREADABLE` names."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        found = db.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise DataError(f"{found}")
    with LedgerReading.shown(path) as ledger:
        if ledger is None:
            return
        ledger.decisions()
        ledger.intents()
        for symbol in ledger.symbols():
            ledger.holding(symbol)


def held_or_none(path: Path) -> dict[str, Decimal] | None:
    """What the ledger holds, by symbol; `None` if it cannot be read, or never held anything."""
    try:
        with LedgerReading.shown(path) as ledger:
            if ledger is None or not ledger.symbols():
                return None
            held = {symbol: ledger.holding(symbol).amount for symbol in ledger.symbols()}
    except UNREADABLE:
        return None
    return {symbol: amount for symbol, amount in held.items() if amount != 0}
