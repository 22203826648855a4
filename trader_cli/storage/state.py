"""The state directory: virtual time of the sim, and the ledger of every training ever run. Never under `cache/`."""

from __future__ import annotations

import json
import math
import shutil
import sqlite3
from contextlib import closing, contextmanager
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING

from trader_cli.core.errors import ConfigurationError, DataInvalid
from trader_cli.core.types import Tries
from trader_cli.settings.places import account_folder
from trader_cli.settings.private import make_private
from trader_cli.storage.files import write_atomic

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path


class VenueState:
    """What is remembered of each simulated market: its virtual time, how it was moved to the present, its accounts."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folder = root / "venue"

    def time(self, source: str) -> int | None:
        """Virtual time (UTC ms) as the last process that let it pass left it, or `None` if it was never played."""
        return self._load(source, "now_ms")

    def save_time(self, source: str, now_ms: int) -> None:
        """Remember virtual time; it never goes back."""
        if now_ms > (self.time(source) or 0):
            self._save(source, "now_ms", now_ms)

    def shift(self, source: str) -> int | None:
        """By how many ms the tape was moved when it was first served by the wall clock."""
        return self._load(source, "shift_ms")

    def save_shift(self, source: str, shift_ms: int) -> None:
        """Remember the move: accounts only make sense on one and the same tape."""
        self._save(source, "shift_ms", shift_ms)

    def accounts(self, source: str, clock: str) -> Path:
        """The folder of the accounts' journal, one for each kind of time the market is played in."""
        return account_folder(self._root, source, clock)

    def symbols(self, source: str) -> Path:
        """The file that remembers what the exchange lists, for when it cannot be asked."""
        return self._folder / source / "symbols.json"

    def reset(self, source: str) -> bool:
        """Forget everything of a market; False if there was nothing."""
        existed = (self._folder / source).exists()
        shutil.rmtree(self._folder / source, ignore_errors=True)
        return existed

    def _load(self, source: str, name: str) -> int | None:
        path = self._folder / source / f"{name}.json"
        try:
            return int(json.loads(path.read_bytes()))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigurationError(f"{path} cannot be read: {error.strerror}.", hint="Check state_dir.") from error
        except (ValueError, TypeError) as error:
            raise DataInvalid(f"{path} is corrupt.", hint="Run `trader venue reset`.") from error

    def _save(self, source: str, name: str, value: int) -> None:
        write_atomic(self._folder / source / f"{name}.json", json.dumps(value).encode())


@dataclass(frozen=True)
class Trial:
    """One learner tried: what it was (`digest`), on whose data, and the Sharpe ratio per day its book came to.

    Per day, so that trials on bars of different length can be compared. What is tried again on other bars is recorded
    again, with `@` and the span behind what it is (`of_span`): another look at the same trial. `weight`: how much of an
    independent trial it is.
    """

    digest: str
    lineage: str
    symbol: str
    first_ms: int
    last_ms: int
    daily_sharpe: float
    weight: float = 1.0

    @classmethod
    def of_span(
        cls,
        configuration: str,
        lineage: str,
        symbol: str,
        span: tuple[int, int],
        daily_sharpe: float,
        weight: float = 1.0,
    ) -> Trial:
        """A configuration tried on a span (first, last), UTC ms."""
        return cls(f"{configuration}@{span[0]}-{span[1]}", lineage, symbol, *span, daily_sharpe, weight)

    @property
    def configuration(self) -> str:
        """What was tried, whatever its span."""
        return self.digest.partition("@")[0]


def rule_trial(means: str, what: str, rule: str) -> str:
    """The name of a configuration of a rule: by which means it was tried (no dash in it), what else was chosen."""
    return f"{means}-{what}~{rule}"


@dataclass(frozen=True)
class Looked:
    """A configuration, what it came to when it was last looked at, and how many trials it counts as."""

    configuration: str
    daily_sharpe: float
    counts: float

    @classmethod
    def of(cls, trials: Sequence[Trial]) -> Looked:
        """Of looks at one configuration in the order they were taken.

        A trial, and once more each time that the span it was judged on has doubled since the first look.
        """
        first, last = trials[0], trials[-1]
        grown = _covered([(one.first_ms, one.last_ms) for one in trials]) / max(first.last_ms - first.first_ms, 1)
        return cls(last.configuration, last.daily_sharpe, last.weight * (1 + math.log2(max(grown, 1.0))))


def _covered(spans: Sequence[tuple[int, int]]) -> int:
    """Milliseconds that lie in any of the spans."""
    total, reached = 0, -(2**63)
    for first, last in sorted(spans):
        total += max(0, last - max(first, reached))
        reached = max(reached, last)
    return total


