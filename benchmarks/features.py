"""Features: price families per row and column, wavelets, one new bar with the model, each family on a line of its own.

References, measured in the same run: TA-Lib alone; PyWavelets per window and strided; a pandas loop in the style of
FreqAI's expansion (indicators per period and time frame, merged, shifted). Equality is checked before timing.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from types import MappingProxyType

import numpy as np
import polars as pl

from benchmarks.children import in_a_child, peak_bytes, report_child
from benchmarks.timing import median_seconds, report
from trader_cli.core.market.bars import with_close_time
from trader_cli.core.market.schemas import TIME
from trader_cli.core.market.timeframes import Timeframe
from trader_cli.features.bar_arrays import PRICE_INPUTS, BarSeries
from trader_cli.features.build import build_features
from trader_cli.features.families.wavelet import wavelet_energies
from trader_cli.features.family import FamilyOptions
from trader_cli.features.inputs import ALL_INPUTS
from trader_cli.features.registry import make_spec

ROWS = 1_000_000
FAMILY_ROWS = 200_000
WINDOW, LEVELS, WAVELET = 128, 4, "db4"
M1 = Timeframe.parse("1m")
PRICE_SPEC = make_spec(FamilyOptions(M1, higher=M1.higher))


def bars(n: int) -> pl.DataFrame:
    """A random walk of n minute bars."""
    rng = np.random.default_rng(0)
    close = 2000 * np.exp(np.cumsum(rng.normal(0, 0.001, n)))
    opened = np.concatenate([[2000.0], close[:-1]])
    frame = pl.DataFrame(
        {
            "open_time": pl.Series(1_704_067_200_000 + np.arange(n, dtype=np.int64) * M1.ms).cast(TIME),
            "open": opened,
            "high": np.maximum(opened, close) * 1.0003,
            "low": np.minimum(opened, close) * 0.9997,
            "close": close,
            "volume": rng.lognormal(5, 0.6, n),
        }
    )
    return with_close_time(frame, M1)


def run() -> None:
    """All of it."""
    _wavelets()
    first = in_a_child("benchmarks.features:first_wavelets")["seconds"]
    report("wavelets, first call in a process, 1 M bars", first, _strided_seconds(), "s", "ratio at most 1")
    ours = in_a_child("benchmarks.features:price_families")
    report_child(f"price families, {ours['columns']} features of 1 M rows", ours, "under 15 ns")
    theirs = in_a_child("benchmarks.pandas_reference:freqai_style", optional="pandas")
    if theirs:
        report_child(f"  {theirs['columns']} features by pandas, FreqAI's way", theirs, "the reference")
    _one_new_bar()
    _families()


def first_wavelets() -> dict[str, float]:
    """Wall seconds of the first call of a process, imports included."""
    x = np.random.default_rng(0).normal(size=ROWS)
    [seconds] = median_seconds(lambda: wavelet_energies(x, WAVELET, LEVELS, WINDOW // 2), runs=1, warm=False)
    return {"seconds": seconds}


def price_families() -> dict[str, float]:
    """ns of wall time per row and column of the whole build, TA-Lib's own beside it, and the memory both took."""
    import talib

    frame = bars(ROWS)
    last = int(frame["open_time"].to_physical()[-1])
    small = frame.tail(20_000)
    assert build_features(small, PRICE_SPEC).tail(1).equals(build_features(small, PRICE_SPEC, since_ms=last))
    close = frame["close"].to_numpy()
    before = peak_bytes()
    output = int(build_features(frame, PRICE_SPEC).estimated_size())
    after = peak_bytes()

    def ta_lib() -> list[object]:
        return [talib.RSI(close, period) for period in range(5, 45)]

    ours, alone = median_seconds(lambda: build_features(frame, PRICE_SPEC), ta_lib, runs=3)
    columns = len(PRICE_SPEC.columns)
    return {
        "columns": columns,
        "ns": ours / ROWS / columns * 1e9,
        "reference_ns": alone / ROWS / 40 * 1e9,
        "extra_bytes": after - before,
        "output_bytes": output,
    }


