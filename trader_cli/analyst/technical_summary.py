"""What a person wants to read: a technical summary and candlestick patterns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from trader_cli.features.bar_arrays import BarSeries

    Floats = NDArray[np.float64]

_PATTERN_BARS = 64
_STILL_CLOSES = 15
"""Closes behind an RSI of 14 changes; of equal ones TA-Lib makes 0, and from changes long ago it keeps what it had."""


def technical_summary(row: Mapping[str, float | None], bars: BarSeries | None = None) -> dict[str, float | str]:
    """Trend, momentum and volatility in words and numbers, from one row of features; absent features are left out.

    Where the last 15 closes of `bars` are equal the market stands still: its trend is flat, its momentum neutral.
    """
    keys = ("rsi_14", "adx_14", "ema_20_gap", "ema_50_gap", "macd_hist_12_26_9", "bbands_position_20", "natr_14")
    still = bars is not None and _stands_still(bars.close)
    known = {name: value for name in keys if (value := row.get(name)) is not None}
    words: dict[str, float | str] = {}
    if {"ema_20_gap", "ema_50_gap"} <= known.keys():
        words["trend"] = "flat" if still else _trend(known["ema_20_gap"], known["ema_50_gap"])
    if "rsi_14" in known:
        words["momentum"] = "neutral" if still else _momentum(known["rsi_14"])
    return {**known, **words}


def _stands_still(close: Floats) -> bool:
    recent = close[-_STILL_CLOSES:]
    return len(recent) == _STILL_CLOSES and bool((recent == recent[0]).all())


def _trend(*gaps: float) -> str:
    """By the signs of gaps to averages; a gap of 0 is on neither side."""
    signs = {float(np.sign(gap)) for gap in gaps}
    return {1.0: "up", -1.0: "down", 0.0: "flat"}[signs.pop()] if len(signs) == 1 else "mixed"


def _momentum(rsi: float) -> str:
    return "overbought" if rsi > 70 else "oversold" if rsi < 30 else "neutral"


def candlestick_patterns(bars: BarSeries) -> dict[str, int]:
    """TA-Lib's candlestick patterns on the last bar: name → value, positive for bullish, only those present.

    ±100 as a rule; ±80 where bodies only touch (engulfing, harami), ±200 where a later bar has confirmed it (hikkake).
    """
    import talib

    recent = bars.cut(max(0, len(bars) - _PATTERN_BARS), len(bars))
    found: dict[str, int] = {}
    for name in talib.get_function_groups()["Pattern Recognition"]:
        value = int(getattr(talib, name)(recent.open, recent.high, recent.low, recent.close)[-1])
        if value:
            found[name.removeprefix("CDL").lower()] = value
    return found
