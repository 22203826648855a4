"""Walk-forward: every prediction is made by models that had seen nothing later, purged by label end, with an embargo.

The model of a segment learns from everything before it, and is calibrated on what the models of the segments before it
said of rows that they had not seen.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.analyst.book import Trades, one_at_a_time
from trader_cli.analyst.boosting import BinnedRows
from trader_cli.analyst.calibration import base_rate, logit
from trader_cli.analyst.decision import DOWN, UP, Costs, Payoffs, acts
from trader_cli.analyst.expected_gain import SaidBefore, expecting, usual_stretch
from trader_cli.analyst.read_features import as_read, beside
from trader_cli.analyst.reliability import Reliability, full_slope
from trader_cli.analyst.side_by_side import side_by_side
from trader_cli.analyst.side_model import SideModel, flat_rate
from trader_cli.core.ports import silent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from trader_cli.analyst.boosting import Calibrated
    from trader_cli.analyst.decision import TradeCosts
    from trader_cli.core.ports import Progress
    from trader_cli.settings.analyst_section import AnalystSettings

    Floats = NDArray[np.float64]
    Singles = NDArray[np.float32]
    Ints = NDArray[np.int64]
    Flags = NDArray[np.bool_]

    Fit = Callable[[Flags, int], Floats]

FIRST_TRAINING_SHARE = 0.12
"""Of the rows, which are only learned from."""
FIRST_JUDGED_SHARE = 0.185
"""Rows up to here are predicted for the first calibration, and not judged."""
DRIFT_ROWS = 2000.0
"""Independent rows, half of which rose, that the base rate of up is taken to rest on before any row is seen: a past
drift says so little that of fewer rows a half says more. So many allow for a percent more ups than downs."""
_NOTHING = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Dataset:
    """Labelled rows in time order, of one horizon.

    x: features (n, f) as read; outcome (+1, −1, 0), start and end rows of the labels, uniqueness, σ of the horizon,
    gains by side (before costs), each (n,). left_out: how many rows of unfit bars are not among them.
    """

    x: Singles
    outcome: NDArray[np.int8]
    start: Ints
    end: Ints
    uniqueness: Floats
    sigma: Floats
    gain_long: Floats
    gain_short: Floats
    left_out: int = 0

    def __len__(self) -> int:
        return len(self.outcome)

    @property
    def rose(self) -> Floats:
        """1 where the outcome was up, else 0, (n,)."""
        return (self.outcome > 0).astype(np.float64)

    def weights(self, rows: Flags) -> Floats:
        """Of learning from rows (n,): uniqueness, and 0 for others and for what ended flat: it shows no direction."""
        return np.where(rows & (self.outcome != 0), self.uniqueness, 0.0)

    def payoffs(self, rows: Flags) -> Payoffs:
        """What sides gained and lost in these rows (n,)."""
        gains = self.gain_long[rows], self.gain_short[rows]
        return Payoffs.of(self.outcome[rows], gains, self.sigma[rows], self.uniqueness[rows])

    def gain(self, side: NDArray[np.int8]) -> Floats:
        """Of taking these sides (n,), before costs."""
        return np.where(side > 0, self.gain_long, self.gain_short)

    def trades(self, side: NDArray[np.int8], wanted: Flags) -> Trades:
        """Of the sides (n,) that are wanted, one at a time."""
        taken = one_at_a_time(self.start, self.end, wanted)
        return Trades(self.start[taken], self.end[taken], side[taken], self.gain(side)[taken])


@dataclass(frozen=True)
class Learner:
    """What is tried: labelled rows of one horizon, the shape of its trees, and what trades of that horizon cost."""

    data: Dataset
    options: AnalystSettings
    costs: TradeCosts

    @classmethod
    def of(cls, data: Dataset, options: AnalystSettings, costs: Costs) -> Learner:
        """Of labels over the one horizon of the options."""
        return cls(data, options, costs.of_trades(data.start, options.longest_horizon))

    def before(self, row: int, rows: int) -> Flags:
        """Which of the first `rows` rows may be learned from before `row`: ended an embargo before it begins."""
        ends = self.data.end[:rows] + self.options.embargo
        return np.append(ends < self.data.start[row], np.zeros(len(self.data) - rows, np.bool_))


@dataclass(frozen=True)
class OutOfSample:
    """Out-of-sample predictions of a learner, arrays over the dataset's rows, NaN (False) where none was made.

    probabilities and base rates (n, 3) of up, down and flat, both as they were known before the row; score: what the
    booster said (n,). `judged`: the rows a claim rests on. `learned_to` is the last bar whose price the labels of the
    predicting model knew: it lies before the row. `models`: which one said it, by segment.
    """

    probabilities: Floats
    base_rates: Floats
    score: Floats
    side: NDArray[np.int8]
    expected_value: Floats
    break_even: Floats
    acted: Flags
    judged: Flags
    learned_to: Ints
    models: list[SideModel | None] = field(default_factory=list)

    @classmethod
    def nothing(cls, n: int) -> OutOfSample:
        """Of n rows, before any prediction."""
        score, value, even = (np.full(n, np.nan) for _ in range(3))
        probabilities, base_rates = np.full((n, 3), np.nan), np.full((n, 3), np.nan)
        acted, judged, side = np.zeros(n, np.bool_), np.zeros(n, np.bool_), np.zeros(n, np.int8)
        return cls(probabilities, base_rates, score, side, value, even, acted, judged, np.full(n, _NOTHING))

    @property
    def known(self) -> Flags:
        """Rows that were predicted, (n,)."""
        return np.isfinite(self.score)

    def say(self, model: SideModel, x: Singles, rows: slice, sigma: Floats, costs: TradeCosts, *, judged: bool) -> None:
        """Take down what a model says of features x (m, f) at some rows, of σ of the horizon (m,) and costs."""
        self.score[rows] = score = model.booster.score(x)
        self.probabilities[rows], self.base_rates[rows] = model.probabilities(score), model.base_rates
        choice = model.choose(self.probabilities[rows], sigma, costs)
        self.side[rows], self.expected_value[rows], self.break_even[rows] = (
            choice.side,
            choice.expected_value,
            choice.break_even,
        )
        self.acted[rows], self.judged[rows] = acts(choice) & judged, judged

    def seen(self, data: Dataset, before: Flags) -> Floats:
        """The share of the rows before (n,) that the model of each known row had seen, (n,), by bars."""
        first = data.start[0]
        return np.asarray((self.learned_to - first) / (data.end[before].max() - first))

    def reliability(self, data: Dataset, before: Flags, full: float) -> Reliability:
        """Of the scores of rows (n,) that were predicted, by what came of them."""
        rows = before & self.known & (data.outcome != 0)
        ups, downs = self.base_rates[rows, UP], self.base_rates[rows, DOWN]
        offset, seen = logit(ups / (ups + downs)), self.seen(data, before)[rows]
        return Reliability.fit(self.score[rows], offset, data.rose[rows], data.uniqueness[rows], seen, full)


@dataclass(frozen=True)
class Fold:
    """One segment: the rows learned from (n,) and predicted, whether a claim rests on it.

    binned: the rows before the segment, by their own quantiles and nothing later; columns: what the fitted families say
    of the segment (m, e).
    """

    before: Flags
    test: slice
    judged: bool
    binned: BinnedRows
    columns: Singles

    def ahead(self, data: Dataset) -> Singles:
        """What models read of the segment, (m, f + e)."""
        return beside(data.x[self.test], self.columns)


def make_folds(
    data: Dataset,
    count: int,
    embargo: int = 0,
    fit: Fit | None = None,
    progress: Progress = silent,
    threads: int = 1,
) -> list[Fold]:
    """The first rows are only learned from, then a segment is predicted; the rest is `count` segments that are judged.

    `fit` gives what the families fitted on the rows `before` say of the first so many rows, (rows, e). They and the
    bins are made once a fold, for all learners; `threads` folds at once.
    """
    judged = np.linspace(len(data) * FIRST_JUDGED_SHARE, len(data), count + 1)
    edges = np.append(len(data) * FIRST_TRAINING_SHARE, judged).astype(int).tolist()

    def made(segment: tuple[int, int]) -> Fold:
        first, stop = segment
        before = data.end + embargo < data.start[first]
        columns = np.empty((stop, 0), np.float32) if fit is None else as_read(fit(before, stop))
        binned = BinnedRows.of(beside(data.x[:first], columns[:first]))
        return Fold(before, slice(first, stop), first > edges[0], binned, columns[first:].copy())

    folds: list[Fold] = []
    for fold in side_by_side(made, itertools.pairwise(edges), threads):
        folds.append(fold)
        progress("fitted features", len(folds), count + 1)
    return folds


def walk_forward(
    learners: Sequence[Learner], folds: Sequence[Fold], seed: int, progress: Progress = silent, threads: int = 1
) -> list[OutOfSample]:
    """What each learner says of every segment from the ones before it; all rest on the same rows and features.

    Boosters do not depend on each other, and are made `threads` folds at once; calibrations do.
    """
    found = [OutOfSample.nothing(len(learner.data)) for learner in learners]

    def boosted(fold: Fold) -> list[Calibrated | None]:
        first = fold.test.start
        return [_boosted(fold.binned, one, one.before(first, first), seed) for one in learners]

    for number, (fold, boosters) in enumerate(zip(folds, side_by_side(boosted, folds, threads), strict=True)):
        ahead = fold.ahead(learners[0].data)
        for learner, booster, out in zip(learners, boosters, found, strict=True):
            before = learner.before(fold.test.start, fold.test.start)
            model = _calibrated(booster, learner, out, before)
            out.models.append(model)
            if model is not None:
                costs = learner.costs.at(fold.test)
                out.say(model, ahead, fold.test, learner.data.sigma[fold.test], costs, judged=fold.judged)
                out.learned_to[fold.test] = learner.data.end[before].max()
        progress("walk-forward", number + 1, len(folds))
    return found


def fit_side(binned: BinnedRows, learner: Learner, out: OutOfSample, before: Flags, seed: int) -> SideModel | None:
    """The model that learns from `before` (n,), all among the first rows, which are those that are binned."""
    return _calibrated(_boosted(binned, learner, before, seed), learner, out, before)


def _boosted(binned: BinnedRows, learner: Learner, before: Flags, seed: int) -> Calibrated | None:
    data, rows = learner.data, len(binned)
    return binned.fit(data.rose[:rows], data.weights(before)[:rows], learner.options, seed)


def _calibrated(booster: Calibrated | None, learner: Learner, out: OutOfSample, before: Flags) -> SideModel | None:
    """By what was said of the rows before out of sample."""
    data = learner.data
    assert (out.learned_to[before & out.known] < data.start[before & out.known]).all(), "not out of sample"
    if booster is None:
        return None
    flat = flat_rate(data.outcome[before], data.uniqueness[before])
    reliability = out.reliability(data, before, full_slope(learner.options.trees, learner.options.learning_rate))
    base = base_rate(data.rose, data.weights(before), DRIFT_ROWS)
    calibrated = replace(booster, base=base, slope=reliability.slope)
    moves, weight = (data.gain_long - data.gain_short) / 2 / data.sigma, data.uniqueness
    rows = before & out.known
    beyond = reliability.slopes(out.seen(data, before)[rows]) * out.score[rows]
    said = SaidBefore(beyond, moves[rows], data.sigma[rows], weight[rows], learner.costs.at(rows))
    usual = usual_stretch(moves[before], weight[before])
    return expecting(SideModel(calibrated, flat, data.payoffs(before)), usual, said)
