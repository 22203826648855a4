"""Evidence against stored forecasts, outcome by outcome: it may be looked at as often as one likes.

A bet at the forecast's own odds that its base rate is the better one: stake 1, and the stake is multiplied by base rate
over probability of what came. Where the forecasts are right its mean stays 1 (a martingale), so it ever reaches 1/α
with a probability of α at most (Ville 1939). Where nothing of them is left it grows as fast as by any bet there is: by
their Kullback-Leibler divergence a forecast. Sources: Shafer (2021); Waudby-Smith & Ramdas (2024); for outcomes that
are known `horizon` bars later, the mean of so many bets in turn: Arnold, Henzi & Ziegel (2023).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_LARGEST = 600.0
"""Of the logarithm of a stake: beyond, nothing is left to be shown."""


def betting_factors(probabilities: Floats, base_rates: Floats, outcomes: Floats) -> Floats:
    """What a stake is multiplied by at each row, (n,).

    Probabilities (n, 3), base rates (3,), and what came of it as columns of ones and zeros, (n, 3). 1 where nothing is
    known: all zeros, or NaN probabilities.
    """
    known = (outcomes > 0) & (probabilities > 0)
    base = np.broadcast_to(base_rates, probabilities.shape)
    return np.asarray(np.divide(base, probabilities, out=np.ones(known.shape), where=known).prod(axis=1))


@dataclass(frozen=True)
class Bets:
    """Bets against forecasts, up to some row of them: how many rows that were, the logarithm of each of the stakes that
    are in turn (horizon,), what they have gained together, and the largest evidence there was."""

    rows: int
    stakes: tuple[float, ...]
    gained: float = 0.0
    largest: float = 1.0

    @classmethod
    def begun(cls, horizon: int) -> Bets:
        """Before any row."""
        return cls(0, (0.0,) * horizon)

    def played(self, factors: Floats) -> tuple[Bets, Floats]:
        """With further rows' factors (n,), and the evidence once each row's outcome is known, (n,).

        Rows t, t + horizon, t + 2 · horizon … are one bet: the outcome of each is known when the next is made. Played
        in parts it is the same to the bit.
        """
        n, horizon = len(factors), len(self.stakes)
        if not n:
            return self, np.empty(0)
        passed = self.rows % horizon
        rounds = -(-(passed + n) // horizon)
        padded = np.zeros(rounds * horizon)
        padded[passed : passed + n] = np.log(factors)
        grown = np.cumsum(np.vstack([self.stakes, padded.reshape(rounds, horizon)]), axis=0)
        stakes = np.exp(np.clip(grown, -_LARGEST, _LARGEST))
        gains = (stakes[1:] - stakes[:-1]).ravel()[passed : passed + n]
        gained = np.cumsum(np.append(self.gained, gains))[1:]
        found = 1.0 + gained / horizon
        largest = max(self.largest, float(found.max()))
        return Bets(self.rows + n, tuple(grown[-1].tolist()), float(gained[-1]), largest), found


def evidence(factors: Floats, horizon: int) -> Floats:
    """The evidence once each row's outcome is known, (n,), of factors (n,) in the order of rows."""
    return Bets.begun(horizon).played(factors)[1]
