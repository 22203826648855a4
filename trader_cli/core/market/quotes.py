"""What an exchange shows of a symbol at a moment: ticker, order book, premium index.

Prices are in the quote asset and quantities in the base asset, both as floats; times are UTC milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

PriceLevel = tuple[float, float]
"""Price and quantity."""


@dataclass(frozen=True)
class Ticker:
    """The last 24 hours up to `time_ms`: prices, what was traded in base and quote asset, the change in percent."""

    symbol: str
    time_ms: int
    last_price: float
    open_price: float
    high_price: float
    low_price: float
    base_volume: float
    quote_volume: float
    change_percent: float

    def as_dict(self) -> dict[str, Any]:
        """The shape of the guide and of stored documents."""
        return {
            "symbol": self.symbol,
            "timestamp": self.time_ms,
            "last": self.last_price,
            "open": self.open_price,
            "high": self.high_price,
            "low": self.low_price,
            "volume": self.base_volume,
            "quote_volume": self.quote_volume,
            "change_percent": self.change_percent,
        }


@dataclass(frozen=True)
class OrderBook:
    """The book at `time_ms`: (price, quantity) levels, best first; neither side is empty, and they do not cross."""

    symbol: str
    time_ms: int
    bids: tuple[PriceLevel, ...]
    asks: tuple[PriceLevel, ...]

    @property
    def bid_quote(self) -> float:
        """What is bid at all levels, in the quote asset."""
        return sum(price * quantity for price, quantity in self.bids)

    @property
    def ask_quote(self) -> float:
        """What is asked at all levels, in the quote asset."""
        return sum(price * quantity for price, quantity in self.asks)

    def as_dict(self) -> dict[str, Any]:
        """The shape of the guide and of stored documents."""
        bids, asks = ([list(level) for level in side] for side in (self.bids, self.asks))
        return {"symbol": self.symbol, "timestamp": self.time_ms, "bids": bids, "asks": asks}


@dataclass(frozen=True)
class PremiumIndex:
    """Mark and index price at `time_ms`, and the funding ahead.

    `funding_rate` is what longs pay shorts at `next_funding_ms`, as a fraction of notional; 0 at the time 0 where a
    contract pays none.
    """

    symbol: str
    time_ms: int
    mark_price: float
    index_price: float
    funding_rate: float
    next_funding_ms: int

    def as_dict(self) -> dict[str, Any]:
        """The shape of the guide and of stored documents, which do not name the symbol."""
        return {
            "timestamp": self.time_ms,
            "mark_price": self.mark_price,
            "index_price": self.index_price,
            "funding_rate": self.funding_rate,
            "next_funding_ms": self.next_funding_ms,
        }
