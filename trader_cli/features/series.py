"""Bars as plain arrays: what a family computes on."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl
    from numpy.typing import NDArray

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
        own = {name: bars[name].to_numpy().astype(np.float64) for name in PRICE_INPUTS}
        extra = {name: bars[name].to_numpy().astype(np.float64) for name in inputs if name not in PRICE_INPUTS}
        opened = bars["open_time"].to_physical().to_numpy().astype(np.int64)
        return cls(opened, **own, extra=MappingProxyType(extra))

    def __len__(self) -> int:
        return len(self.open_ms)

    def __getitem__(self, name: str) -> Floats:
        """An input by its name."""
        values: Floats = getattr(self, name) if name in PRICE_INPUTS else self.extra[name]
        return values

    def cut(self, first: int, stop: int) -> BarSeries:
        """Rows [first, stop) as contiguous copies: kernels see the same memory layout wherever the rows came from."""
        if first == 0 and stop == len(self):
            return self
        own = {name: np.ascontiguousarray(self[name][first:stop]) for name in PRICE_INPUTS}
        extra = {name: np.ascontiguousarray(values[first:stop]) for name, values in self.extra.items()}
        return BarSeries(np.ascontiguousarray(self.open_ms[first:stop]), **own, extra=MappingProxyType(extra))

    def content(self, inputs: tuple[str, ...] = PRICE_INPUTS) -> bytes:
        """The times and the named values as bytes, for digests."""
        return b"".join((self.open_ms.tobytes(), *(self[name].tobytes() for name in inputs)))
