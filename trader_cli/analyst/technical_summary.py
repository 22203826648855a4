"""What a person wants to read: a technical summary, candlestick patterns, support and resistance."""

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
_CONFIRM = 3
_RADIUS_ATR = 0.5


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


def support_and_resistance(bars: BarSeries) -> dict[str, float | None]:
    """Nearest clusters of confirmed pivots below and above the last close; `None` where there is none.

    A pivot at t is the extreme of t−3 … t+3 and so known at t+3 only; pivots within half an average range join.
    """
    close = float(bars.close[-1])
    radius = _RADIUS_ATR * float(np.mean(bars.high - bars.low))
    levels = _clusters(np.concatenate([_pivots(bars.high, 1), _pivots(bars.low, -1)]), radius)
    below, above = [x for x in levels if x < close], [x for x in levels if x > close]
    return {"support": max(below, default=None), "resistance": min(above, default=None)}


def _pivots(x: Floats, sign: int) -> Floats:
    if len(x) < 2 * _CONFIRM + 1:
        return np.empty(0)
    windows = np.lib.stride_tricks.sliding_window_view(sign * x, 2 * _CONFIRM + 1)
    return np.asarray(x[_CONFIRM:-_CONFIRM][windows[:, _CONFIRM] >= windows.max(axis=1)])


def _clusters(prices: Floats, radius: float) -> list[float]:
    """Means of groups of two or more sorted prices whose neighbours lie within `radius`."""
    ordered = np.sort(prices)
    if not len(ordered):
        return []
    groups = np.split(ordered, np.flatnonzero(np.diff(ordered) > radius) + 1)
    return [float(group.mean()) for group in groups if len(group) > 1]
