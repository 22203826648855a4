"""The venue's journal: every command, written before it is carried out. A restarted venue replays it."""

from __future__ import annotations

import fcntl
import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trader_cli.core.errors import ConfigurationError
from trader_cli.settings.private import make_private

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True)
class Command:
    """A signed request that changes something, as it was accepted at `time_ms`."""

    time_ms: int
    key: str
    method: str
    path: str
    parameters: dict[str, str]


WALLET = "/paper/v1/wallet"
"""Where a paper account gets a wallet of a further asset: no request of anybody's."""


def last_command_ms(folder: Path) -> int:
    """When the last request of a journal was carried out, 0 if there is none: its account's time may not go back."""
    path = folder / "journal.sqlite"
    if not path.exists():
        return 0
    with closing(sqlite3.connect(path)) as db:
        return int(
            db.execute("SELECT COALESCE(MAX(time_ms), 0) FROM commands WHERE path != ?", (WALLET,)).fetchone()[0]
        )


class Journal:
    """An append-only SQLite file with one owner. Without a folder it lives in memory."""

    def __init__(
        self, folder: Path | None, *, hint: str = "Let it end, or reach it by binance_exchange.base_url."
    ) -> None:
        self._lock = None
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            for name in ("lock", "journal.sqlite"):
                make_private(folder / name)
            self._lock = (folder / "lock").open("a")
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._lock.close()
                raise ConfigurationError(f"Another process owns the venue's state in {folder}.", hint=hint) from None
        self._db = sqlite3.connect(":memory:" if folder is None else folder / "journal.sqlite", isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS commands (number INTEGER PRIMARY KEY, time_ms INTEGER NOT NULL,"
            " key TEXT NOT NULL, method TEXT NOT NULL, path TEXT NOT NULL, parameters TEXT NOT NULL) STRICT"
        )

    def append(self, command: Command) -> None:
        """Write a command; it is on disk when this returns."""
        self._db.execute(
            "INSERT INTO commands (time_ms, key, method, path, parameters) VALUES (?, ?, ?, ?, ?)",
            (command.time_ms, command.key, command.method, command.path, json.dumps(command.parameters)),
        )

    def commands(self, after: int = 0) -> Iterator[Command]:
        """Every command after the first so many, in order."""
        columns = "time_ms, key, method, path, parameters"
        with closing(
            self._db.execute(f"SELECT {columns} FROM commands WHERE number > ? ORDER BY number", (after,))  # noqa: S608
        ) as rows:
            for time_ms, key, method, path, parameters in rows:
                yield Command(time_ms, key, method, path, json.loads(parameters))

    def close(self) -> None:
        """Close the file and give the lock back."""
        self._db.close()
        if self._lock is not None:
            self._lock.close()
