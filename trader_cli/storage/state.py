"""The state directory: virtual time of the sim, and the ledger of every training ever run. Never under `cache/`."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trader_cli.core.errors import DataInvalid
from trader_cli.storage.files import write_atomic

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trader_cli.settings import Settings


def state_root(settings: Settings) -> Path:
    """The configured state directory, else the user's."""
    if settings.state_dir is not None:
        return Path(settings.state_dir)
    from platformdirs import user_state_dir

    return Path(user_state_dir("trader"))


class SimTime:
    """Virtual time of each tape, as the last process that let it pass left it."""

    def __init__(self, root: Path) -> None:
        self._folder = root / "venue"

    def load(self, source: str) -> int | None:
        """UTC ms, or `None` if this tape was never played."""
        try:
            return int(json.loads(self._path(source).read_bytes())["now_ms"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataInvalid(f"{self._path(source)} is corrupt.", mend="Run `trader venue reset`.") from error

    def save(self, source: str, now_ms: int) -> None:
        """Remember the time; it never goes back."""
        if now_ms > (self.load(source) or 0):
            write_atomic(self._path(source), json.dumps({"now_ms": now_ms}).encode())

    def reset(self, source: str) -> bool:
        """Forget the time, so that the tape starts over; False if there was none."""
        existed = self._path(source).exists()
        self._path(source).unlink(missing_ok=True)
        return existed

    def _path(self, source: str) -> Path:
        return self._folder / f"{source}.json"


@dataclass(frozen=True)
class Trial:
    """One training run: what it was (`digest`), on which data, and the Sharpe ratio per bar its book came to."""

    digest: str
    source: str
    symbol: str
    first_ms: int
    last_ms: int
    sharpe: float


class TrialLedger:
    """Every trial ever run. A claim counts those on the same market and symbol whose span overlaps its own."""

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self._path = root / "trials.sqlite"
        with self._connected() as db:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute(
                "CREATE TABLE IF NOT EXISTS trials (digest TEXT PRIMARY KEY, source TEXT NOT NULL,"
                " symbol TEXT NOT NULL, first_ms INTEGER NOT NULL, last_ms INTEGER NOT NULL, sharpe REAL NOT NULL"
                ") STRICT"
            )

    def _connected(self) -> sqlite3.Connection:
        try:
            return sqlite3.connect(self._path, timeout=30.0, isolation_level=None)
        except sqlite3.Error as error:
            raise DataInvalid(f"The trial ledger {self._path} cannot be opened: {error}.") from error

    def record(self, trial: Trial) -> None:
        """Add a trial; the same one again counts once."""
        with self._connected() as db:
            db.execute(
                "INSERT OR IGNORE INTO trials VALUES (?, ?, ?, ?, ?, ?)",
                (trial.digest, trial.source, trial.symbol, trial.first_ms, trial.last_ms, trial.sharpe),
            )

    def overlapping(self, source: str, symbol: str, first_ms: int, last_ms: int) -> list[Trial]:
        """Trials on this market and symbol whose span meets [first_ms, last_ms]."""
        return list(self._rows(source, symbol, first_ms, last_ms))

    def _rows(self, source: str, symbol: str, first_ms: int, last_ms: int) -> Iterator[Trial]:
        with self._connected() as db:
            found = db.execute(
                "SELECT digest, source, symbol, first_ms, last_ms, sharpe FROM trials"
                " WHERE source = ? AND symbol = ? AND first_ms <= ? AND last_ms >= ? ORDER BY digest",
                (source, symbol, last_ms, first_ms),
            )
            for row in found:
                yield Trial(*row)
