"""From the exchange's JSON to checked frames and values. An empty or garbled 200 is an error, never "nothing there"."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

import polars as pl

from trader_cli.core.errors import DataInvalid, ExchangeUnavailable
from trader_cli.core.market.schemas import BARS, FUNDING, OPEN_INTEREST, TRADES
from trader_cli.exchange.connection.error_table import scrubbed

if TYPE_CHECKING:
    from collections.abc import Callable

    from trader_cli.core.market.schemas import Schema

T = TypeVar("T")
_MEND = "Check binance_exchange.base_url and the network; try again later."


def as_list(reply: Any, what: str) -> list[Any]:
    """The reply, if it is a list."""
    if not isinstance(reply, list):
        raise ExchangeUnavailable(
            f"Expected a list of {what} from the exchange; it answered {shown(reply)}.", mend=_MEND
        )
    return reply


def as_mapping(reply: Any, what: str, *needed: str) -> dict[str, Any]:
    """The reply, if it is an object that has the needed fields."""
    if not isinstance(reply, dict) or any(reply.get(name) is None for name in needed):
        raise ExchangeUnavailable(f"Expected {what} from the exchange; it answered {shown(reply)}.", mend=_MEND)
    return reply


def shown(reply: Any) -> str:
    """A reply shortened for a message: HTML is called HTML."""
    if reply is None or reply in ("", b"", {}, []):
        return "nothing"
    words = reply.decode(errors="replace") if isinstance(reply, bytes) else str(reply)
    text = " ".join(scrubbed(words).split())
    kind = "an HTML page" if text.lstrip().lower().startswith(("<!doctype", "<html")) else "what cannot be used"
    return f"{kind}: {text[:80]!r}"


def parsed(what: str, reply: Any, parse: Callable[[Any], T]) -> T:
    """`parse(reply)`, with a shape it did not expect turned into `ExchangeUnavailable`."""
    try:
        return parse(reply)
    except (ValueError, TypeError, IndexError, KeyError, OverflowError, pl.exceptions.PolarsError):
        raise ExchangeUnavailable(
            f"Expected {what} from the exchange; it answered {shown(reply)}.", mend=_MEND
        ) from None


def number(value: Any, *, above: float | None = None, least: float | None = None) -> float:
    """A finite float, above or at least a bound. Raises `ValueError`."""
    found = float(value)
    if not math.isfinite(found) or (above is not None and found <= above) or (least is not None and found < least):
        raise ValueError(f"out of range: {value!r}")
    return found


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


def order_book(reply: dict[str, Any], symbol: str, depth: int) -> dict[str, Any]:
    """`{symbol, timestamp, bids, asks}` with [price, quantity] floats, best first, at most `depth` a side.

    Raises `DataInvalid` for an empty side, a crossed book or numbers that are not positive.
    """
    sides = {side: [[number(price), number(size)] for price, size in reply[side]] for side in ("bids", "asks")}
    bids, asks = sides["bids"], sides["asks"]
    if not bids or not asks:
        raise DataInvalid(f"The order book of {symbol} has an empty side: {len(bids)} bids, {len(asks)} asks.")
    if any(not price > 0 or not size >= 0 for price, size in bids + asks):
        raise DataInvalid(f"The order book of {symbol} holds a price or size that is not positive.")
    ordered = all(a[0] > b[0] for a, b in pairwise(bids)) and all(a[0] < b[0] for a, b in pairwise(asks))
    if bids[0][0] >= asks[0][0] or not ordered:
        raise DataInvalid(f"The order book of {symbol} is crossed or out of order: bid {bids[0][0]}, ask {asks[0][0]}.")
    return {"symbol": symbol, "timestamp": int(reply["T"]), "bids": bids[:depth], "asks": asks[:depth]}


_TICKER = {
    "last": "lastPrice",
    "open": "openPrice",
    "high": "highPrice",
    "low": "lowPrice",
    "volume": "volume",
    "quote_volume": "quoteVolume",
    "change_percent": "priceChangePercent",
}


def ticker(reply: dict[str, Any], symbol: str) -> dict[str, Any]:
    """`{symbol, timestamp, last, open, high, low, volume, quote_volume, change_percent}` of the last 24 hours."""
    if reply["symbol"] != symbol:
        raise ValueError(f"a ticker of {reply['symbol']!r}")
    values = {ours: number(reply[theirs]) for ours, theirs in _TICKER.items()}
    if not values["last"] > 0:
        raise DataInvalid(f"The ticker of {symbol} has a last price of {values['last']}.")
    return {"symbol": symbol, "timestamp": int(reply["closeTime"]), **values}
