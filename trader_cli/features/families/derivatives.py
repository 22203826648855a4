"""What futures tell: funding, the basis of mark to index price, open interest; `features.inputs` says what is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trader_cli.core.market.timeframes import HOUR_MS
from trader_cli.features.family import Family
from trader_cli.features.modwt import window_sum

if TYPE_CHECKING:
    from trader_cli.features.bar_arrays import BarSeries, Floats
    from trader_cli.features.family import FamilyOptions

_USUAL_MS = 8 * HOUR_MS
_WINDOW = 96
_STILL = 1e-12
"""A variance below this share of the mean square is rounding: the basis stood still."""


def families(options: FamilyOptions) -> tuple[Family, ...]:  # noqa: ARG001
    """Funding, basis and open interest, each where its inputs are known."""
    funding = (
        "derivatives_funding_rate",
        "derivatives_funding_rate_8h",
        "derivatives_funding_mean_3",
        "derivatives_funding_mean_21",
        "derivatives_funding_gap_21",
        "derivatives_funding_phase",
    )
    basis = (
        "derivatives_basis_1",
        "derivatives_basis_change_1",
        "derivatives_basis_change_8",
        "derivatives_basis_z_96",
        "derivatives_mark_gap_1",
    )
    interest = (
        "derivatives_oi_change_1",
        "derivatives_oi_change_8",
        "derivatives_oi_change_24",
        "derivatives_oi_volume_24",
        "derivatives_oi_divergence_24",
        "derivatives_oi_agreement_24",
    )
    paid = ("funding_rate", "funding_age_ms", "funding_interval_ms", "funding_mean_3", "funding_mean_21")
    return (
        Family("derivatives_funding", funding, _funding, 0, paid, finite=True),
        Family("derivatives_basis", basis, _basis, _WINDOW, ("close", "mark_close", "index_close"), finite=True),
        Family("derivatives_open_interest", interest, _interest, 24, ("close", "volume", "open_interest"), finite=True),
    )


def _change(values: Floats, bars: int) -> Floats:
    """x_t − x_{t−bars}, NaN for the first rows."""
    out = np.full(len(values), np.nan)
    out[bars:] = values[bars:] - values[:-bars]
    return out


def _funding(bars: BarSeries) -> dict[str, Floats]:
    """Rates per payment and per 8 hours, means over the last payments; phase: share of the interval that has passed."""
    rate, interval = bars["funding_rate"], bars["funding_interval_ms"]
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "derivatives_funding_rate": rate,
            "derivatives_funding_rate_8h": rate * (_USUAL_MS / interval),
            "derivatives_funding_mean_3": bars["funding_mean_3"],
            "derivatives_funding_mean_21": bars["funding_mean_21"],
            "derivatives_funding_gap_21": rate - bars["funding_mean_21"],
            "derivatives_funding_phase": bars["funding_age_ms"] / interval,
        }


def _basis(bars: BarSeries) -> dict[str, Floats]:
    """mark / index − 1, its changes, and how many standard deviations it is from its mean over 96 bars."""
    with np.errstate(divide="ignore", invalid="ignore"):
        basis = bars["mark_close"] / bars["index_close"] - 1.0
        mean, square = (window_sum(x, _WINDOW) / _WINDOW for x in (basis, basis * basis))
        variance = square - mean * mean
        z = (basis - mean) / np.sqrt(np.where(variance > _STILL * square, variance, np.nan))
        return {
            "derivatives_basis_1": basis,
            "derivatives_basis_change_1": _change(basis, 1),
            "derivatives_basis_change_8": _change(basis, 8),
            "derivatives_basis_z_96": z,
            "derivatives_mark_gap_1": bars.close / bars["mark_close"] - 1.0,
        }


def _interest(bars: BarSeries) -> dict[str, Floats]:
    """Log changes of open interest; ln(open interest / a day of volume); divergence: its log change less that of the
    price; agreement: Σ r·o / √(Σ r² · Σ o²) of both one-bar changes, in [−1, 1]."""
    with np.errstate(divide="ignore", invalid="ignore"):
        interest, price = np.log(bars["open_interest"]), np.log(bars.close)
        turned = interest - np.log(window_sum(bars.volume, 24))
        moved, grown = _change(price, 1), _change(interest, 1)
        spread = np.sqrt(window_sum(moved * moved, 24) * window_sum(grown * grown, 24))
        agreement = np.clip(window_sum(moved * grown, 24) / spread, -1.0, 1.0)
    day = _change(interest, 24)
    return {
        "derivatives_oi_change_1": grown,
        "derivatives_oi_change_8": _change(interest, 8),
        "derivatives_oi_change_24": day,
        "derivatives_oi_volume_24": turned,
        "derivatives_oi_divergence_24": day - _change(price, 24),
        "derivatives_oi_agreement_24": agreement,
    }
