"""Which feature families the settings switch on: the package's, with their parameters, and the user's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trader_cli.analyst.user_families import load_families
from trader_cli.core.errors import ConfigurationError, UsageError
from trader_cli.core.market.timeframes import Timeframe
from trader_cli.features.family import FamilyOptions
from trader_cli.features.registry import make_spec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trader_cli.features.family import MakeFamilies
    from trader_cli.features.feature_spec import FeatureSpec
    from trader_cli.settings.model import FeatureSettings


def own_families(options: FeatureSettings) -> tuple[MakeFamilies, ...]:
    """What makes the user's own families. Raises `ConfigurationError` for those that cannot be loaded."""
    return tuple(map(load_families, options.user_families))


def configured_spec(
    options: FeatureSettings, timeframe: Timeframe, inputs: Iterable[str], own: Iterable[MakeFamilies]
) -> FeatureSpec:
    """The families switched on, for a base time frame and the inputs that are known, then the user's `own`.

    Raises `ConfigurationError` for bad parameters.
    """
    made_for = FamilyOptions(
        timeframe,
        inputs=frozenset(inputs),
        wavelets=options.wavelets,
        wavelet_levels=options.wavelet_levels,
        wavelet_window=options.wavelet_window,
        higher=_higher(options, timeframe),
    )
    return make_spec(
        made_for, legacy=options.enable_legacy_features, advanced=options.enable_advanced_features, own=own
    )


def _higher(options: FeatureSettings, timeframe: Timeframe) -> tuple[Timeframe, ...]:
    """The higher frames: those the settings name, else the usual ones of the base frame."""
    if options.higher_timeframes is None:
        return timeframe.higher
    try:
        return tuple(map(Timeframe.parse, options.higher_timeframes))
    except UsageError as error:
        raise ConfigurationError(f"higher_timeframes: {error}") from error
