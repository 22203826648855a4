"""How much of what a model says is no noise, from what models before it said that had seen less.

logit p = logit(base rate) + a · score, where a = `full_slope` · s² / (s² + κ): s is the share that a model had seen of
what may be learned from now, κ its noise, endless where scores tell nothing. A slope of scores that were rougher than
those of the model at hand is too small for it, and a mean over models of all ages promises less than is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.features.blocked_matmul import inner

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

FULL_SLOPE = 1.8
"""Of scores without noise of sixty steps of 0.02. Measured on planted leads of any strength."""
_USUAL_STEPS = 60, 0.02
_ROWS_WITHOUT_SLOPE = 40.0
"""Independent rows, of scores like those seen, that are taken to have shown a slope of 0 before any row is seen. Of 25
markets without a lead promise more, of 60 a lasting lead promises less than is kept."""
_TRIED = np.linspace(0.0, 1.0, 201)
_DOUBT = 0.3
"""Standard deviation of the slope without noise around what so many steps give: markets and horizons differ."""
_FACTORS = np.linspace(0.4, 1.4, 21)
_NODES = np.linspace(0.0, float(_FACTORS[-1]), 7)
_SMALLEST = 1e-12


def full_slope(steps: int, rate: float) -> float:
    """Of scores without noise: so many steps of a boosting rate go 1 − (1 − rate)^steps of the way."""
    count, usual = _USUAL_STEPS
    return FULL_SLOPE * ((1 - (1 - usual) ** count) / (1 - (1 - rate) ** steps))


@dataclass(frozen=True)
class Reliability:
    """`share` in [0, 1]: of what a model says that has seen everything, 1 / (1 + κ). `full`: that without noise."""

    share: float
    full: float = FULL_SLOPE

    @property
    def slope(self) -> float:
        """Of the model that has seen everything."""
        return self.full * self.share

    def slopes(self, seen: Floats) -> Floats:
        """Of models that had seen these shares, (n,), each above 0."""
        return self.full * _share_of(np.float64(self.share), seen)

    @classmethod
    def fit(
        cls,
        score: Floats,
        offset: Floats,
        outcomes: Floats,
        weight: Floats,
        seen: Floats,
        full: float = FULL_SLOPE,
    ) -> Reliability:
        """The likeliest, under a normal prior of the slope around 0; a share of 0 for n = 0.

        Scores, log-odds of the base rates, outcomes in {0, 1}, weights of independent rows, shares seen, each (n,). The
        prior is worth `_ROWS_WITHOUT_SLOPE` rows; `full` is only where the slope without noise is likeliest before any
        row is seen. The likelihood of each model's slope is taken at `_NODES` and between
        them from the polynomial through those.
        """
        if not len(score):
            return cls(0.0, full)
        shares = np.unique(seen)
        parts = [seen == one for one in shares]
        likely = [_log_likelihood(full * score[part], offset[part], outcomes[part], weight[part]) for part in parts]
        curves = np.polynomial.polynomial.polyfit(_NODES, np.array(likely).T, len(_NODES) - 1)
        mean_square = inner(weight, score * score) / float(weight.sum())
        best, found = -np.inf, cls(0.0, full)
        for factor in _FACTORS:
            told = factor * _share_of(_TRIED[:, None], shares)
            of_all = sum(curve * told**power for power, curve in enumerate(curves)).sum(axis=1)
            rows = _ROWS_WITHOUT_SLOPE * mean_square / 8 * (factor * full * _TRIED) ** 2
            known = of_all - rows - ((factor - 1) / _DOUBT) ** 2 / 2
            at = int(np.argmax(known))
            if known[at] > best:
                best, found = float(known[at]), cls(float(_TRIED[at]), float(factor * full))
        return found


def _log_likelihood(score: Floats, offset: Floats, outcomes: Floats, weight: Floats) -> list[float]:
    """Of the rows (m,), for each of `_NODES` as the share of what is said."""
    log_odds = (offset + node * score for node in _NODES)
    return [inner(weight, outcomes * each - np.logaddexp(0.0, each)) for each in log_odds]


def _share_of(share: Floats | np.float64, seen: Floats) -> Floats:
    """What is no noise of a model that had seen so much, given that share of one that has seen everything."""
    told = share * seen * seen
    return np.asarray(told / np.maximum(told + 1 - share, _SMALLEST))
