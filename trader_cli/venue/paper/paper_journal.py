"""The journal of a paper account: commands, what was seen before each, and snapshots of the account now and then."""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.core.money.orders import SymbolRules
from trader_cli.venue.engine.fill_rules import FILLS
from trader_cli.venue.engine.venue_journal import Command, Journal
from trader_cli.venue.paper.observations import Observation, SeenBar, SeenBook

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from trader_cli.core.json_values import JsonObject


@dataclass(frozen=True)
class Snapshots:
    """Parts of a snapshot, oldest first, and after how many commands and sightings the last was written."""

    commands: int = 0
    observations: int = 0
    parts: tuple[JsonObject, ...] = ()


class PaperJournal(Journal):
    """A venue's journal that holds also what was seen: `observations` before which command, `latest` per symbol."""

    def __init__(self, folder: Path | None) -> None:
        super().__init__(folder, hint="Let it end first: a paper account has one owner at a time.")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS opened (number INTEGER PRIMARY KEY CHECK (number = 1),"
            " time_ms INTEGER NOT NULL, balance TEXT NOT NULL) STRICT"
        )
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS sightings (number INTEGER PRIMARY KEY, command INTEGER NOT NULL,"
            " body TEXT NOT NULL) STRICT"
        )
        self._db.execute("CREATE TABLE IF NOT EXISTS latest (symbol TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS snapshots (number INTEGER PRIMARY KEY, commands INTEGER NOT NULL,"
            " sightings INTEGER NOT NULL, fill_rules INTEGER NOT NULL, body TEXT NOT NULL) STRICT"
        )

    def opened(self, now_ms: int, balance: Decimal) -> tuple[int, Decimal]:
        """When the account was opened and with how much; now, if it is new."""
        self._db.execute("BEGIN IMMEDIATE")
        made = self._db.execute("INSERT OR IGNORE INTO opened VALUES (1, ?, ?)", (now_ms, str(balance)))
        if made.rowcount:
            self.keep({}, FILLS.version)
        self._db.execute("COMMIT")
        time_ms, text = self._db.execute("SELECT time_ms, balance FROM opened").fetchone()
        return int(time_ms), Decimal(text)

    def keep(self, part: JsonObject, fill_rules: int) -> None:
        """Write the next part of a snapshot of what everything journalled until now has led to."""
        self._db.execute(
            "INSERT INTO snapshots (commands, sightings, fill_rules, body) VALUES ("
            "(SELECT COALESCE(MAX(number), 0) FROM commands), (SELECT COALESCE(MAX(number), 0) FROM sightings), ?, ?)",
            (fill_rules, json.dumps(part, separators=(",", ":"))),
        )

    def fill_rules(self) -> int:
        """The version of the rules by which the account has traded; accounts of before there were any have 1."""
        found = self._db.execute("SELECT fill_rules FROM snapshots ORDER BY number DESC LIMIT 1").fetchone()
        return int(found[0]) if found else 1

    def snapshots(self) -> Snapshots:
        """What was kept. Of a new account that is nothing."""
        rows = self._db.execute("SELECT commands, sightings, body FROM snapshots ORDER BY number").fetchall()
        parts = [(commands, seen, part) for commands, seen, body in rows if (part := json.loads(body))]
        return Snapshots(parts[-1][0], parts[-1][1], tuple(part for *_, part in parts)) if parts else Snapshots()

    def write(self, kept: Iterable[Observation], latest: Iterable[Observation], command: Command | None) -> None:
        """All or nothing, and on disk when this returns."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.executemany(
                "INSERT INTO sightings (command, body) VALUES ((SELECT COALESCE(MAX(number), 0) + 1 FROM commands), ?)",
                [(observation_body(observation),) for observation in kept],
            )
            self._db.executemany(
                "INSERT OR REPLACE INTO latest VALUES (?, ?)", [(s.symbol, observation_body(s)) for s in latest]
            )
            if command is not None:
                self.append(command)
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise

    def entries(self, since: Snapshots | None = None) -> Iterator[Observation | Command]:
        """Sightings and commands in the order in which they were written, those after a snapshot."""
        since = since or Snapshots()
        query = "SELECT command, body FROM sightings WHERE number > ? ORDER BY number"
        seen = self._db.execute(query, (since.observations,)).fetchall()
        at = 0
        for number, command in enumerate(self.commands(since.commands), start=since.commands + 1):
            while at < len(seen) and seen[at][0] <= number:
                yield read_observation(seen[at][1])
                at += 1
            yield command
        yield from (read_observation(body) for _, body in seen[at:])

    def latest(self) -> list[Observation]:
        """What stood at the last look at each symbol."""
        return [read_observation(body) for (body,) in self._db.execute("SELECT body FROM latest ORDER BY symbol")]


def observation_body(s: Observation) -> str:
    rules = [
        s.rules.symbol,
        *(
            f"{v:f}"
            for v in (
                s.rules.tick,
                s.rules.step,
                s.rules.min_quantity,
                s.rules.max_market_quantity,
                s.rules.min_notional,
            )
        ),
    ]
    book = None if s.book is None else [s.book.bids, s.book.asks]
    bars, marks = (
        [[b.open_ms, b.open, b.high, b.low, b.close, b.volume] for b in (before, *since) if b is not None]
        for before, since in ((s.before, s.bars), (s.mark_before, s.marks))
    )
    return json.dumps([s.after_ms, s.upto_ms, rules, bars, book, s.funding, marks], separators=(",", ":"))


def read_observation(body: str) -> Observation:
    after_ms, upto_ms, (symbol, *filters), rows, book, funding, *more = json.loads(body)
    before, *bars = (SeenBar(*row) for row in rows)
    seen = None if book is None else SeenBook(*(tuple((p, q) for p, q in side) for side in book))
    tick, step, least, most, worth = (Decimal(text) for text in filters)
    rules = SymbolRules(symbol, tick, step, least, most, worth)
    marks = [SeenBar(*row) for row in (more[0] if more else [])]
    rates, first = tuple((t, r) for t, r in funding), marks[0] if marks else None
    return Observation(rules, after_ms, upto_ms, before, tuple(bars), seen, rates, first, tuple(marks[1:]))
