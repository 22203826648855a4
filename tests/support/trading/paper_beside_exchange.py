"""Looks at a tape, as a paper account looks at an exchange: minute bars of its path, the last one unfinished."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from trader_cli.core.market.timeframes import MINUTE_MS
from trader_cli.core.money.assets import QUOTE, margin_asset_of
from trader_cli.venue.engine.books import Fill, Income
from trader_cli.venue.engine.engine import Engine
from trader_cli.venue.engine.triggers import BOOK_LEVELS
from trader_cli.venue.paper.observations import Observation, SeenBar, SeenBook
from trader_cli.venue.paper.paper_account import PaperAccount
from trader_cli.venue.server.private_routes import COMMANDS
from trader_cli.venue.server.wallets import fresh_account
from trader_cli.venue.simulated_market.intrabar_path import expand
from trader_cli.venue.simulated_market.symbol_market import SymbolMarket
from trader_cli.venue.simulated_market.tape import SymbolTape
from trader_cli.venue.simulated_market.tape_loading import load_tape

HOUR = 60 * MINUTE_MS


@dataclass(frozen=True)
class Watched:
    """A stretch of a symbol's tape, from the last millisecond of a minute on."""

    tape: SymbolTape
    start_ms: int
    end_ms: int

    @classmethod
    def of(cls, file: Path, share: float, hours: float) -> list[Watched]:
        """The hours from a share of each of a file's tapes on."""
        with tempfile.TemporaryDirectory() as folder:  # some files are not named after a symbol
            named, bars = Path(folder) / file.name, pl.read_parquet(file)
            if "symbol" not in bars.columns:
                bars = bars.with_columns(symbol=pl.lit(file.name.partition("-")[0]))
            bars.write_parquet(named)
            return [cls.along(tape, share, hours) for tape in load_tape(named, 7).symbols.values()]

    @classmethod
    def along(cls, tape: SymbolTape, share: float, hours: float) -> Watched:
        """The hours from a share of a tape on."""
        first = int(tape.open_ms[int(share * len(tape.open_ms))])
        return cls(tape, first + tape.timeframe.ms - 1, first + tape.timeframe.ms - 1 + round(hours * HOUR))

    @cached_property
    def market(self) -> SymbolMarket:
        return SymbolMarket(self.tape)

    @cached_property
    def _points(self) -> tuple[np.ndarray[Any, Any], ...]:
        opened, step = self.tape.open_ms, self.tape.timeframe.ms
        ends = np.searchsorted(opened, [self.start_ms - 2 * step - 3 * MINUTE_MS, self.end_ms + 1]).tolist()
        path = expand(self.tape, *ends)
        return path.time_ms.ravel(), path.price.ravel(), path.quantity.ravel()

    def bars(self, first_ms: int, now_ms: int) -> tuple[SeenBar, ...]:
        """Minutes that open in [first, now] as they stood then. One in which nothing traded stands still."""
        times, prices, quantities = self._points
        at, stop = np.searchsorted(times, [first_ms, now_ms + 1]).tolist()
        groups = times[at:stop] // MINUTE_MS
        cuts = np.flatnonzero(np.diff(groups, prepend=-1))
        traded = {}
        if len(cuts):
            low, high = (f.reduceat(prices[at:stop], cuts) for f in (np.minimum, np.maximum))
            volume = np.add.reduceat(quantities[at:stop], cuts)
            ends = [*cuts[1:].tolist(), stop - at]
            for k, (i, j) in enumerate(zip(cuts.tolist(), ends, strict=True)):
                minute = int(groups[i]) * MINUTE_MS
                o, c = float(prices[at + i]), float(prices[at + j - 1])
                traded[minute] = SeenBar(minute, o, float(high[k]), float(low[k]), c, float(volume[k]))
        close, bars = float(prices[max(at - 1, 0)]), []
        for minute in range(first_ms, now_ms + 1, MINUTE_MS):
            bars.append(traded.get(minute) or SeenBar(minute, close, close, close, close, 0.0))
            close = bars[-1].close
        return tuple(bars)

    def look(self, since: Observation | None, upto_ms: int) -> Observation:
        """What is seen since a sighting."""
        rules = self.market.rules
        if since is None:
            return Observation(rules, upto_ms, upto_ms, self.bars(_minute(upto_ms), upto_ms)[-1])
        if since.upto_ms >= upto_ms:
            return since
        bars = self.bars(_minute(since.upto_ms + 1), upto_ms)
        return Observation(rules, since.upto_ms, upto_ms, since.before, bars)

    def book(self, now_ms: int) -> SeenBook:
        bids, asks = self.market.book(now_ms, BOOK_LEVELS)
        return SeenBook(tuple(bids), tuple(asks))


def _minute(time_ms: int) -> int:
    return time_ms - time_ms % MINUTE_MS


def _enrich(engine: Engine, symbol: str) -> None:
    """Enough of what a symbol is margined in, where that is not USDT."""
    asset = margin_asset_of(symbol)
    if asset != QUOTE:
        engine.account.earn(Income("TRANSFER", "", Decimal(10**15), engine.now_ms, asset=asset))


class Account:
    """The same orders for a paper account that looks now and then, and for the exchange's own."""

    def __init__(self, watched: Watched) -> None:
        self.watched, self.symbol = watched, watched.tape.symbol

    def send(self, path: str, **parameters: Any) -> Any:
        raise NotImplementedError

    def until(self, now_ms: int) -> None:
        raise NotImplementedError

    engine: Engine

    @property
    def fills(self) -> list[Fill]:
        return self.engine.account.fills


class Paper(Account):
    """A paper account."""

    def __init__(self, watched: Watched) -> None:
        super().__init__(watched)
        self.now_ms = watched.start_ms
        self.desk = PaperAccount({self.symbol: watched.market.rules}, self.now_ms, Decimal(10**15))
        self.engine = self.desk.engine
        _enrich(self.engine, self.symbol)

    def _seen(self, *, asked: bool) -> list[Observation]:
        if not asked and self.symbol not in self.desk.busy():
            return []
        seen = self.watched.look(self.desk.since(self.symbol, self.now_ms), self.now_ms)
        if asked or self.desk.stirs(seen):
            made = [getattr(seen, name) for name in ("rules", "after_ms", "upto_ms", "before", "bars")]
            seen = Observation(*made, book=self.watched.book(self.now_ms))
        return [seen]

    def send(self, path: str, **parameters: Any) -> Any:
        text = {"symbol": self.symbol} | {name: str(value) for name, value in parameters.items()}
        return self.desk.command("POST", path, text, self._seen(asked=True), self.now_ms)

    def until(self, now_ms: int) -> None:
        self.now_ms = now_ms
        self.desk.read("/fapi/v3/account", {}, self._seen(asked=False), now_ms)


class Simulated(Account):
    """The account that the simulated exchange itself keeps."""

    def __init__(self, watched: Watched) -> None:
        super().__init__(watched)
        books = fresh_account(Decimal(10**15), hedge_mode=False)
        self.engine = Engine({self.symbol: watched.market}, books, watched.start_ms)
        _enrich(self.engine, self.symbol)

    def send(self, path: str, **parameters: Any) -> Any:
        text = {"symbol": self.symbol} | {name: str(value) for name, value in parameters.items()}
        return COMMANDS["POST", path](self.engine, text)

    def until(self, now_ms: int) -> None:
        self.engine.advance(now_ms)
