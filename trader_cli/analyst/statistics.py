"""Sharpe statistics: what a track record is worth once its length, shape and number of tries are counted.

Sources: Bailey & López de Prado (2012, 2014). All Sharpe ratios are per observation, kurtosis is plain (normal = 3).
"""

from __future__ import annotations

import math
from itertools import combinations
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.features.blocked_matmul import inner

if TYPE_CHECKING:
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


def expected_best_sharpe(trials: float, observations: int) -> float:
    """The Sharpe ratio the best of so many unskilled trials would show; 0 for a single trial.

    Each varies as one unskilled track record does, by 1 / (observations − 1). The number may be a fraction: between one
    and two trials lie the values between theirs.
    """
    if trials <= 1 or observations < 2:
        return 0.0
    normal, at_least_two = NormalDist(), max(trials, 2.0)
    high = (1 - _EULER) * normal.inv_cdf(1 - 1 / at_least_two)
    high += _EULER * normal.inv_cdf(1 - 1 / (at_least_two * math.e))
    return high * min(trials - 1, 1.0) / math.sqrt(observations - 1)


def smallest_found_sharpe(trials: float, observations: int, level: float, power: float = 0.9) -> float:
    """The true Sharpe ratio that is found with this power where a deflated probability of `level` is asked for; 0 where
    there are no two observations."""
    if observations < 2:
        return 0.0
    normal = NormalDist()
    beyond = (normal.inv_cdf(level) + normal.inv_cdf(power)) / math.sqrt(observations - 1)
    return expected_best_sharpe(trials, observations) + beyond


def fading(gains: Floats, last_share: float = 1 / 3) -> float:
    """z of the last part's Sharpe ratio less that of what came before, gains (n,); 0 where either cannot be told."""
    cut = len(gains) - int(len(gains) * last_share)
    parts = gains[:cut], gains[cut:]
    variance = sum(_sharpe_variance(part) for part in parts)
    return (sharpe(parts[1]) - sharpe(parts[0])) / math.sqrt(variance) if 0 < variance < math.inf else 0.0


def _sharpe_variance(gains: Floats) -> float:
    """Of the Sharpe ratio of gains (n,), by its influence function; autocorrelation by Newey & West (1987)."""
    n, deviation = len(gains), float(np.std(gains)) if len(gains) else 0.0
    if n < 30 or deviation == 0:
        return math.inf
    z = (gains - gains.mean()) / deviation
    influence = z - sharpe(gains) / 2 * (z * z - 1)
    total = inner(influence, influence)
    lags = int(4 * (n / 100) ** (2 / 9))
    for lag in range(1, lags + 1):
        total += 2 * (1 - lag / (lags + 1)) * inner(influence[lag:], influence[:-lag])
    return max(total, 0.0) / n**2


def chance_of_no_gain(differences: Floats, block: int, draws: int = 1000) -> float:
    """How often the mean of differences (n,) is not above 0 when they are drawn again in blocks.

    Circular blocks: Politis & Romano (1992).
    """
    means = resampled_means(differences, block, draws)
    return float(np.mean(means <= 0)) if len(means) and differences.any() else 1.0


def resampled_means(differences: Floats, block: int, draws: int = 1000) -> Floats:
    """The means of differences (n,) drawn again in circular blocks, (draws,); none where there are not two blocks."""
    n = len(differences)
    if n < 2 * block:
        return np.empty(0)
    sums = np.cumsum(np.concatenate([[0.0], differences, differences[:block]]))
    starts = np.random.default_rng(0).integers(0, n, (draws, n // block))
    drawn = (sums[starts + block] - sums[starts]).sum(axis=1)
    return np.asarray(drawn / (n // block * block))


def independent_share(gains: Floats) -> float:
    """How many independent records k records (bars, k) are worth, over k: 1 less what their mean correlation takes."""
    k = gains.shape[1]
    varying = gains[:, gains.std(axis=0) > 0] if len(gains) else gains[:, :0]
    if varying.shape[1] < 2:
        return 1.0
    correlations = np.atleast_2d(np.corrcoef(varying, rowvar=False))
    alike = max(float(correlations[np.triu_indices(len(correlations), 1)].mean()), 0.0)
    own = 1 + (len(correlations) - 1) * (1 - alike) + k - len(correlations)
    return float(own / k)


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
