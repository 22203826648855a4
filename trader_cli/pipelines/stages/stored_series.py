"""What is stored of one symbol in one time frame: where it lies, what was asked for before, each kind up to date.

It publishes what it is told to; what is fetched, and in which order, is decided in `pipelines.stages.fetching`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trader_cli import __version__
from trader_cli.core.errors import DataInvalid
from trader_cli.core.identity.digests import digest_value
from trader_cli.core.identity.manifests import Manifest
from trader_cli.core.json_values import object_of, whole_of
from trader_cli.pipelines.stages.series_update import SeriesUpdater, Span
from trader_cli.storage.artifacts import span_of, stage_key
from trader_cli.storage.staging import Staging

if TYPE_CHECKING:
    from trader_cli.core.identity.manifests import ArtifactKey
    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.core.ports import Progress
    from trader_cli.pipelines.stages.history_source import HistoryReader, SeriesKind
    from trader_cli.pipelines.stages.series_update import SeriesUpdate
    from trader_cli.settings import Workspace
    from trader_cli.storage.artifacts import ArtifactStore


@dataclass(frozen=True)
class StoredSeries:
    """The artifacts of a symbol and time frame, of the market `source`."""

    workspace: Workspace
    store: ArtifactStore
    source: str
    symbol: str
    timeframe: Timeframe
    progress: Progress

    async def update(self, kind: SeriesKind, reader: HistoryReader, span: Span) -> tuple[Manifest | None, SeriesUpdate]:
        """One kind up to date, described but not yet published."""
        before = self.stored(kind, reader.notes)
        since = None if before is None else self._requested_since().get(kind.stage)
        updater = SeriesUpdater(self.store, self._staging(kind), reader, kind, self.progress, reader.notes)
        wanted = Span(span.first_ms, span.last_ms, span.latest_ms, since, span.repair)
        update = await updater.update(before.chunks if before else (), wanted)
        if not update.chunks:
            return None, update
        rows, first, last = span_of(update.chunks)
        manifest = Manifest(
            stage=kind.stage,
            producer=f"trader {__version__}",
            source=self.source,
            symbol=self.symbol,
            timeframe=self.timeframe.name,
            settings=digest_value([]),
            chunks=update.chunks,
            rows=rows,
            first_ms=first,
            last_ms=last,
        )
        return manifest, update

    def publish(self, kind: SeriesKind, manifest: Manifest, first_ms: int) -> None:
        """The manifest is the current one from now on, and `first_ms` is when it was asked for from."""
        known = self.stored(kind, [])
        since = None if known is None else self._requested_since().get(kind.stage)
        self.store.publish(self.key(kind.stage), manifest)
        self._staging(kind).clear()
        self._remember_asked(kind.stage, first_ms if since is None else min(since, first_ms))

    def forget(self, kind: SeriesKind) -> None:
        """What was read and not published is not gone on from."""
        self._staging(kind).clear()

    def key(self, stage: str) -> ArtifactKey:
        """Where the reference to a stage is found."""
        return stage_key(self.workspace.mode, self.symbol, self.timeframe, stage)

    def stored(self, kind: SeriesKind, notes: list[str]) -> Manifest | None:
        """What is stored of a kind from this market; a damaged reference is made anew, and `notes` say so."""
        manifest = self.found(kind.stage, notes)
        return manifest if manifest is not None and manifest.source == self.source else None

    def found(self, stage: str, notes: list[str]) -> Manifest | None:
        """What is stored of a stage from any market."""
        try:
            return self.store.current(self.key(stage))
        except DataInvalid as error:
            notes.append(f"{error.sentence} Fetched again.")
            return None

    def _staging(self, kind: SeriesKind) -> Staging:
        return Staging(self.store, f"{self.source}-{self.symbol}-{self.timeframe}-{kind.stage}")

    def _requested_since(self) -> dict[str, int]:
        """From when on (UTC ms) each stage was asked for, of this market: what is absent there, it does not have."""
        digest = self.store.found(self.key("asked"))
        body = (self.store.get_document(digest) if digest else None) or {}
        stages = object_of(body["stages"]) if body.get("source") == self.source else {}
        return {stage: whole_of(since_ms) for stage, since_ms in stages.items()}

    def _remember_asked(self, stage: str, since_ms: int) -> None:
        """Once it is published, and beside the manifest: bars that are the same are the same artifact."""
        body = {"source": self.source, "stages": dict(sorted({**self._requested_since(), stage: since_ms}.items()))}
        self.store.point(self.key("asked"), self.store.put_document(body))
