"""Analyst, worked examples: what a model is fitted on, what it is calibrated on, and where no label can be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trader_cli.analyst.boosting import Rows, fit_calibrated, raw_probabilities
from trader_cli.analyst.labels import triple_barrier
from trader_cli.features.bar_arrays import BarSeries
from trader_cli.pipelines.verification.checks import LINES, Check, Finding, at_least, at_most, equal, near
from trader_cli.pipelines.verification.lab import TIMEFRAME
from trader_cli.settings.load import shipped_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from trader_cli.analyst.boosting import Calibrated
    from trader_cli.pipelines.verification.lab import Lab

    Floats = NDArray[np.float64]

_ROWS, _SPAN = 800, 100
_EDGE = 600
"""The first row of the last quarter, on which probabilities are calibrated."""


def _fitted(x: Floats, classes: NDArray[np.int64]) -> Calibrated:
    """A model of two classes from rows a bar apart, whose labels span 100 bars each."""
    start = np.arange(_ROWS, dtype=np.int64)
    rows = Rows(x[:, None], classes, np.ones(_ROWS), start, start + _SPAN)
    made = fit_calibrated(rows, 2, shipped_settings().analyst, 1)
    assert made is not None
    return made


def calibration_by_hand(lab: Lab) -> Iterator[Finding]:  # noqa: ARG001
    """Rows whose labels reach into the last quarter teach nothing; what held before it but not in it is not said."""
    toss, ones = np.arange(_ROWS) % 2, np.array([[0.0], [1.0]])
    near_the_end = (np.arange(_ROWS) >= _EDGE - _SPAN).astype(np.float64)
    made = _fitted(near_the_end, np.where(near_the_end > 0, 1, toss).astype(np.int64))
    low, high = raw_probabilities(made.booster, ones)[:, 1]
    yield near("what is learned of a mark that only rows with later labels bear", float(low), float(high), 0.0)
    told = np.where(np.arange(_ROWS) % 5 == 0, 1 - toss, toss)
    made = _fitted(toss.astype(np.float64), np.where(np.arange(_ROWS) < _EDGE, told, np.arange(_ROWS) // 4 % 2))
    raw, said = raw_probabilities(made.booster, ones)[:, 1], made.predict(ones)[:, 1]
    yield at_least("what a column told before the last quarter, in probability", 0.4, float(raw[1] - raw[0]))
    yield at_most("what is said of it, as it told nothing there", 0.1, float(abs(said[1] - said[0])))


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