def counted(looked: Iterable[Looked]) -> Tries:
    """Of configurations, those that count, with their Sharpe ratios per day.

    A rule that is judged, traded and tried on bare bars is one choice, not three (`rule_trial`): it counts as often as
    the means that tried most variants of it. What follows a colon says which symbol of a universe, and is no choice.
    """
    found = {one.configuration.partition(":")[0]: one for one in sorted(looked, key=lambda one: one.configuration)}
    of_rules: dict[str, dict[str, list[Looked]]] = {}
    for name, one in found.items():
        what, _, rule = name.partition("~")
        if rule:
            of_rules.setdefault(rule, {}).setdefault(what.partition("-")[0], []).append(one)
    kept = [one for name, one in found.items() if "~" not in name]
    kept += [one for by_means in of_rules.values() for one in max(by_means.values(), key=_number)]
    return Tries(_number(kept), tuple(one.daily_sharpe for one in kept))


def _number(looked: Sequence[Looked]) -> float:
    return sum(one.counts for one in looked)


_MIGRATIONS = (
    (
        "CREATE TABLE IF NOT EXISTS trials (digest TEXT PRIMARY KEY, lineage TEXT NOT NULL, symbol TEXT NOT NULL,"
        " first_ms INTEGER NOT NULL, last_ms INTEGER NOT NULL, daily_sharpe REAL NOT NULL) STRICT"
    ),
    "ALTER TABLE trials ADD COLUMN weight REAL NOT NULL DEFAULT 1.0",
)
"""By `user_version`: each makes the next version of the ledger. Rows of before count as they stand."""


class TrialLedger:
    """Every trial ever run. A claim counts those on the same data and symbol whose span overlaps its own."""

    def __init__(self, root: Path) -> None:
        self._path = root / "trials.sqlite"
        with self._connected() as db:
            db.execute("PRAGMA journal_mode=WAL")
            if _version(db) < len(_MIGRATIONS):
                _migrate(db)

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """A connection. Raises `DataInvalid` for a ledger that is damaged, or cannot be written: a full disk."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            make_private(self._path)
            with closing(sqlite3.connect(self._path, timeout=30.0, isolation_level=None)) as db:
                yield db
        except (sqlite3.Error, OSError) as error:
            raise DataInvalid(
                f"The trial ledger {self._path} cannot be used: {error}.",
                hint="Make room on its disk; where it is damaged, restore it, or move it away.",
            ) from error

    def record(self, trial: Trial) -> None:
        """Add a trial; the same one again counts once."""
        with self._connected() as db:
            db.execute(
                "INSERT OR IGNORE INTO trials (digest, lineage, symbol, first_ms, last_ms, daily_sharpe, weight)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                astuple(trial),
            )

    def overlapping(self, lineage: str, symbol: str, first_ms: int, last_ms: int) -> list[Trial]:
        """Trials on these data and this symbol whose span meets [first_ms, last_ms], one of each configuration."""
        return [looks[-1] for looks in self._looks(lineage, symbol, first_ms, last_ms, "digest")]

    def looked(self, lineage: str, symbol: str, first_ms: int, last_ms: int) -> list[Looked]:
        """The same, each counting as often as it was looked at with so much more to judge it by."""
        return [Looked.of(looks) for looks in self._looks(lineage, symbol, first_ms, last_ms, "rowid")]

    def looks(self, lineage: str, symbol: str) -> list[list[Trial]]:
        """Every look at each configuration ever tried on these data and this symbol, in the order they were taken."""
        return self._looks(lineage, symbol, -(2**63), 2**63 - 1, "rowid")

    def symbols(self, lineage: str) -> list[str]:
        """The symbols anything was tried on, of these data, ascending."""
        with self._connected() as db:
            rows = db.execute("SELECT DISTINCT symbol FROM trials WHERE lineage = ? ORDER BY symbol", (lineage,))
            return [str(symbol) for (symbol,) in rows]

    def _looks(self, lineage: str, symbol: str, first_ms: int, last_ms: int, order: str) -> list[list[Trial]]:
        with self._connected() as db:
            rows = db.execute(
                "SELECT digest, lineage, symbol, first_ms, last_ms, daily_sharpe, weight FROM trials"  # noqa: S608
                f" WHERE lineage = ? AND symbol = ? AND first_ms <= ? AND last_ms >= ? ORDER BY {order}",
                (lineage, symbol, last_ms, first_ms),
            )
            trials = [Trial(*row) for row in rows]
        found: dict[str, list[Trial]] = {}
        for trial in trials:
            found.setdefault(trial.configuration, []).append(trial)
        return list(found.values())


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def _migrate(db: sqlite3.Connection) -> None:
    """Bring the ledger to the version of this program, or leave it as it was."""
    db.execute("BEGIN IMMEDIATE")
    for version in range(_version(db), len(_MIGRATIONS)):
        db.execute(_MIGRATIONS[version])
        db.execute(f"PRAGMA user_version = {version + 1}")
    db.execute("COMMIT")
