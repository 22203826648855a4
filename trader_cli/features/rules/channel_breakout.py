"""A breakout of a price channel (Donchian): long after a close above it, short after one below.

Source: the channel rule of R. Donchian, "Trend Following Methods in Commodity Price Analysis" (1957).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trader_cli.features.rule import BarSignals, Rule, RuleBars, parameter


@dataclass(frozen=True)
class ChannelBreakout(Rule):
    """Long from a close above the highest high of the `channel` bars before it, short from one below their lowest low.

    It holds until the other side breaks, at most `hold` bars after the last close outside on this side.
    """

    channel: int = parameter(48, least=2, most=1000, unit="bars")
    hold: int = parameter(96, least=1, most=1000, unit="bars")
    stop: float = parameter(0.02, least=0.001, most=0.5, unit="share of the entry price")

    inputs = ("high", "low", "close")
    finite = True

    @property
    def warmup(self) -> int:
        """Bars in which the oldest break that still counts can be told."""
        return self.channel + self.hold - 1

    def signals(self, bars: RuleBars) -> BarSignals:
        """The side of the last break, if it is not older than `hold` bars."""
        broke = np.zeros(len(bars), dtype=np.int8)
        if len(bars) > self.channel:
            highs, lows = (
                np.lib.stride_tricks.sliding_window_view(bars[n][:-1], self.channel) for n in ("high", "low")
            )
            close = bars["close"][self.channel :]
            broke[self.channel :] = (close > highs.max(axis=1)).astype(np.int8) - (close < lows.min(axis=1))
        rows = np.arange(len(bars))
        last = np.maximum.accumulate(np.where(broke != 0, rows, -self.hold))
        return BarSignals.of(np.where(rows - last < self.hold, broke[np.maximum(last, 0)], 0), self.stop)
