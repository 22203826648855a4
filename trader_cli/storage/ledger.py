"""The ledger: why positions are what they are. Append-only; what we hold is the fold of our fills.

One SQLite file per (venue, account, mode) in the state directory, one writer at a time, on disk before a call returns.
Money and ids are text, times are integer milliseconds. An order may be sent only once its intent is in here.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING

from trader_cli.core.errors import DataInvalid
from trader_cli.storage.ledger_faults import (
    GuardedConnection,
    LedgerDamaged,
    LedgerUnwritable,
    connection,
    file_at,
    guarded,
)
from trader_cli.storage.ledger_identity import claim, require_own
from trader_cli.storage.ledger_lock import OwnerLock, this_command
from trader_cli.storage.ledger_schema import MIGRATIONS, migration
from trader_cli.storage.ledger_writing import LedgerWriting
from trader_cli.storage.side_journal import fold_in

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Ledger", "LedgerDamaged", "LedgerUnwritable"]


class Ledger(LedgerWriting):
    """Open with `Ledger.opened(path)`.

    Raises `LedgerLocked` if another process owns it, `LedgerDamaged` if it cannot be read, `LedgerUnwritable` where the
    disk is full or takes no line. `is_new`: it was not there, or there was no line in it.
    """

    _lock: OwnerLock | None = None
    is_open = True
    is_new = False

    @classmethod
    @contextmanager
    def opened(cls, path: Path) -> Iterator[Ledger]:
        """The ledger at `path`, made if it is not there, migrated if it is older, locked until the block ends."""
        with OwnerLock.acquire(path, this_command()) as lock, connection(path, writing=True) as db:
            with guarded(path):
                made, file = cls._prepared(db, path), file_at(path)
            ledger = cls(db, path)
            ledger._lock, ledger.is_new, ledger._last_notes, ledger._file = lock, made, {}, file
            with suppress(LedgerUnwritable):
                fold_in(ledger)
            try:
                yield ledger
            finally:
                ledger.is_open = False

    @classmethod
    @contextmanager
    def imagined(cls, path: Path) -> Iterator[Ledger]:
        """A copy in memory of the ledger at `path`, empty if there is none; whatever is written to it is forgotten."""
        memory = sqlite3.connect(":memory:", isolation_level=None, factory=GuardedConnection)
        with closing(memory) as db, cls.shown(path) as there:
            with guarded(path):
                if there is not None:
                    there._db.backup(db)
                made = cls._prepared(db, path)
            ledger = cls(db, path)
            ledger.is_new = made
            yield ledger

    def is_owner(self) -> bool:
        """Whether no other process has taken this ledger over; looked at anew each time, directly before each send."""
        return self._lock is None or self._lock.is_current()

    @staticmethod
    def _prepared(db: sqlite3.Connection, path: Path) -> bool:
        """Brought to the newest version; whether there was none before. Raises `LedgerOfAnother`."""
        require_own(db, path)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute("PRAGMA foreign_keys=ON")
        db.execute("PRAGMA recursive_triggers=ON")
        version = int(db.execute("PRAGMA user_version").fetchone()[0])
        if version > len(MIGRATIONS):
            raise DataInvalid(
                f"The ledger {path} was written by a newer trader (version {version}), or its head is damaged.",
                hint="Upgrade; if it is damaged, run `trader ledger rebuild`.",
            )
        for number in range(version + 1, len(MIGRATIONS) + 1):
            db.executescript(migration(number))
        claim(db, path)
        return version == 0
