"""The fetch stage: bars, funding and a market snapshot, from the exchange to artifacts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from trader_cli import __version__
from trader_cli.analyst.feature_engineering_orchestrator import FeatureEngineeringOrchestrator
from trader_cli.core.anchors import storage_blocks
from trader_cli.core.artifacts import ArtifactKey, Manifest
from trader_cli.core.bars import Gap, find_gaps, utc_text
from trader_cli.core.digests import FrameRows, digest_frame, digest_value
from trader_cli.core.errors import DataInvalid, DataMissing, DataStale, UsageError
from trader_cli.core.ports import silent
from trader_cli.features.build import history_start
from trader_cli.features.inputs import ALL_INPUTS
from trader_cli.pipelines.market import Market, run_in_market
from trader_cli.pipelines.series import SeriesReader
from trader_cli.storage.artifacts import ArtifactStore, span_of, stage_key
from trader_cli.storage.files import exclusive

if TYPE_CHECKING:
    import polars as pl

    from trader_cli.core.ports import Progress
    from trader_cli.core.timeframes import Timeframe
    from trader_cli.settings import Settings

_FUNDING_ROWS = 90
_BOOK_LEVELS = 50
_SETTLE_MS = 500


@dataclass(frozen=True)
class Fetched:
    """What a fetch came to. `new_bars` 0 is a cache hit; `notes` are sentences for the person."""

    symbol: str
    timeframe: str
    source: str
    bars: int
    new_bars: int
    first_ms: int
    last_ms: int
    expected_last_ms: int
    gaps: tuple[Gap, ...]
    digest: str
    notes: tuple[str, ...]


def fetch(
    settings: Settings, symbol: str, timeframe: Timeframe, limit: int | None = None, *, next_close: bool = False,
    progress: Progress = silent,
) -> Fetched:  # fmt: skip
    """Fetch closed bars up to now, appending to what is stored, and the market as it is.

    Without `limit`, the configured history; a `limit` too small for one row of features is raised to what that takes.
    `next_close` waits for the next bar to close first.
    One process at a time per series; a second one waits. Raises `DataInvalid` for bars that break the rules, and,
    after storing them, for gaps unless `fetch.allow_gaps`.
    """

    async def work(market: Market) -> Fetched:
        return await fetch_in(market, settings, symbol, timeframe, limit, next_close=next_close, progress=progress)

    try:
        return run_in_market(settings, work)
    finally:
        if re.fullmatch(r"\w{2,40}", symbol):
            _remember(settings, symbol, timeframe)


def _remember(settings: Settings, symbol: str, timeframe: Timeframe) -> None:
    """Note which series a person fetched last, once there are bars of it."""
    store = ArtifactStore(settings.cache_dir)
    if store.found(stage_key(settings, symbol, timeframe, "bars")) is not None:
        store.remember_series(settings.mode, symbol, timeframe.name)


async def fetch_in(
    market: Market, settings: Settings, symbol: str, timeframe: Timeframe, limit: int | None = None, *,
    next_close: bool = False, progress: Progress = silent, store: ArtifactStore | None = None,
) -> Fetched:  # fmt: skip
    """`fetch` in a market that is connected already."""
    if not re.fullmatch(r"\w{2,40}", symbol):
        raise UsageError(f"{symbol!r} is not a symbol.", mend="Write it as the exchange does, such as ETHUSDT.")
    store = store or ArtifactStore(settings.cache_dir)
    lock = store.root / "locks" / f"{market.source}-{symbol}-{timeframe}.lock"
    with exclusive(lock, partial(progress, "waiting for another fetch of this series", 0, 0)):
        fetched = await _Fetch(settings, store, symbol, timeframe, limit, next_close, progress)(market)
    if fetched.last_ms < fetched.expected_last_ms:
        raise DataStale(
            f"The exchange's last closed {timeframe} bar of {symbol} opened {utc_text(fetched.last_ms)};"
            f" one that opened {utc_text(fetched.expected_last_ms)} has closed since.",
            mend="What came was stored. Fetch again; if it stays so, trading has stopped or the tape has ended.",
        )
    manifest = store.current(stage_key(settings, symbol, timeframe, "bars"))
    if manifest is not None:
        refuse_gaps(settings, manifest)
    return fetched


def refuse_gaps(settings: Settings, bars: Manifest) -> None:
    """Raise `DataInvalid` for stored bars with a gap, unless gaps are allowed."""
    if bars.gaps and not settings.fetch.allow_gaps:
        raise DataInvalid(
            f"The {bars.timeframe} bars of {bars.symbol} have {len(bars.gaps)} gap(s);"
            f" the first: {Gap(*bars.gaps[0])}.",
            mend="What came was stored. Fetch again, or pass --allow-gaps to go on; features around a gap stay null.",
        )


@dataclass(frozen=True)
class _Fetch:
    settings: Settings
    store: ArtifactStore
    symbol: str
    timeframe: Timeframe
    limit: int | None
    next_close: bool
    progress: Progress

    async def __call__(self, market: Market) -> Fetched:
        notes: list[str] = []
        if self.next_close:
            now = market.exchange.server_now_ms()
            await market.clock.sleep((self.timeframe.floor(now) + self.timeframe.ms + _SETTLE_MS - now) / 1000)
        reader = SeriesReader(market.exchange, self.symbol, self.timeframe, self.progress)
        latest = reader.latest_ms()
        start = self._start(latest, notes)
        update = await reader.update(self._stored(market.source, notes), start)
        bars = update.bars
        if bars.is_empty():
            raise DataMissing(f"The exchange has no closed {self.timeframe} bars of {self.symbol}.")
        manifest = self._manifest(market.source, bars)
        await self._store_funding(market)
        await self._store_snapshot(market)
        self.store.publish(self._key("bars"), manifest)
        return Fetched(
            self.symbol, self.timeframe.name, market.source, bars.height, update.new_bars, manifest.first_ms or 0,
            manifest.last_ms or 0, latest, find_gaps(bars, self.timeframe), manifest.digest, (*notes, *update.notes),
        )  # fmt: skip

    def _key(self, stage: str) -> ArtifactKey:
        return stage_key(self.settings, self.symbol, self.timeframe, stage)

    def _stored(self, source: str, notes: list[str]) -> pl.DataFrame | None:
        """The bars already stored from this source; damaged ones are fetched anew."""
        try:
            manifest = self.store.current(self._key("bars"))
            if manifest is None or manifest.source != source:
                return None
            return self.store.read(manifest)
        except DataInvalid as error:
            notes.append(f"{error.sentence} Fetched again.")
            return None

    def _start(self, latest: int, notes: list[str]) -> int:
        """Where to begin: as far back as asked, and at least as far as the latest row of features reaches."""
        wanted = self.limit if self.limit is not None else self.settings.fetch.history_bars
        spec = FeatureEngineeringOrchestrator(self.settings).spec(self.timeframe, ALL_INPUTS)
        needed = (latest - history_start(spec, latest)) // self.timeframe.ms + 1
        if needed > wanted:
            notes.append(f"{wanted} bars are too few for the features, which reach back {needed}; fetching {needed}.")
        return latest - (max(wanted, needed) - 1) * self.timeframe.ms

    def _manifest(self, source: str, bars: pl.DataFrame) -> Manifest:
        times = bars["open_time"].to_physical().to_numpy()
        rows_of, chunks = FrameRows(bars), []
        for start, end in storage_blocks(int(times[0]), int(times[-1]), self.timeframe):
            begin, stop = np.searchsorted(times, (start, end)).tolist()
            if begin < stop:
                key = digest_value(["bars", rows_of.digest(begin, stop)])
                chunks.append(self.store.find_chunk(key) or self.store.put_chunk(key, bars[begin:stop]))
        rows, first, last = span_of(chunks)
        gaps = tuple((gap.first_ms, gap.last_ms, gap.bars) for gap in find_gaps(bars, self.timeframe))
        return self._described("bars", source, chunks=tuple(chunks), rows=rows, first_ms=first, last_ms=last, gaps=gaps)

    def _described(self, stage: str, source: str, **fields: Any) -> Manifest:
        return Manifest(
            stage=stage, producer=f"trader {__version__}", source=source, symbol=self.symbol,
            timeframe=self.timeframe.name, settings=digest_value([]), **fields,
        )  # fmt: skip

    async def _store_funding(self, market: Market) -> None:
        funding = await market.exchange.get_funding_rates(self.symbol, _FUNDING_ROWS)
        if funding.is_empty():
            return
        chunk = self.store.put_chunk(digest_value(["funding", digest_frame(funding)]), funding)
        rows, first, last = span_of([chunk])
        manifest = self._described("funding", market.source, chunks=(chunk,), rows=rows, first_ms=first, last_ms=last)
        self.store.publish(self._key("funding"), manifest)

    async def _store_snapshot(self, market: Market) -> None:
        """Ticker, book, premium and open interest, as one document with the time they were asked for."""
        exchange = market.exchange
        body = {
            "source": market.source,
            "fetched_ms": exchange.server_now_ms(),
            "ticker": await exchange.get_ticker(self.symbol),
            "book": await exchange.get_order_book(self.symbol, _BOOK_LEVELS),
            "premium": await exchange.get_premium_index(self.symbol),
            "open_interest": await exchange.get_open_interest(self.symbol),
        }
        self.store.point(self._key("market"), self.store.put_document(body))
