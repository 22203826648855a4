"""Bars as plain arrays: what a family computes on."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.core.market.schemas import milliseconds

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl
    from numpy.typing import NDArray

    from trader_cli.core.market.timeframes import Timeframe

    Floats = NDArray[np.float64]
    Times = NDArray[np.int64]

PRICE_INPUTS = ("open", "high", "low", "close", "volume")


@dataclass(frozen=True)
class BarSeries:
    """Contiguous float64 arrays of shape (n,), n bars in time order; `open_ms` int64 UTC milliseconds.

    `extra` holds what else is known at each bar's close (`features.inputs`), by name; NaN where it is not known.
    """

    open_ms: Times
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    extra: Mapping[str, Floats] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def of(cls, bars: pl.DataFrame, inputs: tuple[str, ...] = PRICE_INPUTS) -> BarSeries:
        """From a BARS frame, or one with more columns, of which those named in `inputs` are taken along."""
        own = {name: _floats(bars, name) for name in PRICE_INPUTS}
        extra = {name: _floats(bars, name) for name in inputs if name not in PRICE_INPUTS}
        return cls(milliseconds(bars["open_time"]), **own, extra=MappingProxyType(extra))

    def __len__(self) -> int:
        return len(self.open_ms)

    def __getitem__(self, name: str) -> Floats:
        """An input by its name."""
        values: Floats = getattr(self, name) if name in PRICE_INPUTS else self.extra[name]
        return values

    def aggregated(self, base: Timeframe, higher: Timeframe) -> BarSeries:
        """Complete bars of a higher frame: one with any base bar missing is left out, never guessed. No `extra`."""
        if not len(self):
            return replace(self, extra=MappingProxyType({}))
        group = self.open_ms // higher.ms
        first = np.concatenate([[0], np.flatnonzero(np.diff(group)) + 1])
        last = np.append(first[1:], len(group)) - 1
        whole = last - first + 1 == higher.ms // base.ms
        values = (
            self.open[first],
            np.maximum.reduceat(self.high, first),
            np.minimum.reduceat(self.low, first),
            self.close[last],
            np.add.reduceat(self.volume, first),
        )
        return BarSeries(group[first[whole]] * higher.ms, *(value[whole] for value in values))

    def cut(self, first: int, stop: int) -> BarSeries:
        """Rows [first, stop), contiguous; not copied."""
        if first == 0 and stop == len(self):
            return self
        own = {name: np.ascontiguousarray(self[name][first:stop]) for name in PRICE_INPUTS}
        extra = {name: np.ascontiguousarray(values[first:stop]) for name, values in self.extra.items()}
        return BarSeries(np.ascontiguousarray(self.open_ms[first:stop]), **own, extra=MappingProxyType(extra))

    def content(self, inputs: tuple[str, ...] = PRICE_INPUTS) -> bytes:
        """The times and the named values as bytes, for digests."""
        return b"".join((self.open_ms.tobytes(), *(self[name].tobytes() for name in inputs)))


def _floats(bars: pl.DataFrame, name: str) -> Floats:
    return bars[name].to_numpy().astype(np.float64)  # a copy: what polars shares is not for families to write to
