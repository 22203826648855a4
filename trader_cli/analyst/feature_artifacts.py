"""Features on disk: per family one immutable chunk per UTC block, named by the bars and the family it was made from.

A new day of bars makes new chunks for that day; a changed parameter makes those of its family; all else is found.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from trader_cli import __version__
from trader_cli.core.errors import DataInvalid, DataMissing
from trader_cli.core.identity.anchors import storage_blocks
from trader_cli.core.identity.digests import FrameRows, digest_value
from trader_cli.core.identity.feature_notes import FamilyNote, FeatureNotes
from trader_cli.core.identity.manifests import Chunk, Manifest
from trader_cli.core.market.schemas import FEATURE_KEYS
from trader_cli.core.ports import silent
from trader_cli.features.build import Builder, family_start, history_start
from trader_cli.features.inputs import known_inputs
from trader_cli.features.short_gaps import MOST_BRIDGED, first_needed
from trader_cli.storage.artifacts import span_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trader_cli.analyst.feature_engineering_orchestrator import FeatureEngineeringOrchestrator
    from trader_cli.core.ports import Progress
    from trader_cli.features.family import Family
    from trader_cli.features.feature_spec import FeatureSpec
    from trader_cli.storage.artifacts import ArtifactStore

_KEYS = "rows"
_RUN_ROWS = 200_000


_MOST_UNKNOWN = 0.25
"""Share of the last row's features."""


@dataclass(frozen=True)
class BuiltFeatures:
    """The manifest of a features artifact, how many of its chunks were found and made, and for which families."""

    manifest: Manifest
    found: int
    made: int
    made_families: tuple[str, ...]


@dataclass(frozen=True)
class _Block:
    """The chunk of one part and block: rows [first, stop) of the bars; `key` names all it depends on."""

    part: str
    key: str
    first: int
    stop: int


def build_feature_artifact(
    store: ArtifactStore,
    bars_manifest: Manifest,
    bars: pl.DataFrame,
    spec: FeatureSpec,
    orchestrator: FeatureEngineeringOrchestrator,
    progress: Progress = silent,
    *,
    digests: Mapping[str, str] | None = None,
) -> BuiltFeatures:
    """Make what is missing of the features of `bars`, and the manifest of all of it (not yet published).

    `bars` are BARS with the other inputs of the families beside them, `digests` those of the artifacts they are from
    (`feature_inputs.stored_inputs`). Raises `DataMissing` if they are too
    few for three in four features of the last row, `DataInvalid` if a gap is why.
    """
    times = bars["open_time"].to_physical().to_numpy()
    if not times.size:
        raise DataMissing("There are no bars to make features of.", hint="Run `trader fetch` first.")
    work = _Work(store, bars, FrameRows(bars), times, spec, orchestrator)
    chunks: list[Chunk] = []
    made: dict[str, int] = {}
    parts = [None, *spec.families]
    for done, family in enumerate(parts, start=1):
        blocks = work.blocks(family)
        known = {block.key: store.find_chunk(block.key) for block in blocks}
        missing = [block for block in blocks if known[block.key] is None]
        if missing and family is not None:
            made[family.name] = len(missing)
        for run in _runs(missing):
            known |= work.make(family, run)
        chunks += [replace(chunk, part=block.part) for block in blocks if (chunk := known[block.key]) is not None]
        progress("features", done, len(parts))
    manifest = _manifest(bars_manifest, spec, tuple(chunks), known_inputs(bars), digests or {})
    _require_known(store, manifest, bars, spec)
    fresh = sum(made.values())
    families = sum(chunk.part != _KEYS for chunk in chunks)
    return BuiltFeatures(manifest, families - fresh, fresh, tuple(made))


