"""The claim rule: a model has an edge only if the book that is traded says so after costs, length, shape and tries.

Claim iff the deflated Sharpe probability reaches the configured level with every configuration tried on this lineage
counted, the book beats holding its own average exposure by the same measure, the Sharpe ratio survives doubled costs,
enough trades stand behind it, and the last third of it is not clearly worse than what came before.
"""

from __future__ import annotations

from dataclasses import replace
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.analyst.statistics import (
    expected_best_sharpe,
    fading,
    probabilistic_sharpe,
    sharpe,
    smallest_found_sharpe,
)
from trader_cli.core.types import Claim

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trader_cli.analyst.book import Book
    from trader_cli.core.types import Tries

    CountTries = Callable[[Sequence[float], float], Tries]
    """Records Sharpe ratios per bar, each counting so much of a trial; gives all that were ever tried on these data."""

MIN_TRADES = 30
FADED = NormalDist().inv_cdf(0.01)
"""Below this z the last third is worse than what came before, at the 1 % level."""


def make_claim(book: Book, doubled: Book, tries: Tries, level: float, overfitting_probability: float = 1.0) -> Claim:
    """The claim of a book, and of the same one at doubled costs; `tries` include those of this training."""
    bars = len(book.gains)
    bar = expected_best_sharpe(tries.number, bars)
    excess = book.gains - (book.exposure.mean() if len(book.exposure) else 0.0) * book.market
    claim = Claim(
        edge=False,
        reason="",
        deflated_sharpe_probability=probabilistic_sharpe(book.gains, bar),
        excess_sharpe_probability=probabilistic_sharpe(excess, bar),
        sharpe_per_bar=sharpe(book.gains),
        doubled_cost_sharpe_per_bar=sharpe(doubled.gains),
        trials=tries.number,
        bars=bars,
        trades=book.trades,
        overfitting_probability=overfitting_probability,
        fading=fading(book.gains),
        smallest_sharpe_found=smallest_found_sharpe(tries.number, bars, level),
        spread_of_trials=float(np.std(tries.sharpes)) if tries.sharpes else 0.0,
    )
    return _decided(claim, level)


def _decided(claim: Claim, level: float) -> Claim:
    reason, probability = _why_not(claim, level), claim.deflated_sharpe_probability
    why = reason or f"deflated Sharpe probability {probability:.3f} over {claim.bars} bars, costs and tries counted"
    return replace(claim, edge=reason is None, reason=why)


def _why_not(claim: Claim, level: float) -> str | None:
    deflated, beyond_holding = claim.deflated_sharpe_probability, claim.excess_sharpe_probability
    if claim.trades < MIN_TRADES:
        return f"only {claim.trades} out-of-sample trades; at least {MIN_TRADES} are needed"
    if deflated < level:
        return f"deflated Sharpe probability {deflated:.3f} is below {level:g}"
    if beyond_holding < level:
        return f"no better than holding its average exposure (probability {beyond_holding:.3f} is below {level:g})"
    if claim.doubled_cost_sharpe_per_bar <= 0:
        return "the Sharpe ratio does not survive doubled costs"
    if claim.fading < FADED:
        return f"the last third is worse than what came before (z {claim.fading:.1f})"
    return None
