"""The stages after fetch: features, train, analyze. Each loads what the one before stored, and stores its own."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import polars as pl

from trader_cli.analyst.analyst import Analyst
from trader_cli.analyst.certificate_store import (
    PROBES,
    ensure_certificate,
    make_certificate,
    naming,
    require_certified,
    store_certificate,
)
from trader_cli.analyst.fast_frame import fast_frame
from trader_cli.analyst.feature_artifacts import build_feature_artifact, not_known_yet
from trader_cli.analyst.feature_engineering_orchestrator import FeatureEngineeringOrchestrator
from trader_cli.analyst.feature_inputs import is_current, spec_made, stored_funding, stored_inputs, stored_manifests
from trader_cli.analyst.trained_pair import TrainedPair
from trader_cli.core.errors import DataError, DataStale
from trader_cli.core.identity.feature_notes import FeatureNotes
from trader_cli.core.market.schemas import check_features
from trader_cli.core.ports import silent
from trader_cli.pipelines.market_access import market_now_ms
from trader_cli.pipelines.stages.model_training import train_on
from trader_cli.pipelines.stages.stage_results import Analysed, FeaturesBuilt, PairTrained, Trained
from trader_cli.pipelines.stages.stored_bars import stored_bars
from trader_cli.pipelines.stages.training_inputs import TrainingData
from trader_cli.storage.artifacts import ArtifactStore, stage_key
from trader_cli.storage.stored_columns import StoredColumns
from trader_cli.venue.clocks import FixedClock

if TYPE_CHECKING:
    from trader_cli.analyst.feature_artifacts import BuiltFeatures
    from trader_cli.analyst.rule_process import RuleProcess
    from trader_cli.core.identity.manifests import Manifest
    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.core.ports import Progress
    from trader_cli.features.certificates import Certificate
    from trader_cli.settings import Workspace


_UNKNOWN_SHARE = 0.1
"""Of a row's features; with more unknown it is neither trained on nor traded."""


def features(workspace: Workspace, symbol: str, timeframe: Timeframe, progress: Progress = silent) -> FeaturesBuilt:
    """Make the features of the stored bars and publish them."""
    store = ArtifactStore(workspace.cache_dir)
    built = refresh_features(workspace, store, symbol, timeframe, progress)
    manifest = built.manifest
    unknown = set(not_known_yet(store, manifest))
    notes = FeatureNotes.of(manifest)
    families = [family.name for family in notes.families if unknown.intersection(family.columns)]
    nulls = store.read(manifest).select(pl.sum_horizontal(pl.all().is_null())).to_series()
    return FeaturesBuilt(
        symbol,
        timeframe.name,
        manifest.source,
        manifest.rows,
        int((nulls == 0).sum()),
        notes.columns,
        notes.wavelet_columns,
        built.found,
        built.made,
        manifest.first_ms or 0,
        manifest.last_ms or 0,
        manifest.digest,
        notes.certificate or "",
        notes.quality,
        families,
        len(manifest.gaps),
        sum(bars for _, _, bars in manifest.gaps),
        _rows_lost(nulls, notes.columns) if manifest.gaps else 0,
    )


def _rows_lost(nulls: pl.Series, columns: int) -> int:
    """How many rows are not known well enough to be trained on, behind the first that was."""
    usable = nulls <= _UNKNOWN_SHARE * columns
    first = usable.arg_max()
    return 0 if first is None else int((~usable[first:]).sum())


def certify(workspace: Workspace, symbol: str, timeframe: Timeframe, progress: Progress = silent) -> Certificate:
    """Certify the families anew, on the synthetic tape and the last stored bars; what is found is stored, good or bad.

    The families used are the settings'; where there are failures, nothing is built, trained or traded on them.
    """
    store = ArtifactStore(workspace.cache_dir)
    bars = stored_bars(workspace, store, symbol, timeframe)
    given = stored_inputs(store, workspace.mode, symbol, timeframe, bars, store.read(bars))
    spec, twin = (FeatureEngineeringOrchestrator(workspace).spec(timeframe, given.names) for _ in range(2))
    progress(f"certifying {len(spec.columns)} feature columns", 0, 0)
    options = workspace.settings.feature_engineering_orchestrator
    found = make_certificate(spec, twin, given.frame, probes=PROBES, options=options)
    store_certificate(store, spec, found)
    return found


def refresh_features(
    workspace: Workspace, store: ArtifactStore, symbol: str, timeframe: Timeframe, progress: Progress = silent
) -> BuiltFeatures:
    """Make the features of the stored bars and publish them; what a person wants to know of them is not counted.

    Families without a certificate are certified first. Raises `VerificationFailed` for a column that sees the future.
    """
    with store.at_work():
        return _refreshed(workspace, store, symbol, timeframe, progress)


