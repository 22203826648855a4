"""Features: per row and column against TA-Lib alone, wavelets against PyWavelets, and one new bar."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from types import MappingProxyType

import numpy as np
import polars as pl
import pywt
import talib

from benchmarks.timing import median_seconds, report
from trader_cli.core.bars import with_close_time
from trader_cli.core.schemas import TIME
from trader_cli.core.timeframes import Timeframe
from trader_cli.features.build import build_features
from trader_cli.features.families.wavelet import energy_family
from trader_cli.features.inputs import ALL_INPUTS
from trader_cli.features.modwt import modwt
from trader_cli.features.registry import FamilyOptions, make_spec
from trader_cli.features.series import PRICE_INPUTS, BarSeries

ROWS = 100_000
M1 = Timeframe.parse("1m")


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
    """Check equality, then time."""
    frame = bars(ROWS)
    series = BarSeries.of(frame)
    spec = make_spec(FamilyOptions(M1, higher=M1.higher))
    columns = build_features(frame, spec).width - 2
    last = int(frame["open_time"].to_physical()[-1])
    batch, one = build_features(frame, spec).tail(1), build_features(frame, spec, since_ms=last)
    assert batch.equals(one)

    def ta_lib() -> None:
        for period in range(5, 45):
            talib.RSI(series.close, period)

    ours, theirs = median_seconds(lambda: build_features(frame, spec), ta_lib, runs=3)
    report(f"{columns} features of {ROWS} rows", ours / ROWS / columns * 1e9, theirs / ROWS / 40 * 1e9, "ns/row/col")
    stream, _ = median_seconds(lambda: build_features(frame, spec, since_ms=last), ta_lib, runs=30)
    report("one new bar, all features", stream * 1e3, 10.0, "ms", "under 10 ms with the model")
    _wavelets(series)
    _families(series)


def _wavelets(series: BarSeries) -> None:
    returns = np.diff(np.log(series.close), prepend=np.log(series.close[0]))
    x = returns[: 1 << 14]
    details, _ = modwt(x, "db4", 4)
    rolled = np.roll(pywt.swt(x, "db4", 4, norm=True, trim_approx=True)[-4], 15 * 4)
    assert np.allclose(details[3][200:], rolled[200:], atol=1e-12)
    family = energy_family("db4", 4, 64)
    windows = np.lib.stride_tricks.sliding_window_view(returns, 128)[:20_000]
    ours, strided = median_seconds(
        lambda: family.evaluate(series), lambda: pywt.wavedec(windows, "db4", level=4), runs=3
    )
    report("wavelet energies and entropy, db4, 4 levels", ours / ROWS * 1e9, strided / len(windows) * 1e9, "ns/bar")


def _families(series: BarSeries) -> None:
    """Every family on made-up inputs, against TA-Lib's RSI, per row and column."""
    rng = np.random.default_rng(1)
    extra = {name: rng.uniform(0.5, 1.0, ROWS) for name in sorted(ALL_INPUTS - set(PRICE_INPUTS))}
    full = replace(series, extra=MappingProxyType(extra))
    for family in make_spec(FamilyOptions(M1, inputs=ALL_INPUTS)).families:
        ours, theirs = median_seconds(partial(family.evaluate, full), lambda: talib.RSI(series.close, 14), runs=3)
        report(f"family {family.name}", ours / ROWS / len(family.columns) * 1e9, theirs / ROWS * 1e9, "ns/row/col")
