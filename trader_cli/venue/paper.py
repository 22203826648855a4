"""The account of the `paper` profile: the venue's engine on what was seen of a real exchange, and its journal.

Every request is told first what was seen of each symbol that matters, up to one and the same moment. What can have had
an effect is journalled, in one transaction with the command it was seen for; of looks that changed nothing only the
latest is kept. A restarted account replays the journal and is exactly where it was.
"""

from __future__ import annotations

import json
import sqlite3
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from trader_cli.core.errors import DataInvalid
from trader_cli.core.orders import SymbolRules
from trader_cli.venue.changes import RuleBook
from trader_cli.venue.engine import Engine
from trader_cli.venue.journal import Command, Journal
from trader_cli.venue.observed import ObservedMarket
from trader_cli.venue.private import COMMANDS, READS
from trader_cli.venue.routes import VenueRejection
from trader_cli.venue.sightings import SeenBar, SeenBook, Sighting, mark_points, points
from trader_cli.venue.triggers import bounds, last_bounds, mark_bounds
from trader_cli.venue.wallets import fresh_account

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from trader_cli.venue.orders import Parameters

_FAILURES = (VenueRejection, ArithmeticError, ValueError)


class PaperJournal(Journal):
    """A venue's journal that holds also what was seen: `sightings` before which command, `latest` per symbol."""

    def __init__(self, folder: Path | None) -> None:
        super().__init__(folder, mend="Let it end first: a paper account has one owner at a time.")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS opened (number INTEGER PRIMARY KEY CHECK (number = 1),"
            " time_ms INTEGER NOT NULL, balance TEXT NOT NULL) STRICT"
        )
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS sightings (number INTEGER PRIMARY KEY, command INTEGER NOT NULL,"
            " body TEXT NOT NULL) STRICT"
        )
        self._db.execute("CREATE TABLE IF NOT EXISTS latest (symbol TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT")

    def opened(self, now_ms: int, balance: Decimal) -> tuple[int, Decimal]:
        """When the account was opened and with how much; now, if it is new."""
        self._db.execute("INSERT OR IGNORE INTO opened VALUES (1, ?, ?)", (now_ms, str(balance)))
        time_ms, text = self._db.execute("SELECT time_ms, balance FROM opened").fetchone()
        return int(time_ms), Decimal(text)

    def write(self, kept: Iterable[Sighting], latest: Iterable[Sighting], command: Command | None) -> None:
        """All or nothing, and on disk when this returns."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.executemany(
                "INSERT INTO sightings (command, body) VALUES ((SELECT COALESCE(MAX(number), 0) + 1 FROM commands), ?)",
                [(_body(sighting),) for sighting in kept],
            )
            self._db.executemany("INSERT OR REPLACE INTO latest VALUES (?, ?)", [(s.symbol, _body(s)) for s in latest])
            if command is not None:
                self.append(command)
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise

    def entries(self) -> Iterator[Sighting | Command]:
        """Sightings and commands in the order in which they were written."""
        seen = self._db.execute("SELECT command, body FROM sightings ORDER BY number").fetchall()
        at = 0
        for number, command in enumerate(self.commands(), start=1):
            while at < len(seen) and seen[at][0] <= number:
                yield _sighting(seen[at][1])
                at += 1
            yield command
        yield from (_sighting(body) for _, body in seen[at:])

    def latest(self) -> list[Sighting]:
        """What stood at the last look at each symbol."""
        return [_sighting(body) for (body,) in self._db.execute("SELECT body FROM latest ORDER BY symbol")]


def _beyond(prices: NDArray[np.float64], below: float, above: float) -> bool:
    return bool(((prices <= below) | (prices >= above)).any())


def _body(s: Sighting) -> str:
    rules = [s.rules.symbol, *(f"{v:f}" for v in (s.rules.tick, s.rules.step, s.rules.min_quantity,
                                                  s.rules.max_market_quantity, s.rules.min_notional))]  # fmt: skip
    book = None if s.book is None else [s.book.bids, s.book.asks]
    bars, marks = (
        [[b.open_ms, b.open, b.high, b.low, b.close, b.volume] for b in (before, *since) if b is not None]
        for before, since in ((s.before, s.bars), (s.mark_before, s.marks))
    )
    return json.dumps([s.after_ms, s.upto_ms, rules, bars, book, s.funding, marks], separators=(",", ":"))


def _sighting(body: str) -> Sighting:
    after_ms, upto_ms, (symbol, *filters), rows, book, funding, *more = json.loads(body)
    before, *bars = (SeenBar(*row) for row in rows)
    seen = None if book is None else SeenBook(*(tuple((p, q) for p, q in side) for side in book))
    tick, step, least, most, worth = (Decimal(text) for text in filters)
    rules = SymbolRules(symbol, tick, step, least, most, worth)
    marks = [SeenBar(*row) for row in (more[0] if more else [])]
    rates, first = tuple((t, r) for t, r in funding), marks[0] if marks else None
    return Sighting(rules, after_ms, upto_ms, before, tuple(bars), seen, rates, first, tuple(marks[1:]))


class PaperDesk:
    """One paper account. `folder` keeps its journal (None: memory); `balance` USDT is what a new one opens with."""

    def __init__(
        self, rules: Mapping[str, SymbolRules], now_ms: int, balance: Decimal, folder: Path | None = None
    ) -> None:
        self._markets = {symbol: ObservedMarket(rule) for symbol, rule in rules.items()}
        self._latest: dict[str, Sighting] = {}
        self._journal = PaperJournal(folder)
        try:
            opened_ms, balance = self._journal.opened(now_ms, balance)
            opened, book = fresh_account(balance, hedge_mode=False), RuleBook(observed=True)
            self.engine = Engine(self._markets, opened, opened_ms, book=book)
            self._replay()
        except BaseException:
            self._journal.close()
            raise

    def _replay(self) -> None:
        upto_ms = self.engine.now_ms
        for entry in self._journal.entries():
            if isinstance(entry, Sighting):
                if entry.upto_ms > upto_ms:
                    self.engine.advance(upto_ms)
                upto_ms = entry.upto_ms
                self._show(entry)
            else:
                self.engine.advance(entry.time_ms)
                self._carry_out_again(entry)
        for sighting in self._journal.latest():
            self._show(sighting)
            upto_ms = max(upto_ms, sighting.upto_ms)
        self.engine.advance(upto_ms)

    def _show(self, sighting: Sighting) -> None:
        """Show the market what was seen. A symbol that is listed no longer keeps its account."""
        market = self._markets.setdefault(sighting.symbol, ObservedMarket(sighting.rules))
        market.take(sighting)
        self._latest[sighting.symbol] = sighting.end()

    def _carry_out_again(self, command: Command) -> None:
        try:
            COMMANDS[command.method, command.path](self.engine, command.parameters)
        except _FAILURES:
            return  # it was refused then, too

    # --- what has to be looked at ---

    @property
    def now_ms(self) -> int:
        """The account's time."""
        return self.engine.now_ms

    def busy(self) -> set[str]:
        """Symbols with a position or open orders: nothing may be missed on them."""
        return self.engine.busy()

    def since(self, symbol: str, now_ms: int) -> Sighting | None:
        """Where the next sighting begins: what stood at the last one; None where nothing in between could matter."""
        latest = self._latest.get(symbol)
        current = latest is not None and latest.upto_ms == now_ms
        return latest if current or symbol in self.busy() else None

    def stirs(self, sighting: Sighting) -> bool:
        """Whether a price of the sighting triggers or fills something."""
        symbol = sighting.symbol
        if symbol not in self.busy():
            return False
        if sighting.mark_before is None:
            return _beyond(points(sighting)[1], *bounds(self.engine, symbol))
        by_mark = _beyond(mark_points(sighting)[1], *mark_bounds(self.engine, symbol))
        return by_mark or _beyond(points(sighting)[1], *last_bounds(self.engine, symbol))

    def has_book_of(self, symbol: str, now_ms: int) -> bool:
        """Whether the book of just that moment was seen."""
        return self._markets[symbol].has_book_of(now_ms)

    # --- requests ---

    def read(self, path: str, parameters: Parameters, seen: list[Sighting], now_ms: int) -> Any:
        """The answer to a signed GET at `now_ms`. Raises `VenueRejection`."""
        self._take(seen, now_ms, None)
        return READS[path](self.engine, parameters)

    def command(self, method: str, path: str, parameters: dict[str, str], seen: list[Sighting], now_ms: int) -> Any:
        """Journal a command together with what was seen for it, then carry it out. Raises `VenueRejection`."""
        self._take(seen, now_ms, Command(now_ms, "paper", method, path, parameters))
        return COMMANDS[method, path](self.engine, parameters)

    def _take(self, seen: list[Sighting], now_ms: int, command: Command | None) -> None:
        matters = command is not None or any(s.book or s.funding for s in seen)
        try:
            self._journal.write(seen if matters else [], [s.end() for s in seen], command)
        except sqlite3.Error as error:
            raise DataInvalid(
                f"The paper account's journal cannot be written: {error}.", mend="Check the disk and state_dir."
            ) from error
        for sighting in seen:
            self._show(sighting)
        self.engine.advance(now_ms)

    def close(self) -> None:
        """Close the journal."""
        self._journal.close()
