"""Walk-forward: every prediction is made by models that had seen nothing later, purged by label end.

The side model of segment k learns from everything before it. The meta-label model of segment k learns from the side
model's out-of-sample predictions of the segments before it, never from in-sample sides.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.analyst.boosting import Calibrated, Rows, fit_calibrated
from trader_cli.analyst.decision import DOWN, FLAT, UP, Choice, Costs, TradeCosts, acts, choose_side
from trader_cli.core.ports import silent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from trader_cli.core.ports import Progress
    from trader_cli.settings.model import AnalystSettings

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

    Fit = Callable[[NDArray[np.bool_]], Floats]

FIRST_TRAINING_SHARE = 0.25
META_COLUMNS = ("meta_probability_up", "meta_probability_down", "meta_probability_flat", "meta_side")
"""What the meta-label model sees after the features; in training out-of-sample values only."""
_META_FROM = 2
_NOTHING = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Dataset:
    """Labelled rows in time order.

    x: features (n, f); outcome (+1, −1, 0), start and end rows of the labels, uniqueness, barrier, gains by side
    (before costs), each (n,). left_out: how many rows of unfit bars are not among them.
    """

    x: Floats
    outcome: NDArray[np.int8]
    start: Ints
    end: Ints
    uniqueness: Floats
    barrier: Floats
    gain_long: Floats
    gain_short: Floats
    left_out: int = 0

    def __len__(self) -> int:
        return len(self.outcome)

    def widened(self, columns: Floats) -> Dataset:
        """With further columns (n, e) after the features."""
        return replace(self, x=np.hstack([self.x, columns])) if columns.shape[1] else self

    def side_rows(self) -> Rows:
        """Rows for the side model: classes up, down, flat."""
        classes = np.where(self.outcome > 0, UP, np.where(self.outcome < 0, DOWN, FLAT)).astype(np.int64)
        return Rows(self.x, classes, self.uniqueness, self.start, self.end)

    def meta_rows(self, probabilities: Floats, choice: Choice, costs: TradeCosts) -> Rows:
        """Rows for the meta-label model: did the chosen side profit after its costs."""
        gain = np.where(choice.side > 0, self.gain_long, self.gain_short)
        classes = (gain > costs.of(choice.side)).astype(np.int64)
        return Rows(meta_features(self.x, probabilities, choice), classes, self.uniqueness, self.start, self.end)


def meta_features(x: Floats, probabilities: Floats, choice: Choice) -> Floats:
    """What the meta-label model sees: the features, `META_COLUMNS`. Shape (n, f + 4)."""
    return np.column_stack([x, probabilities, choice.side.astype(np.float64)])


@dataclass(frozen=True)
class OutOfSample:
    """Out-of-sample predictions, arrays over the dataset's rows, NaN (False) where none was made.

    `learned_to` is the last bar whose price the labels of the predicting side model knew: it lies before the row.
    """

    probabilities: Floats
    probability_act: Floats
    side: NDArray[np.int8]
    acted: NDArray[np.bool_]
    judged: NDArray[np.bool_]
    learned_to: Ints


@dataclass(frozen=True)
class Fold:
    """One segment: the rows learned from (n,), the rows predicted, and columns fitted on the former, (n, e)."""

    before: NDArray[np.bool_]
    test: slice
    columns: Floats


def make_folds(data: Dataset, count: int, fit: Fit | None = None, progress: Progress = silent) -> list[Fold]:
    """The first quarter of the rows is only learned from; the rest is `count` segments.

    `fit` gives what the families fitted on the rows `before` say of every row, (n, e): once a fold, for all learners.
    """
    edges = np.linspace(len(data) * FIRST_TRAINING_SHARE, len(data), count + 1).astype(int)
    folds = []
    for first, stop in itertools.pairwise(edges):
        before = data.end < data.start[first]
        columns = np.empty((len(data), 0)) if fit is None else fit(before)
        folds.append(Fold(before, slice(int(first), int(stop)), columns))
        progress("fitted features", len(folds), count)
    return folds


def walk_forward(
    data: Dataset,
    options: AnalystSettings,
    costs: Costs,
    seed: int,
    progress: Progress = silent,
    folds: Sequence[Fold] | None = None,
) -> OutOfSample:
    """Predict every segment from the ones before it. `judged` rows are those on which every configured model spoke.

    Without `folds`, those of the settings and no fitted columns.
    """
    n = len(data)
    folds = make_folds(data, options.walk_forward_folds) if folds is None else folds
    of_trades = costs.of_trades(data.start, options.horizon_bars)
    out = OutOfSample(
        np.full((n, 3), np.nan),
        np.full(n, np.nan),
        np.zeros(n, np.int8),
        np.zeros(n, bool),
        np.zeros(n, bool),
        np.full(n, _NOTHING),
    )
    for number, fold in enumerate(folds):
        wide, test, before = data.widened(fold.columns), fold.test, fold.before
        side_model = fit_calibrated(wide.side_rows().cut(before), 3, options, seed)
        if side_model is not None:
            out.probabilities[test] = side_model.predict(wide.x[test])
            out.learned_to[test] = data.end[before].max()
            meta = _meta_model(wide, out, before, number, options, of_trades, seed)
            _judge(wide, out, test, meta, options, of_trades)
        progress("walk-forward", number + 1, len(folds))
    return out


def _meta_model(
    data: Dataset,
    out: OutOfSample,
    before: NDArray[np.bool_],
    fold: int,
    options: AnalystSettings,
    costs: TradeCosts,
    seed: int,
) -> Calibrated | None:
    if not options.enable_dual_model_system or fold < _META_FROM:
        return None
    return fit_meta(data, out, before, options, costs, seed)


def fit_meta(
    data: Dataset, out: OutOfSample, before: NDArray[np.bool_], options: AnalystSettings, costs: TradeCosts, seed: int
) -> Calibrated | None:
    """The meta-label model from out-of-sample side predictions among `before`: of no row had its side model learned."""
    known = before & np.isfinite(out.probabilities[:, 0])
    assert (out.learned_to[known] < data.start[known]).all(), "a side prediction is not out of sample"
    probabilities = np.where(known[:, None], out.probabilities, 1 / 3)
    choice = choose_side(probabilities, data.barrier, costs)
    return fit_calibrated(data.meta_rows(probabilities, choice, costs).cut(known), 2, options, seed + 1)


def _judge(
    data: Dataset, out: OutOfSample, test: slice, meta: Calibrated | None, options: AnalystSettings, costs: TradeCosts
) -> None:
    choice = choose_side(out.probabilities[test], data.barrier[test], costs.at(test))
    out.side[test] = choice.side
    if meta is not None:
        out.probability_act[test] = meta.predict(meta_features(data.x[test], out.probabilities[test], choice))[:, 1]
        out.acted[test] = acts(choice, out.probability_act[test])
        out.judged[test] = True
    elif not options.enable_dual_model_system:
        out.acted[test] = acts(choice, None)
        out.judged[test] = True


def book_gains(
    data: Dataset, out: OutOfSample, bar_returns: Floats, horizon: int, costs: Costs
) -> tuple[Floats, Floats, Floats]:
    """(gains, exposure, market return) per bar of the out-of-sample span: the per-bar book.

    The position over bar u is the sum of the sides of signals live then, over the horizon; it pays costs on what it
    changes and, at each stamp, funding on what it holds. Without an edge the gains are a martingale difference whatever
    the labels' overlap. Source: shared method notes §1.19.
    """
    if not out.judged.any():
        return np.empty(0), np.empty(0), np.empty(0)
    n = len(bar_returns)
    signals = np.flatnonzero(out.acted)
    change = np.zeros(n + 2)
    np.add.at(change, data.start[signals] + 1, out.side[signals].astype(np.float64))
    np.add.at(change, data.end[signals] + 1, -out.side[signals].astype(np.float64))
    exposure = np.round(np.cumsum(change)[:n]) / horizon
    judged = np.flatnonzero(out.judged)
    first, last = int(data.start[judged[0]]) + 1, int(data.end[judged[-1]])
    turned = np.abs(np.diff(exposure, prepend=0.0))
    turned[last] += np.abs(exposure[last])  # the book is closed at its end
    gains = exposure * bar_returns - turned * costs.per_side - costs.of_holding(exposure)
    span = slice(first, last + 1)
    return gains[span], exposure[span], bar_returns[span]
