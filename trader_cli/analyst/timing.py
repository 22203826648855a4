"""When: whether to enter now, inside a permission, by what both models expect together.

What the fast model expects of its next bars, and what the slow one expects of the time behind them, add up to a score.
What scores came to out of sample says how likely such an entry is to win: neither half's probability is multiplied with
the other's. Logit p = logit(base rate of permitted entries) + slope · (score − its mean), slope ≥ 0 and shrunk to 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.analyst.calibration import base_rate, fit_slope, logistic, logit
from trader_cli.analyst.decision import Choice, Payoffs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trader_cli.analyst.decision import TradeCosts
    from trader_cli.analyst.permission import Standing
    from trader_cli.analyst.walk_forward import Dataset

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class FastWord:
    """What the fast model says at fast closes, arrays (m,): the side, whether it is likelier than by base rates, and
    what it expects of its own horizon, before costs."""

    side: NDArray[np.int8]
    surer: Flags
    move: Floats

    def at(self, rows: slice) -> FastWord:
        """Of some rows."""
        return FastWord(self.side[rows], self.surer[rows], self.move[rows])

    def agrees(self, standing: Standing) -> Flags:
        """Where it tells something, and the side that is permitted, (m,)."""
        return np.asarray(standing.live & self.surer & (self.move > 0) & (self.side == standing.side))

    def score(self, standing: Standing) -> Floats:
        """What both expect of entering the permitted side now, in σ of the slow horizon, (m,)."""
        return np.asarray((standing.worth + self.move * self.side * standing.side) / standing.sigma)


@dataclass(frozen=True)
class Timing:
    """The probability that an entry at a fast close wins, and what it then gains, of entries that were permitted."""

    base: float
    centre: float
    slope: float
    payoffs: Payoffs

    @classmethod
    def fit(cls, entries: Dataset, standing: Standing, score: Floats, rows: Flags) -> Timing | None:
        """From permitted entries and what was said of them out of sample, each (m,), of these rows; None: no row."""
        if not rows.any():
            return None
        weight, told = entries.uniqueness[rows], score[rows]
        won = (entries.outcome[rows] == standing.side[rows]).astype(np.float64)
        base, centre = base_rate(won, weight), float(weight @ told / weight.sum())
        offset = np.full(len(told), float(logit(base)))
        return cls(base, centre, fit_slope(told - centre, offset, won, weight), entries.payoffs(rows))

    def probability(self, score: Floats) -> Floats:
        """That an entry of this score wins, (m,)."""
        return logistic(logit(self.base) + self.slope * (score - self.centre))

    def choose(self, standing: Standing, score: Floats, costs: TradeCosts) -> Choice:
        """The permitted side: what it is worth after its costs; `surer` where it is likelier than permitted ones are.

        Where none stands the side is 0 and nothing is worth anything.
        """
        long, sigma, p = standing.side > 0, standing.sigma, self.probability(score)
        win = np.where(long, self.payoffs.long_win, self.payoffs.short_win) * sigma
        loss = np.where(long, self.payoffs.long_loss, self.payoffs.short_loss) * sigma
        cost = costs.of(standing.side)
        reach = win + loss
        even = np.divide(loss + cost, reach, out=np.full(reach.shape, np.inf), where=reach > 0)
        return Choice(standing.side, p * win - (1 - p) * loss - cost, even, win, loss, p > self.base, np.zeros(len(p)))


def triggers(word: FastWord, standing: Standing, choice: Choice) -> Flags:
    """Where to enter now, (m,): the fast model tells the permitted side, and it is worth something after costs."""
    return word.agrees(standing) & choice.surer & (choice.expected_value > 0)
