"""The stages after fetch: features, train, analyze. Each loads what the one before stored, and stores its own."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import polars as pl

from trader_cli import __version__
from trader_cli.analyst.analyst import Analyst, require_source
from trader_cli.analyst.certificate_store import (
    PROBES,
    ensure_certificate,
    make_certificate,
    naming,
    require_certified,
    store_certificate,
)
from trader_cli.analyst.claim_basis import PRODUCER, changed_since, library_versions
from trader_cli.analyst.feature_artifacts import build_feature_artifact, not_known_yet
from trader_cli.analyst.feature_engineering_orchestrator import FeatureEngineeringOrchestrator
from trader_cli.analyst.feature_inputs import is_current, spec_made, stored_funding, stored_inputs, stored_manifests
from trader_cli.analyst.fitted_families import FittedOptions
from trader_cli.core.errors import DataInvalid, DataStale
from trader_cli.core.identity.digests import digest_value
from trader_cli.core.identity.feature_notes import FeatureNotes
from trader_cli.core.market.quality import UNFIT
from trader_cli.core.market.schemas import check_features
from trader_cli.core.market.timeframes import DAY_MS
from trader_cli.core.ports import silent
from trader_cli.execution.shutdown import leaving
from trader_cli.pipelines.market_access import market_now_ms
from trader_cli.pipelines.stages.fetching import refuse_gaps
from trader_cli.pipelines.stages.stage_results import Analysed, FeaturesBuilt, Trained
from trader_cli.settings.room_options import TrainingOptions
from trader_cli.storage.artifacts import ArtifactStore, stage_key
from trader_cli.storage.bundles import BundleStore
from trader_cli.storage.state import Trial, TrialLedger
from trader_cli.venue.clocks import FixedClock

if TYPE_CHECKING:
    from trader_cli.analyst.feature_artifacts import BuiltFeatures
    from trader_cli.core.identity.manifests import Manifest
    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.core.ports import Progress
    from trader_cli.features.certificates import Certificate
    from trader_cli.settings import Workspace


def stored_bars(workspace: Workspace, store: ArtifactStore, symbol: str, timeframe: Timeframe) -> Manifest:
    """The current bars of this market. Raises `DataMissing`, `DataStale`, or `DataInvalid` for gaps not allowed."""
    key = stage_key(workspace.mode, symbol, timeframe, "bars")
    manifest = store.require(key, f"fetch {symbol} --timeframe {timeframe}")
    require_source(manifest, workspace.source)
    refuse_gaps(workspace, manifest)
    return manifest


def features(workspace: Workspace, symbol: str, timeframe: Timeframe, progress: Progress = silent) -> FeaturesBuilt:
    """Make the features of the stored bars and publish them."""
    store = ArtifactStore(workspace.cache_dir)
    built = refresh_features(workspace, store, symbol, timeframe, progress)
    manifest = built.manifest
    unknown = set(not_known_yet(store, manifest))
    notes = FeatureNotes.of(manifest)
    families = [family.name for family in notes.families if unknown.intersection(family.columns)]
    complete = store.read(manifest).select(pl.sum_horizontal(pl.all().is_null()).eq(0).sum()).item()
    return FeaturesBuilt(
        symbol,
        timeframe.name,
        manifest.source,
        manifest.rows,
        int(complete),
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
    )


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
    try:
        built = build_feature_artifact(store, bars, given.frame, spec, orchestrator, progress, digests=given.digests)
    finally:
        orchestrator.close()
    built = replace(built, manifest=naming(built.manifest, certificate))
    store.publish(stage_key(workspace.mode, symbol, timeframe, "features"), built.manifest)
    return built


def train(workspace: Workspace, symbol: str, timeframe: Timeframe, progress: Progress = silent) -> Trained:
    """Train on the stored features; the same inputs and settings find the model that is there."""
    from trader_cli.analyst.trained_model import TrainedModel
    from trader_cli.analyst.training import TrainingInput
    from trader_cli.analyst.training import train as fit

    store = ArtifactStore(workspace.cache_dir)
    bundles = BundleStore(store.root / "models")
    bars = stored_bars(workspace, store, symbol, timeframe)
    made = _current_features(workspace, store, bars, symbol, timeframe)
    key = _training_key(workspace, bars, made)
    digest = store.found(stage_key(workspace.mode, symbol, timeframe, "model"))
    cached = digest is not None and _is_model(bundles, digest, key)
    if digest is None or not cached:
        ledger = TrialLedger(workspace.state_dir)

        def count_trials(sharpes: list[float]) -> list[float]:
            first, last, lineage = bars.first_ms or 0, bars.last_ms or 0, workspace.lineage
            per_day = math.sqrt(DAY_MS / timeframe.ms)
            for learner, sharpe in enumerate(sharpes):
                ledger.record(Trial(f"{key}-{learner}", lineage, symbol, first, last, sharpe * per_day))
            return [trial.daily_sharpe / per_day for trial in ledger.overlapping(lineage, symbol, first, last)]

        frame = check_features(store.read(made))
        given = TrainingInput(
            key,
            bars.source,
            symbol,
            timeframe,
            store.read(bars),
            frame,
            {"bars": bars.digest, "features": made.digest, "feature_settings": made.settings},
            stored_funding(store, workspace.mode, symbol, timeframe, bars),
        )
        with leaving().prompt():
            model = fit(given, TrainingOptions.of(workspace.settings), count_trials, progress)
        with store.at_work():
            digest = bundles.save(model.files(), model.description(PRODUCER))
            store.point(stage_key(workspace.mode, symbol, timeframe, "model"), digest, market=bars.source)
    model = TrainedModel.from_bundle(*bundles.load(digest))
    return Trained(
        symbol,
        timeframe.name,
        model.source,
        model.claim,
        model.metrics,
        len(model.features),
        model.first_ms,
        model.last_ms,
        digest,
        cached,
    )


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


def _training_key(workspace: Workspace, bars: Manifest, made: Manifest) -> str:
    matters = workspace.settings.analyst.model_dump(
        mode="json",
        include={
            "enable_dual_model_system",
            "horizon_bars",
            "barrier_width",
            "volatility_span",
            "walk_forward_folds",
            "trees",
            "leaves",
            "learning_rate",
            "learners",
            "claim_probability",
        },
    )
    fitted = asdict(FittedOptions.of(workspace.settings.feature_engineering_orchestrator))
    return digest_value(
        [
            __version__,
            bars.digest,
            made.digest,
            matters,
            fitted,
            workspace.settings.costs.model_dump(mode="json"),
            workspace.settings.seed,
            library_versions(),
            ["unfit", *UNFIT],
        ]
    )


def _is_model(bundles: BundleStore, digest: str, key: str) -> bool:
    """Whether this bundle is whole and of this training; a damaged one is trained again."""
    try:
        _, description = bundles.load(digest)
    except DataInvalid:
        return False
    return bool(description["key"] == key)


def has_model(workspace: Workspace, symbol: str, timeframe: Timeframe, now_ms: int) -> bool:
    """Whether a model of this series, of this market and of its past, was trained and holds still."""
    from trader_cli.analyst.trained_model import TrainedModel

    store = ArtifactStore(workspace.cache_dir)
    digest = store.found(stage_key(workspace.mode, symbol, timeframe, "model"))
    if digest is None:
        return False
    try:
        model = TrainedModel.from_bundle(*BundleStore(store.root / "models").load(digest))
    except DataInvalid:
        return False
    usable = changed_since(model.made_with, model.producer, TrainingOptions.of(workspace.settings)) is None
    return usable and model.source == workspace.source and model.last_ms <= now_ms


def analyze(
    workspace: Workspace,
    symbol: str,
    timeframe: Timeframe,
    now_ms: int | None = None,
    store: ArtifactStore | None = None,
) -> Analysed:
    """Analyse the last stored bar, at `now_ms` or the market's own time."""
    now = market_now_ms(workspace) if now_ms is None else now_ms
    source = workspace.source
    analyst = Analyst(workspace, store=store, clock=FixedClock(now), source=source)
    analysis = analyst.analyse(symbol, timeframe)
    return Analysed(analysis, source, analyst.last_was_cached)
