"""Whose ledger a file is: the market, account and mode it was made for, written in it, so that no copy is taken for
another's. A file that lies elsewhere, such as a backup, is nobody's until it is put back under its name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from trader_cli.settings.workspace import LEDGERS
from trader_cli.storage.ledger_faults import REBUILD, LedgerDamaged

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

_NAME = re.compile(r"[0-9a-f]{12}-[a-z]+")
BEING_MADE = ".rebuilding"


class LedgerOfAnother(LedgerDamaged):
    """What lies where the ledger belongs is another account's, market's or mode's."""


def identity_at(path: Path) -> str | None:
    """The identity that a place names: market, account's fingerprint and mode; `None` for one that names none."""
    name = path.stem.removesuffix(BEING_MADE)
    is_named = path.parent.parent.name == LEDGERS and _NAME.fullmatch(name) is not None
    return f"{path.parent.name}/{name}" if is_named else None


def identity_in(db: sqlite3.Connection) -> str | None:
    """The identity that a file was made with; `None` for one of before identities were written."""
    if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'identity'").fetchone() is None:
        return None
    found = db.execute("SELECT name FROM identity ORDER BY number LIMIT 1").fetchone()
    return None if found is None else str(found[0])


def require_own(db: sqlite3.Connection, path: Path) -> None:
    """Raises `LedgerOfAnother` where the file was made for something else than its place names."""
    wanted, found = identity_at(path), identity_in(db)
    if wanted is not None and found not in {None, wanted}:
        raise LedgerOfAnother(
            f"The ledger {path} was made for another account: for {found}, and {wanted} is wanted.",
            hint=f"Put the right file in its place. If there is none, {REBUILD[0].lower()}{REBUILD[1:]}",
        )


def claim(db: sqlite3.Connection, path: Path) -> None:
    """Write down whose it is, once."""
    wanted = identity_at(path)
    if wanted is not None and identity_in(db) is None:
        db.execute("INSERT INTO identity (name) VALUES (?)", (wanted,))
