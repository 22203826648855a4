"""A whole training on a frame of bars: features as the package makes them, labels, walk-forward, claim."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from trader_cli.analyst.training import TrainingInput, train
from trader_cli.core.types import Tries
from trader_cli.features.build import build_features
from trader_cli.features.family import FamilyOptions
from trader_cli.features.inputs import known_inputs
from trader_cli.features.registry import make_spec
from trader_cli.pipelines.stages.book_maker import book_maker
from trader_cli.settings import as_settings
from trader_cli.settings.room_options import TrainingOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from trader_cli.analyst.trained_model import TrainedModel
    from trader_cli.core.market.timeframes import Timeframe

FREE = {"taker_fee_bps": 0.0, "slippage_bps": 0.0, "funding_bps": 0.0}
DEAR = {"taker_fee_bps": 5.0, "slippage_bps": 0.0, "funding_bps": 0.0}
"""Costs: none, and five basis points a side."""


def trained(
    bars: pl.DataFrame,
    timeframe: Timeframe,
    costs: Mapping[str, float] | None = None,
    beside: pl.DataFrame | None = None,
    **analyst: object,
) -> TrainedModel:
    """The model of these bars as the only training ever run on them; `beside`: further feature columns, row for row."""
    further = pl.DataFrame() if beside is None else beside
    return trained_on(bars, timeframe, costs, lambda features: features.hstack(further), **analyst)


def trained_on(
    bars: pl.DataFrame,
    timeframe: Timeframe,
    costs: Mapping[str, float] | None,
    read: Callable[[pl.DataFrame], pl.DataFrame],
    **analyst: object,
) -> TrainedModel:
    """The same, of what `read` makes of the features of these bars."""
    options = FamilyOptions(timeframe, inputs=known_inputs(bars), higher=timeframe.higher)
    wide = read(build_features(bars, make_spec(options)))
    settings = as_settings({"costs": dict(costs or {}), "analyst": dict(analyst)})
    given = TrainingInput("key", "made up", "ETHUSDT", timeframe, bars, wide, {}, maker=book_maker(settings))
    return train(given, TrainingOptions.of(settings), Tries.alone)
