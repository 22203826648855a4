"""What the simulated market shows, as values: bars, trades, the last day. Prices and quantities as on the tape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

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
