"""The stored inputs of a series' features: bars, and whatever trades, funding, mark, index, open interest lie beside.

Everyone who builds features or asks whether they are current takes the inputs from here, so that it is the same ones.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from trader_cli.analyst.health import HEALTH_COLUMNS
from trader_cli.core.errors import DataStale
from trader_cli.core.identity.digests import digest_value
from trader_cli.core.identity.feature_notes import FeatureNotes
from trader_cli.core.json_values import texts_of
from trader_cli.core.market.gaps import utc_text
from trader_cli.features.bar_arrays import PRICE_INPUTS, BarSeries
from trader_cli.features.inputs import INPUT_NAMES, align_inputs, known_inputs
from trader_cli.storage.artifacts import stage_key

if TYPE_CHECKING:
    import polars as pl

    from trader_cli.analyst.feature_engineering_orchestrator import FeatureEngineeringOrchestrator
    from trader_cli.core.identity.manifests import Manifest
    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.features.feature_spec import FeatureSpec
    from trader_cli.storage.artifacts import ArtifactStore

KINDS = ("trades", "funding", "mark", "index", "open_interest")
"""Stages whose artifacts are inputs of features, beside the bars."""


@dataclass(frozen=True)
class FeatureInputs:
    """Bars with the other inputs beside them, the names of those that are known, the digests of their artifacts."""

    frame: pl.DataFrame
    names: frozenset[str]
    digests: dict[str, str]


def stored_manifests(
    store: ArtifactStore, profile: str, symbol: str, timeframe: Timeframe, bars_manifest: Manifest
) -> dict[str, Manifest]:
    """The current artifacts of each kind that are of the same market as the bars. Raises `DataInvalid`."""
    found = ((kind, store.current(stage_key(profile, symbol, timeframe, kind))) for kind in KINDS)
    return {kind: manifest for kind, manifest in found if manifest and manifest.source == bars_manifest.source}


def stored_inputs(
    store: ArtifactStore,
    profile: str,
    symbol: str,
    timeframe: Timeframe,
    bars_manifest: Manifest,
    bars: pl.DataFrame,
) -> FeatureInputs:
    """The bars with all that is stored beside them, aligned by what was known at each close.

    Raises `DataStale` where a stored input has fallen so far behind that the last bar does without it, naming it, its
    end and the command that fetches it; an input that begins late is null before.
    """
    manifests = stored_manifests(store, profile, symbol, timeframe, bars_manifest)
    frames = {kind: store.read(manifest) for kind, manifest in manifests.items()}
    frame = align_inputs(bars, timeframe, **frames)
    for kind, given in frames.items():
        _require_fresh(kind, given, frame, symbol, timeframe)
    return FeatureInputs(frame, known_inputs(frame), {kind: found.digest for kind, found in manifests.items()})


def stored_funding(
    store: ArtifactStore, profile: str, symbol: str, timeframe: Timeframe, bars: Manifest, rows: int | None = None
) -> pl.DataFrame | None:
    """FUNDING that is stored beside the bars, at least its last `rows`; `None` where none is of the same market."""
    manifest = store.current(stage_key(profile, symbol, timeframe, "funding"))
    if manifest is None or manifest.source != bars.source:
        return None
    return store.read(manifest if rows is None else manifest.tail(rows))


def with_health_columns(store: ArtifactStore, features: Manifest, bars: pl.DataFrame) -> BarSeries:
    """The last stored bars as arrays, with the columns of `HEALTH_COLUMNS` that the features have beside them."""
    notes = FeatureNotes.of(features)
    wanted = {family.name: [n for n in family.columns if n in HEALTH_COLUMNS.values()] for family in notes.families}
    found: list[str] = []
    for family, columns in wanted.items():
        if columns:
            chunks = tuple(chunk for chunk in features.tail(bars.height).chunks if chunk.part == family)
            told = store.read(replace(features, chunks=chunks), ("open_time", *columns))
            bars = bars.join(told, on="open_time", how="left", maintain_order="left")
            found += columns
    return BarSeries.of(bars, (*PRICE_INPUTS, *found))


def _require_fresh(kind: str, given: pl.DataFrame, aligned: pl.DataFrame, symbol: str, timeframe: Timeframe) -> None:
    """The last bar must know the input, unless all of it came after: trades only must have gone on into that bar."""
    if aligned.is_empty() or given.is_empty():
        return
    last_ms = int(aligned["open_time"].to_physical()[-1])
    end_ms = int(given["close_time" if "close_time" in given.columns else "time"].to_physical().max())  # type: ignore[arg-type]
    begun = int(given.to_series(0).to_physical().min()) < last_ms  # type: ignore[arg-type]
    behind = end_ms < last_ms + timeframe.ms if kind != "trades" else end_ms < last_ms
    if begun and behind and aligned[INPUT_NAMES[kind][0]][-1] is None:
        raise DataStale(
            f"The stored {kind.replace('_', ' ')} of {symbol} {timeframe} end {utc_text(end_ms)}, too long before the"
            f" last bar, which opened {utc_text(last_ms)}.",
            hint=f"Run `trader fetch {symbol} --timeframe {timeframe}`.",
        )


def is_current(
    made: Manifest,
    bars_manifest: Manifest,
    manifests: dict[str, Manifest],
    orchestrator: FeatureEngineeringOrchestrator,
    timeframe: Timeframe,
) -> tuple[bool, bool]:
    """(of these inputs, by these settings): whether a features artifact is what would be built now."""
    digests = {"bars": bars_manifest.digest} | {kind: found.digest for kind, found in manifests.items()}
    wanted = spec_made(made, orchestrator, timeframe).identity()
    return made.inputs == digests, made.settings == digest_value(wanted)


def spec_made(made: Manifest, orchestrator: FeatureEngineeringOrchestrator, timeframe: Timeframe) -> FeatureSpec:
    """What the settings want now of the inputs that were known when these features were made."""
    return orchestrator.spec(timeframe, texts_of(made.notes.get("known_inputs", ())))
