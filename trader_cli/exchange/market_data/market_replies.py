"""From the exchange's JSON about the market to checked frames and values."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import polars as pl

from trader_cli.core.errors import DataInvalid
from trader_cli.core.market.quotes import OrderBook, PremiumIndex, PriceLevel, Ticker
from trader_cli.core.market.schemas import BARS, FUNDING, OPEN_INTEREST, TRADES
from trader_cli.core.market.symbols import delivery_ms_of
from trader_cli.exchange.connection.reply_fields import number

if TYPE_CHECKING:
    from trader_cli.core.market.schemas import Schema

_KLINE = (
    "open_time",
    "open",
    "high",
    "low",
    "close",
    "volume",
    "close_time",
    "quote_volume",
    "trades",
    "taker_buy_base",
    "taker_buy_quote",
    "unused",
)


def klines_frame(rows: list[list[Any]]) -> pl.DataFrame:
    """A BARS frame (not yet checked) from rows of twelve: times and counts are integers, the rest decimal strings."""
    return bars_as_written([klines_as_written(rows)]) if rows else BARS.empty()


def klines_as_written(rows: list[list[Any]]) -> pl.DataFrame:
    """At least one row of twelve as columns, numbers still text as the exchange writes them."""
    columns = list(zip(*rows, strict=True))
    return pl.DataFrame([pl.Series(name, values) for name, values in zip(_KLINE, columns, strict=True)])


def bars_as_written(pages: list[pl.DataFrame]) -> pl.DataFrame:
    """A BARS frame (not yet checked) of pages of `klines_as_written`."""
    return _cast(pl.concat(pages), BARS)


def _cast(frame: pl.DataFrame, schema: Schema) -> pl.DataFrame:
    """The schema's columns of a frame, cast in compiled code. Raises `PolarsError` for what is no number."""
    return frame.select(pl.col(name).cast(dtype) for name, dtype in schema.columns.items())


def trades_frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    """A TRADES frame from aggregate trades. Raises `ValueError` for a price or quantity that cannot be."""
    if not rows:
        return TRADES.empty()
    fields = {"time": "T", "trade_id": "a", "price": "p", "quantity": "q", "buyer_is_maker": "m"}
    frame = _cast(pl.DataFrame({ours: [row[theirs] for row in rows] for ours, theirs in fields.items()}), TRADES)
    price, quantity = frame["price"], frame["quantity"]
    if not (price.is_finite() & (price > 0) & quantity.is_finite() & (quantity >= 0)).all():
        raise ValueError("a price or quantity out of range")
    return frame


def open_interest_frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    """An OPEN_INTEREST frame, oldest first, in units of the base asset."""
    columns: dict[str, list[Any]] = {
        "time": [int(row["timestamp"]) for row in rows],
        "open_interest": [number(row["sumOpenInterest"], least=0) for row in rows],
    }
    return _cast(
        pl.DataFrame(columns, schema_overrides={"time": pl.Int64, "open_interest": pl.Float64}), OPEN_INTEREST
    ).sort("time")


def funding_frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    """A FUNDING frame, oldest first; the mark price is null where the exchange left it empty."""
    columns = {
        "time": [int(row["fundingTime"]) for row in rows],
        "funding_rate": [number(row["fundingRate"]) for row in rows],
        "mark_price": [number(row["markPrice"], above=0) if row.get("markPrice") else None for row in rows],
    }
    frame = pl.DataFrame(columns, schema_overrides={"time": pl.Int64, "mark_price": pl.Float64})
    return frame.select(pl.col(name).cast(dtype) for name, dtype in FUNDING.columns.items()).sort("time")


def order_book(reply: dict[str, Any], symbol: str, depth: int) -> OrderBook:
    """The book, at most `depth` levels a side.

    Raises `DataInvalid` for an empty side, a crossed book or numbers that are not positive.
    """
    bids, asks = _levels(reply["bids"]), _levels(reply["asks"])
    if not bids or not asks:
        raise DataInvalid(f"The order book of {symbol} has an empty side: {len(bids)} bids, {len(asks)} asks.")
    if any(not price > 0 or not size >= 0 for price, size in bids + asks):
        raise DataInvalid(f"The order book of {symbol} holds a price or size that is not positive.")
    ordered = all(a[0] > b[0] for a, b in pairwise(bids)) and all(a[0] < b[0] for a, b in pairwise(asks))
    if bids[0][0] >= asks[0][0] or not ordered:
        raise DataInvalid(f"The order book of {symbol} is crossed or out of order: bid {bids[0][0]}, ask {asks[0][0]}.")
    return OrderBook(symbol, int(reply["T"]), bids[:depth], asks[:depth])


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
