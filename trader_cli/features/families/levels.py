"""Support and resistance from confirmed pivots: a turn of the market is known 3 bars after it, and counts from then.

A pivot high is the first highest high of the 3 bars before it, itself and the 3 after; a pivot low likewise. Levels are
the prices of the last 16 pivots of either kind, those only that were at most 400 bars old when the last of them was
confirmed; 100 bars after that there is none. The nearest one at or below the close is the support, the nearest above it
the resistance; its strength is the sum of 2^(−age / 100 bars) over the levels within half an average range of it.
Distances are in average ranges (mean true range of 14 bars).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trader_cli.features.family import Family
from trader_cli.features.modwt import window_sum

if TYPE_CHECKING:
    from trader_cli.features.bar_arrays import BarSeries, Floats, Times
    from trader_cli.features.family import FamilyOptions

CONFIRM = 3
PIVOTS = 16
OLDEST = 400
LASTS = 100
HALF_LIFE = 100
RADIUS = 0.5
REACH = 10.0
"""Average ranges beyond which a level is out of reach; the distance where there is none."""

REACH_BARS = OLDEST + LASTS + 2 * CONFIRM
"""How many bars back a row depends on."""

_SEEN = REACH_BARS - CONFIRM
"""The oldest pivot that so many bars tell: it takes those before it, too."""

_RANGE = 14
_ROWS = 2048
COLUMNS = (
    "levels_support_gap",
    "levels_resistance_gap",
    "levels_support_strength",
    "levels_resistance_strength",
    "levels_position",
    "levels_bars_since_high",
    "levels_bars_since_low",
    "levels_last_high_gap",
    "levels_last_low_gap",
)


def families(options: FamilyOptions) -> tuple[Family, ...]:  # noqa: ARG001
    """The one family of levels."""
    return (Family("levels", COLUMNS, compute, REACH_BARS, ("high", "low", "close"), version=2, finite=True),)


def compute(bars: BarSeries) -> dict[str, Floats]:
    """The columns of `COLUMNS`, shape (n,). Where the average range is 0 or not known yet, distances and position are
    NaN and strengths 0; distances to the last high and low also where there was none in 503 bars."""
    average = average_range(bars)
    highs, lows = pivots(bars.high), pivots(-bars.low)
    at = np.concatenate([highs, lows])
    order = np.argsort(at, kind="stable")
    at, prices = at[order], np.concatenate([bars.high[highs], bars.low[lows]])[order]
    rows = np.arange(len(bars))
    last = _confirmed(at, len(bars))
    levels, weights = _known(at, prices)
    since = rows - np.concatenate([[-LASTS - 1], at + CONFIRM])[last]
    nearest = np.empty((4, len(bars)))
    for start in range(0, len(bars), _ROWS):
        part = slice(start, start + _ROWS)
        nearest[:, part] = _nearest(last[part], since[part], levels, weights, bars.close[part], average[part])
    return _columns(bars, average, nearest, highs, lows)


def average_range(bars: BarSeries) -> Floats:
    """Mean true range of the last 14 bars, shape (n,); NaN before that, and where nothing moved."""
    before = np.concatenate([[np.nan], bars.close[:-1]])
    true = np.maximum(bars.high, before) - np.minimum(bars.low, before)
    mean = window_sum(true, _RANGE) / _RANGE
    return np.where(mean > 0, mean, np.nan)


def pivots(values: Floats) -> Times:
    """Rows that are above the 3 before them and not below the 3 after."""
    n = len(values) - 2 * CONFIRM
    if n <= 0:
        return np.empty(0, dtype=np.int64)
    middle = values[CONFIRM : CONFIRM + n]
    turned = np.ones(n, dtype=bool)
    for shift in range(CONFIRM):
        turned &= middle > values[shift : shift + n]
        turned &= middle >= values[shift + CONFIRM + 1 : shift + CONFIRM + 1 + n]
    return np.flatnonzero(turned) + CONFIRM


def _confirmed(pivots: Times, n: int) -> Times:
    """How many pivots are confirmed at each of n rows."""
    return np.cumsum(np.bincount(pivots + CONFIRM, minlength=n)[:n])


def _known(at: Times, prices: Floats) -> tuple[Floats, Floats]:
    """(levels, weights) from the confirmation of each pivot to the next, shapes (16, pivots + 1); the first of them is
    from before there was any. NaN and 0 where there are fewer."""
    padded_at = np.concatenate([np.full(PIVOTS, -OLDEST - 1), at])
    padded = np.concatenate([np.full(PIVOTS, np.nan), prices])
    confirmed = np.concatenate([[0], at + CONFIRM])
    ages = np.stack([confirmed - padded_at[PIVOTS - 1 - back : len(padded) - back] for back in range(PIVOTS)])
    levels = np.stack([padded[PIVOTS - 1 - back : len(padded) - back] for back in range(PIVOTS)])
    halves = np.append(np.exp2(-np.arange(OLDEST + 1) / HALF_LIFE), 0.0)
    return np.where(ages > OLDEST, np.nan, levels), halves[np.minimum(ages, OLDEST + 1)]


def _nearest(
    last: Times, since: Times, levels: Floats, weights: Floats, close: Floats, average: Floats
) -> tuple[Floats, Floats, Floats, Floats]:
    """Support and resistance of some rows, ∓inf where there is none, and their strengths, 0 there; shape (m,) each.

    `last`: which column of `levels` and `weights` holds for a row; `since`: bars since the last confirmation.
    """
    own, weight = np.take(levels, last, axis=1), np.take(weights, last, axis=1)
    support = np.where(own <= close, own, -np.inf).max(axis=0)
    resistance = np.where(own > close, own, np.inf).min(axis=0)
    radius = RADIUS * average
    with np.errstate(invalid="ignore"):
        below, above = (_added(weight * (np.abs(own - at) <= radius)) for at in (support, resistance))
    stands = since <= LASTS
    decay = np.where(stands, np.exp2(-np.arange(LASTS + 2) / HALF_LIFE)[np.minimum(since, LASTS + 1)], 0.0)
    return np.where(stands, support, -np.inf), np.where(stands, resistance, np.inf), below * decay, above * decay


def _added(rows: Floats) -> Floats:
    """Sum down each column (k, m), in order: numpy takes another where there is but one column."""
    total: Floats = rows[0].copy()
    for row in rows[1:]:
        total += row
    return total


def _columns(bars: BarSeries, average: Floats, nearest: Floats, highs: Times, lows: Times) -> dict[str, Floats]:
    support, resistance, below, above = nearest
    with np.errstate(invalid="ignore"):
        down = np.minimum((bars.close - support) / average, REACH)
        up = np.minimum((resistance - bars.close) / average, REACH)
        position = down / (down + up)
    since_high, last_high = _latest(highs, bars.high)
    since_low, last_low = _latest(lows, bars.low)
    values = (
        down,
        up,
        below,
        above,
        position,
        since_high,
        since_low,
        np.clip((bars.close - last_high) / average, -REACH, REACH),
        np.clip((bars.close - last_low) / average, -REACH, REACH),
    )
    return dict(zip(COLUMNS, values, strict=True))


def _latest(pivots: Times, prices: Floats) -> tuple[Floats, Floats]:
    """Bars since the last confirmed pivot, and its price; 504 and NaN where none is that near."""
    at = np.concatenate([[-_SEEN - 1], pivots])[_confirmed(pivots, len(prices))]
    ages = np.minimum(np.arange(len(prices)) - at, _SEEN + 1)
    return ages.astype(np.float64), np.where(ages > _SEEN, np.nan, prices[np.maximum(at, 0)])