def _wavelets() -> None:
    """Hot, on one core: the same energies and entropy as from PyWavelets' filters, then against its own transforms."""
    import pywt

    x = np.random.default_rng(0).normal(size=ROWS)
    energies, entropy = wavelet_energies(x[:20_000], WAVELET, LEVELS, WINDOW // 2)
    rolled = np.roll(pywt.swt(x[: 1 << 14], WAVELET, LEVELS, norm=True, trim_approx=True)[1], 15 * 4)
    mean = np.convolve(rolled**2, np.ones(WINDOW // 2) / (WINDOW // 2))[: 1 << 14]
    assert np.allclose(energies[LEVELS - 1][300 : 1 << 14], mean[300:], rtol=1e-9)
    assert np.nanmin(entropy) >= 0
    assert np.nanmax(entropy) <= 1
    windows = np.lib.stride_tricks.sliding_window_view(x, WINDOW, writeable=True)[:2000]

    def each_window() -> list[object]:
        return [pywt.wavedec(window, WAVELET, level=LEVELS) for window in windows]

    ours, naive = median_seconds(
        lambda: wavelet_energies(x, WAVELET, LEVELS, WINDOW // 2), each_window, runs=5, cpu=True
    )
    asked = f"{ROWS / ours / 1e6:.1f} M bars/s; at least 20 M"
    strided = _strided_seconds() / ROWS * 1e9
    report("wavelets hot, CPU of one core, against strided", ours / ROWS * 1e9, strided, "ns/bar", asked)
    report("wavelets hot, against PyWavelets per window", ours / ROWS * 1e9, naive / len(windows) * 1e9, "ns/bar")


def _strided_seconds() -> float:
    """CPU seconds strided PyWavelets takes for 1 M bars: coefficients, energies and entropy of windows in chunks."""
    import pywt

    x = np.random.default_rng(0).normal(size=40_000 + WINDOW)
    windows = np.lib.stride_tricks.sliding_window_view(x, WINDOW)[:40_000]

    def strided() -> None:
        for start in range(0, len(windows), 4096):
            bands = pywt.wavedec(windows[start : start + 4096], WAVELET, level=LEVELS, axis=1)
            energies = np.stack([(band**2).mean(axis=1) for band in bands])
            shares = energies / energies.sum(axis=0)
            _ = -(shares * np.log(shares)).sum(axis=0)

    [seconds] = median_seconds(strided, runs=3, cpu=True)
    return seconds / len(windows) * ROWS


def _one_new_bar() -> None:
    """From a closed bar to a probability: all families with all inputs, the fitted ones, the model."""
    served = in_a_child("benchmarks.new_bar:served")
    report("one new 15m bar, all features and the model, p50", served["p50_ms"], 10.0, "ms")
    report("one new 15m bar, all features and the model, p99", served["p99_ms"], 10.0, "ms", "under 10 ms")


def _families() -> None:
    """Every family on made-up inputs, against TA-Lib's RSI, per row and column."""
    import talib

    series = BarSeries.of(bars(FAMILY_ROWS))
    rng = np.random.default_rng(1)
    extra = {name: rng.uniform(0.5, 1.0, FAMILY_ROWS) for name in sorted(ALL_INPUTS - set(PRICE_INPUTS))}
    full = replace(series, extra=MappingProxyType(extra))
    for family in make_spec(FamilyOptions(M1, inputs=ALL_INPUTS)).families:
        ours, theirs = median_seconds(
            partial(family.evaluate, full), lambda: talib.RSI(series.close, 14), runs=3, cpu=True
        )
        scale = 1e9 / FAMILY_ROWS
        report(f"family {family.name}", ours * scale / len(family.columns), theirs * scale, "ns/row/col")
