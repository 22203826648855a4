"""Technical indicators by TA-Lib, all made free of the price level so that a model cannot learn where price was.

TA-Lib's recursive indicators start where their input starts; anchors make that the same place every time.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.features.bar_arrays import PRICE_INPUTS
from trader_cli.features.families.ta_lib import raw_talib as ta
from trader_cli.features.family import Family

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from trader_cli.features.bar_arrays import BarSeries, Floats
    from trader_cli.features.family import FamilyOptions

WARMUP = 256


def families(options: FamilyOptions) -> tuple[Family, ...]:  # noqa: ARG001
    """All `INDICATORS` on the base frame."""
    return (Family("technical", tuple(INDICATORS), lambda bars: compute(bars, INDICATORS), WARMUP, PRICE_INPUTS),)


def compute(bars: BarSeries, names: Iterable[str]) -> dict[str, Floats]:
    """Those of the `INDICATORS` that are named; nothing else is computed."""
    shared = _Bars(bars)
    with np.errstate(divide="ignore", invalid="ignore"):
        return {name: INDICATORS[name](shared) for name in names}


class _Bars:
    """Bars by TA-Lib's letters, and what several indicators are made of, computed when it is first asked for."""

    def __init__(self, bars: BarSeries) -> None:
        self.o, self.h, self.l, self.c, self.v = bars.open, bars.high, bars.low, bars.close, bars.volume
        self._averages: dict[tuple[str, int], Floats] = {}

    def ema(self, period: int) -> Floats:
        """Exponential average of the close."""
        return self._average("EMA", self.c, period)

    def volume(self, period: int) -> Floats:
        """Plain average of the volume."""
        return self._average("SMA", self.v, period)

    def _average(self, kind: str, values: Floats, period: int) -> Floats:
        if (kind, period) not in self._averages:
            self._averages[kind, period] = getattr(ta, kind)(values, period)
        return self._averages[kind, period]

    @cached_property
    def stoch(self) -> list[Floats]:
        """%K and %D."""
        return list(ta.STOCH(self.h, self.l, self.c, fastk_period=14, slowk_period=3, slowd_period=3))

    @cached_property
    def macd(self) -> list[Floats]:
        """Line, signal and histogram, over the close."""
        return [part / self.c for part in ta.MACD(self.c, 12, 26, 9)]

    @cached_property
    def bop(self) -> Floats:
        """Balance of power."""
        return np.asarray(ta.BOP(self.o, self.h, self.l, self.c))

    @cached_property
    def bands(self) -> list[Floats]:
        """Bollinger's upper, middle and lower."""
        return list(ta.BBANDS(self.c, 20, 2.0, 2.0))

    @cached_property
    def channel(self) -> tuple[Floats, Floats]:
        """Donchian's top and bottom."""
        return ta.MAX(self.h, 48), ta.MIN(self.l, 48)

    @cached_property
    def deviations(self) -> dict[int, Floats]:
        """Standard deviations of the returns."""
        returns = ta.ROCP(self.c, 1)
        returns[:1] = 0.0
        return {period: ta.STDDEV(returns, period) for period in (12, 48)}

    @cached_property
    def height(self) -> Floats:
        """High less low; NaN where the bar has none."""
        return np.where(self.h > self.l, self.h - self.l, np.nan)

    @cached_property
    def signed(self) -> Floats:
        """Volume with the sign of the change of the close."""
        return np.sign(np.diff(self.c, prepend=self.c[:1])) * self.v