@dataclass(frozen=True)
class _Work:
    store: ArtifactStore
    bars: pl.DataFrame
    rows: FrameRows
    times: np.ndarray[tuple[int], np.dtype[np.int64]]
    spec: FeatureSpec
    orchestrator: FeatureEngineeringOrchestrator

    def blocks(self, family: Family | None) -> list[_Block]:
        """The blocks of the bars, each keyed by the family and every input it depends on; `None`: the keys."""
        base = self.spec.timeframe
        identity: object = "keys" if family is None else [family.identity(base), _made_with()]
        inputs = () if family is None else family.inputs
        rows, blocks = self.rows.only(("open_time", *inputs)), []
        for start, end in storage_blocks(int(self.times[0]), int(self.times[-1]), base):
            since = start if family is None else family_start(family, base, max(start, int(self.times[0])))
            begin, stop = np.searchsorted(self.times, (start, end)).tolist()
            first = first_needed(self.times, since, base.ms)
            if begin < stop:
                key = digest_value([identity, base.name, MOST_BRIDGED, rows.digest(first, stop), start])
                blocks.append(_Block(_KEYS if family is None else family.name, key, begin, stop))
        return blocks

    def make(self, family: Family | None, run: list[_Block]) -> dict[str, Chunk]:
        """The chunks of neighbouring blocks, stored."""
        first, stop = run[0].first, run[-1].stop
        builder = Builder(
            self.bars[:stop],
            replace(self.spec, families=() if family is None else (family,)),
            int(self.times[first]),
            self.orchestrator.evaluate,
        )
        keys = builder.keys()
        columns = keys if family is None else [keys[0], *builder.columns(family)]
        frame = pl.DataFrame(columns)
        return {b.key: self.store.put_chunk(b.key, frame[b.first - first : b.stop - first]) for b in run}


@lru_cache(maxsize=1)
def _made_with() -> dict[str, str]:
    """The libraries whose version can change a column."""
    return {name: version(name) for name in ("numpy", "PyWavelets", "TA-Lib")}


def _runs(blocks: list[_Block]) -> list[list[_Block]]:
    """Neighbouring blocks, joined so that each run is one build of bounded size."""
    runs: list[list[_Block]] = []
    for block in blocks:
        if runs and runs[-1][-1].stop == block.first and block.stop - runs[-1][0].first <= _RUN_ROWS:
            runs[-1].append(block)
        else:
            runs.append([block])
    return runs


def _manifest(
    bars: Manifest, spec: FeatureSpec, chunks: tuple[Chunk, ...], known: frozenset[str], digests: Mapping[str, str]
) -> Manifest:
    rows, first, last = span_of(chunk for chunk in chunks if chunk.part == _KEYS)
    return Manifest(
        stage="features",
        producer=f"trader {__version__}",
        source=bars.source,
        symbol=bars.symbol,
        timeframe=bars.timeframe,
        settings=digest_value(spec.identity()),
        inputs={"bars": bars.digest, **digests},
        chunks=chunks,
        rows=rows,
        first_ms=first,
        last_ms=last,
        gaps=bars.gaps,
        notes=_notes(spec, known, bars.quality).as_dict(),
    )


def _notes(spec: FeatureSpec, known: frozenset[str], quality: dict[str, int]) -> FeatureNotes:
    base = spec.timeframe
    return FeatureNotes(
        columns=len(spec.columns),
        wavelet_columns=sum("wavelet" in name for name in spec.columns),
        known_inputs=tuple(sorted(known)),
        left_out=spec.left_out,
        quality=quality,
        families=tuple(FamilyNote(f.name, f.columns, f.inputs, f.warmup, f.frame(base).name) for f in spec.families),
    )


def not_known_yet(store: ArtifactStore, manifest: Manifest) -> list[str]:
    """The columns of an artifact that its last row does not know."""
    last = store.read(manifest.tail()).tail(1)
    return [name for name in last.columns if name not in FEATURE_KEYS and last[name].null_count()]


def _require_known(store: ArtifactStore, manifest: Manifest, bars: pl.DataFrame, spec: FeatureSpec) -> None:
    """Most features of the last row must be known, else say how many bars it takes.

    A coin listed a month ago has no daily indicators yet. Training and analysis look at every row on their own, and
    leave out those of which fewer than nine in ten are known.
    """
    empty = not_known_yet(store, manifest)
    if len(empty) <= _MOST_UNKNOWN * len(spec.columns):
        return
    timeframe, last_ms = spec.timeframe, int(bars["open_time"].to_physical()[-1])
    needed = (last_ms - history_start(spec, last_ms)) // timeframe.ms + 1
    if manifest.gaps:
        raise DataInvalid(
            f"A gap in the {timeframe} bars of {manifest.symbol} lies within the {needed} bars that the latest features"
            f" reach back; {len(empty)} of them cannot be computed.",
            hint="Wait until enough bars have followed it, or fetch again.",
        )
    raise DataMissing(
        f"Too few bars: {len(empty)} of {len(spec.columns)} features of {manifest.symbol}"
        f" {timeframe} are not known yet at the last bar. All together reach back {needed} bars; there are"
        f" {bars.height}.",
        hint=f"Run `trader fetch {manifest.symbol} --timeframe {timeframe} --limit {needed}`;"
        " if the exchange has no earlier ones, use a shorter time frame.",
    )
