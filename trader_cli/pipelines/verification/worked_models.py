"""Analyst, worked examples: what a model is fitted on, what it is calibrated on, and where no label can be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trader_cli.analyst.decision import Costs
from trader_cli.analyst.labels import triple_barrier
from trader_cli.analyst.read_features import as_read
from trader_cli.analyst.walk_forward import Dataset, Learner, make_folds, walk_forward
from trader_cli.features.bar_arrays import BarSeries
from trader_cli.pipelines.verification.checks import LINES, Check, Finding, at_least, at_most, equal, near
from trader_cli.pipelines.verification.lab import TIMEFRAME
from trader_cli.settings.load import shipped_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from trader_cli.analyst.walk_forward import Fold, OutOfSample
    from trader_cli.pipelines.verification.lab import Lab

    Floats = NDArray[np.float64]

_ROWS, _SPAN, _EMBARGO = 1200, 50, 10


def _out_of_sample(x: Floats, outcome: NDArray[np.int8]) -> tuple[list[Fold], OutOfSample]:
    """The walk-forward over rows a bar apart, whose labels span 50 bars each."""
    shipped, start = shipped_settings().analyst, np.arange(_ROWS, dtype=np.int64)
    options = shipped.model_copy(update={"horizon_bars": (_SPAN,), "embargo_bars": _EMBARGO, "learning_rate": 0.2})
    even, size = np.ones(_ROWS), np.full(_ROWS, 0.01)
    data = Dataset(as_read(x[:, None]), outcome, start, start + _SPAN, even, size, outcome * size, -outcome * size)
    folds = make_folds(data, 4, options.embargo)
    return folds, walk_forward([Learner.of(data, options, Costs(0.0, 0.0))], folds, 1)[0]


def calibration_by_hand(lab: Lab) -> Iterator[Finding]:  # noqa: ARG001
    """What held before a segment but not in it is said of it, and of the next no more; a row whose label reaches into a
    segment teaches its model nothing."""
    tossed = np.where(np.arange(_ROWS) % 2 == 0, 1, -1).astype(np.int8)
    seen = (tossed > 0).astype(np.float64)
    folds, out = _out_of_sample(seen, tossed)
    last, ups = folds[-1].test, seen > 0
    apart = out.probabilities[last][ups[last], 0].mean() - out.probabilities[last][~ups[last], 0].mean()
    yield at_least("what a column tells that told before, in probability", 0.3, float(apart))
    first = folds[1].test.start
    untold = np.where(np.arange(_ROWS) < first, tossed, np.where(np.arange(_ROWS) // 2 % 2 == 0, 1, -1)).astype(np.int8)
    said = _out_of_sample(seen, untold)[1].probabilities[last]
    yield at_most("what is said of it where it told nothing since", 0.1, float(np.ptp(said[:, 0])))
    late = np.arange(_ROWS) >= first - _SPAN - _EMBARGO
    only_late = np.where(late, 1, tossed).astype(np.int8)
    score = _out_of_sample(late.astype(np.float64), only_late)[1].score[folds[1].test]
    yield near("what is learned of a mark that only rows with later labels bear", 0.0, float(np.ptp(score)), 1e-12)


def gaps_have_no_labels(lab: Lab) -> Iterator[Finding]:  # noqa: ARG001
    """Bar 9 of fourteen opens an hour late: no label of four bars reaches over it."""
    n, late = 14, 9
    close = np.where(np.arange(n) % 2 == 0, 100.0, 101.0)
    opened = 1_704_067_200_000 + np.arange(n, dtype=np.int64) * TIMEFRAME.ms
    opened[late:] += 4 * TIMEFRAME.ms
    labels = triple_barrier(BarSeries(opened, close, close, close, close, np.full(n, 10.0)), 4, 1.0, 2, TIMEFRAME.ms)
    yield equal("bars that have a label", [2, 3, 4, 9], np.flatnonzero(labels.valid).tolist())


_HINT = "Install the locked versions (requirements.lock), then run `trader train` again; do not trade meanwhile."
CHECKS = (
    Check(
        "calibration_by_hand",
        LINES[2],
        "probabilities are calibrated on rows that the model did not learn from",
        _HINT,
        calibration_by_hand,
    ),
    Check(
        "gaps_have_no_labels", LINES[2], "no label is made of bars on either side of a gap", _HINT, gaps_have_no_labels
    ),
)
