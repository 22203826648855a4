"""The fetch stage: bars, other history and a market snapshot of one symbol or many, from the exchange to artifacts."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from trader_cli import __version__
from trader_cli.analyst.feature_engineering_orchestrator import FeatureEngineeringOrchestrator
from trader_cli.core.artifacts import ArtifactKey, Manifest
from trader_cli.core.bars import Gap, utc_text
from trader_cli.core.digests import digest_value
from trader_cli.core.errors import DataInvalid, DataMissing, DataStale, TraderError, UsageError
from trader_cli.core.ports import silent
from trader_cli.core.quality import quality_report
from trader_cli.core.symbols import symbol_of
from trader_cli.features.build import history_start
from trader_cli.features.inputs import ALL_INPUTS
from trader_cli.pipelines.history import KINDS, HistoryReader, Way
from trader_cli.pipelines.market import Market, run_in_market
from trader_cli.pipelines.series import SeriesUpdate, SeriesUpdater, Span
from trader_cli.pipelines.snapshot import SNAPSHOTS, store_snapshot
from trader_cli.storage.artifacts import ArtifactStore, span_of, stage_key
from trader_cli.storage.files import exclusive_among
from trader_cli.storage.staging import Staging

if TYPE_CHECKING:
    from trader_cli.core.ports import Progress
    from trader_cli.core.timeframes import Timeframe
    from trader_cli.pipelines.history import SeriesKind
    from trader_cli.settings import Settings

_SETTLE_MS = 500
_WAITING = "waiting for another fetch of this series"
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
            raise UsageError(f"There is no kind of data {unknown[0]!r} to fetch.", mend=f"Known: {known}.")
        if self.since_ms is not None and self.limit is not None:
            raise UsageError(
                "--limit counts back from the last bar, --since says where to begin.", mend="Give one of the two."
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
    settings: Settings, symbol: str, timeframe: Timeframe, limit: int | None = None, *, next_close: bool = False,
    progress: Progress = silent,
) -> Fetched:  # fmt: skip
    """Fetch closed bars up to now, appending to what is stored, and the market as it is.

    Without `limit`, the configured history; a `limit` too small for one row of features is raised to what that takes.
    `next_close` waits for the next bar to close first.
    One process at a time per series; a second one waits. Raises `DataInvalid` for bars that break the rules, and,
    after storing them, for gaps unless `fetch.allow_gaps`.
    """
    options = FetchOptions(limit=limit, next_close=next_close)
    [(_, outcome)] = fetch_many(settings, [symbol], timeframe, options, progress=progress)
    if isinstance(outcome, TraderError):
        raise outcome
    return outcome


def fetch_many(
    settings: Settings, symbols: list[str], timeframe: Timeframe, options: FetchOptions, *, top: int = 0,
    progress: Progress = silent,
) -> list[tuple[str, Fetched | TraderError]]:  # fmt: skip
    """Fetch several symbols over one connection: those named, and the `top` ones by the last day's volume.

    One symbol's trouble does not keep the others from being fetched: each comes with what became of it.
    """
    for symbol in symbols:
        symbol_of(symbol)

    async def work(market: Market) -> list[tuple[str, Fetched | TraderError]]:
        async with market.with_archive() as one_archive:
            return await each(one_archive)

    async def each(market: Market) -> list[tuple[str, Fetched | TraderError]]:
        best = await market.exchange.top_symbols(top) if top else []
        wanted = list(dict.fromkeys([*symbols, *best]))
        turns = asyncio.Semaphore(_AT_ONCE)
        done = 0

        async def one(symbol: str) -> tuple[str, Fetched | TraderError]:
            nonlocal done
            async with turns:
                try:
                    outcome: Fetched | TraderError = await fetch_in(
                        market, settings, symbol, timeframe, options, progress=progress
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
        return run_in_market(settings, work)
    finally:
        for symbol in symbols[:1]:
            _remember(settings, symbol, timeframe)


def _remember(settings: Settings, symbol: str, timeframe: Timeframe) -> None:
    """Note which series a person fetched last, once there are bars of it."""
    store = ArtifactStore(settings.cache_dir)
    if store.found(stage_key(settings, symbol, timeframe, "bars")) is not None:
        store.remember_series(settings.mode, symbol, timeframe.name)


async def fetch_in(
    market: Market, settings: Settings, symbol: str, timeframe: Timeframe, options: FetchOptions = FetchOptions(), *,
    progress: Progress = silent, store: ArtifactStore | None = None,
) -> Fetched:  # fmt: skip
    """`fetch` in a market that is connected already."""
    symbol_of(symbol)
    store = store or ArtifactStore(settings.cache_dir)
    lock = store.root / "locks" / f"{market.source}-{symbol}-{timeframe}.lock"
    async with exclusive_among(lock, market.clock, partial(progress, _WAITING, 0, 0)):
        fetched = await _Fetch(settings, store, market, symbol, timeframe, options, progress).all()
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
            mend="What came was stored. Fetch again; or pass --allow-gaps, here and to what reads them (or set"
            " fetch.allow_gaps): features around a gap stay null.",
        )


@dataclass(frozen=True)
class _Fetch:
    settings: Settings
    store: ArtifactStore
    market: Market
    symbol: str
    timeframe: Timeframe
    options: FetchOptions
    progress: Progress

    async def all(self) -> Fetched:
        exchange, notes = self.market.exchange, list[str]()
        if self.options.next_close:
            now = exchange.server_now_ms()
            wait_ms = self.timeframe.floor(now) + self.timeframe.ms + _SETTLE_MS - now
            await self.market.clock.sleep(wait_ms / 1000)
        async with self.market.with_archive() as market:
            way, threads = self.options.way, market.threads
            reader = HistoryReader(exchange, market.archive, self.symbol, self.timeframe, way, threads, notes=notes)
            return await self._series(reader, notes)

    async def _series(self, reader: HistoryReader, notes: list[str]) -> Fetched:
        latest = self.timeframe.floor(self.market.exchange.server_now_ms()) - self.timeframe.ms
        last = latest if self.options.until_ms is None else min(latest, self.timeframe.floor(self.options.until_ms))
        span, known = self._span(last, latest, notes), self._stored(KINDS["klines"], [])
        asked: dict[str, int] = {}
        bars, update = await self._update(KINDS["klines"], reader, span, asked)
        if bars is None:
            raise DataMissing(
                f"The exchange has no closed {self.timeframe} bars of {self.symbol}"
                f" from {utc_text(span.first_ms)} to {utc_text(span.last_ms)}."
            )
        async with self.market.turn:
            judged = asyncio.to_thread(self._judged, bars) if self.market.threads else None
            bars, alarms = await judged if judged is not None else self._judged(bars)
        notes += [*alarms[:3], *self._said_of_stored(known, span)]
        kinds: dict[str, dict[str, int]] = {}
        for name in self._wanted_kinds():
            if name in KINDS:
                kind = KINDS[name]
                manifest, changed = await self._update(kind, reader, self._beside(name, span, bars), asked)
                kinds[name] = {"rows": manifest.rows if manifest else 0, "new": changed.new_rows}
                if manifest is not None:
                    self.store.publish(self._key(kind.stage), manifest)
        lost, snapshots = await store_snapshot(self.store, self.market, self._key, self.symbol, self._wanted_kinds())
        notes += lost
        self.store.publish(self._key("bars"), bars)
        for name in ("klines", *kinds):
            self._staging(KINDS[name]).clear()
        self._remember_asked(asked)
        if self.options.repair and not (update.replaced_rows or update.new_rows):
            notes.append("Every bar was read again: none is missing, none differs.")
        if update.replaced_rows:
            notes.append(f"{update.replaced_rows} stored bar(s) differed from the exchange's and were replaced.")
        gaps, kinds = tuple(Gap(*gap) for gap in bars.gaps), {**kinds, **snapshots}
        return Fetched(
            self.symbol, self.timeframe.name, self.market.source, bars.rows, update.new_rows, bars.first_ms or 0,
            bars.last_ms or 0, last, gaps, bars.digest, tuple(notes), kinds, bars.notes["quality"], reader.files,
        )  # fmt: skip

    def _said_of_stored(self, known: Manifest | None, span: Span) -> list[str]:
        """That bars of another market are replaced, or that more is stored than a person asked for, if so."""
        if known is None:
            other = self._found("bars", [])
            replaced = other is not None and other.source != self.market.source
            return [f"{other.rows} bars of another market, {other.source}, are replaced."] if other and replaced else []
        first, last, options = known.first_ms or 0, known.last_ms or 0, self.options
        asked = any(given is not None for given in (options.limit, options.since_ms, options.until_ms))
        if not asked or (first >= span.first_ms and last <= span.last_ms):
            return []
        return [f"The {known.rows} bars stored before, from {utc_text(first)} to {utc_text(last)}, are kept."]

    def _asked(self) -> dict[str, int]:
        """From when on (UTC ms) each stage was asked for, of this market: what is absent there, it does not have."""
        digest = self.store.found(self._key("asked"))
        body = (digest and self.store.get_document(digest)) or {}
        return dict(body["stages"]) if body.get("source") == self.market.source else {}

    def _remember_asked(self, asked: dict[str, int]) -> None:
        """Once all is published, and beside the manifests: bars that are the same are the same artifact."""
        body = {"source": self.market.source, "stages": dict(sorted({**self._asked(), **asked}.items()))}
        self.store.point(self._key("asked"), self.store.put_document(body))

    def _beside(self, name: str, span: Span, bars: Manifest) -> Span:
        """The span of another kind: no more than there are bars for, and only onwards where it is not asked for now."""
        kind, step = KINDS[name], self.timeframe.ms
        first = max(span.first_ms, bars.first_ms or 0)
        if name not in {*self.settings.fetch.kinds, *self.options.kinds}:
            stored = self._stored(kind, [])
            first = max(first, (stored.first_ms if stored is not None else None) or first)
        more = 0 if kind.is_bars else step
        return Span(first, span.last_ms + more, span.latest_ms + more, repair=span.repair)

    def _wanted_kinds(self) -> list[str]:
        """As asked, as configured, and what was stored before: an input that was wanted once is kept up to date."""
        stored = [name for name, kind in KINDS.items() if self.store.found(self._key(kind.stage)) is not None]
        named = dict.fromkeys((*self.settings.fetch.kinds, *self.options.kinds, *stored))
        return [name for name in (*KINDS, *SNAPSHOTS) if name in named and name != "klines"]

    async def _update(
        self, kind: SeriesKind, reader: HistoryReader, span: Span, asked: dict[str, int]
    ) -> tuple[Manifest | None, SeriesUpdate]:
        """One kind up to date, described but not yet published; its staging is cleared once it is.

        `asked` takes from when on it has been asked for: to be remembered once it is published.
        """
        before = self._stored(kind, reader.notes)
        since = None if before is None else self._asked().get(kind.stage)
        updater = SeriesUpdater(self.store, self._staging(kind), reader, kind, self.progress, reader.notes)
        wanted = Span(span.first_ms, span.last_ms, span.latest_ms, since, span.repair)
        update = await updater.update(before.chunks if before else (), wanted)
        if not update.chunks:
            return None, update
        asked[kind.stage] = span.first_ms if since is None else min(since, span.first_ms)
        rows, first, last = span_of(update.chunks)
        manifest = Manifest(
            stage=kind.stage, producer=f"trader {__version__}", source=self.market.source, symbol=self.symbol,
            timeframe=self.timeframe.name, settings=digest_value([]), chunks=update.chunks, rows=rows, first_ms=first,
            last_ms=last,
        )  # fmt: skip
        return manifest, update

    def _judged(self, bars: Manifest) -> tuple[Manifest, list[str]]:
        """The manifest of bars with their gaps and what the data-quality report counts, and its gravest sentences.

        The report is stored.
        """
        report = quality_report(self.store.read(bars), self.timeframe)
        self.store.point(self._key("quality"), self.store.put_document(report.as_dict()))
        counts = {kind: bars_ for kind, (_, bars_) in report.counts.items()}
        gaps = tuple((gap.first_ms, gap.last_ms, gap.bars) for gap in report.gaps)
        grave = [finding.sentence for finding in report.findings if finding.severity == "error"]
        return replace(bars, gaps=gaps, notes={**bars.notes, "quality": counts}), grave

    def _key(self, stage: str) -> ArtifactKey:
        return stage_key(self.settings, self.symbol, self.timeframe, stage)

    def _staging(self, kind: SeriesKind) -> Staging:
        return Staging(self.store, f"{self.market.source}-{self.symbol}-{self.timeframe}-{kind.stage}")

    def _stored(self, kind: SeriesKind, notes: list[str]) -> Manifest | None:
        """What is stored of a kind from this source; a damaged reference is made anew."""
        manifest = self._found(kind.stage, notes)
        return manifest if manifest is not None and manifest.source == self.market.source else None

    def _found(self, stage: str, notes: list[str]) -> Manifest | None:
        try:
            return self.store.current(self._key(stage))
        except DataInvalid as error:
            notes.append(f"{error.sentence} Fetched again.")
            return None

    def _span(self, last_ms: int, latest_ms: int, notes: list[str]) -> Span:
        """From where: as far back as asked, and at least as far as the latest row of features reaches."""
        options, step = self.options, self.timeframe.ms
        if options.since_ms is not None:
            first = -(-options.since_ms // step) * step
            if first > last_ms:
                raise UsageError(f"No {self.timeframe} bar has closed since {utc_text(options.since_ms)}.")
            return Span(first, last_ms, latest_ms, repair=options.repair)
        wanted = options.limit if options.limit is not None else self.settings.fetch.history_bars
        spec = FeatureEngineeringOrchestrator(self.settings).spec(self.timeframe, ALL_INPUTS)
        needed = (last_ms - history_start(spec, last_ms)) // step + 1
        if needed > wanted:
            notes.append(f"{wanted} bars are too few for the features, which reach back {needed}; fetching {needed}.")
        return Span(last_ms - (max(wanted, needed) - 1) * step, last_ms, latest_ms, repair=options.repair)
