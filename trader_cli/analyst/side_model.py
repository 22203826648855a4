"""Which way price goes until a barrier or the horizon: calibrated probabilities, and what each outcome pays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.analyst.decision import DOWN, FLAT, UP, Payoffs, choose_side
from trader_cli.features.blocked_matmul import inner

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trader_cli.analyst.boosting import Calibrated
    from trader_cli.analyst.decision import Choice, TradeCosts

    Floats = NDArray[np.float64]
    Singles = NDArray[np.float32]


def flat_rate(outcome: NDArray[np.int8], weight: Floats) -> float:
    """Share of what ended without a direction, by weight."""
    return inner(weight, outcome == 0) / float(weight.sum())


@dataclass(frozen=True)
class SideModel:
    """A calibrated booster of up against down, the rate of flat, and what each outcome gains.

    least: what a trade must be worth after costs to be taken, in σ of the horizon.
    """

    booster: Calibrated
    flat: float
    payoffs: Payoffs
    least: float = 0.0

    @property
    def base_rates(self) -> Floats:
        """Of up, down and flat, (3,): what is said where the booster tells nothing."""
        return np.asarray(self.of_three(np.array([self.booster.base]))[0])

    def probabilities(self, score: Floats) -> Floats:
        """Of up, down and flat, (n, 3), for scores (n,)."""
        return self.of_three(self.booster.calibrated(score))

    def predict(self, x: Floats | Singles) -> Floats:
        """Of up, down and flat, (n, 3), for features (n, f)."""
        return self.probabilities(self.booster.score(x))

    def choose(self, probabilities: Floats, sigma: Floats, costs: TradeCosts) -> Choice:
        """The better side by its probabilities (n, 3), σ of the horizon (n,) and costs."""
        return choose_side(probabilities, self.base_rates, self.payoffs, sigma, costs, self.least)

    def of_three(self, up: Floats) -> Floats:
        """Up, down and flat, (n, 3), of the chances (n,) of up where price moves."""
        found = np.empty((len(up), 3))
        found[:, UP], found[:, DOWN], found[:, FLAT] = up * (1 - self.flat), (1 - up) * (1 - self.flat), self.flat
        return found
