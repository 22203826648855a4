"""A cross of two simple moving averages: long while the fast one is above the slow one, short while it is below."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trader_cli.features.rule import NOTHING, BarSignals, Rule, RuleBars, parameter

_DIGITS = 1e8
"""Prices have at most so many parts: compared as whole numbers, a tie is a tie wherever the sums began."""


@dataclass(frozen=True)
class SmaCross(Rule):
    """Holds the side on which the mean of the last `fast` closes lies of that of the last `slow`; in a tie nothing."""

    fast: int = parameter(20, least=1, most=200, unit="bars")
    slow: int = parameter(50, least=2, most=1000, unit="bars")
    stop: float = parameter(0.02, least=0.001, most=0.5, unit="share of the entry price")
    target: float = parameter(0.0, least=0.0, most=10.0, unit="share of the entry price; 0: none of its own")
    short: bool = parameter(True, least=False, most=True, unit="whether it goes short, too")  # noqa: FBT003

    inputs = ("close",)
    finite = True

    def __post_init__(self) -> None:
        if self.fast >= self.slow:
            raise ValueError(f"fast must be below slow; found {self.fast} and {self.slow}")

    @property
    def warmup(self) -> int:
        """The slow mean's bars before the last one."""
        return self.slow - 1

    def signals(self, bars: RuleBars) -> BarSignals:
        """Compares slow · Σ of the fast closes with fast · Σ of the slow ones, in whole numbers."""
        side, known = np.zeros(len(bars), dtype=np.int8), len(bars) - self.warmup
        if known > 0:
            sums = np.zeros(len(bars) + 1, dtype=np.int64)
            np.cumsum(np.rint(bars["close"] * _DIGITS).astype(np.int64), out=sums[1:])
            ends = sums[self.slow :]
            above = self.slow * (ends - sums[self.slow - self.fast : -self.fast]) - self.fast * (ends - sums[:known])
            side[self.warmup :] = np.sign(above) if self.short else above > 0
        return BarSignals.of(side, self.stop, self.target or NOTHING)
