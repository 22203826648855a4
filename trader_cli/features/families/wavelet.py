"""Causal wavelet features of log returns: energies, relative energies, entropy, ratios of levels, denoising.

Energies and entropy: Rosso et al., *J. Neurosci. Methods* (2001), on the MODWT of `features.modwt`. Denoising: the
additive Haar à trous decomposition of Renaud, Starck & Murtagh (2003), soft-thresholded by the universal threshold of
Donoho & Johnstone (1994) with the noise of a trailing window; only the last sample is ever used.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.features.family import Family
from trader_cli.features.modwt import BLOCK, WaveletFilter, scales, split, trailing_sums

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trader_cli.features.bar_arrays import BarSeries, Floats
    from trader_cli.features.family import FamilyOptions

_DENOISING_WINDOW = 256
_TINY = 1e-24
"""Energies below this are of prices that stood still: their logarithm says no more."""


def families(options: FamilyOptions) -> tuple[Family, ...]:
    """One family per wavelet, and the denoised gap."""
    named = [energy_family(name, options.wavelet_levels, options.wavelet_window) for name in options.wavelets]
    return (*named, denoise_family(options.wavelet_levels)) if named else ()


def energy_family(wavelet: str, levels: int, window: int) -> Family:
    """Log energies, relative energies, entropy, and log ratios of neighbouring bands, for one wavelet."""
    bands = [*(f"d{level}" for level in range(1, levels + 1)), f"a{levels}"]
    columns = (
        *(f"wavelet_energy_{band}_{wavelet}" for band in bands),
        *(f"wavelet_relative_{band}_{wavelet}" for band in bands),
        f"wavelet_entropy_{wavelet}",
        *(f"wavelet_ratio_{near}{far}_{wavelet}" for near, far in pairwise(bands)),
    )

    def compute(bars: BarSeries, wavelet: str, levels: int, window: int) -> dict[str, Floats]:
        out = np.full((len(columns), len(bars)), np.nan)
        for rows, energies, logs, entropy in _tiles(log_returns(bars.close), wavelet, levels, window):
            total = energies[0].copy()
            for energy in energies[1:]:
                total += energy
            tile = out[:, rows]
            tile[: levels + 1] = logs
            with np.errstate(divide="ignore", invalid="ignore"):
                np.divide(energies, total, out=tile[levels + 1 : 2 * levels + 2])
            tile[2 * levels + 2] = entropy
            np.subtract(logs[:-1], logs[1:], out=tile[2 * levels + 3 :])
        return dict(zip(columns, out, strict=True))

    return Family(
        name=f"wavelet_{wavelet}",
        columns=columns,
        compute=compute,
        warmup=WaveletFilter.named(wavelet).reach(levels) + window,
        parameters={"wavelet": wavelet, "levels": levels, "window": window},
        version=2,
        finite=True,
    )


def log_returns(close: Floats) -> Floats:
    """ln(C_t / C_{t−1}), shape (n,); the first is NaN."""
    returns = np.full(len(close), np.nan)
    np.log(close[1:] / close[:-1], out=returns[1:])
    return returns


def wavelet_energies(x: Floats, wavelet: str, levels: int, window: int) -> tuple[Floats, Floats]:
    """(energies, entropy) of x, shape (n,): E_j, the mean of W_j² over `window` rows, for the details and the smooth,
    shape (levels + 1, n); and −Σ p_j ln p_j / ln(levels + 1) with p_j = E_j / ΣE, shape (n,), in [0, 1].

    NaN in the warm-up, as far as a NaN of x reaches, and entropy also where x stood still for the whole window.
    """
    energies, entropy = np.full((levels + 1, len(x)), np.nan), np.full(len(x), np.nan)
    for rows, _, _, ordered in _tiles(x, wavelet, levels, window, energies):
        entropy[rows] = ordered
    return energies, entropy


def _tiles(
    x: Floats, wavelet: str, levels: int, window: int, into: Floats | None = None
) -> Iterator[tuple[slice, Floats, Floats, Floats]]:
    """(rows, energies, their logarithms, entropy), tile by tile so that all of it stays in a core's cache.

    Energies lie in `into`, shape (levels + 1, n), if it is given.
    """
    taps = WaveletFilter.named(wavelet)
    history = taps.reach(levels) + window - 1
    for start in range(history, len(x), BLOCK):
        stop = min(start + BLOCK, len(x))
        energies = np.empty((levels + 1, stop - start)) if into is None else into[:, start:stop]
        yield slice(start, stop), *_tile(x[start - history : stop], taps, window, energies)


def _tile(x: Floats, taps: WaveletFilter, window: int, energies: Floats) -> tuple[Floats, Floats, Floats]:
    """Energies and their logarithms, shape (bands, m), and entropy, shape (m,), of the last m rows of x."""
    bands, m = energies.shape
    logs = np.empty((bands, m))
    total, weighted = np.zeros(m), np.zeros(m)
    low, high = scales(taps)
    smooth, scale = x, 1.0
    with np.errstate(divide="ignore", invalid="ignore"):
        for level in range(bands):
            band, band_scale = smooth, scale
            if level < bands - 1:
                smooth, band = split(smooth, taps, level, scaled=False)
                scale, band_scale = scale * low, scale * high
            band = band[len(band) - (m + window - 1) :]
            energy = np.multiply(trailing_sums(band * band, window), band_scale**2 / window, out=energies[level])
            np.maximum(energy, _TINY, out=logs[level])
            np.log(logs[level], out=logs[level])
            total += energy
            weighted += energy * logs[level]
        np.divide(weighted, total, out=weighted)
        entropy = np.log(total)
        entropy -= weighted
        entropy *= 1.0 / np.log(bands)
    return energies, logs, np.clip(entropy, 0.0, 1.0, out=entropy)


def denoise_family(levels: int) -> Family:
    """How far price is from its denoised self, in units of the noise."""
    return Family(
        name="wavelet_denoised",
        columns=("wavelet_denoised_gap_haar",),
        compute=_denoised,
        warmup=(1 << levels) + _DENOISING_WINDOW,
        parameters={"levels": levels, "window": _DENOISING_WINDOW},
        finite=True,
    )


def _denoised(bars: BarSeries, levels: int, window: int) -> dict[str, Floats]:
    """(c_t − ĉ_t) / σ̂_t: ĉ = V_J + Σ_j soft(W_j, σ̂_j √(2 ln w)), W_j = V_{j−1} − V_j, V_j the Haar à trous smooth."""
    smooth, removed, noise = np.log(bars.close), np.zeros(len(bars)), np.full(len(bars), np.nan)
    threshold = np.sqrt(2.0 * np.log(window))
    for level in range(levels):
        step = 1 << level
        coarser = np.full(len(smooth), np.nan)
        coarser[step:] = 0.5 * (smooth[step:] + smooth[:-step])
        detail = smooth - coarser
        deviation = _mean_absolute(detail, window) * np.sqrt(np.pi / 2.0)
        noise = deviation if level == 0 else noise
        removed += np.clip(detail, -threshold * deviation, threshold * deviation)
        smooth = coarser
    with np.errstate(divide="ignore", invalid="ignore"):
        return {"wavelet_denoised_gap_haar": removed / noise}


def _mean_absolute(x: Floats, window: int) -> Floats:
    """Trailing mean of |x|, NaN where a NaN of x is within the window."""
    out = np.full(len(x), np.nan)
    if len(x) >= window:
        out[window - 1 :] = trailing_sums(np.abs(x), window) / window
    return out