INDICATORS: dict[str, Callable[[_Bars], Floats]] = {
    "rsi_7": lambda b: ta.RSI(b.c, 7),
    "rsi_14": lambda b: ta.RSI(b.c, 14),
    "rsi_28": lambda b: ta.RSI(b.c, 28),
    "stoch_k_14": lambda b: b.stoch[0],
    "stoch_d_14": lambda b: b.stoch[1],
    "stochrsi_k_14": lambda b: ta.STOCHRSI(b.c, timeperiod=14, fastk_period=5, fastd_period=3)[0],
    "willr_14": lambda b: ta.WILLR(b.h, b.l, b.c, 14),
    "cci_20": lambda b: ta.CCI(b.h, b.l, b.c, 20),
    "cmo_14": lambda b: ta.CMO(b.c, 14),
    "mfi_14": lambda b: ta.MFI(b.h, b.l, b.c, b.v, 14),
    "ultosc_7_14_28": lambda b: ta.ULTOSC(b.h, b.l, b.c, 7, 14, 28),
    "adx_14": lambda b: ta.ADX(b.h, b.l, b.c, 14),
    "plus_di_14": lambda b: ta.PLUS_DI(b.h, b.l, b.c, 14),
    "minus_di_14": lambda b: ta.MINUS_DI(b.h, b.l, b.c, 14),
    "aroonosc_25": lambda b: ta.AROONOSC(b.h, b.l, 25),
    "bop_1": lambda b: b.bop,
    "bop_sma_14": lambda b: ta.SMA(b.bop, 14),
    "trix_15": lambda b: ta.TRIX(b.c, 15),
    "macd_line_12_26_9": lambda b: b.macd[0],
    "macd_signal_12_26_9": lambda b: b.macd[1],
    "macd_hist_12_26_9": lambda b: b.macd[2],
    "roc_1": lambda b: ta.ROCP(b.c, 1),
    "roc_3": lambda b: ta.ROCP(b.c, 3),
    "roc_6": lambda b: ta.ROCP(b.c, 6),
    "roc_12": lambda b: ta.ROCP(b.c, 12),
    "roc_24": lambda b: ta.ROCP(b.c, 24),
    "roc_48": lambda b: ta.ROCP(b.c, 48),
    "ema_10_gap": lambda b: b.c / b.ema(10) - 1.0,
    "ema_20_gap": lambda b: b.c / b.ema(20) - 1.0,
    "ema_50_gap": lambda b: b.c / b.ema(50) - 1.0,
    "sma_100_gap": lambda b: b.c / ta.SMA(b.c, 100) - 1.0,
    "kama_30_gap": lambda b: b.c / ta.KAMA(b.c, 30) - 1.0,
    "ema_20_slope": lambda b: ta.ROCP(b.ema(20), 3),
    "linreg_20_slope": lambda b: ta.LINEARREG_SLOPE(b.c, 20) / b.c,
    "linreg_20_gap": lambda b: b.c / ta.LINEARREG(b.c, 20) - 1.0,
    "bbands_position_20": lambda b: (b.c - b.bands[2]) / (b.bands[0] - b.bands[2]),
    "bbands_width_20": lambda b: (b.bands[0] - b.bands[2]) / b.c,
    "donchian_position_48": lambda b: (b.c - b.channel[1]) / (b.channel[0] - b.channel[1]),
    "natr_7": lambda b: ta.NATR(b.h, b.l, b.c, 7),
    "natr_14": lambda b: ta.NATR(b.h, b.l, b.c, 14),
    "natr_28": lambda b: ta.NATR(b.h, b.l, b.c, 28),
    "range_1": lambda b: (b.h - b.l) / b.c,
    "stddev_12": lambda b: b.deviations[12],
    "stddev_48": lambda b: b.deviations[48],
    "volatility_ratio_12_48": lambda b: b.deviations[12] / b.deviations[48],
    "body_1": lambda b: (b.c - b.o) / b.height,
    "upper_shadow_1": lambda b: (b.h - np.maximum(b.o, b.c)) / b.height,
    "lower_shadow_1": lambda b: (np.minimum(b.o, b.c) - b.l) / b.height,
    "volume_gap_20": lambda b: b.v / b.volume(20) - 1.0,
    "volume_gap_96": lambda b: b.v / b.volume(96) - 1.0,
    "obv_change_20": lambda b: ta.SMA(b.signed, 20) / b.volume(20),
    "adosc_3_10": lambda b: ta.ADOSC(b.h, b.l, b.c, b.v, 3, 10) / b.volume(20),
    "signed_volume_12": lambda b: ta.SMA(b.signed, 12) / b.volume(96),
}
