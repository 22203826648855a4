"""What a run came to, in figures: returns, risk, trades and costs. Each says its convention, since others differ.

Equity and money are in the quote asset, returns fractions, times UTC milliseconds. A figure that has no value (no
trade, no loss, no variation) is None. Sources: Sharpe (1994), Sortino & van der Meer (1991), Young (1991) for Calmar;
the circular block bootstrap of Politis & Romano (1992).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.core.market.timeframes import DAY_MS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_DAYS, _CALENDAR_DAYS = 365.0, 365.25
_SHORTEST_YEARS = 1 / 12
_RESAMPLES, _TAIL = 1000, 0.025


@dataclass(frozen=True)
class Risk:
    """Of an equity curve.

    `sharpe` is mean over standard deviation (ddof 1) of simple returns per bar, times the root of the bars of 365 days;
    no risk-free rate. `sharpe_252` is the same by years of 252 days. `sortino` has the root mean square of the returns
    below 0 instead. `annual_return` compounds over elapsed time, years of 365.25 days, and is told from a month on.
    `drawdown` is in [−1, 0], from the highest equity so far, the first included; `drawdown_ms` the longest time below
    it. `calmar` is the annual return over the drawdown.
    """

    total_return: float
    annual_return: float | None
    sharpe: float | None
    sharpe_252: float | None
    sortino: float | None
    calmar: float | None
    drawdown: float
    drawdown_ms: int
    is_short: bool
    """Under a year: what is said of a year is extrapolated."""


def bars_of_a_year(bar_ms: int) -> float:
    """How many bars 365 days hold."""
    return _DAYS * DAY_MS / bar_ms


def risk_of(equity: Floats, start: float, bar_ms: int) -> Risk:
    """Of equity at the close of each bar, shape (n,), n ≥ 1, which began as `start`."""
    path = np.concatenate([[start], equity])
    returns = np.diff(path) / path[:-1]
    total, years = float(path[-1] / start) - 1, len(equity) * bar_ms / DAY_MS / _CALENDAR_DAYS
    annual = None if years < _SHORTEST_YEARS else math.expm1(math.log1p(total) / years) if total > -1 else -1.0
    root = math.sqrt(bars_of_a_year(bar_ms))
    mean, spread = float(returns.mean()), float(returns.std(ddof=1)) if len(returns) > 1 else 0.0
    below = math.sqrt(float(np.mean(np.minimum(returns, 0.0) ** 2)))
    drawdown, longest = _drawdown(path)
    sharpe = mean / spread * root if spread > 0 else None
    return Risk(
        total_return=total,
        annual_return=annual,
        sharpe=sharpe,
        sharpe_252=None if sharpe is None else sharpe * math.sqrt(252 / _DAYS),
        sortino=mean / below * root if below > 0 else None,
        calmar=annual / -drawdown if annual is not None and drawdown < 0 else None,
        drawdown=drawdown,
        drawdown_ms=longest * bar_ms,
        is_short=years < 1,
    )


def _drawdown(path: Floats) -> tuple[float, int]:
    """The deepest fall below the highest so far, and the most bars in a row below it."""
    highest = np.maximum.accumulate(path)
    deepest = float((path / highest).min()) - 1
    at_peak = np.flatnonzero(path >= highest)
    longest = int(np.diff(np.append(at_peak, len(path))).max()) - 1
    return deepest, longest


@dataclass(frozen=True)
class TradeFigures:
    """Of closed trades, net of fees and funding.

    `expectancy` is the mean net profit of a trade, `expectancy_low` and `_high` its 95 % interval by a circular block
    bootstrap. `profit_factor` is what winners brought over what losers cost.
    """

    count: int
    win_rate: float | None
    profit_factor: float | None
    expectancy: float | None
    expectancy_low: float | None
    expectancy_high: float | None


def trade_figures(net: Floats, seed: int = 0) -> TradeFigures:
    """Of the net profits of closed trades, shape (k,), in their order."""
    if not len(net):
        return TradeFigures(0, None, None, None, None, None)
    lost = -float(net[net < 0].sum())
    low, high = _mean_interval(net, seed)
    return TradeFigures(
        count=len(net),
        win_rate=float(np.mean(net > 0)),
        profit_factor=float(net[net > 0].sum()) / lost if lost > 0 else None,
        expectancy=float(net.mean()),
        expectancy_low=low,
        expectancy_high=high,
    )


def _mean_interval(net: Floats, seed: int) -> tuple[float | None, float | None]:
    """The interval of the mean: blocks of about n^(1/3) trades, drawn with replacement around the circle."""
    n = len(net)
    if n < 2:
        return None, None
    length = max(1, round(n ** (1 / 3)))
    around = np.concatenate([[0.0], np.cumsum(np.concatenate([net, net[: length - 1]]))])
    sums = around[length:] - around[:-length]
    drawn = np.random.default_rng(seed).integers(0, n, size=(_RESAMPLES, -(-n // length)))
    means = sums[drawn].sum(axis=1) / (drawn.shape[1] * length)
    low, high = np.quantile(means, [_TAIL, 1 - _TAIL]).tolist()
    return low, high