def _refreshed(
    workspace: Workspace, store: ArtifactStore, symbol: str, timeframe: Timeframe, progress: Progress
) -> BuiltFeatures:
    bars = stored_bars(workspace, store, symbol, timeframe)
    orchestrator = FeatureEngineeringOrchestrator(workspace)
    given = stored_inputs(store, workspace.mode, symbol, timeframe, bars, store.read(bars))
    spec = orchestrator.spec(timeframe, given.names)
    twin = FeatureEngineeringOrchestrator(workspace).spec(timeframe, given.names)
    options = workspace.settings.feature_engineering_orchestrator
    certificate = ensure_certificate(store, spec, twin, progress, given.frame, options).require()
    with suppress(DataError):  # most of its chunks are found again, and need not be opened for it
        store.current(stage_key(workspace.mode, symbol, timeframe, "features"))
    try:
        built = build_feature_artifact(store, bars, given.frame, spec, orchestrator, progress, digests=given.digests)
    finally:
        orchestrator.close()
    built = replace(built, manifest=naming(built.manifest, certificate))
    store.publish(stage_key(workspace.mode, symbol, timeframe, "features"), built.manifest)
    return built


def train(workspace: Workspace, symbol: str, timeframe: Timeframe, progress: Progress = silent) -> Trained:
    """Train on the stored features; the same inputs and settings find the model that is there."""
    store = ArtifactStore(workspace.cache_dir)
    given = training_data(workspace, store, symbol, timeframe)
    model = train_on(workspace, store, given, progress)
    made = model.trained
    return Trained(
        symbol,
        timeframe.name,
        made.source,
        made.claim,
        made.metrics,
        len(made.features),
        made.first_ms,
        made.last_ms,
        model.digest,
        model.cached,
        made.act.sentence if made.act else None,
        PairTrained.of(made) if isinstance(made, TrainedPair) else None,
    )


def training_data(workspace: Workspace, store: ArtifactStore, symbol: str, timeframe: Timeframe) -> TrainingData:
    """The stored series that a training reads, with that of the fast frame if one is set. Raises what the stages before
    it raise."""
    settings = workspace.settings
    fast = fast_frame(settings.analyst, settings.rule.name, timeframe)
    given = _series(workspace, store, symbol, timeframe)
    if fast is None:
        return given
    beside = _series(workspace, store, symbol, fast)
    return replace(given, fast=beside if beside.funding is not None else replace(beside, funding=given.funding))


def _series(workspace: Workspace, store: ArtifactStore, symbol: str, timeframe: Timeframe) -> TrainingData:
    bars = stored_bars(workspace, store, symbol, timeframe)
    made = _current_features(workspace, store, bars, symbol, timeframe)
    funding = stored_funding(store, workspace.mode, symbol, timeframe, bars)
    stored = StoredColumns(lambda: check_features(store.read(made)))
    return TrainingData(symbol, timeframe, bars, made, store.read(bars), stored, funding)


def _current_features(
    workspace: Workspace, store: ArtifactStore, bars: Manifest, symbol: str, timeframe: Timeframe
) -> Manifest:
    command = f"features {symbol} --timeframe {timeframe}"
    made = store.require(stage_key(workspace.mode, symbol, timeframe, "features"), command)
    manifests = stored_manifests(store, workspace.mode, symbol, timeframe, bars)
    orchestrator = FeatureEngineeringOrchestrator(workspace)
    same_inputs, same_settings = is_current(made, bars, manifests, orchestrator, timeframe)
    if not same_inputs:
        other = "bars" if made.inputs.get("bars") != bars.digest else "inputs"
        raise DataStale(
            f"The features of {symbol} {timeframe} are of other {other} than the stored ones.",
            hint=f"Run `trader {command}`.",
        )
    if not same_settings:
        raise DataStale(
            f"The features of {symbol} {timeframe} were made with other feature settings.",
            hint=f"Run `trader {command}`, or give the --config they were made with.",
        )
    require_certified(store, spec_made(made, orchestrator, timeframe), made, command)
    return made


def analyze(
    workspace: Workspace,
    symbol: str,
    timeframe: Timeframe,
    now_ms: int | None = None,
    store: ArtifactStore | None = None,
    rule_process: RuleProcess | None = None,
) -> Analysed:
    """Analyse the last stored bar, at `now_ms` or the market's own time; a rule in `rule_process`, if given."""
    now = market_now_ms(workspace) if now_ms is None else now_ms
    source = workspace.source
    analyst = Analyst(workspace, store=store, clock=FixedClock(now), source=source, rule_process=rule_process)
    analysis = analyst.analyse(symbol, timeframe)
    return Analysed(analysis, source, analyst.last_was_cached)
