"""From the exchange's JSON to frames. What does not fit raises, for `replies.parsed` to say what came instead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from trader_cli.core.market.schemas import BARS, FUNDING, OPEN_INTEREST, TRADES
from trader_cli.exchange.connection.replies import number

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
