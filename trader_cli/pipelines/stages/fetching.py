"""The fetch stage: bars, other history and a market snapshot of one symbol or many, from the exchange to artifacts."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from trader_cli.analyst.feature_engineering_orchestrator import FeatureEngineeringOrchestrator
from trader_cli.core.errors import DataMissing, DataStale, TraderError, UsageError
from trader_cli.core.market.gaps import Gap, utc_text
from trader_cli.core.market.symbols import symbol_of
from trader_cli.core.market.timeframes import SETTLE_MS
from trader_cli.core.ports import silent
from trader_cli.features.build import history_start
from trader_cli.features.inputs import ALL_INPUTS
from trader_cli.pipelines.market_access import Market, run_in_market
from trader_cli.pipelines.stages.bar_quality import judged, judged_before
from trader_cli.pipelines.stages.history_source import KINDS, HistoryReader, Way
from trader_cli.pipelines.stages.market_snapshot import SNAPSHOTS
from trader_cli.pipelines.stages.series_update import Span
from trader_cli.pipelines.stages.stored_bars import refuse_gaps
from trader_cli.pipelines.stages.stored_series import StoredSeries
from trader_cli.pipelines.stages.supplementary import SupplementaryData, but_for
from trader_cli.storage.artifacts import ArtifactStore, stage_key
from trader_cli.storage.files import exclusive_among

if TYPE_CHECKING:
    from collections.abc import Callable

    from trader_cli.core.identity.manifests import Manifest
    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.core.ports import Progress
    from trader_cli.settings import Workspace

_WAITING = "waiting for another fetch of this series"
_ENDED = frozenset({None, "DELIVERING", "DELIVERED", "SETTLING", "CLOSE"})
"""Statuses in which no bar is expected any more; None: not listed."""
_AT_ONCE = 4
"""Symbols read at the same time: few requests each, so that the connection is never idle between two of them."""


@dataclass(frozen=True)
class FetchOptions:
    """What to fetch besides the configured history.

    `limit` bars, or all from `since_ms`, up to `until_ms`; `kinds` besides bars and those of the settings and those
    stored before; `way` by which; `repair` reads all of it again and replaces what differs.
    """

    limit: int | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    kinds: tuple[str, ...] = ()
    way: Way = "auto"
    repair: bool = False
    next_close: bool = False

    def __post_init__(self) -> None:
        unknown = [kind for kind in self.kinds if kind not in {*KINDS, *SNAPSHOTS}]
        if unknown:
            known = ", ".join(name for name in (*KINDS, *SNAPSHOTS) if name != "klines")
            raise UsageError(f"There is no kind of data {unknown[0]!r} to fetch.", hint=f"Known: {known}.")
        if self.since_ms is not None and self.limit is not None:
            raise UsageError(
                "--limit counts back from the last bar, --since says where to begin.", hint="Give one of the two."
            )
        if self.since_ms is not None and self.until_ms is not None and self.since_ms > self.until_ms:
            raise UsageError(f"The span begins {utc_text(self.since_ms)}, after its end {utc_text(self.until_ms)}.")


@dataclass(frozen=True)
class Fetched:
    """What a fetch came to. `new_bars` 0 is a cache hit; `notes` are sentences for the person.

    `kinds`: rows and new rows of everything besides the bars; `quality`: findings of the data-quality report by kind;
    `archive_files` is how many files of the bulk archive were read.
    """

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
    kinds: dict[str, dict[str, int]] = field(default_factory=dict)
    quality: dict[str, int] = field(default_factory=dict)
    archive_files: int = 0


def fetch(
    workspace: Workspace,
    symbol: str,
    timeframe: Timeframe,
    limit: int | None = None,
    *,
    next_close: bool = False,
    progress: Progress = silent,
) -> Fetched:
    """Fetch closed bars up to now, appending to what is stored, and the market as it is.

    Without `limit`, the configured history; a `limit` too small for one row of features is raised to what that takes.
    `next_close` waits for the next bar to close first.
    One process at a time per series; a second one waits. Raises `DataInvalid` for bars that break the rules, and,
    after storing them, for gaps unless `fetch.allow_gaps`.
    """
    options = FetchOptions(limit=limit, next_close=next_close)
    [(_, outcome)] = fetch_many(workspace, [symbol], timeframe, options, progress=progress)
    if isinstance(outcome, TraderError):
        raise outcome
    return outcome


def fetch_many(
    workspace: Workspace,
    symbols: list[str],
    timeframe: Timeframe,
    options: FetchOptions,
    *,
    top: int = 0,
    progress: Progress = silent,
    say: Callable[[str], None] = lambda _line: None,
) -> list[tuple[str, Fetched | TraderError]]:
    """Fetch several symbols over one connection: those named, and the `top` ones by the last day's volume.

    One symbol's trouble does not keep the others from being fetched: each comes with what became of it.
    """
    for symbol in symbols:
        symbol_of(symbol)

    async def work(market: Market) -> list[tuple[str, Fetched | TraderError]]:
        async with market.with_archive() as one_archive:
            return await each(one_archive)

    async def each(market: Market) -> list[tuple[str, Fetched | TraderError]]:
        best = await market.exchange.top_symbols(top, say) if top else []
        wanted = list(dict.fromkeys([*symbols, *best]))
        turns = asyncio.Semaphore(_AT_ONCE)
        done = 0

        async def one(symbol: str) -> tuple[str, Fetched | TraderError]:
            nonlocal done
            async with turns:
                try:
                    outcome: Fetched | TraderError = await fetch_in(
                        market, workspace, symbol, timeframe, options, progress=progress
                    )
                except TraderError as error:
                    outcome = error
            done += 1
            if len(wanted) > 1:
                progress("symbols", done, len(wanted))
            return symbol, outcome

        tasks = [asyncio.ensure_future(one(symbol)) for symbol in wanted]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    try:
        return run_in_market(workspace, work)
    finally:
        for symbol in symbols[:1]:
            remember_fetched(workspace, symbol, timeframe)


def remember_fetched(workspace: Workspace, symbol: str, timeframe: Timeframe) -> None:
    """Note which series a person fetched last, once there are bars of it."""
    store = ArtifactStore(workspace.cache_dir)
    if store.found(stage_key(workspace.mode, symbol, timeframe, "bars")) is not None:
        store.remember_series(workspace.mode, symbol, timeframe.name)


async def fetch_in(
    market: Market,
    workspace: Workspace,
    symbol: str,
    timeframe: Timeframe,
    options: FetchOptions = FetchOptions(),
    *,
    progress: Progress = silent,
    store: ArtifactStore | None = None,
) -> Fetched:
    """`fetch` in a market that is connected already."""
    symbol_of(symbol)
    store = store or ArtifactStore(workspace.cache_dir)
    lock = store.root / "locks" / f"{market.source}-{symbol}-{timeframe}.lock"
    series = StoredSeries(workspace, store, market.source, symbol, timeframe, progress)
    async with exclusive_among(lock, market.clock, partial(progress, _WAITING, 0, 0)):
        fetched = await _Fetch(series, market, options).all()
    status = _status(market, symbol)
    fetched = replace(fetched, notes=(*fetched.notes, *_said_of_status(status, symbol)))
    if fetched.last_ms < fetched.expected_last_ms and status not in _ENDED:
        raise DataStale(
            f"The exchange's last closed {timeframe} bar of {symbol} opened {utc_text(fetched.last_ms)};"
            f" one that opened {utc_text(fetched.expected_last_ms)} has closed since.",
            hint="What came was stored. Fetch again; if it stays so, trading has stopped or the tape has ended.",
        )
    manifest = store.current(stage_key(workspace.mode, symbol, timeframe, "bars"))
    if manifest is not None:
        refuse_gaps(workspace, manifest)
    return fetched


@dataclass(frozen=True)
class _Fetch:
    series: StoredSeries
    market: Market
    options: FetchOptions

    async def all(self) -> Fetched:
        exchange, notes, series = self.market.exchange, list[str](), self.series
        if self.options.next_close:
            now = exchange.server_now_ms()
            wait_ms = series.timeframe.floor(now) + series.timeframe.ms + SETTLE_MS - now
            await self.market.clock.sleep(wait_ms / 1000)
        async with self.market.with_archive() as market:
            way, threads = self.options.way, market.threads
            reader = HistoryReader(exchange, market.archive, series.symbol, series.timeframe, way, threads, notes=notes)
            return await self._all_by(reader, notes)

    async def _all_by(self, reader: HistoryReader, notes: list[str]) -> Fetched:
        series, timeframe = self.series, self.series.timeframe
        latest = timeframe.floor(self.market.exchange.server_now_ms()) - timeframe.ms
        last = latest if self.options.until_ms is None else min(latest, timeframe.floor(self.options.until_ms))
        span, known = self._span(last, latest, notes), series.stored(KINDS["klines"], [])
        bars, update = await series.update(KINDS["klines"], reader, span)
        if bars is None:
            raise self._no_bars(span)
        before = None if self.options.repair else judged_before(series, bars, known)
        bars, alarms = before or await self._judged(bars)
        notes += [*alarms[:3], *self._said_of_stored(known, span)]
        series.publish(KINDS["klines"], bars, span.first_ms)
        if update.replaced_rows:
            notes.append(f"{update.replaced_rows} stored bar(s) differed from the exchange's and were replaced.")
        if self.options.repair and not (update.replaced_rows or update.new_rows):
            notes.append("Every bar was read again: none is missing, none differs.")
        requested = frozenset({*series.workspace.settings.fetch.kinds, *self.options.kinds})
        besides = SupplementaryData(series, self.market, reader, span, bars, self._wanted(requested), requested)
        await besides.all()
        if besides.troubles:
            raise but_for(besides.troubles)
        gaps = tuple(Gap(*gap) for gap in bars.gaps)
        return Fetched(
            series.symbol,
            timeframe.name,
            self.market.source,
            bars.rows,
            update.new_rows,
            bars.first_ms or 0,
            bars.last_ms or 0,
            last,
            gaps,
            bars.digest,
            tuple(notes),
            besides.rows,
            bars.quality,
            reader.files,
        )

    def _said_of_stored(self, known: Manifest | None, span: Span) -> list[str]:
        """That bars of another market are replaced, or that more is stored than a person asked for, if so."""
        if known is None:
            other = self.series.found("bars", [])
            replaced = other is not None and other.source != self.market.source
            return [f"{other.rows} bars of another market, {other.source}, are replaced."] if other and replaced else []
        first, last, options = known.first_ms or 0, known.last_ms or 0, self.options
        requested = any(given is not None for given in (options.limit, options.since_ms, options.until_ms))
        if not requested or (first >= span.first_ms and last <= span.last_ms):
            return []
        return [f"The {known.rows} bars stored before, from {utc_text(first)} to {utc_text(last)}, are kept."]

    def _no_bars(self, span: Span) -> DataMissing:
        symbol, status = self.series.symbol, _status(self.market, self.series.symbol)
        return DataMissing(
            f"The exchange has no closed {self.series.timeframe} bars of {symbol}"
            f" from {utc_text(span.first_ms)} to {utc_text(span.last_ms)}.",
            hint=None
            if status == "TRADING"
            else f"It is not trading now: the exchange says {status or 'no word of it'}.",
        )

    def _wanted(self, requested: frozenset[str]) -> tuple[str, ...]:
        """As asked, as configured, and what was stored before: an input that was wanted once is kept up to date."""
        store, key = self.series.store, self.series.key
        stored = {name for name, kind in KINDS.items() if store.found(key(kind.stage)) is not None}
        return tuple(name for name in (*KINDS, *SNAPSHOTS) if name in requested | stored and name != "klines")

    async def _judged(self, bars: Manifest) -> tuple[Manifest, list[str]]:
        """The bars with their data-quality report, in a thread where that is allowed: one series at a time."""
        async with self.market.turn:
            if self.market.threads:
                return await asyncio.to_thread(judged, self.series, bars)
            return judged(self.series, bars)

    def _span(self, last_ms: int, latest_ms: int, notes: list[str]) -> Span:
        """From where: as far back as asked, and at least as far as the latest row of features reaches."""
        options, timeframe, workspace = self.options, self.series.timeframe, self.series.workspace
        step = timeframe.ms
        if options.since_ms is not None:
            first = -(-options.since_ms // step) * step
            if first > last_ms:
                raise UsageError(f"No {timeframe} bar has closed since {utc_text(options.since_ms)}.")
            return Span(first, last_ms, latest_ms, repair=options.repair)
        wanted = options.limit if options.limit is not None else workspace.settings.fetch.history_bars
        spec = FeatureEngineeringOrchestrator(workspace).spec(timeframe, ALL_INPUTS)
        needed = (last_ms - history_start(spec, last_ms)) // step + 1
        if needed > wanted:
            notes.append(f"{wanted} bars are too few for the features, which reach back {needed}; fetching {needed}.")
        return Span(last_ms - (max(wanted, needed) - 1) * step, last_ms, latest_ms, repair=options.repair)


def _status(market: Market, symbol: str) -> str | None:
    """What the exchange says of the symbol: TRADING, SETTLING, …; None where it does not list it."""
    return market.exchange.symbol_status(symbol) if market.exchange.symbols else "TRADING"


def _said_of_status(status: str | None, symbol: str) -> list[str]:
    """That nothing can be opened on it, if so."""
    if status == "TRADING":
        return []
    found = "does not list it any more" if status is None else f"says {status}"
    return [f"{symbol} is not trading now: the exchange {found}. Its history is stored; no position is opened on it."]
