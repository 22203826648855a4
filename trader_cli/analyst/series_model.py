"""Whether the model of a series is there, and made on the terms that hold now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trader_cli.analyst.claim_basis import changed_since
from trader_cli.analyst.trained_pair import TrainedPair
from trader_cli.analyst.trained_rule import TrainedRule
from trader_cli.core.errors import DataStale
from trader_cli.core.types import Abstention
from trader_cli.storage.artifacts import stage_key
from trader_cli.storage.inventory import MODEL, RETIRED_MODEL

if TYPE_CHECKING:
    from trader_cli.analyst.bundled import Trained
    from trader_cli.analyst.fitted_families import FittedOptions
    from trader_cli.core.identity.manifests import Manifest
    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.settings.analyst_section import AnalystSettings
    from trader_cli.settings.room_options import TrainingOptions
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


def refuse_other_terms(
    model: Trained,
    features: Manifest,
    options: AnalystSettings,
    fitted: FittedOptions,
    training: TrainingOptions,
    command: str,
) -> None:
    """Raises `DataStale` for a model of other label or feature settings, or whose claim rests on others."""
    ours = (options.barrier_width, options.volatility_span)
    theirs = (model.barrier_width, model.volatility_span)
    fits = model.inputs.get("feature_settings") == features.settings
    if isinstance(model, TrainedRule):
        fits = (fits or not model.features) and model.horizon_bars == options.longest_horizon
    else:
        half = model.slow if isinstance(model, TrainedPair) else model
        fits = fits and model.horizon_bars in options.horizon_bars and fitted == half.fitted.options
    if not fits or ours != theirs:
        raise DataStale("The model was trained with other label or feature settings.", hint=f"Run {command} again.")
    changed = changed_since(model.made_with, model.producer, training)
    if changed is not None:
        raise DataStale(f"The model's claim does not hold: it was {changed}.", hint=f"Run {command} again.")
