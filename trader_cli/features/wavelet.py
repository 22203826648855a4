"""Causal wavelet features: MODWT (à trous) energies, relative energies and entropy of log returns.

Source: Percival & Walden, *Wavelet Methods for Time Series Analysis* (2000), ch. 5; entropy: Rosso et al. (2001).
PyWavelets gives the filter taps only: its own transforms look ahead. Coefficients of the warm-up are NaN, never padded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trader_cli.core.errors import ConfigurationError
from trader_cli.features.family import Family

if TYPE_CHECKING:
    from trader_cli.core.timeframes import Timeframe
    from trader_cli.features.series import BarSeries, Floats


def filter_taps(wavelet: str) -> tuple[Floats, Floats]:
    """MODWT (scaling, wavelet) filters of a PyWavelets orthogonal wavelet: DWT taps over √2, shape (L,) each."""
    import pywt

    try:
        taps = pywt.Wavelet(wavelet)
    except ValueError as error:
        raise ConfigurationError(
            f"Unknown wavelet {wavelet!r}.", mend=f"Known: {', '.join(pywt.wavelist(kind='discrete'))}."
        ) from error
    if not taps.orthogonal:
        raise ConfigurationError(
            f"Wavelet {wavelet!r} is not orthogonal.", mend="Use one of haar, db2, db4, sym4, coif1."
        )
    return np.array(taps.dec_lo) / np.sqrt(2.0), np.array(taps.dec_hi) / np.sqrt(2.0)


def modwt(x: Floats, wavelet: str, levels: int) -> tuple[list[Floats], Floats]:
    """Causal MODWT of x, shape (n,): details W_1 … W_J and the smooth V_J, each of shape (n,).

    W_{j,t} = Σ_l h̃_l V_{j−1, t − 2^{j−1} l}, V_0 = x. The first (2^j − 1)(L − 1) values of level j are NaN, as is
    everything a NaN of x reaches.
    """
    low, high = filter_taps(wavelet)
    details: list[Floats] = []
    smooth = x
    for level in range(levels):
        details.append(_dilated(smooth, high, 1 << level))
        smooth = _dilated(smooth, low, 1 << level)
    return details, smooth


def _dilated(x: Floats, taps: Floats, step: int) -> Floats:
    """Σ_l taps_l · x_{t − step·l}: element-wise sums in a fixed order, so equal inputs give equal bits at any n."""
    reach = step * (len(taps) - 1)
    out = np.full(len(x), np.nan)
    if len(x) <= reach:
        return out
    total = taps[0] * x[reach:]
    for lag, tap in enumerate(taps[1:], start=1):
        total += tap * x[reach - step * lag : len(x) - step * lag]
    out[reach:] = total
    return out


def window_sum(x: Floats, window: int) -> Floats:
    """Σ_{k<window} x_{t−k}, shape (n,), NaN for the first window − 1 rows.

    Built by doubling: log₂(window) element-wise additions, exact to rounding of a pairwise sum and free of the drift
    of a running sum.
    """
    total = np.zeros(len(x))
    power, size, reach = x, 1, 0
    while size <= window:
        if window & size:
            total = total + _lagged(power, reach)
            reach += size
        power = power + _lagged(power, size)
        size *= 2
    return total


def _lagged(x: Floats, lag: int) -> Floats:
    if lag == 0:
        return x
    out = np.full(len(x), np.nan)
    out[lag:] = x[:-lag] if lag < len(x) else []
    return out


def wavelet_family(timeframe: Timeframe, wavelet: str, levels: int, window: int) -> Family:
    """Energies (log), relative energies of details and smooth, and their entropy, for one wavelet."""
    bands = [*(f"d{j}" for j in range(1, levels + 1)), f"a{levels}"]
    columns = (
        *(f"wavelet_energy_{band}_{wavelet}" for band in bands),
        *(f"wavelet_relative_{band}_{wavelet}" for band in bands),
        f"wavelet_entropy_{wavelet}",
    )
    length = len(filter_taps(wavelet)[0])

    def compute(bars: BarSeries) -> dict[str, Floats]:
        returns = np.full(len(bars), np.nan)
        returns[1:] = np.log(bars.close[1:] / bars.close[:-1])
        details, smooth = modwt(returns, wavelet, levels)
        return dict(zip(columns, _energies([*details, smooth], window), strict=True))

    return Family(
        name=f"wavelet_{wavelet}",
        version=1,
        columns=columns,
        inputs=("close",),
        warmup=((1 << levels) - 1) * (length - 1) + window,
        timeframe=timeframe,
        parameters=(("wavelet", wavelet), ("levels", levels), ("window", window)),
        compute=compute,
    )


def _energies(bands: list[Floats], window: int) -> list[Floats]:
    """log E_j, p_j = E_j / ΣE, and H = −Σ p_j ln p_j / ln(bands) in [0, 1]; E_j is a trailing mean of W_j²."""
    energies = [window_sum(band * band, window) / window for band in bands]
    total = energies[0]
    for energy in energies[1:]:
        total = total + energy
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = [energy / total for energy in energies]
        logs = [np.log(energy) for energy in energies]
        entropy = np.zeros(len(total))
        for share in shares:
            entropy = entropy - np.where(share > 0, share * np.log(np.where(share > 0, share, 1.0)), share)
    return [*logs, *shares, entropy / np.log(len(bands))]
