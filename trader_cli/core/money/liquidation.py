"""Liquidation: where the exchange takes an isolated position away, and how likely the mark price is to go there.

Source: the exchange's liquidation formula (isolated, one-way); touch probability by the reflection principle
(Borodin & Salminen 2002), mixed over an uncertain volatility by the trapezoidal rule on ln σ, which for such integrands
converges faster than any power of its step (Trefethen & Weideman 2014).
"""

from __future__ import annotations

import math
from functools import lru_cache
from operator import mul
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trader_cli.core.types import Side

_STEP = 0.5
_NODES = tuple(_STEP * k for k in range(-12, 13))
_WEIGHTS = tuple(_STEP / math.sqrt(2 * math.pi) * math.exp(-0.5 * node * node) for node in _NODES)


def liquidation_price(
    entry: float, leverage: float, side: Side, maintenance_rate: float, cumulative: float = 0.0
) -> float:
    """Mark price at which an isolated position of unit size, entered at `entry`, is liquidated; at least 0.

    Margin is entry / leverage; `cumulative` is the bracket's maintenance amount per unit of quantity.
    """
    sign = 1 if side == "long" else -1
    return max(liquidation_level(entry, entry / leverage + cumulative, sign, maintenance_rate), 0.0)


def liquidation_level(entry: float, margin: float, sign: int, maintenance_rate: float) -> float:
    """Price at which so much margin a unit, with what the position has lost, is the maintenance margin of the price.

    `sign` is +1 long, −1 short. Below 0 where a long cannot be liquidated.
    """
    return (margin - sign * entry) / (maintenance_rate - sign)


def touch_probability(price: float, level: float, sigma: float, sigma_uncertainty: float = 0.0) -> float:
    """P(a log price without drift from `price` touches `level` within the horizon), in [0, 1], to 1e-5.

    `sigma` is the mean of the log return's standard deviation over the whole horizon; `sigma_uncertainty` the standard
    deviation of its logarithm, up to 1. NaN is certain to touch.
    """
    if math.isnan(sigma) or math.isnan(level):
        return 1.0
    if level <= 0:
        return 0.0
    distance = abs(math.log(level / price))
    if distance == 0 or sigma <= 0:
        return float(distance == 0)
    scaled = distance / (sigma * math.sqrt(2)) * math.exp(0.5 * sigma_uncertainty**2)
    if not sigma_uncertainty:
        return math.erfc(scaled)
    touched = map(math.erfc, map(scaled.__mul__, _stretched(sigma_uncertainty)))
    return min(math.fsum(map(mul, _WEIGHTS, touched)), 1.0)


@lru_cache(maxsize=64)
def _stretched(sigma_uncertainty: float) -> tuple[float, ...]:
    """How much further off a level is at each node."""
    return tuple(math.exp(-sigma_uncertainty * node) for node in _NODES)
