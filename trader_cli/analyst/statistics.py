"""Sharpe statistics: what a track record is worth once its length, shape and number of tries are counted.

Sources: Bailey & López de Prado (2012, 2014). All Sharpe ratios are per observation, kurtosis is plain (normal = 3).
"""

from __future__ import annotations

import math
from itertools import combinations
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
    squared = z * z  # powers by multiplication: numpy's own take twenty times as long
    skew, kurtosis = float(np.mean(squared * z)), float(np.mean(squared * squared))
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


def probability_of_overfitting(gains: Floats, blocks: int = 8) -> float:
    """PBO by CSCV: how often the configuration that is best in one half of the bars is below the median in the other.

    `gains` has shape (bars, configurations); halves are all choices of half of the `blocks` equal blocks. In [0, 1];
    0.5 for configurations without skill. Source: Bailey, Borwein, López de Prado & Zhu (2017).
    """
    bars, configurations = gains.shape
    if configurations < 2 or bars < 2 * blocks:
        return 1.0
    parts = np.array_split(gains, blocks)
    sums = np.stack([part.sum(axis=0) for part in parts])
    squares = np.stack([(part**2).sum(axis=0) for part in parts])
    counts = np.array([len(part) for part in parts], dtype=np.float64)
    below = []
    for chosen in combinations(range(blocks), blocks // 2):
        inside = np.isin(np.arange(blocks), chosen)
        best = int(np.argmax(_ratios(sums[inside], squares[inside], counts[inside])))
        outside = _ratios(sums[~inside], squares[~inside], counts[~inside])
        rank = (
            np.count_nonzero(outside < outside[best]) + 0.5 * np.count_nonzero(outside == outside[best])
        ) / configurations
        below.append(rank < 0.5)
    return float(np.mean(below))


def _ratios(sums: Floats, squares: Floats, counts: Floats) -> Floats:
    """Sharpe ratios over the joined blocks, shape (configurations,); 0 where nothing varies."""
    n = counts.sum()
    mean = sums.sum(axis=0) / n
    deviation = np.sqrt(np.maximum(squares.sum(axis=0) / n - mean**2, 0.0))
    return np.asarray(np.where(deviation > 0, mean / np.where(deviation > 0, deviation, 1.0), 0.0))
