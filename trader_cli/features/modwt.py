"""The causal maximal-overlap wavelet transform (MODWT, à trous), and trailing window sums.

Source: Percival & Walden, *Wavelet Methods for Time Series Analysis* (2000), ch. 5; the lattice of rotations:
Vaidyanathan, *Multirate Systems and Filter Banks* (1993), ch. 6. PyWavelets gives the filter taps only: its own
transforms look ahead. Coefficients of the warm-up are NaN, never padded.

Everything is a sum of element-wise products in a fixed order, so a row has the same bits wherever the evaluation began
and however long the series is. Why NumPy and no compiler: docs/decisions/0008-wavelets-without-a-compiler.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.core.errors import ConfigurationError

if TYPE_CHECKING:
    from trader_cli.features.bar_arrays import Floats

_EXACT = 1e-12
BLOCK = 32_768
"""Rows worked on at once: what stays in a core's cache."""


@dataclass(frozen=True)
class WaveletFilter:
    """MODWT (scaling, wavelet) filters of an orthogonal wavelet: DWT taps over √2, shape (L,) each."""

    low: Floats
    high: Floats

    @classmethod
    def named(cls, wavelet: str) -> WaveletFilter:
        """The filter of a PyWavelets wavelet. Raises `ConfigurationError` for one that is unknown or not orthogonal."""
        return _filter(wavelet)

    def reach(self, levels: int) -> int:
        """How many rows back the coefficients of the last level reach: (2^levels − 1)(L − 1)."""
        return ((1 << levels) - 1) * (len(self.low) - 1)

    @cached_property
    def rotations(self) -> tuple[Floats, float, float] | None:
        """(k_1 … k_{L/2}, scale of the low filter, scale of the high one): both filters as one cascade of rotations.

        a ← a + k·z⁻²b, b ← z⁻²b − k·a, from a = 1 + k_1 z⁻¹, b = z⁻¹ − k_1, gives low = scale·a and high = scale·b in
        half the multiplications of two direct sums. `None` where rounding would cost more than 1e-12 (long filters).
        """
        low, high, found = self.low, self.high, []
        with np.errstate(all="ignore"):
            while len(low) > 2:
                k = low[-1] / high[-1]
                low, high = ((low - k * high) / (1 + k * k))[:-2], ((high + k * low) / (1 + k * k))[2:]
                found.append(k)
            found.append(low[1] / low[0])
            cascade = np.array(found[::-1]), float(low[0]), float(high[1])
            a, b = _responses(cascade[0])
            exact = max(np.abs(cascade[1] * a - self.low).max(), np.abs(cascade[2] * b - self.high).max()) < _EXACT
        return cascade if exact else None


@lru_cache(maxsize=16)
def _filter(wavelet: str) -> WaveletFilter:
    import pywt

    try:
        taps = pywt.Wavelet(wavelet)
    except ValueError as error:
        raise ConfigurationError(
            f"Unknown wavelet {wavelet!r}.", hint=f"Known: {', '.join(pywt.wavelist(kind='discrete'))}."
        ) from error
    if not taps.orthogonal:
        raise ConfigurationError(
            f"Wavelet {wavelet!r} is not orthogonal.", hint="Use one of haar, db2, db4, sym4, coif1."
        )
    return WaveletFilter(np.array(taps.dec_lo) / np.sqrt(2.0), np.array(taps.dec_hi) / np.sqrt(2.0))


def _responses(rotations: Floats) -> tuple[Floats, Floats]:
    a, b = np.array([1.0, rotations[0]]), np.array([-rotations[0], 1.0])
    for k in rotations[1:]:
        before, after = np.append(a, [0.0, 0.0]), np.append([0.0, 0.0], b)
        a, b = before + k * after, after - k * before
    return a, b


def split(x: Floats, wavelet: WaveletFilter, level: int, *, scaled: bool = True) -> tuple[Floats, Floats]:
    """(smooth, detail) of one level (0-based) from the smooth before it, each shorter than x by 2^level·(L − 1) rows.

    Not `scaled`: times unknown constants, those of `scales`; it saves two passes.
    """
    step = 1 << level
    if wavelet.rotations is None:
        return _direct(x, wavelet.low, step), _direct(x, wavelet.high, step)
    rotations, low, high = wavelet.rotations
    a, b, spare = np.empty(len(x) - step), np.empty(len(x) - step), np.empty(len(x) - step)
    np.multiply(x[:-step], rotations[0], out=a)
    np.add(a, x[step:], out=a)
    np.multiply(x[step:], -rotations[0], out=b)
    np.add(b, x[:-step], out=b)
    for k in rotations[1:]:
        a, b, turned = a[2 * step :], b[: -2 * step], spare[: len(a) - 2 * step]
        np.multiply(a, k, out=turned)
        np.subtract(b, turned, out=turned)
        np.multiply(b, k, out=b)
        np.add(a, b, out=a)
        b, spare = turned, _whole(b)
    if scaled:
        np.multiply(a, low, out=a)
        np.multiply(b, high, out=b)
    return a, b


def _whole(view: Floats) -> Floats:
    """The array a view was cut from: a buffer to use again."""
    whole: Floats | None = view.base
    return view if whole is None else whole


def scales(wavelet: WaveletFilter) -> tuple[float, float]:
    """What the smooth and the detail of an unscaled `split` are to be multiplied with."""
    return (1.0, 1.0) if wavelet.rotations is None else (wavelet.rotations[1], wavelet.rotations[2])


def _direct(x: Floats, taps: Floats, step: int) -> Floats:
    """Σ_l taps_l · x_{t − step·l}."""
    reach = step * (len(taps) - 1)
    total: Floats = taps[0] * x[reach:]
    for lag, tap in enumerate(taps[1:], start=1):
        total += tap * x[reach - step * lag : len(x) - step * lag]
    return total


def modwt(x: Floats, wavelet: str, levels: int) -> tuple[list[Floats], Floats]:
    """Causal MODWT of x, shape (n,): details W_1 … W_J and the smooth V_J, each of shape (n,).

    W_{j,t} = Σ_l h̃_l V_{j−1, t − 2^{j−1} l}, V_0 = x. The first (2^j − 1)(L − 1) values of level j are NaN, as is
    everything a NaN of x reaches.
    """
    taps = WaveletFilter.named(wavelet)
    details: list[Floats] = []
    smooth = x
    for level in range(levels):
        if len(smooth) <= taps.reach(level + 1) - taps.reach(level):
            return [*details, *[np.full(len(x), np.nan)] * (levels - level)], np.full(len(x), np.nan)
        smooth, detail = split(smooth, taps, level)
        details.append(_at_the_end(detail, len(x)))
    return details, _at_the_end(smooth, len(x))


def _at_the_end(values: Floats, n: int) -> Floats:
    return np.concatenate([np.full(n - len(values), np.nan), values])


def window_sum(x: Floats, window: int) -> Floats:
    """Σ_{k<window} x_{t−k}, shape (n,), NaN for the first window − 1 rows.

    Built by doubling: log₂(window) element-wise additions, exact to rounding of a pairwise sum and free of the drift
    of a running sum.
    """
    if len(x) < window:
        return np.full(len(x), np.nan)
    return _at_the_end(trailing_sums(x, window), len(x))


def trailing_sums(x: Floats, window: int) -> Floats:
    """The known values of `window_sum`, shape (n − window + 1,)."""
    total: Floats | None = None
    power, size = x, 1
    while True:
        if window & size:
            total = power if total is None else total[size:] + power[: len(total) - size]
        if 2 * size > window:
            assert total is not None
            return total
        power = power[size:] + power[:-size]
        size *= 2
