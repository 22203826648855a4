"""What a side is worth by its probability: how far gains move with it, and from what worth on a trade is taken.

A lead that shifts the next move shifts wins and losses as well as how often each comes: gains move `stretch` times as
much with the probability as mean wins and losses say. For any small drift of price that is E[x²] / E[|x|]² of the
moves x (by its density, exp(θ·x) to first order): 1 where all trades end at a barrier, π/2 where none does. The factor
is fitted around that on what was said of rows out of sample.

A trade adds to the Sharpe ratio of a book where its expected gain is above half of the mean of those that are taken:
d(S / √n) > 0 iff E > S / 2n. `least_worth` is that half, of what was expected out of sample: no outcome is looked at.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.analyst.calibration import logistic, logit
from trader_cli.analyst.decision import DOWN, UP, choose_side
from trader_cli.features.blocked_matmul import inner

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trader_cli.analyst.decision import TradeCosts
    from trader_cli.analyst.side_model import SideModel

    Floats = NDArray[np.float64]

LEAST_STRETCH, MOST_STRETCH = 0.5, 2.0
_DOUBT = 0.5
"""Standard deviation of the stretch around what drifts give, before any row is seen."""
_FEW = 10


def usual_stretch(moves: Floats, weight: Floats) -> float:
    """That of a small drift: E[x²] / E[|x|]² of moves (n,) by weight; 1 where nothing moves."""
    size = inner(weight, np.abs(moves))
    return inner(weight, moves * moves) * float(weight.sum()) / size**2 if size > 0 else 1.0


def fit_stretch(excess: Floats, moves: Floats, weight: Floats, usual: float) -> float:
    """The factor m of moves = m · excess by weighted least squares, with a normal prior around `usual`, within limits.

    `excess`: what moves are beyond those of base rates by mean wins and losses; both and their weights (n,).
    """
    spread = inner(weight, moves * moves) / max(float(weight.sum()), 1e-12)
    if not spread > 0:
        return float(np.clip(usual, LEAST_STRETCH, MOST_STRETCH))
    precision, prior = inner(weight, excess * excess) / spread, 1 / _DOUBT**2
    found = (inner(weight, excess * moves) / spread + usual * prior) / (precision + prior)
    return float(np.clip(found, LEAST_STRETCH, MOST_STRETCH))


def least_worth(worth: Floats) -> float:
    """Half of the mean of what is above it, of worths (n,); 0 where few are above 0."""
    least, above = 0.0, worth[worth > 0]
    while len(above) >= _FEW:
        least = float(above.mean()) / 2
        kept = above[above > least]
        if len(kept) == len(above):
            break
        above = kept
    return least


@dataclass(frozen=True)
class SaidBefore:
    """Rows that were predicted out of sample, each (m,): the log-odds of up that the model at hand believes of what was
    said of them, beyond its base rate; what became of them (moves in σ of the horizon), σ, weights; costs of trades.
    """

    beyond: Floats
    moves: Floats
    sigma: Floats
    weight: Floats
    costs: TradeCosts


def expecting(model: SideModel, usual: float, said: SaidBefore) -> SideModel:
    """The model with gains stretched and its least worth, around the usual stretch, by what was said before."""
    if not len(said.beyond) or model.booster.slope == 0:
        return replace(model, payoffs=model.payoffs.stretched(usual, model.base_rates))
    p, base = model.of_three(logistic(logit(model.booster.base) + said.beyond)), model.base_rates
    excess = ((p[:, UP] - base[UP]) - (p[:, DOWN] - base[DOWN])) / 2 * model.payoffs.reach
    stretch = fit_stretch(excess, said.moves - model.payoffs.drift(base), said.weight, usual)
    stretched = replace(model, payoffs=model.payoffs.stretched(stretch, base))
    choice = choose_side(p, base, stretched.payoffs, said.sigma, said.costs)
    return replace(stretched, least=least_worth(choice.expected_value / said.sigma))
