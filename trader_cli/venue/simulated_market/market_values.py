"""What the simulated market shows, as values: bars, trades, the last day. Prices and quantities as on the tape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from trader_cli.venue.simulated_market.intrabar_path import Path

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Kline:
    """One bar as the exchange shows it, finished or not."""

    open_ms: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    quote_volume: float
    trades: float
    taker_buy_base: float
    taker_buy_quote: float


@dataclass(frozen=True)
class Trade:
    """One trade of the path."""

    time_ms: int
    trade_id: int
    price: float
    quantity: float
    buyer_is_maker: bool


@dataclass(frozen=True)
class DayStatistics:
    """The last 24 hours."""

    open_ms: int
    open: float
    high: float
    low: float
    last: float
    volume: float
    quote_volume: float
    trades: float

    @classmethod
    def of(cls, bars: Mapping[str, Floats], part: Mapping[str, float] | None) -> DayStatistics | None:
        """Of bars as columns (n,), and what has come of the one under way; None where nothing has.

        What is not among the columns is NaN.
        """
        whole = len(bars["open"]) > 0
        if not whole and part is None:
            return None
        sums = (with_part(bars[name], part, name).sum() if name in bars else np.nan for name in _SUMS)
        ends = [end for end in (_ends(bars) if whole else None, part) if end is not None]
        return cls(
            int(ends[0]["open_ms"]),
            ends[0]["open"],
            max(end["high"] for end in ends),
            min(end["low"] for end in ends),
            ends[-1]["close"],
            *(float(total) for total in sums),
        )


_SUMS = ("volume", "quote_volume", "trades")


def _ends(bars: Mapping[str, Floats]) -> dict[str, float]:
    """A bar of bars: when it opened, and its four prices."""
    first, last = {name: float(bars[name][0]) for name in ("open_ms", "open")}, float(bars["close"][-1])
    return {**first, "high": float(bars["high"].max()), "low": float(bars["low"].min()), "close": last}


def with_part(values: Floats, part: Mapping[str, float] | None, name: str) -> Floats:
    """A column of bars (n,), and what has come of the bar under way."""
    return values if part is None else np.append(values, part[name])


@dataclass(frozen=True)
class TradeColumns:
    """Aggregate trades as columns of shape (n,), in order; times UTC ms. `maker`: whether the buyer was the maker."""

    trade_id: Ints
    price: Floats
    quantity: Floats
    time_ms: Ints
    maker: NDArray[np.bool_]

    @classmethod
    def of(cls, path: Path) -> TradeColumns:
        """The points of a path at which something traded."""
        real = path.quantity.ravel() > 0
        ids, times, maker = path.trade_id.ravel()[real], path.time_ms.ravel()[real], ~path.taker_buys.ravel()[real]
        return cls(ids, path.price.ravel()[real], path.quantity.ravel()[real], times, maker)

    @classmethod
    def joined(cls, parts: Sequence[TradeColumns]) -> TradeColumns:
        """Several, one after the other; at least one."""
        return cls(
            np.concatenate([part.trade_id for part in parts]),
            np.concatenate([part.price for part in parts]),
            np.concatenate([part.quantity for part in parts]),
            np.concatenate([part.time_ms for part in parts]),
            np.concatenate([part.maker for part in parts]),
        )
