"""From the exchange's JSON about the market as it is now to values. Loads nothing heavy."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from trader_cli.core.errors import DataInvalid
from trader_cli.core.market.quotes import OrderBook, PremiumIndex, PriceLevel, Ticker
from trader_cli.core.market.symbols import delivery_ms_of
from trader_cli.exchange.connection.reply_fields import number


def order_book(reply: dict[str, Any], symbol: str, depth: int) -> OrderBook:
    """The book, at most `depth` levels a side.

    Raises `DataInvalid` for an empty side, a crossed book or numbers that are not positive.
    """
    whole = checked_book(symbol, int(reply["T"]), _levels(reply["bids"]), _levels(reply["asks"]))
    return OrderBook(symbol, whole.time_ms, whole.bids[:depth], whole.asks[:depth])


def checked_book(symbol: str, time_ms: int, bids: tuple[PriceLevel, ...], asks: tuple[PriceLevel, ...]) -> OrderBook:
    """A book of these levels. Raises `DataInvalid` as `order_book` does."""
    if not bids or not asks:
        raise DataInvalid(f"The order book of {symbol} has an empty side: {len(bids)} bids, {len(asks)} asks.")
    if any(not price > 0 or not size >= 0 for price, size in bids + asks):
        raise DataInvalid(f"The order book of {symbol} holds a price or size that is not positive.")
    ordered = all(a[0] > b[0] for a, b in pairwise(bids)) and all(a[0] < b[0] for a, b in pairwise(asks))
    if bids[0][0] >= asks[0][0] or not ordered:
        raise DataInvalid(f"The order book of {symbol} is crossed or out of order: bid {bids[0][0]}, ask {asks[0][0]}.")
    return OrderBook(symbol, time_ms, bids, asks)


def _levels(rows: Any) -> tuple[PriceLevel, ...]:
    return tuple((number(price), number(size)) for price, size in rows)


def ticker(reply: dict[str, Any], symbol: str) -> Ticker:
    """The last 24 hours. Raises `DataInvalid` for a last price that is not positive."""
    if reply["symbol"] != symbol:
        raise ValueError(f"a ticker of {reply['symbol']!r}")
    found = Ticker(
        symbol=symbol,
        time_ms=int(reply["closeTime"]),
        last_price=number(reply["lastPrice"]),
        open_price=number(reply["openPrice"]),
        high_price=number(reply["highPrice"]),
        low_price=number(reply["lowPrice"]),
        base_volume=number(reply["volume"]),
        quote_volume=number(reply["quoteVolume"]),
        change_percent=number(reply["priceChangePercent"]),
    )
    if not found.last_price > 0:
        raise DataInvalid(f"The ticker of {symbol} has a last price of {found.last_price}.")
    return found


def premium_index(reply: dict[str, Any], symbol: str) -> PremiumIndex:
    """Mark and index price and the funding ahead; a delivery contract pays none, and its rate is empty."""
    unpaid = "" if delivery_ms_of(symbol) is None else "0"
    return PremiumIndex(
        symbol=symbol,
        time_ms=int(reply["time"]),
        mark_price=number(reply["markPrice"], above=0),
        index_price=number(reply["indexPrice"], above=0),
        funding_rate=number(reply["lastFundingRate"] or unpaid),
        next_funding_ms=int(reply["nextFundingTime"]),
    )
