"""What a person wants to read: a technical summary, candlestick patterns, support and resistance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from trader_cli.features.series import BarSeries

    Floats = NDArray[np.float64]

_PATTERN_BARS = 64
_CONFIRM = 3
_RADIUS_ATR = 0.5


def technical_summary(row: Mapping[str, Any]) -> dict[str, Any]:
    """Trend, momentum and volatility in words and numbers, from one row of features; absent features are left out."""
    keys = ("rsi_14", "adx_14", "ema_20_gap", "ema_50_gap", "macd_hist_12_26_9", "bbands_position_20", "natr_14")
    summary: dict[str, Any] = {name: row[name] for name in keys if row.get(name) is not None}
    if {"ema_20_gap", "ema_50_gap"} <= summary.keys():
        ups = (summary["ema_20_gap"] > 0) + (summary["ema_50_gap"] > 0)
        summary["trend"] = ("down", "mixed", "up")[ups]
    if "rsi_14" in summary:
        summary["momentum"] = (
            "overbought" if summary["rsi_14"] > 70 else "oversold" if summary["rsi_14"] < 30 else "neutral"
        )
    return summary


def candlestick_patterns(bars: BarSeries) -> dict[str, int]:
    """TA-Lib's candlestick patterns on the last bar: name → +100 (bullish) or −100 (bearish), only those present."""
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
