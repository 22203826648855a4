"""Where history comes from: the exchange's REST pages or its bulk archive, whichever is sooner done."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

import numpy as np
import polars as pl

from trader_cli.core.errors import DataInvalid, DataMissing, ExchangeUnavailable, NotListed, UsageError
from trader_cli.core.market.bars import PRICES
from trader_cli.core.market.schemas import BARS, FUNDING, MARK, OPEN_INTEREST, TRADES, milliseconds, rows_between
from trader_cli.core.market.symbols import pair_of
from trader_cli.core.market.timeframes import DAY_MS, HOUR_MS, MINUTE_MS, Timeframe
from trader_cli.exchange.archive.catalogue import plan_files
from trader_cli.exchange.archive.parsing import parse_archive
from trader_cli.venue.request_weights import WEIGHT_LIMIT

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from trader_cli.core.market.schemas import Schema
    from trader_cli.exchange.archive.catalogue import ArchiveFile, Kind, Market
    from trader_cli.exchange.archive.download import Archive
    from trader_cli.exchange.binance import BinanceExchange

Way = Literal["auto", "rest", "archive"]

OPEN_INTEREST_PERIOD = Timeframe.parse("5m")
_FILE_S, _REQUEST_S, _AHEAD = 0.4, 0.2, 8
"""Rough seconds for one archive file and one request, and how many are under way at once."""
_SINGLY = 16
"""More holes than this within one file are asked for as one span."""
_PARALLEL = 6
_FAILURES = 2
"""So many files one after the other that could not be had: the archive is not asked any more."""
_LATE_MS = 2 * DAY_MS
_OPEN_INTEREST_MS = 29 * DAY_MS
"""REST remembers a month of it."""


@dataclass(frozen=True)
class SeriesKind:
    """A kind of history: its artifact stage, its schema, its name in the archive, and whether rows are bars."""

    stage: str
    schema: Schema
    archive: Kind
    market: Market = "futures/um"

    @property
    def is_bars(self) -> bool:
        """Whether rows lie on the grid of a time frame."""
        return "open_time" in self.schema.columns

    def grid_ms(self, timeframe: Timeframe) -> int:
        """What lies between two rows, ms; 0 where that may be anything."""
        if self.stage == "open_interest":
            return OPEN_INTEREST_PERIOD.ms
        return timeframe.ms if self.is_bars else 0

    @property
    def key(self) -> str:
        """The column that names a row: its time, or a trade's id."""
        return "trade_id" if self.stage == "trades" else next(iter(self.schema.columns))


KINDS: Mapping[str, SeriesKind] = MappingProxyType(
    {
        "klines": SeriesKind("bars", BARS, "klines"),
        "mark": SeriesKind("mark", MARK, "markPriceKlines"),
        "index": SeriesKind("index", MARK, "indexPriceKlines"),
        "spot": SeriesKind("spot", BARS, "klines", "spot"),
        "funding": SeriesKind("funding", FUNDING, "fundingRate"),
        "open-interest": SeriesKind("open_interest", OPEN_INTEREST, "metrics"),
        "trades": SeriesKind("trades", TRADES, "aggTrades"),
    }
)


