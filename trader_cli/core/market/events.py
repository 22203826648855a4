"""Tape events: what a market shows, in order of receive time. Every venue, recorder and replay speaks these."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TradeEvent:
    """A trade, seen at `time_ms`. `buyer_is_maker` means the seller took."""

    time_ms: int
    symbol: str
    trade_id: int
    price: float
    quantity: float
    buyer_is_maker: bool


@dataclass(frozen=True)
class BookEvent:
    """The book as of `time_ms`: (price, quantity) levels, best first."""

    time_ms: int
    symbol: str
    bids: tuple[tuple[float, float], ...]
    asks: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class MarkEvent:
    """The mark price. `derived` where no mark was recorded and the last price stands for it."""

    time_ms: int
    symbol: str
    price: float
    derived: bool


@dataclass(frozen=True)
class FundingEvent:
    """A funding payment falls due at this rate (fraction of notional)."""

    time_ms: int
    symbol: str
    funding_rate: float


@dataclass(frozen=True)
class BarClosedEvent:
    """A bar is complete; `time_ms` is the first millisecond after its close time."""

    time_ms: int
    symbol: str
    timeframe: str
    open_time_ms: int
    open: float
    high: float
    low: float
    close: float
    volume: float


TapeEvent = TradeEvent | BookEvent | MarkEvent | FundingEvent | BarClosedEvent
