"""Where history comes from: the exchange's REST pages or its bulk archive, whichever is sooner done."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from trader_cli.core.errors import DataInvalid, ExchangeUnavailable
from trader_cli.core.schemas import BARS, FUNDING, MARK, OPEN_INTEREST, TRADES
from trader_cli.core.timeframes import DAY_MS, HOUR_MS, MINUTE_MS, Timeframe
from trader_cli.core.weights import WEIGHT_LIMIT
from trader_cli.exchange.archive_files import plan_files
from trader_cli.exchange.archive_parsing import parse_archive

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    import polars as pl

    from trader_cli.core.schemas import Schema
    from trader_cli.exchange.archive import Archive
    from trader_cli.exchange.archive_files import ArchiveFile, Kind, Market
    from trader_cli.exchange.binance import BinanceExchange

Way = Literal["auto", "rest", "archive"]

OPEN_INTEREST_PERIOD = Timeframe.parse("5m")
_FILE_S, _REQUEST_S, _AHEAD = 0.4, 0.2, 8
"""Rough seconds for one archive file and one request, and how many are under way at once."""
_PARALLEL = 6


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
    """Reads spans of one symbol's history. `notes` and `files` say what came of the archive."""

    exchange: BinanceExchange
    archive: Archive | None
    symbol: str
    timeframe: Timeframe
    way: Way = "auto"
    threads: bool = False
    notes: list[str] = field(default_factory=list)
    files: int = 0

    async def stream(self, kind: SeriesKind, first_ms: int, last_ms: int) -> AsyncGenerator[pl.DataFrame, None]:
        """Frames of the rows from `first_ms` to `last_ms` (both inclusive), oldest first.

        A file the archive does not have, or that does not agree with its check sum, is asked for by REST.
        """
        start = first_ms
        if self.archive is not None and self._archive_is_sooner(kind, first_ms, last_ms):
            plan = self._plan(kind, first_ms, last_ms)
            async with aclosing(self._files(plan)) as files:
                async for file, frame in files:
                    start = max(first_ms, file.first_ms)
                    end = min(last_ms, file.end_ms - 1)
                    if frame is None:
                        async for page in self._pages(kind, start, end):
                            yield page
                    else:
                        yield _between(frame, start, end)
                    start = end + 1
        async for page in self._pages(kind, start, last_ms):
            yield page

    def _plan(self, kind: SeriesKind, first_ms: int, last_ms: int) -> tuple[ArchiveFile, ...]:
        timeframe = self.timeframe if kind.is_bars else None
        now = self.exchange.server_now_ms()
        return plan_files(kind.market, kind.archive, self.symbol, timeframe, first_ms, last_ms, now).files

    async def _files(
        self, plan: tuple[ArchiveFile, ...]
    ) -> AsyncGenerator[tuple[ArchiveFile, pl.DataFrame | None], None]:
        """Each file with what it holds; `None` where it cannot be had."""
        assert self.archive is not None
        left = list(plan)
        while left:
            try:
                async with aclosing(self.archive.stream(tuple(left), _PARALLEL)) as bodies:  # type: ignore[type-var]
                    async for file, body in bodies:
                        yield file, await self._parsed(file, body)
                        left.pop(0)
            except ExchangeUnavailable as error:
                if self.way == "archive":
                    raise
                self.notes.append(f"{error.sentence} Asked by REST instead.")
                yield left.pop(0), None

    async def _parsed(self, file: ArchiveFile, body: bytes | None) -> pl.DataFrame | None:
        if body is None:
            return None
        try:
            held = await asyncio.to_thread(parse_archive, body, file) if self.threads else parse_archive(body, file)
        except DataInvalid as error:
            if self.way == "archive":
                raise
            self.notes.append(f"{error.sentence} Asked by REST instead.")
            return None
        self.files += 1
        self.notes += [f"{file}: {defect}" for defect in held.defects]
        return held.frame

    async def _pages(self, kind: SeriesKind, first_ms: int, last_ms: int) -> AsyncGenerator[pl.DataFrame, None]:
        """The span by REST."""
        if first_ms > last_ms:
            return
        exchange, symbol = self.exchange, self.symbol
        if kind.stage == "open_interest":
            yield await exchange.get_open_interest_history(symbol, OPEN_INTEREST_PERIOD.name, first_ms, last_ms)
            return
        if kind.stage == "funding":
            stream = exchange.stream_funding(symbol, first_ms, last_ms)
        elif kind.stage == "trades":
            stream = exchange.stream_agg_trades(symbol, first_ms, last_ms)
        elif kind.stage == "spot":
            stream = exchange.stream_klines(symbol, self.timeframe.name, first_ms, last_ms, market="spot")
        else:
            which: Literal["klines", "mark", "index"] = "klines"
            if kind.stage in {"mark", "index"}:
                which = "mark" if kind.stage == "mark" else "index"
            stream = exchange.stream_klines(symbol, self.timeframe.name, first_ms, last_ms, kind=which)
        async with aclosing(stream) as pages:
            async for page in pages:
                yield page

    def _archive_is_sooner(self, kind: SeriesKind, first_ms: int, last_ms: int) -> bool:
        if self.way != "auto":
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


def _between(frame: pl.DataFrame, first_ms: int, last_ms: int) -> pl.DataFrame:
    """The rows whose time lies in [first, last]."""
    times = frame.to_series(0).to_physical()
    return frame[int(times.search_sorted(first_ms)) : int(times.search_sorted(last_ms, side="right"))]
