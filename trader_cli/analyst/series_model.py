"""The model that is current for a series, and why there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trader_cli.analyst.bundled import from_bundle, refuse_other_kind
from trader_cli.analyst.claim_basis import changed_since
from trader_cli.analyst.fitted_families import FittedOptions
from trader_cli.analyst.trained_pair import TrainedPair
from trader_cli.analyst.trained_rule import TrainedRule
from trader_cli.core.errors import DataInvalid, DataMissing, DataStale
from trader_cli.core.types import Abstention
from trader_cli.settings.room_options import TrainingOptions
from trader_cli.storage.artifacts import stage_key
from trader_cli.storage.bundles import BundleStore
from trader_cli.storage.inventory import MODEL, RETIRED_MODEL

if TYPE_CHECKING:
    from trader_cli.analyst.bundled import Trained
    from trader_cli.core.identity.manifests import Manifest
    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.settings import Settings
    from trader_cli.storage.artifacts import ArtifactStore


def retired_model(store: ArtifactStore, mode: str, symbol: str, timeframe: Timeframe) -> Abstention | None:
    """Why there is no model, where it was taken away and none has come since."""
    model, retired = (store.pointed(stage_key(mode, symbol, timeframe, one)) for one in (MODEL, RETIRED_MODEL))
    if model is not None or retired is None:
        return None
    series = f"{symbol} --timeframe {timeframe}"
    return Abstention(
        "model_retired",
        f"The model {retired[:12]} of {symbol} {timeframe} was retired. Run `trader train {series}`, or `trader"
        f" models promote` another.",
    )


def series_model(
    store: ArtifactStore, settings: Settings, source: str | None, symbol: str, timeframe: Timeframe, features: Manifest
) -> Trained:
    """The model that analyses are made with. Raises `DataMissing` for none, `DataStale` and `DataInvalid` for one that
    does not fit the series, the market, the settings or these features."""
    digest = store.pointed(stage_key(settings.mode, symbol, timeframe, "model"))
    command = f"`trader train {symbol} --timeframe {timeframe}`"
    if digest is None:
        raise DataMissing(
            f"There is no model of {symbol} {timeframe} in profile {settings.mode}.",
            hint=f"Run {command} first.",
        )
    model = from_bundle(*BundleStore(store.root / "models").load(digest))
    refuse_other_kind(
        model,
        settings.rule.name,
        settings.analyst.fast_timeframe,
        f"train {symbol} --timeframe {timeframe}",
    )
    if (model.symbol, model.timeframe) != (symbol, timeframe.name):
        raise DataInvalid(
            f"The model is of {model.symbol} {model.timeframe}, not of {symbol} {timeframe}.",
            hint=f"Run {command} again.",
        )
    if source is not None and model.source != source:
        raise DataStale(f"The model was trained on {model.source}; this is {source}.", hint=f"Run {command} again.")
    options = settings.analyst
    ours = (options.barrier_width, options.volatility_span)
    theirs = (model.barrier_width, model.volatility_span)
    fits = model.inputs.get("feature_settings") == features.settings
    if isinstance(model, TrainedRule):
        fits = (fits or not model.features) and model.horizon_bars == options.longest_horizon
    else:
        fits = fits and model.horizon_bars in options.horizon_bars
        fitted = FittedOptions.of(settings.feature_engineering_orchestrator)
        half = model.slow if isinstance(model, TrainedPair) else model
        fits = fits and fitted == half.fitted.options
    if not fits or ours != theirs:
        raise DataStale("The model was trained with other label or feature settings.", hint=f"Run {command} again.")
    changed = changed_since(model.made_with, model.producer, TrainingOptions.of(settings))
    if changed is not None:
        raise DataStale(f"The model's claim does not hold: it was {changed}.", hint=f"Run {command} again.")
    return model
