"""Schemas of the frames that pass between rooms, and the one function that checks a frame against its schema.

Times are `Datetime("ms", "UTC")`. A row of market data is stamped by its opening time; a decision by the bar's close.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import polars as pl

from trader_cli.core.errors import DataInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

TIME = pl.Datetime("ms", "UTC")


@dataclass(frozen=True)
class Schema:
    """Name, version, columns in order with their types, and which of them may be null."""

    name: str
    version: int
    columns: Mapping[str, pl.DataType | type[pl.DataType]]
    nullable: frozenset[str] = frozenset()

    def empty(self) -> pl.DataFrame:
        """A frame of this schema without rows."""
        return pl.DataFrame(schema=dict(self.columns))


def _schema(name: str, columns: dict[str, pl.DataType | type[pl.DataType]], nullable: tuple[str, ...] = ()) -> Schema:
    return Schema(name, 1, MappingProxyType(columns), frozenset(nullable))


F, I = pl.Float64, pl.Int64  # noqa: E741

BARS = _schema(
    "bars",
    {
        "open_time": TIME,
        "close_time": TIME,
        "open": F,
        "high": F,
        "low": F,
        "close": F,
        "volume": F,
        "quote_volume": F,
        "trades": I,
        "taker_buy_base": F,
        "taker_buy_quote": F,
    },
    nullable=("quote_volume", "trades", "taker_buy_base", "taker_buy_quote"),
)
TRADES = _schema(
    "trades",
    {"time": TIME, "trade_id": I, "price": F, "quantity": F, "buyer_is_maker": pl.Boolean},
)
FUNDING = _schema("funding", {"time": TIME, "funding_rate": F, "mark_price": F}, nullable=("mark_price",))
MARK = _schema("mark", {"open_time": TIME, "close_time": TIME, "open": F, "high": F, "low": F, "close": F})
OPEN_INTEREST = _schema("open_interest", {"time": TIME, "open_interest": F})
DEPTH = _schema("depth", {"time": TIME, "side": pl.String, "level": I, "price": F, "quantity": F})

FEATURE_KEYS: Mapping[str, pl.DataType | type[pl.DataType]] = MappingProxyType(
    {"open_time": TIME, "decision_time": TIME}
)
"""FEATURES frames begin with these two columns; float columns named `family_what_param` follow, null in the warm-up."""


def check_schema(frame: pl.DataFrame, schema: Schema) -> pl.DataFrame:
    """`frame` itself, if its columns, types and nulls fit. Raises `DataInvalid` with the first misfit."""
    found, wanted = dict(frame.schema), dict(schema.columns)
    if list(found) != list(wanted):
        raise DataInvalid(f"A {schema.name} frame has the columns {list(wanted)}; found {list(found)}.")
    for name, dtype in wanted.items():
        if found[name] != dtype:
            raise DataInvalid(f"Column {name!r} of a {schema.name} frame is {dtype}; found {found[name]}.")
        if name not in schema.nullable and frame[name].null_count():
            row = frame[name].is_null().arg_max() or 0
            where = f"row {row} ({next(iter(wanted))} {frame.row(row)[0]})"
            raise DataInvalid(f"Column {name!r} of a {schema.name} frame is null in {where}.")
    return frame


def milliseconds(times: pl.Series) -> NDArray[np.int64]:
    """A column of times as UTC milliseconds, shape (n,), to read only.

    polars' own `to_physical` takes 60 µs for any column; one new bar and every page of history would feel it.
    """
    return times.to_numpy().view("int64")


def rows_between(frame: pl.DataFrame, start_ms: int, end_ms: int) -> pl.DataFrame:
    """The rows whose time, the first column, ascending, lies in [start, end)."""
    first, stop = milliseconds(frame.to_series(0)).searchsorted([start_ms, end_ms]).tolist()
    return frame[first:stop]


def check_features(frame: pl.DataFrame) -> pl.DataFrame:
    """`frame` itself, if it is a FEATURES frame. Raises `DataInvalid` otherwise."""
    keys = list(FEATURE_KEYS)
    if frame.columns[:2] != keys or any(frame.schema[k] != FEATURE_KEYS[k] for k in keys):
        raise DataInvalid(f"A features frame begins with {keys} in UTC milliseconds; found {frame.columns[:2]}.")
    wrong = [name for name, dtype in frame.schema.items() if name not in FEATURE_KEYS and dtype != pl.Float64]
    if wrong:
        raise DataInvalid(f"Feature columns are Float64; {wrong[0]!r} is {frame.schema[wrong[0]]}.")
    return frame