@dataclass
class HistoryReader:
    """Reads spans of one symbol's history. `notes` and `files` say what came of the archive.

    `spot` is the name of its spot market, and how many of that market's coins one contract is of: prices come times
    so many, quantities divided by them. `gone`: the exchange does not list what was read last, and says nothing of it;
    its history is what the archive has.
    """

    exchange: BinanceExchange
    archive: Archive | None
    symbol: str
    timeframe: Timeframe
    way: Way = "auto"
    threads: bool = False
    notes: list[str] = field(default_factory=list)
    files: int = 0
    spot: tuple[str, int] | None = None
    gone: NotListed | None = None

    async def stream(self, kind: SeriesKind, first_ms: int, last_ms: int) -> AsyncGenerator[pl.DataFrame, None]:
        """Frames of the rows from `first_ms` to `last_ms` (both inclusive), oldest first.

        A file the archive does not have, or that is damaged, is asked for by REST. By `archive` alone that raises
        `DataMissing`, `DataInvalid` or `ExchangeUnavailable`; but before the first file there is, the symbol was not
        listed yet, and what ended less than two days ago may come late and is asked for by REST.
        What the exchange does not list, or not any more, comes from the archive alone; `NotListed` where that has
        nothing of it either.
        """
        self.gone, before = self._unlisted(kind), self.files
        many = self.spot[1] if self.spot is not None and kind.market == "spot" else 1
        archived = self.gone is not None or self._archive_is_sooner(kind, first_ms, last_ms)
        if not archived:
            async with aclosing(self._pages(kind, first_ms, last_ms)) as pages:
                async for page in pages:
                    yield _of_so_many(page, many)
        if archived or self.gone is not None:
            async with aclosing(self._archived(kind, first_ms, last_ms)) as frames:
                async for frame in frames:
                    yield _of_so_many(frame, many)
        if self.gone is not None and self.files == before:
            raise self._nowhere(self.gone)

    async def _archived(self, kind: SeriesKind, first_ms: int, last_ms: int) -> AsyncGenerator[pl.DataFrame, None]:
        """What the archive has, and the rest by REST."""
        start, plan, before, lost = first_ms, self._plan(kind, first_ms, last_ms), self.files, list[str]()
        async with aclosing(self._files(plan)) as files:
            async for file, frame in files:
                start = max(start, file.first_ms)
                if frame is not None:
                    self.notes += lost
                    lost = []
                    rows = rows_between(frame, start, min(last_ms, file.end_ms) + 1)
                    if self.way == "auto":
                        rows = await self._completed(kind, rows, start, min(last_ms, file.end_ms - 1))
                    yield rows
                    start = max(file.end_ms, _last_ms(rows) + 1)
                    continue
                if self.gone is not None and self.files > before:
                    lost.append(f"The archive has no {file.name}.")
                elif self._asks_rest_for(file, begun=self.files > before):
                    async for page in self._pages(kind, start, min(last_ms, file.end_ms - 1)):
                        yield page
                start = file.end_ms
        alone = self.way == "archive" and self.gone is None
        if alone and plan and self.files == before and not self._is_late(plan[-1]):
            raise DataMissing(f"The archive has none of the files wanted; the last one is {plan[-1].path}.")
        async for page in self._pages(kind, start, last_ms):
            yield page

    def _unlisted(self, kind: SeriesKind) -> NotListed | None:
        """That the futures market does not list the symbol, where that is known and the archive may know more."""
        listed = self.exchange.symbols
        if kind.market == "spot" or not self._has_archive or not listed or self.symbol in listed:
            return None
        try:
            self.exchange.require_listed(self.symbol)
        except NotListed as error:
            return error
        return None

    @property
    def _has_archive(self) -> bool:
        return self.archive is not None and self.way != "rest"

    def _nowhere(self, gone: NotListed) -> NotListed:
        """Neither the exchange nor its archive knows it."""
        hint = "If it did once, name a span of then by --since and --until: the archive keeps what was."
        return NotListed(
            f"{gone.sentence} Its archive does not hold that time either.",
            hint=hint if gone.hint is None else f"{gone.hint} {hint}",
        )

    async def _completed(self, kind: SeriesKind, rows: pl.DataFrame, first_ms: int, last_ms: int) -> pl.DataFrame:
        """Rows of a file from `first_ms` to `last_ms` with those that are missing in it, as far as REST has them."""
        holes = self._holes(kind, rows, first_ms, last_ms)
        if len(holes) > _SINGLY:
            holes = [(holes[0][0], holes[-1][1])]
        found = [rows, *[page for hole in holes for page in [p async for p in self._pages(kind, *hole)]]]
        return rows if len(found) == 1 else pl.concat(found).unique(kind.key, keep="first").sort(kind.key)

    def _holes(self, kind: SeriesKind, rows: pl.DataFrame, first_ms: int, last_ms: int) -> list[tuple[int, int]]:
        """Spans, UTC ms, where rows should be: between grid times, and between trades whose ids leave some out."""
        if kind.stage == "trades":
            times, ids = milliseconds(rows["time"]), rows["trade_id"].to_numpy()
            before = np.flatnonzero(np.diff(ids) > 1)
            return list(zip(times[before].tolist(), times[before + 1].tolist(), strict=True))
        step = kind.grid_ms(self.timeframe)
        if not step:
            return []
        if kind.stage == "open_interest":
            first_ms = max(first_ms, self.exchange.server_now_ms() - _OPEN_INTEREST_MS)
        wanted = -(-first_ms // step) * step, last_ms // step * step
        times = milliseconds(rows_between(rows, wanted[0], wanted[1] + 1).to_series(0))
        edges = np.concatenate([[wanted[0] - step], times, [wanted[1] + step]])
        before = np.flatnonzero(np.diff(edges) > step)
        return list(zip((edges[before] + step).tolist(), (edges[before + 1] - step).tolist(), strict=True))

    def _asks_rest_for(self, file: ArchiveFile, *, begun: bool) -> bool:
        """Whether REST is asked for a file that could not be had; `begun`: another one before it could."""
        if self.way != "archive" or self._is_late(file):
            return True
        if begun and self._trades:
            raise DataMissing(
                f"The archive has no {file.name} ({file.path}).",
                hint="Use --via auto to ask by REST for what is absent.",
            )
        return False

    @property
    def _trades(self) -> bool:
        """Whether files are still to be expected: not of what is settled or closed."""
        return bool(self.exchange.symbols.get(self.symbol, {}).get("status", "TRADING") == "TRADING")

    def _is_late(self, file: ArchiveFile) -> bool:
        """Whether a file may not have been published yet."""
        return file.end_ms > self.exchange.server_now_ms() - _LATE_MS

    def _plan(self, kind: SeriesKind, first_ms: int, last_ms: int) -> tuple[ArchiveFile, ...]:
        timeframe = self.timeframe if kind.is_bars else None
        now = self.exchange.server_now_ms()
        return plan_files(kind.market, kind.archive, self._name(kind), timeframe, first_ms, last_ms, now).files

    def _name(self, kind: SeriesKind) -> str:
        """What the symbol is called where this kind is kept."""
        if kind.market == "spot":
            return self.symbol if self.spot is None else self.spot[0]
        return pair_of(self.symbol) if kind.stage == "index" else self.symbol

    async def _files(
        self, plan: tuple[ArchiveFile, ...]
    ) -> AsyncGenerator[tuple[ArchiveFile, pl.DataFrame | None], None]:
        """Each file with what it holds; `None` where it cannot be had. Ends early where the archive does not answer."""
        assert self.archive is not None
        left, failed = list(plan), 0
        while left and failed < _FAILURES:
            try:
                async with aclosing(self.archive.stream(tuple(left), _PARALLEL)) as bodies:  # type: ignore[type-var]
                    async for file, body in bodies:
                        yield file, await self._parsed(file, body)
                        left.pop(0)
                        failed = 0
            except ExchangeUnavailable as error:
                if self.way == "archive" or (self.gone is not None and self.files):
                    raise
                self.notes.append(f"{error.sentence}{self._instead}")
                failed += 1
                yield left.pop(0), None

    async def _parsed(self, file: ArchiveFile, body: bytes | None) -> pl.DataFrame | None:
        if body is None:
            if self.files and self.way != "archive" and self.gone is None:
                self.notes.append(f"The archive has no {file.name}. Asked by REST instead.")
            return None
        try:
            held = await asyncio.to_thread(parse_archive, body, file) if self.threads else parse_archive(body, file)
        except DataInvalid as error:
            if self.way == "archive" or self.gone is not None:
                raise
            self.notes.append(f"{error.sentence}{self._instead}")
            return None
        self.files += 1
        self.notes += [f"{file}: {defect}" for defect in held.defects]
        return held.frame

    @property
    def _instead(self) -> str:
        return " Asked by REST instead." if self.gone is None else ""

    async def _pages(self, kind: SeriesKind, first_ms: int, last_ms: int) -> AsyncGenerator[pl.DataFrame, None]:
        """The span by REST; nothing, and that it is `gone`, where only the archive may know it."""
        if first_ms > last_ms or self.gone is not None:
            return
        try:
            async with aclosing(self._by_rest(kind, first_ms, last_ms)) as pages:
                async for page in pages:
                    yield page
        except NotListed as error:
            if not self._has_archive:
                raise
            self.gone = error

    async def _by_rest(self, kind: SeriesKind, first_ms: int, last_ms: int) -> AsyncGenerator[pl.DataFrame, None]:
        exchange, symbol = self.exchange, self.symbol
        if kind.stage == "open_interest":
            yield await exchange.get_open_interest_history(symbol, OPEN_INTEREST_PERIOD.name, first_ms, last_ms)
            return
        if kind.stage == "funding":
            stream = exchange.stream_funding(symbol, first_ms, last_ms)
        elif kind.stage == "trades":
            stream = exchange.stream_agg_trades(symbol, first_ms, last_ms)
        elif kind.stage == "spot":
            stream = exchange.stream_klines(self._name(kind), self.timeframe.name, first_ms, last_ms, market="spot")
        else:
            which: Literal["klines", "mark", "index"] = "klines"
            if kind.stage in {"mark", "index"}:
                which = "mark" if kind.stage == "mark" else "index"
            stream = exchange.stream_klines(symbol, self.timeframe.name, first_ms, last_ms, kind=which)
        async with aclosing(stream) as pages:
            async for page in pages:
                yield page

    def _archive_is_sooner(self, kind: SeriesKind, first_ms: int, last_ms: int) -> bool:
        if self.way == "archive" and self.archive is None:
            raise UsageError("This market has no bulk archive.", hint="Use --via rest, or set archive_url.")
        if self.way != "auto" or self.archive is None:
            return self.way == "archive"
        files = len(self._plan(kind, first_ms, last_ms))
        return files > 0 and files * _FILE_S / _PARALLEL + 1.0 < self._rest_seconds(kind, last_ms - first_ms)

    def _rest_seconds(self, kind: SeriesKind, span_ms: int) -> float:
        """About how long REST takes: as many requests as are under way at once, and no more weight than is allowed."""
        per_minute = WEIGHT_LIMIT * self.exchange.settings.binance_exchange.weight_fraction
        if kind.stage == "open_interest":  # REST remembers a month
            return 0.0 if span_ms <= 30 * DAY_MS else float("inf")
        if kind.stage == "funding":
            return 0.0
        if kind.stage == "trades":  # a busy symbol has some thousand trades an hour
            requests = span_ms / HOUR_MS * 5
            return max(requests * _REQUEST_S, requests * 20 / per_minute * 60)
        requests = span_ms / self.timeframe.ms / 499
        return max(requests * _REQUEST_S / _AHEAD, (requests * 2 / per_minute - 1) * MINUTE_MS / 1000)


def _of_so_many(bars: pl.DataFrame, many: int) -> pl.DataFrame:
    """Bars of one coin as those of `many`: prices times so many, quantities of the coin divided."""
    if many == 1:
        return bars
    times = {name: pl.col(name) * many for name in PRICES}
    return bars.with_columns(**times, volume=pl.col("volume") / many, taker_buy_base=pl.col("taker_buy_base") / many)


def _last_ms(frame: pl.DataFrame) -> int:
    """The time of the last row, UTC ms; -1 without one."""
    return int(milliseconds(frame.to_series(0))[-1]) if frame.height else -1
