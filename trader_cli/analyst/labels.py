"""Triple-barrier labels, the gains a side would have made, and how much of each label is its own.

Source: López de Prado, *Advances in Financial Machine Learning* (2018), ch. 3–4. Labels look ahead by definition; they
live here, in training, and never in a feature frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.features.modwt import window_sum

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trader_cli.features.bar_arrays import BarSeries

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


_MEAN_RANGE = math.sqrt(8 / math.pi)
"""Of a Brownian path of σ 1 over a time of 1 (Feller 1951): 1.6."""


@dataclass(frozen=True)
class Labels:
    """Per bar t, arrays of shape (n,).

    outcome: +1 or −1 by the barrier that is met first, or by the sign of what price has done at the horizon where none
    is; 0 where both are met in one bar, or price has not moved. end: row of the touch or of the horizon; barrier:
    distance of the price barriers in log price; sigma: of the log return over the horizon; gain_long, gain_short:
    simple return of taking the side at the close, out at the barrier or the horizon, before costs (both barriers in one
    bar count as the adverse one for either side); valid: the horizon lies inside the data, without a gap. Invalid rows
    hold 0 and NaN.
    """

    outcome: NDArray[np.int8]
    end: Ints
    barrier: Floats
    sigma: Floats
    gain_long: Floats
    gain_short: Floats
    valid: NDArray[np.bool_]


def trailing_volatility(close: Floats, span: int) -> Floats:
    """Root mean square log return over the last `span` bars, shape (n,), per bar; NaN for the first `span` rows."""
    returns = np.full(len(close), np.nan)
    returns[1:] = np.log(close[1:] / close[:-1])
    return np.asarray(np.sqrt(np.maximum(window_sum(returns * returns, span), 0.0) / span))


def barrier_distance(sigma: Floats, width: float, horizon: int) -> Floats:
    """Log distance of the barriers, width·σ·√horizon with σ of a bar (n,), but never within a bar's own mean range.

    Nearer ones are met by the noise inside the next bar, whatever a model knew of its close.
    """
    return sigma * max(width * math.sqrt(horizon), _MEAN_RANGE)


def triple_barrier(bars: BarSeries, horizon: int, width: float, span: int, step_ms: int) -> Labels:
    """Labels of every bar: barriers at C·exp(±`barrier_distance`), σ trailing; the first touch by high or low wins."""
    sigma = trailing_volatility(bars.close, span)
    return barrier_labels(bars, barrier_distance(sigma, width, horizon), sigma * math.sqrt(horizon), horizon, step_ms)


def barrier_labels(bars: BarSeries, barrier: Floats, sigma: Floats, horizon: int, step_ms: int) -> Labels:
    """Labels of every bar with a barrier at this log distance and this σ of the horizon, each (n,); NaN: no label."""
    n = len(bars)
    last = np.arange(n) + horizon
    inside = last < n
    whole = np.zeros(n, dtype=bool)
    whole[inside] = bars.open_ms[last[inside]] - bars.open_ms[: n - horizon][inside[: n - horizon]] == horizon * step_ms
    valid = whole & np.isfinite(barrier) & (barrier > 0)
    touched, both, end = _first_touches(bars, barrier, horizon, valid)
    exit_close = np.full(n, np.nan)
    exit_close[valid] = bars.close[np.minimum(end[valid], n - 1)] / bars.close[valid] - 1.0
    up, down = np.expm1(barrier), np.expm1(-barrier)
    gain = np.where(touched > 0, up, np.where(touched < 0, down, exit_close))
    at_horizon = np.where(valid & ~both, np.sign(exit_close), 0.0).astype(np.int8)
    outcome = np.where(touched != 0, touched, at_horizon)
    gain_long = np.where(both, down, gain)
    gain_short = np.where(both, -up, -gain)
    barrier, sigma, gain_long, gain_short = (
        np.where(valid, values, np.nan) for values in (barrier, sigma, gain_long, gain_short)
    )
    return Labels(outcome, end, barrier, sigma, gain_long, gain_short, valid)


def _first_touches(
    bars: BarSeries, barrier: Floats, horizon: int, valid: NDArray[np.bool_]
) -> tuple[NDArray[np.int8], NDArray[np.bool_], Ints]:
    n = len(bars)
    upper, lower = bars.close * np.exp(barrier), bars.close * np.exp(-barrier)
    outcome = np.zeros(n, dtype=np.int8)
    both = np.zeros(n, dtype=bool)
    end = np.where(valid, np.arange(n) + horizon, np.arange(n))
    open_rows = np.flatnonzero(valid)
    for ahead in range(1, horizon + 1):
        rows = open_rows + ahead
        high, low = bars.high[rows] >= upper[open_rows], bars.low[rows] <= lower[open_rows]
        touched = open_rows[high | low]
        outcome[open_rows[high & ~low]] = 1
        outcome[open_rows[low & ~high]] = -1
        both[open_rows[high & low]] = True
        end[touched] = touched + ahead
        open_rows = open_rows[~(high | low)]
    return outcome, both, end


def average_uniqueness(start: Ints, end: Ints, n: int) -> Floats:
    """ū_i: mean over the bars (start_i, end_i] of 1 / (labels live then), in (0, 1]; n bars in all."""
    change = np.zeros(n + 2)
    np.add.at(change, start + 1, 1.0)
    np.add.at(change, end + 1, -1.0)
    live = np.cumsum(change)[: n + 1]
    inverse = np.concatenate([[0.0], np.cumsum(np.where(live > 0, 1.0 / np.maximum(live, 1.0), 0.0))])
    length = np.maximum(end - start, 1)
    return np.asarray((inverse[end + 1] - inverse[start + 1]) / length)
