"""Liquidation: where the exchange takes an isolated position away, and how likely the mark price is to go there.

Source: the exchange's liquidation formula (isolated, one-way); touch probability by the reflection principle
(Borodin & Salminen 2002), mixed over an uncertain volatility by Gauss–Hermite quadrature on ln σ.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trader_cli.core.types import Side

_PHI = NormalDist().cdf
# Five-point Gauss–Hermite nodes and weights for the standard normal.
_NODES = (-2.856970013872806, -1.355626179974266, 0.0, 1.355626179974266, 2.856970013872806)
_WEIGHTS = (0.011257411327720689, 0.22207592200561266, 0.5333333333333333, 0.22207592200561266, 0.011257411327720689)


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
    """P(a driftless walk from `price` touches `level` within the horizon), in [0, 1].

    `sigma` is the standard deviation of the log return over the whole horizon; `sigma_uncertainty` that of ln σ.
    """
    if math.isnan(sigma) or math.isnan(level):
        return 1.0
    if level <= 0:
        return 0.0
    distance = abs(math.log(level / price))
    if distance == 0:
        return 1.0
    total = 0.0
    for node, weight in zip(_NODES, _WEIGHTS, strict=True):
        spread = sigma * math.exp(sigma_uncertainty * node - 0.5 * sigma_uncertainty**2)
        total += weight * (2.0 * _PHI(-distance / spread) if spread > 0 else 0.0)
    return min(total, 1.0)
