"""Fitting a model on stored series, or on their beginning only, unless the very same one is stored already."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from trader_cli import __version__
from trader_cli.analyst.claim_basis import PRODUCER, changed_since, library_versions
from trader_cli.analyst.fitted_families import FittedOptions
from trader_cli.core.errors import DataInvalid, DataMissing, DataStale, TooFewBars
from trader_cli.core.identity.digests import digest_value
from trader_cli.core.market.quality import UNFIT
from trader_cli.core.ports import silent
from trader_cli.execution.shutdown import leaving
from trader_cli.pipelines.stages.book_maker import book_maker, book_rules
from trader_cli.pipelines.stages.training_inputs import count_tries, training_input
from trader_cli.settings.room_options import TrainingOptions
from trader_cli.storage.artifacts import ArtifactStore, stage_key
from trader_cli.storage.bundles import BundleStore
from trader_cli.storage.inventory import FORMER_MODEL, MODEL, MODEL_UNTIL, RETIRED_MODEL

if TYPE_CHECKING:
    from trader_cli.analyst.bundled import Trained
    from trader_cli.analyst.trained_model import TrainedModel
    from trader_cli.analyst.trained_pair import TrainedPair
    from trader_cli.core.identity.manifests import ArtifactKey, Manifest
    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.core.ports import Progress
    from trader_cli.pipelines.stages.training_inputs import TrainingData
    from trader_cli.settings import Workspace


_MATTERS = {
    "enable_dual_model_system",
    "horizon_bars",
    "embargo_bars",
    "barrier_width",
    "volatility_span",
    "walk_forward_folds",
    "trees",
    "leaves",
    "learning_rate",
    "learners",
    "claim_probability",
}


@dataclass(frozen=True)
class StoredModel:
    """A model and the digest of its bundle; `cached`: it was there."""

    trained: Trained
    digest: str
    cached: bool


def train_on(
    workspace: Workspace,
    store: ArtifactStore,
    given: TrainingData,
    progress: Progress = silent,
    *,
    until_ms: int | None = None,
) -> StoredModel:
    """The model of a series, the current one of it; with `until_ms` one of what had closed by then, beside it.

    Raises `DataMissing` where there is too little to learn from, `DataStale` where the fast bars of a pair end early.
    """
    from trader_cli.analyst.bundled import from_bundle

    if until_ms is None:
        _refuse_late_fast(given)
    rule = None
    if workspace.settings.rule.name is not None:
        from trader_cli.pipelines.stages.rule_training import prepare_rule

        rule = prepare_rule(workspace, store, given, progress)
    bundles, stage = BundleStore(store.root / "models"), MODEL if until_ms is None else f"{MODEL_UNTIL}{until_ms}"
    reference = stage_key(workspace.mode, given.symbol, given.timeframe, stage)
    key = _key_of(workspace, given) if rule is None else rule.key
    key = key if until_ms is None else digest_value([key, "until", until_ms])
    digest = store.found(reference)
    known = None if digest is None else _model_of(bundles, digest, key)
    if known is not None and digest is not None:
        return StoredModel(known, digest, cached=True)
    learned = given if until_ms is None else given.until(until_ms)
    try:
        model = _fitted(workspace, learned, key, progress) if rule is None else rule.judged(workspace, learned, key)
    except TooFewBars as error:
        error.hint = _more_bars(given, error.known + error.lacking)
        raise
    with store.at_work():
        digest = bundles.save(model.files(), model.description(PRODUCER))
        make_current(store, reference, digest, given.bars_manifest.source)
    return StoredModel(from_bundle(*bundles.load(digest)), digest, cached=False)


def _refuse_late_fast(given: TrainingData) -> None:
    """Raises `DataStale` where the bars that time entries end more than a slow bar before those that permit them."""
    fast = given.fast
    if fast is None:
        return
    behind_ms = _end_ms(given) - _end_ms(fast)
    if behind_ms > given.timeframe.ms:
        series = f"{given.symbol} --timeframe {fast.timeframe}"
        raise DataStale(
            f"The bars of {given.symbol} {fast.timeframe}, which time entries, end {behind_ms / 60_000:.0f} min before"
            f" those of {given.timeframe}.",
            hint=f"Run `trader fetch {series}` and `trader features {series}` first.",
        )


def _end_ms(given: TrainingData) -> int:
    """When the last stored bar closed, UTC ms; 0 where there is none."""
    last_ms = given.bars_manifest.last_ms
    return 0 if last_ms is None else last_ms + given.timeframe.ms


def make_current(store: ArtifactStore, reference: ArtifactKey, digest: str, source: str) -> None:
    """Let a reference to a model name another; the one that was current of its series stays known as the former."""
    former = store.found(reference)
    if reference.stage == MODEL and former not in {None, digest}:
        store.point(replace(reference, stage=FORMER_MODEL), str(former), market=source)
    store.point(reference, digest, market=source)


def _more_bars(given: TrainingData, bars: int) -> str:
    series = f"{given.symbol} --timeframe {given.timeframe}"
    return (
        f"Run `trader fetch {series} --limit {bars}` and `trader features {series}`; if the exchange has no more, use a"
        " shorter time frame."
    )


def _fitted(workspace: Workspace, given: TrainingData, key: str, progress: Progress) -> TrainedModel | TrainedPair:
    from trader_cli.analyst.training import train as fit

    options = TrainingOptions.of(workspace.settings)
    tries = count_tries(workspace, given, configuration(workspace, given))
    with leaving().prompt():
        if given.fast is None:
            return fit(training_input(given, key, book_maker(workspace.settings)), options, tries, progress)
        from trader_cli.analyst.pair_training import train_pair

        if given.fast.bars.is_empty():
            frame = given.fast.timeframe
            raise DataMissing(
                f"No bars of {given.symbol} {frame}, which time entries, had ended by then.",
                hint=f"Run `trader fetch {given.symbol} --timeframe {frame}` for more, or begin later.",
            )
        both = training_input(given, key), training_input(given.fast, key)
        pairs = count_tries(workspace, given.fast, pair_configuration(workspace, given, given.fast))
        return train_pair(*both, options, tries, pairs, progress)


def _key_of(workspace: Workspace, given: TrainingData) -> str:
    """The key of a training, of a pair by both series and by how the fast one is looked at."""
    key, fast = training_key(workspace, given.bars_manifest, given.features_manifest), given.fast
    if fast is None:
        return key
    of_fast = fast.bars_manifest.digest, fast.features_manifest.digest, fast.timeframe.name
    return digest_value(["pair", key, *of_fast, *workspace.settings.analyst.fast_horizon_bars])


def training_key(workspace: Workspace, bars: Manifest, made: Manifest) -> str:
    """The digest of all that a model depends on."""
    return digest_value([bars.digest, made.digest, *_chosen(workspace)])


def pair_configuration(workspace: Workspace, slow: TrainingData, fast: TrainingData) -> str:
    """The digest of all that could be chosen of a pair."""
    horizons = workspace.settings.analyst.fast_horizon_bars
    of_fast = fast.timeframe.name, fast.features_manifest.settings
    return digest_value(["pair", configuration(workspace, slow), *of_fast, *horizons])


def configuration(workspace: Workspace, given: TrainingData) -> str:
    """The digest of all that could be chosen: one trial, however often and on however many bars it is trained."""
    of = given.symbol, given.timeframe.name, given.features_manifest.settings
    return digest_value(["model", *of, *_chosen(workspace)])


def _chosen(workspace: Workspace) -> list[object]:
    settings = workspace.settings
    return [
        __version__,
        settings.analyst.model_dump(mode="json", include=_MATTERS),
        asdict(FittedOptions.of(settings.feature_engineering_orchestrator)),
        settings.costs.model_dump(mode="json"),
        settings.seed,
        book_rules(settings),
        library_versions(),
        ["unfit", *UNFIT],
    ]


def _model_of(bundles: BundleStore, digest: str, key: str) -> Trained | None:
    """The model of this bundle if it is whole and of this training; a damaged one is trained again."""
    from trader_cli.analyst.bundled import from_bundle

    try:
        files, description = bundles.load(digest)
        return from_bundle(files, description) if description["key"] == key else None
    except DataInvalid:
        return None


def has_model(workspace: Workspace, symbol: str, timeframe: Timeframe, now_ms: int) -> bool:
    """Whether a model of this series, of this market and of its past, was trained and holds still; or was retired."""
    from trader_cli.analyst.bundled import from_bundle, is_of

    store = ArtifactStore(workspace.cache_dir)
    digest, retired = (
        store.found(stage_key(workspace.mode, symbol, timeframe, stage)) for stage in (MODEL, RETIRED_MODEL)
    )
    if digest is None:
        return retired is not None
    try:
        model = from_bundle(*BundleStore(store.root / "models").load(digest))
    except DataInvalid:
        return False
    if not is_of(model, workspace.settings.rule, workspace.settings.analyst.fast_timeframe):
        return False
    usable = changed_since(model.made_with, model.producer, TrainingOptions.of(workspace.settings)) is None
    return usable and model.source == workspace.source and model.last_ms <= now_ms
