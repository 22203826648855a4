"""Bars as plain arrays: what a family computes on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Times = NDArray[np.int64]


@dataclass(frozen=True)
class BarSeries:
    """Contiguous float64 arrays of shape (n,), n bars in time order; `open_ms` int64 UTC milliseconds."""

    open_ms: Times
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats

    @classmethod
    def of(cls, bars: pl.DataFrame) -> BarSeries:
        """From a BARS frame."""
        values = (bars[name].to_numpy().astype(np.float64) for name in ("open", "high", "low", "close", "volume"))
        return cls(bars["open_time"].to_physical().to_numpy().astype(np.int64), *values)

    def __len__(self) -> int:
        return len(self.open_ms)

    def cut(self, first: int, stop: int) -> BarSeries:
        """Rows [first, stop) as contiguous copies: kernels see the same memory layout wherever the rows came from."""
        names = ("open_ms", "open", "high", "low", "close", "volume")
        return BarSeries(*(np.ascontiguousarray(getattr(self, name)[first:stop]) for name in names))

    def content(self) -> bytes:
        """The values as bytes, for digests."""
        return b"".join(getattr(self, n).tobytes() for n in ("open_ms", "open", "high", "low", "close", "volume"))
