"""Support and resistance to read: prices at which the market has turned more than once, the recent turns counting most.

A turn is a confirmed pivot (`features.families.levels`), known 3 bars after it. The strongest price is taken first,
with every turn within half an average range of it; then the strongest of what is left. So no level reaches further than
that, however close its neighbours lie: turns that follow one another in small steps do not chain into one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.features.families.levels import CONFIRM, HALF_LIFE, RADIUS, average_range, pivots

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trader_cli.features.bar_arrays import BarSeries

    Floats = NDArray[np.float64]

_TOUCHES = 2
_OLDEST = 10 * HALF_LIFE
"""Bars after which a turn weighs less than a thousandth, and counts no more."""


@dataclass(frozen=True)
class Level:
    """A price, how often the market turned there, and its strength: the turns, each halved every 100 bars of age."""

    price: float
    touches: int
    strength: float


def support_and_resistance(bars: BarSeries) -> dict[str, float | None]:
    """The nearest level below and above the last close, and the strength of each; `None` where there is none."""
    close, levels = float(bars.close[-1]), price_levels(bars)
    support = max((level for level in levels if level.price < close), key=lambda level: level.price, default=None)
    resistance = min((level for level in levels if level.price > close), key=lambda level: level.price, default=None)
    told: dict[str, float | None] = {}
    for side, level in (("support", support), ("resistance", resistance)):
        told[side], told[f"{side}_strength"] = (level.price, level.strength) if level else (None, None)
    return told


def price_levels(bars: BarSeries) -> list[Level]:
    """Levels of two or more turns that the bars tell, the strongest first."""
    highs, lows = pivots(bars.high), pivots(-bars.low)
    prices = np.concatenate([bars.high[highs], bars.low[lows]])
    ages = len(bars) - 1 - CONFIRM - np.concatenate([highs, lows])
    recent, average = ages <= _OLDEST, float(average_range(bars)[-1])
    return _levels(prices[recent], np.exp2(-ages[recent] / HALF_LIFE), RADIUS * average if average > 0 else 0.0)


def _levels(prices: Floats, weights: Floats, radius: float) -> list[Level]:
    near = np.abs(prices[:, None] - prices) <= radius
    left, found = np.ones(len(prices), dtype=bool), []
    while left.any():
        strengths = np.where(left, near @ (weights * left), 0.0)
        members = near[int(np.argmax(strengths))] & left
        left &= ~members
        strength, touches = float(weights[members].sum()), int(members.sum())
        if touches >= _TOUCHES:
            found.append(Level(float(weights[members] @ prices[members]) / strength, touches, strength))
    return found
