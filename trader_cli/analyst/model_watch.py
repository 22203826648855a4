"""Whether a model still says what was shown of it: its forecasts since its training, and where its features lie now.

What is known when a UTC day begins holds for that day: every path decides a close by the same rows, once a day. Both
watches are told from bars, features and the bundle alone. Outside of their tolerance nothing is opened and the base
rates are what is told: `analyst.forecast_alarm`, `analyst.max_moved_features`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.analyst.fitted_families import history_bars
from trader_cli.analyst.forecast_evidence import Bets, betting_factors
from trader_cli.analyst.forecast_quality import outcomes_of_three
from trader_cli.analyst.labels import triple_barrier
from trader_cli.core.market.timeframes import DAY_MS
from trader_cli.core.types import FEATURES_MOVED, FORECASTS_WRONG, Abstention

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from trader_cli.analyst.trained_model import TrainedModel
    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.features.bar_arrays import BarSeries
    from trader_cli.settings.analyst_section import AnalystSettings

    Floats = NDArray[np.float64]
    Singles = NDArray[np.float32]
    Ints = NDArray[np.int64]


@dataclass(frozen=True)
class WatchedSeries:
    """A series that a model trades.

    `matrix` gives its base features at rows of the bars, (k, f), NaN where unknown, and how many are unknown, (k,).
    """

    timeframe: Timeframe
    bars: BarSeries
    matrix: Callable[[Ints], tuple[Floats, Ints]]


@dataclass(frozen=True)
class Watched:
    """What was known of a model when a day began (UTC ms).

    `evidence`: the largest so far against its forecasts (`forecast_evidence`), of so many whose outcome is known.
    `moved`: the weight of the features that lie where they never lay in training.
    """

    day_ms: int
    evidence: float
    forecasts: int
    moved: float


def day_of(close_ms: int) -> int:
    """The beginning of the UTC day in which a bar closed."""
    return close_ms - close_ms % DAY_MS


@dataclass(frozen=True)
class WatchState:
    """From where a later day goes on: the bets against forecasts, and the first bar (UTC ms) that is not bet on yet."""

    bets: Bets
    next_ms: int


def watch(
    model: TrainedModel, series: WatchedSeries, days: Sequence[int], known: WatchState | None = None
) -> tuple[list[Watched], WatchState]:
    """What is known of a model at the beginning of each of these days, ascending; of bars that had closed by then.

    With what was `known` on an earlier day only bars since then are read, and it is the same to the bit.
    """
    bars, timeframe, horizon = series.bars, series.timeframe, model.horizon_bars
    known = known or WatchState(Bets.begun(horizon), int(model.last_ms) + 1)
    stops = [_rows_closed(bars, timeframe, day) for day in days]
    begun = int(np.searchsorted(bars.open_ms, known.next_ms))
    first = max(0, min(begun, stops[0] - model.bins.window))
    if stops[-1] <= first:
        return [Watched(day, known.bets.largest, known.bets.rows, 0.0) for day in days], known
    since, rows = max(0, first - history_bars(timeframe) - model.volatility_span), np.arange(first, stops[-1])
    near = bars.cut(since, stops[-1])
    base, unknown = series.matrix(rows)
    x = model.widened(near, base, rows - since)
    told = unknown <= len(model.base_features) // 10
    ended = max(0, stops[-1] - horizon - begun)
    factors = _factors(model, near, timeframe, x[begun - first :], told[begun - first :])[:ended]
    bets, found = known.bets.played(factors)
    against = np.maximum.accumulate(np.append(known.bets.largest, found))
    binned = model.bins.binned(x[:, [model.features.index(name) for name in model.bins.names]])
    watched = []
    for day, stop in zip(days, stops, strict=True):
        count = int(np.clip(stop - horizon - begun, 0, len(factors)))
        recent = binned[max(0, stop - first - model.bins.window) : max(0, stop - first)]
        watched.append(Watched(day, float(against[count]), known.bets.rows + count, model.bins.moved(recent)))
    reached = begun + len(factors)
    return watched, WatchState(bets, int(bars.open_ms[reached]) if len(factors) else known.next_ms)


def _rows_closed(bars: BarSeries, timeframe: Timeframe, day_ms: int) -> int:
    """How many of the bars had closed when a day began."""
    return int(np.searchsorted(bars.open_ms, day_ms - timeframe.ms, side="right"))


def _factors(model: TrainedModel, near: BarSeries, timeframe: Timeframe, x: Singles, told: NDArray[np.bool_]) -> Floats:
    """Of the last rows of the bars, whose features are x (m, f); 1 where nothing was told, or came of it so far."""
    if not len(x):
        return np.empty(0)
    labels = triple_barrier(near, model.horizon_bars, model.barrier_width, model.volatility_span, timeframe.ms)
    rows = slice(len(near) - len(x), len(near))
    truth = outcomes_of_three(labels.outcome[rows]) * (labels.valid[rows] & told)[:, None]
    return betting_factors(model.side.predict(x), model.side.base_rates, truth)


def doubt_of(model: TrainedModel, known: Watched, options: AnalystSettings) -> Abstention | None:
    """Why a model is not believed on a day, `None` where it is."""
    again = f"Run `trader train {model.symbol} --timeframe {model.timeframe}`."
    if known.evidence >= 1 / options.forecast_alarm:
        return Abstention(
            FORECASTS_WRONG,
            f"The model's forecasts since its training are worse than base rates: evidence {known.evidence:.0f} to 1"
            f" over {known.forecasts} of them; the limit is {1 / options.forecast_alarm:.0f} (analyst.forecast_alarm)."
            f" {again}",
        )
    if known.moved > options.max_moved_features:
        return Abstention(
            FEATURES_MOVED,
            f"{known.moved:.0%} of what the model reads lies where it never lay in its training;"
            f" {options.max_moved_features:.0%} are allowed (analyst.max_moved_features). {again}",
        )
    return None
