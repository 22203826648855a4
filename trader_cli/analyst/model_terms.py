"""Whether a model was made on the terms that hold now, and no later than now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trader_cli.analyst.claim_basis import changed_since
from trader_cli.analyst.trained_pair import TrainedPair
from trader_cli.analyst.trained_rule import TrainedRule
from trader_cli.core.errors import DataStale

if TYPE_CHECKING:
    from trader_cli.analyst.bundled import Trained
    from trader_cli.analyst.fitted_families import FittedOptions
    from trader_cli.core.identity.manifests import Manifest
    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.settings.analyst_section import AnalystSettings
    from trader_cli.settings.room_options import TrainingOptions

_AHEAD_MS = 5000
"""How far clocks may differ."""


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


def refuse_the_future(bars: Manifest, model: Trained | None, timeframe: Timeframe, now_ms: int) -> None:
    """Raises `DataStale` for what was made when the market had come further than it is: a tape wound back."""
    if (bars.last_ms or 0) + timeframe.ms > now_ms + _AHEAD_MS:
        raise DataStale(
            f"The stored bars of {bars.symbol} reach beyond the market's time.",
            hint=f"Run `trader fetch {bars.symbol} --timeframe {timeframe}`.",
        )
    if model is not None and model.last_ms > now_ms + _AHEAD_MS:
        raise DataStale(
            f"The model of {bars.symbol} was trained on bars beyond the market's time.",
            hint=f"Run `trader train {bars.symbol} --timeframe {timeframe}`.",
        )
