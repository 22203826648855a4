"""How uncertain the volatility of the next bars is, measured by what it is used for: how often levels were touched.

The spread of ln σ alone is about 0.45 on 24 bars of real series, and a walk with that spread touches what is three σ
away half as often as prices did: within a window they jump. So the spread is sought with which touches come out as
they were (docs/decisions/0018-uncertain-volatility.md).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.analyst.labels import trailing_volatility
from trader_cli.core.money.liquidation import touch_probability
from trader_cli.core.money.sizing import SIGMA_UNCERTAINTY

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trader_cli.features.bar_arrays import BarSeries

    Floats = NDArray[np.float64]

_AWAY = (2.0, 3.0, 4.0)
"""Levels looked at, in σ of the window."""
_SUPPOSED = 480
"""So many windows touched as `SIGMA_UNCERTAINTY` says before any was seen: by then what windows say by chance is as
much as what symbols differ by (a variance of 0.11 a window, and of 0.015² among the nine spot series)."""
_HALVINGS = 12
LEAST, MOST = 0.1, 0.8
"""Real series lie between; what takes more trends, and is no matter of σ."""


def measured_uncertainty(bars: BarSeries, horizon: int, span: int, step_ms: int) -> float:
    """Standard deviation of ln σ at which the walk of `touch_probability` touches what is 2, 3 and 4 σ away as often as
    the bars did, in [0.1, 0.8].

    σ is `trailing_volatility` over `span` bars times √horizon; each window of `horizon` bars counts once, without those
    across a gap.
    """
    starts = np.arange(span, len(bars) - horizon, horizon)
    starts = starts[bars.open_ms[starts + horizon] - bars.open_ms[starts] == horizon * step_ms]
    sigma = trailing_volatility(bars.close, span)[starts] * math.sqrt(horizon)
    starts, sigma = starts[sigma > 0], sigma[sigma > 0]
    ahead = starts[:, None] + np.arange(1, horizon + 1)
    close = bars.close[starts]
    up, down = np.log(bars.high[ahead].max(axis=1) / close), np.log(close / bars.low[ahead].min(axis=1))
    seen = sum(np.count_nonzero(up >= k * sigma) + np.count_nonzero(down >= k * sigma) for k in _AWAY)
    supposed = 2 * _SUPPOSED * _touches(SIGMA_UNCERTAINTY)
    return _uncertainty_of((seen + supposed) / (2 * (len(starts) + _SUPPOSED)))


def _touches(uncertainty: float) -> float:
    """How many of the levels on one side are touched, in the mean."""
    return sum(touch_probability(1.0, math.exp(k), 1.0, uncertainty) for k in _AWAY)


def _uncertainty_of(touches: float) -> float:
    """The inverse of `_touches`, within its limits."""
    low, high = LEAST, MOST
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _touches(middle) < touches else (low, middle)
    return low if high < MOST else MOST
