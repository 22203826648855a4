"""What else might have come of the same returns: blocks of them drawn again, and the same trades in another order.

Sources: the circular block bootstrap of Politis & Romano (1992), blocks of about n^(1/3) as there. Seeded: the same
returns give the same draws.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

DRAWS = 1000
MOST_PERIODS = 1000
"""Longer series are joined to so many periods first, which keeps what hangs together within one."""
_LEAST_PERIODS = 20
_TAIL = 0.025


@dataclass(frozen=True)
class Interval:
    """The middle 95 % of what was drawn; both None where there is too little to draw from."""

    low: float | None
    high: float | None


def joined_returns(returns: Floats) -> Floats:
    """Simple returns (n,) compounded to at most `MOST_PERIODS` of equally many bars each, the last maybe of fewer."""
    each = -(-len(returns) // MOST_PERIODS) or 1
    growth = np.concatenate([1 + returns, np.ones(-len(returns) % each)])
    return np.asarray(growth.reshape(-1, each).prod(axis=1) - 1)


def block_length(count: int) -> int:
    """How many in a row are drawn together."""
    return max(1, round(math.pow(count, 1 / 3)))


def drawn_blocks(values: Floats, seed: int, draws: int = DRAWS) -> Floats:
    """Values (n,) drawn again in blocks around the circle: shape (draws, n)."""
    n = len(values)
    length = block_length(n)
    starts = np.random.default_rng(seed).integers(0, n, size=(draws, -(-n // length)))
    at = (starts[:, :, None] + np.arange(length)).reshape(draws, -1)[:, :n] % n
    return np.asarray(values[at])


def shuffled(values: Floats, seed: int, draws: int = DRAWS) -> Floats:
    """Values (n,) in other orders: shape (draws, n)."""
    return np.random.default_rng(seed).permuted(np.tile(values, (draws, 1)), axis=1)


def paths(returns: Floats) -> Floats:
    """What one unit becomes, from (draws, n) returns: shape (draws, n + 1), the first column 1."""
    return np.concatenate([np.ones((len(returns), 1)), np.cumprod(1 + returns, axis=1)], axis=1)


def drawdowns(levels: Floats) -> Floats:
    """The deepest fall of each path (draws, n) below its highest so far, a negative fraction: shape (draws,)."""
    return np.asarray((levels / np.maximum.accumulate(levels, axis=1)).min(axis=1) - 1)


def interval(drawn: Floats) -> Interval:
    """The middle 95 % of draws (d,)."""
    low, high = np.quantile(drawn, [_TAIL, 1 - _TAIL]).tolist()
    return Interval(low, high)


@dataclass(frozen=True)
class Intervals:
    """95 % intervals by block resamples of the returns: of the total return, of the Sharpe ratio, of the drawdown.

    The Sharpe ratio is annualised as `Risk.sharpe` is.
    """

    total_return: Interval
    sharpe: Interval
    drawdown: Interval


def intervals_of(returns: Floats, yearly_root: float, seed: int = 0) -> Intervals:
    """Of simple returns per bar (n,); `yearly_root` is the root of the bars of a year."""
    joined = joined_returns(returns)
    if len(joined) < _LEAST_PERIODS:
        none = Interval(None, None)
        return Intervals(none, none, none)
    drawn = drawn_blocks(joined, seed)
    levels, spread = paths(drawn), drawn.std(axis=1, ddof=1)
    root = yearly_root * np.sqrt(len(joined) / len(returns))
    sharpes = drawn.mean(axis=1) / np.where(spread > 0, spread, np.inf) * root
    return Intervals(interval(levels[:, -1] - 1), interval(sharpes), interval(drawdowns(levels)))
