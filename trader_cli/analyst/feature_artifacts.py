"""Features on disk: one immutable chunk per UTC block, named by the bars and families it was made from.

A new day of bars makes a new chunk for that day; everything before is found, not computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from trader_cli import __version__
from trader_cli.core.anchors import blocks_between, storage_block
from trader_cli.core.artifacts import Chunk, Manifest
from trader_cli.core.digests import FrameRows, digest_value
from trader_cli.core.errors import DataInvalid, DataMissing
from trader_cli.core.ports import silent
from trader_cli.core.schemas import FEATURE_KEYS, check_features
from trader_cli.features.build import history_start
from trader_cli.storage.artifacts import span_of

if TYPE_CHECKING:
    from trader_cli.analyst.feature_engineering_orchestrator import FeatureEngineeringOrchestrator
    from trader_cli.core.ports import Progress
    from trader_cli.core.timeframes import Timeframe
    from trader_cli.features.build import FeatureSpec
    from trader_cli.storage.artifacts import ArtifactStore

_RUN = 64


@dataclass(frozen=True)
class BuiltFeatures:
    """The manifest of a features artifact, and how many of its blocks were found and made."""

    manifest: Manifest
    found: int
    made: int


@dataclass(frozen=True)
class _Block:
    start_ms: int
    end_ms: int
    key: str


def build_feature_artifact(
    store: ArtifactStore,
    bars_manifest: Manifest,
    bars: pl.DataFrame,
    timeframe: Timeframe,
    orchestrator: FeatureEngineeringOrchestrator,
    progress: Progress = silent,
) -> BuiltFeatures:
    """Make what is missing of the features of `bars`, and the manifest of all of it (not yet published).

    Raises `DataMissing` if the bars do not reach back far enough for a single complete row.
    """
    spec = orchestrator.spec(timeframe)
    blocks = _blocks(bars, spec, timeframe)
    chunks: dict[str, Chunk | None] = {block.key: store.find_chunk(block.key) for block in blocks}
    found = sum(chunk is not None for chunk in chunks.values())
    done = found
    for run in _missing_runs(blocks, chunks):
        upto = bars.filter(pl.col("open_time").to_physical() < run[-1].end_ms)
        frame = check_features(orchestrator.build(upto, timeframe, since_ms=run[0].start_ms))
        for block in run:
            opened = pl.col("open_time").to_physical()
            chunks[block.key] = store.put_chunk(
                block.key, frame.filter((opened >= block.start_ms) & (opened < block.end_ms))
            )
            done += 1
        progress("features", done, len(blocks))
    made = tuple(chunk for chunk in chunks.values() if chunk is not None)
    manifest = _manifest(bars_manifest, spec, made)
    _require_complete_row(store, manifest, bars, spec)
    return BuiltFeatures(manifest, found, len(blocks) - found)


def _blocks(bars: pl.DataFrame, spec: FeatureSpec, timeframe: Timeframe) -> list[_Block]:
    """The blocks of the bars, each keyed by its families and by every bar it depends on."""
    times = bars["open_time"].to_physical().to_numpy()
    if not times.size:
        raise DataMissing("There are no bars to make features of.", mend="Run `trader fetch` first.")
    families, made_with = spec.identity(), {name: version(name) for name in ("numpy", "PyWavelets", "TA-Lib")}
    rows, blocks = FrameRows(bars), []
    for start, end in blocks_between(int(times[0]), int(times[-1]), storage_block(timeframe)):
        begin, first, stop = np.searchsorted(times, (start, history_start(spec, start), end)).tolist()
        if begin < stop:
            key = digest_value([families, made_with, rows.digest(first, stop), start])
            blocks.append(_Block(start, end, key))
    return blocks


def _missing_runs(blocks: list[_Block], chunks: dict[str, Chunk | None]) -> list[list[_Block]]:
    """Neighbouring missing blocks, joined so that each run is one build."""
    runs: list[list[_Block]] = []
    for block in blocks:
        if chunks[block.key] is not None:
            continue
        if runs and runs[-1][-1].end_ms == block.start_ms and len(runs[-1]) < _RUN:
            runs[-1].append(block)
        else:
            runs.append([block])
    return runs


def _manifest(bars: Manifest, spec: FeatureSpec, chunks: tuple[Chunk, ...]) -> Manifest:
    rows, first, last = span_of(chunks)
    names = [name for family in spec.families() for name in family.columns]
    return Manifest(
        stage="features",
        producer=f"trader {__version__}",
        source=bars.source,
        symbol=bars.symbol,
        timeframe=bars.timeframe,
        settings=digest_value(spec.identity()),
        inputs={"bars": bars.digest},
        chunks=chunks,
        rows=rows,
        first_ms=first,
        last_ms=last,
        gaps=bars.gaps,
        notes={
            "columns": len(names),
            "wavelet_columns": sum("wavelet" in name for name in names),
            "families": [
                {
                    "name": f.name,
                    "columns": list(f.columns),
                    "inputs": list(f.inputs),
                    "warmup_bars": f.warmup,
                    "timeframe": f.timeframe.name,
                }
                for f in spec.families()
            ],
        },
    )


def _require_complete_row(store: ArtifactStore, manifest: Manifest, bars: pl.DataFrame, spec: FeatureSpec) -> None:
    """Nine in ten features of the last row must be known, as training and analysis want; say how many bars it takes."""
    last = store.read_chunk(manifest.chunks[-1]).tail(1)
    empty = [name for name in last.columns if name not in FEATURE_KEYS and last[name].null_count()]
    if len(empty) <= (len(last.columns) - len(FEATURE_KEYS)) // 10:
        return
    timeframe, last_ms = spec.timeframe, int(bars["open_time"].to_physical()[-1])
    needed = (last_ms - history_start(spec, last_ms)) // timeframe.ms + 1
    if manifest.gaps:
        raise DataInvalid(
            f"A gap in the {timeframe} bars of {manifest.symbol} lies within the {needed} bars that the latest features"
            f" reach back; {len(empty)} of them cannot be computed.",
            mend="Wait until enough bars have followed it, or fetch again.",
        )
    raise DataMissing(
        f"Too few bars: the features of {manifest.symbol} {timeframe} reach back {needed} bars;"
        f" there are {bars.height}.",
        mend=f"Run `trader fetch {manifest.symbol} --timeframe {timeframe} --limit {needed}`;"
        " if the exchange has no earlier ones, use a shorter time frame.",
    )
