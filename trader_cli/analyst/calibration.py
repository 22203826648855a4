"""Calibration by one slope: logit p = logit(base rate) + a · score, a ≥ 0, shrunk to 0, where p is the base rate.

The score is what a booster adds to the log-odds of the rows it learned from. The slope is fitted on scores of rows the
booster had not seen; a slope of 0 says that it tells nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trader_cli.features.blocked_matmul import inner

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_EDGE = 1e-6
_ROWS_WITHOUT_SLOPE = 25.0
"""Independent rows, of scores like those seen, that are taken to have shown a slope of 0 before any row is seen."""
_LEAST_PRECISION = 1e-9
PRIOR_ROWS = 20.0
"""Independent rows, half of each outcome, that a base rate is taken to rest on before any row is seen."""
_STEPS = 50


def logit(p: Floats | float) -> Floats:
    """ln(p / (1 − p)), of p kept off 0 and 1; same shape."""
    clipped = np.clip(p, _EDGE, 1 - _EDGE)
    return np.asarray(np.log(clipped / (1 - clipped)))


def logistic(z: Floats) -> Floats:
    """1 / (1 + e⁻ᶻ), same shape."""
    return np.asarray(1.0 / (1.0 + np.exp(-z)))


def base_rate(outcomes: Floats, weight: Floats, prior_rows: float = PRIOR_ROWS) -> float:
    """Share of ones among outcomes in {0, 1}, (n,), by weight, shrunk to one half where there are few."""
    return float((inner(weight, outcomes) + prior_rows / 2) / (weight.sum() + prior_rows))


def fit_slope(
    score: Floats, offset: Floats, outcomes: Floats, weight: Floats, prior_rows: float = _ROWS_WITHOUT_SLOPE
) -> float:
    """The slope a ≥ 0 of logit p = offset + a · score, by weighted maximum likelihood with a normal prior around 0.

    Scores, log-odds of the base rates, outcomes in {0, 1} and weights of independent rows, each (n,); 0 for n = 0. The
    prior is worth `prior_rows`, whatever the scores are measured in. Newton's method; the log likelihood is concave.
    """
    squares = score * score
    slope, mean_square = 0.0, inner(weight, squares) / max(float(weight.sum()), _EDGE)
    prior = prior_rows * mean_square / 4 + _LEAST_PRECISION
    for _ in range(_STEPS):
        fitted = logistic(offset + slope * score)
        gradient = inner(score, weight * (outcomes - fitted)) - prior * slope
        curvature = inner(squares, weight * fitted * (1 - fitted)) + prior
        step = float(np.clip(gradient / curvature, -1.0, 1.0))
        slope += step
        if abs(step) < 1e-10:
            break
    return max(slope, 0.0)
