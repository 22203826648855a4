"""Fast bars inside the permissions of out-of-fold slow models, and what entering at each of them came to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.analyst.labels import barrier_distance, barrier_labels
from trader_cli.analyst.permission import Permissions
from trader_cli.analyst.training import Fitting, labelled
from trader_cli.core.market.quality import unfit_bars
from trader_cli.core.market.schemas import milliseconds
from trader_cli.features.bar_arrays import BarSeries

if TYPE_CHECKING:
    from trader_cli.analyst.decision import Costs
    from trader_cli.analyst.permission import Standing
    from trader_cli.analyst.training import Contest, Contestant, TrainingInput
    from trader_cli.analyst.walk_forward import Dataset
    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.settings.room_options import TrainingOptions


@dataclass(frozen=True)
class PermittedEntries:
    """Of one slow learner: what it permits, and what the slow trade that is entered at permitted fast bars came to.

    `fitting` holds the bars (m) as what a fast model learns from; `data` the same rows, labelled over `horizon` fast
    bars with the slow barriers; `costs` are those of trading fast bars, `doubled` twice as much.
    """

    fitting: Fitting
    data: Dataset
    permissions: Permissions
    horizon: int
    costs: Costs
    doubled: Costs

    @classmethod
    def of(
        cls, slow: Contestant, contest: Contest, given: TrainingInput, frame: Timeframe, config: TrainingOptions
    ) -> PermittedEntries:
        """Of a slow learner of a contest in bars of `frame`. Raises `DataMissing` where it permits too few."""
        closes_ms = contest.fitting.bars.open_ms[slow.learner.data.start] + frame.ms
        options, fast, bars = config.analyst, given.timeframe, BarSeries.of(given.bars)
        permissions = Permissions.out_of_fold(slow.learner, slow.out, contest.folds, closes_ms, frame)
        closed = milliseconds(given.bars["open_time"]) + fast.ms
        standing = permissions.at(closed, 0)
        of_slow, bars_each = slow.learner.options.longest_horizon, frame.ms // fast.ms
        distance = barrier_distance(standing.sigma / np.sqrt(of_slow), options.barrier_width, of_slow)
        labels = barrier_labels(bars, distance, standing.sigma, of_slow * bars_each, fast.ms)
        unfit = unfit_bars(given.bars, fast).to_numpy()
        fitting = Fitting.of(given, fast_options(config, bars_each), labels.valid & ~unfit[labels.end])
        rows = fitting.data.start
        data = labelled(np.empty((len(rows), 0), np.float32), rows, labels, fitting.data.left_out)
        costs, doubled = given.costs(config.costs), given.costs(config.costs, 2.0)
        return cls(fitting, data, permissions, of_slow * bars_each, costs, doubled)

    def standing(self, fast_horizon: int) -> Standing:
        """What stands at the bars (m,), beside a fast model that looks so many bars ahead."""
        bars, fast = self.fitting.bars, self.fitting.timeframe
        return self.permissions.at(bars.open_ms[self.data.start] + fast.ms, fast_horizon * fast.ms)


def fast_options(config: TrainingOptions, bars_each: int) -> TrainingOptions:
    """What fast models are trained by: their own horizons, one shape of trees, an embargo as long as the slow one."""
    options = config.analyst
    changed = {
        "horizon_bars": options.fast_horizon_bars,
        "embargo_bars": max(options.embargo * bars_each, options.longest_fast_horizon),
        "learners": 1,
    }
    return replace(config, analyst=options.model_copy(update=changed))
