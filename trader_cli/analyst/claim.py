"""The claim rule: a model has an edge only if its out-of-sample book says so after costs, length, shape and tries.

Claim iff the deflated Sharpe probability reaches the configured level with every trial on this lineage counted, the
book beats holding its own average exposure by the same measure, and the Sharpe ratio survives doubled costs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trader_cli.analyst.statistics import expected_best_sharpe, probabilistic_sharpe, sharpe
from trader_cli.core.types import Claim

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

MIN_TRADES = 30


def make_claim(
    book: tuple[Floats, Floats, Floats],
    doubled_gains: Floats,
    trades: int,
    trial_sharpes: Sequence[float],
    level: float,
    overfitting_probability: float = 1.0,
) -> Claim:
    """The claim of a book (gains, exposure, market returns); `trial_sharpes` includes those of this training."""
    gains, exposure, market = book
    bar = expected_best_sharpe(trial_sharpes, len(gains))
    excess = gains - (exposure.mean() if len(exposure) else 0.0) * market
    deflated, beyond_holding = probabilistic_sharpe(gains, bar), probabilistic_sharpe(excess, bar)
    doubled = sharpe(doubled_gains)
    reason = _why_not(deflated, beyond_holding, doubled, trades, level)
    return Claim(
        edge=reason is None,
        reason=reason or f"deflated Sharpe probability {deflated:.3f} over {len(gains)} bars, costs and tries counted",
        deflated_sharpe_probability=deflated,
        excess_sharpe_probability=beyond_holding,
        sharpe_per_bar=sharpe(gains),
        doubled_cost_sharpe_per_bar=doubled,
        trials=len(trial_sharpes),
        bars=len(gains),
        trades=trades,
        overfitting_probability=overfitting_probability,
    )


def _why_not(deflated: float, beyond_holding: float, doubled: float, trades: int, level: float) -> str | None:
    if trades < MIN_TRADES:
        return f"only {trades} out-of-sample signals; at least {MIN_TRADES} are needed"
    if deflated < level:
        return f"deflated Sharpe probability {deflated:.3f} is below {level:g}"
    if beyond_holding < level:
        return f"no better than holding its average exposure (probability {beyond_holding:.3f} is below {level:g})"
    if doubled <= 0:
        return "the Sharpe ratio does not survive doubled costs"
    return None
