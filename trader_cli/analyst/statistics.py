"""Sharpe statistics: what a track record is worth once its length, shape and number of tries are counted.

Sources: Bailey & López de Prado (2012, 2014). All Sharpe ratios are per observation, kurtosis is plain (normal = 3).
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_EULER = 0.5772156649015329


def sharpe(gains: Floats) -> float:
    """Mean over standard deviation of gains, shape (n,); 0 where nothing varies."""
    deviation = float(np.std(gains)) if len(gains) else 0.0
    return float(np.mean(gains)) / deviation if deviation > 0 else 0.0


def probabilistic_sharpe(gains: Floats, benchmark: float = 0.0) -> float:
    """PSR: probability that the true Sharpe ratio exceeds `benchmark`; 0 for fewer than 30 gains or none that vary."""
    n = len(gains)
    deviation = float(np.std(gains)) if n else 0.0
    if n < 30 or deviation == 0:
        return 0.0
    ratio = sharpe(gains)
    z = (gains - gains.mean()) / deviation
    skew, kurtosis = float(np.mean(z**3)), float(np.mean(z**4))
    spread = max(1.0 - skew * ratio + (kurtosis - 1.0) / 4.0 * ratio * ratio, 1e-12)
    return NormalDist().cdf((ratio - benchmark) * math.sqrt(n - 1) / math.sqrt(spread))


def expected_best_sharpe(trial_sharpes: Sequence[float], observations: int) -> float:
    """The Sharpe ratio the best of so many unskilled trials would show; 0 for a single trial.

    The spread of the trials' ratios is at least 1/observations, that of one unskilled track record.
    """
    trials = len(trial_sharpes)
    if trials < 2 or observations < 2:
        return 0.0
    variance = max(float(np.var(np.asarray(trial_sharpes), ddof=1)), 1.0 / observations)
    normal = NormalDist()
    high = (1 - _EULER) * normal.inv_cdf(1 - 1 / trials) + _EULER * normal.inv_cdf(1 - 1 / (trials * math.e))
    return math.sqrt(variance) * high
