"""The technical summary in words: what is said of a market that stands still, and the values patterns take."""

from __future__ import annotations

import numpy as np
import pytest
import talib

from trader_cli.analyst.technical_summary import candlestick_patterns, technical_summary
from trader_cli.features.bar_arrays import BarSeries

Floats = np.ndarray


def series(opened: Floats, high: Floats, low: Floats, close: Floats) -> BarSeries:
    return BarSeries(np.arange(len(close)), opened, high, low, close, np.ones(len(close)))


def test_patterns_also_take_80_where_bodies_touch_and_200_where_a_later_bar_confirms() -> None:
    rng = np.random.default_rng(1)
    close = np.round(100 + np.cumsum(rng.normal(0, 0.3, 3000)), 1)
    opened = np.concatenate([close[:1], close[:-1]])
    reach = np.round(np.abs(rng.normal(0, 0.2, (2, 3000))), 1)
    bars = series(opened, np.maximum(opened, close) + reach[0], np.minimum(opened, close) - reach[1], close)
    found = [pair for last in range(100, 3000, 3) for pair in candlestick_patterns(bars.cut(0, last)).items()]
    assert {-200, -100, -80, 80, 100, 200} == {value for _, value in found}
    assert {name for name, value in found if abs(value) == 80} <= {"engulfing", "harami", "haramicross"}
    assert {name for name, value in found if abs(value) == 200} <= {"hikkake", "hikkakemod"}


@pytest.mark.parametrize(
    ("step", "momentum", "trend"), [(0.0, "neutral", "flat"), (-0.01, "oversold", "down"), (0.01, "overbought", "up")]
)
@pytest.mark.parametrize("still_for", [0, 14, 40, 250])
def test_a_market_that_stands_still_is_neither_oversold_nor_down(
    step: float, momentum: str, trend: str, still_for: int
) -> None:
    """TA-Lib's RSI of equal closes is 0, and of closes that are equal since a fall it stays what it was."""
    close = 2000 * np.exp(np.cumsum(np.full(300, step)))
    close[300 - still_for :] = close[300 - still_for - 1]
    row = {
        "rsi_14": talib.RSI(close, 14)[-1],
        **{f"ema_{n}_gap": close[-1] / talib.EMA(close, n)[-1] - 1 for n in (20, 50)},
    }
    said = technical_summary(row, series(close, close, close, close))
    assert (said["momentum"], said["trend"]) == (("neutral", "flat") if still_for else (momentum, trend))
    if step == 0:
        assert row["rsi_14"] == 0
        assert technical_summary(row)["trend"] == "flat", "also where the bars are not at hand"


def test_a_last_bar_that_moved_says_what_it_says() -> None:
    close = np.full(300, 2000.0)
    close[-1] = 1900
    row = {"rsi_14": talib.RSI(close, 14)[-1], "ema_20_gap": -0.01, "ema_50_gap": 0.0}
    assert technical_summary(row, series(close, close, close, close)) == {
        **row,
        "momentum": "oversold",
        "trend": "mixed",
    }
