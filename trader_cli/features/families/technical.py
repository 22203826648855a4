"""Technical indicators by TA-Lib, all made free of the price level so that a model cannot learn where price was.

TA-Lib's recursive indicators start where their input starts; anchors make that the same place every time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trader_cli.features.family import Family
from trader_cli.features.series import PRICE_INPUTS

if TYPE_CHECKING:
    from trader_cli.features.registry import FamilyOptions
    from trader_cli.features.series import BarSeries, Floats

WARMUP = 256

COLUMNS = (
    "rsi_7", "rsi_14", "rsi_28", "stoch_k_14", "stoch_d_14", "stochrsi_k_14", "willr_14", "cci_20", "cmo_14", "mfi_14",
    "ultosc_7_14_28", "adx_14", "plus_di_14", "minus_di_14", "aroonosc_25", "bop_1", "bop_sma_14", "trix_15",
    "macd_line_12_26_9", "macd_signal_12_26_9", "macd_hist_12_26_9", "roc_1", "roc_3", "roc_6", "roc_12", "roc_24",
    "roc_48", "ema_10_gap", "ema_20_gap", "ema_50_gap", "sma_100_gap", "kama_30_gap", "ema_20_slope", "linreg_20_slope",
    "linreg_20_gap", "bbands_position_20", "bbands_width_20", "donchian_position_48", "natr_7", "natr_14", "natr_28",
    "range_1", "stddev_12", "stddev_48", "volatility_ratio_12_48", "body_1", "upper_shadow_1", "lower_shadow_1",
    "volume_gap_20", "volume_gap_96", "obv_change_20", "adosc_3_10", "signed_volume_12",
)  # fmt: skip


def families(options: FamilyOptions) -> tuple[Family, ...]:  # noqa: ARG001
    """The indicators of `COLUMNS` on the base frame."""
    return (Family("technical", COLUMNS, compute, WARMUP, PRICE_INPUTS),)


def compute(bars: BarSeries) -> dict[str, Floats]:
    """The indicators of `COLUMNS`, by name."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return {**_momentum(bars), **_trend(bars), **_volatility(bars), **_volume(bars)}


def _momentum(b: BarSeries) -> dict[str, Floats]:
    from trader_cli.features.families.ta_lib import bare as ta

    h, l, c = b.high, b.low, b.close  # noqa: E741
    slow_k, slow_d = ta.STOCH(h, l, c, fastk_period=14, slowk_period=3, slowd_period=3)
    rsi_k, _ = ta.STOCHRSI(c, timeperiod=14, fastk_period=5, fastd_period=3)
    line, signal, hist = ta.MACD(c, 12, 26, 9)
    bop = ta.BOP(b.open, h, l, c)
    return {
        **{f"rsi_{n}": ta.RSI(c, n) for n in (7, 14, 28)},
        "stoch_k_14": slow_k, "stoch_d_14": slow_d, "stochrsi_k_14": rsi_k,
        "willr_14": ta.WILLR(h, l, c, 14), "cci_20": ta.CCI(h, l, c, 20), "cmo_14": ta.CMO(c, 14),
        "mfi_14": ta.MFI(h, l, c, b.volume, 14), "ultosc_7_14_28": ta.ULTOSC(h, l, c, 7, 14, 28),
        "bop_1": bop, "bop_sma_14": ta.SMA(bop, 14), "trix_15": ta.TRIX(c, 15),
        "macd_line_12_26_9": line / c, "macd_signal_12_26_9": signal / c, "macd_hist_12_26_9": hist / c,
        **{f"roc_{n}": ta.ROCP(c, n) for n in (1, 3, 6, 12, 24, 48)},
    }  # fmt: skip


def _trend(b: BarSeries) -> dict[str, Floats]:
    from trader_cli.features.families.ta_lib import bare as ta

    h, l, c = b.high, b.low, b.close  # noqa: E741
    emas = {n: ta.EMA(c, n) for n in (10, 20, 50)}
    return {
        "adx_14": ta.ADX(h, l, c, 14), "plus_di_14": ta.PLUS_DI(h, l, c, 14), "minus_di_14": ta.MINUS_DI(h, l, c, 14),
        "aroonosc_25": ta.AROONOSC(h, l, 25),
        **{f"ema_{n}_gap": c / ema - 1.0 for n, ema in emas.items()},
        "sma_100_gap": c / ta.SMA(c, 100) - 1.0, "kama_30_gap": c / ta.KAMA(c, 30) - 1.0,
        "ema_20_slope": ta.ROCP(emas[20], 3), "linreg_20_slope": ta.LINEARREG_SLOPE(c, 20) / c,
        "linreg_20_gap": c / ta.LINEARREG(c, 20) - 1.0,
    }  # fmt: skip


def _volatility(b: BarSeries) -> dict[str, Floats]:
    from trader_cli.features.families.ta_lib import bare as ta

    o, h, l, c = b.open, b.high, b.low, b.close  # noqa: E741
    upper, _, lower = ta.BBANDS(c, 20, 2.0, 2.0)
    top, bottom = ta.MAX(h, 48), ta.MIN(l, 48)
    returns = ta.ROCP(c, 1)
    returns[:1] = 0.0
    short, long = ta.STDDEV(returns, 12), ta.STDDEV(returns, 48)
    width = np.where(h > l, h - l, np.nan)
    return {
        "bbands_position_20": (c - lower) / (upper - lower), "bbands_width_20": (upper - lower) / c,
        "donchian_position_48": (c - bottom) / (top - bottom),
        **{f"natr_{n}": ta.NATR(h, l, c, n) for n in (7, 14, 28)},
        "range_1": (h - l) / c, "stddev_12": short, "stddev_48": long, "volatility_ratio_12_48": short / long,
        "body_1": (c - o) / width, "upper_shadow_1": (h - np.maximum(o, c)) / width,
        "lower_shadow_1": (np.minimum(o, c) - l) / width,
    }  # fmt: skip


def _volume(b: BarSeries) -> dict[str, Floats]:
    from trader_cli.features.families.ta_lib import bare as ta

    h, l, c, v = b.high, b.low, b.close, b.volume  # noqa: E741
    signed = np.sign(np.diff(c, prepend=c[:1])) * v
    return {
        "volume_gap_20": v / ta.SMA(v, 20) - 1.0, "volume_gap_96": v / ta.SMA(v, 96) - 1.0,
        "obv_change_20": ta.SMA(signed, 20) / ta.SMA(v, 20), "adosc_3_10": ta.ADOSC(h, l, c, v, 3, 10) / ta.SMA(v, 20),
        "signed_volume_12": ta.SMA(signed, 12) / ta.SMA(v, 96),
    }  # fmt: skip
