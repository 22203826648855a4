"""Rules of bars: what a valid one is, where gaps are, and how closed bars of a higher frame are made."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from trader_cli.core.errors import DataInvalid
from trader_cli.core.market.gaps import Gap
from trader_cli.core.market.schemas import BARS, TIME, check_schema

if TYPE_CHECKING:
    from trader_cli.core.market.timeframes import Timeframe

PRICES = ("open", "high", "low", "close")


def check_bars(frame: pl.DataFrame, timeframe: Timeframe, *, origin: str = "bars") -> pl.DataFrame:
    """`frame` itself, if it is a valid BARS frame of this time frame.

    Rules: schema; opening times aligned, ascending, unique; close_time = open_time + interval − 1 ms; prices finite
    and > 0; low ≤ open, close ≤ high; volumes finite and ≥ 0. Gaps are allowed here (see `find_gaps`).
    Raises `DataInvalid` with the first offending row.
    """
    check_schema(frame, BARS)
    opened = pl.col("open_time").to_physical()
    rules: dict[str, pl.Expr] = {
        "opens off the time frame's grid": opened % timeframe.ms != 0,
        "does not come after the row before it": (opened.diff() <= 0).fill_null(value=False),
        "closes at the wrong time": pl.col("close_time").to_physical() != opened + timeframe.ms - 1,
    }
    for name in PRICES:
        rules[f"has a {name} that is not a positive number"] = ~(pl.col(name).is_finite() & (pl.col(name) > 0))
    rules["has a high below its open or close"] = pl.col("high") < pl.max_horizontal("open", "close")
    rules["has a low above its open or close"] = pl.col("low") > pl.min_horizontal("open", "close")
    for name in ("volume", "quote_volume", "trades", "taker_buy_base", "taker_buy_quote"):
        rules[f"has a negative or non-finite {name}"] = ~(pl.col(name).is_finite() & (pl.col(name) >= 0))
    firsts = frame.select(
        pl.when(rule.fill_null(value=False).any()).then(rule.arg_max()).alias(text) for text, rule in rules.items()
    )
    for text, row in firsts.row(0, named=True).items():
        if row is not None:
            raise DataInvalid(f"{origin}: row {row} {text}: {_describe(frame, row)}.")
    return frame


def _describe(frame: pl.DataFrame, row: int) -> str:
    cells = frame.select("open_time", *PRICES, "volume").row(row, named=True)
    when = cells.pop("open_time")
    return f"{when:%Y-%m-%d %H:%M} UTC, " + ", ".join(f"{name} {value}" for name, value in cells.items())


def find_gaps(frame: pl.DataFrame, timeframe: Timeframe) -> tuple[Gap, ...]:
    """Every hole between two neighbouring rows of a sorted BARS frame."""
    times = frame["open_time"].to_physical()
    step = times.diff()
    before = (step > timeframe.ms).arg_true() - 1
    return tuple(
        Gap(times[i] + timeframe.ms, times[i + 1] - timeframe.ms, (times[i + 1] - times[i]) // timeframe.ms - 1)
        for i in before.to_list()
    )


def with_close_time(frame: pl.DataFrame, timeframe: Timeframe) -> pl.DataFrame:
    """A BARS frame from one that has at least open_time, OHLC and volume; absent nullable columns become null."""
    close = (pl.col("open_time") + pl.duration(milliseconds=timeframe.ms - 1)).cast(TIME).alias("close_time")
    absent = [pl.lit(None, dtype=BARS.columns[n]).alias(n) for n in BARS.nullable if n not in frame.columns]
    return frame.with_columns(close, *absent).select(pl.col(n).cast(t) for n, t in BARS.columns.items())


def aggregate_bars(frame: pl.DataFrame, base: Timeframe, higher: Timeframe) -> pl.DataFrame:
    """Complete higher bars (BARS) of base bars: a higher bar with any base bar missing is left out, never guessed."""
    opened = (pl.col("open_time").to_physical() // higher.ms * higher.ms).cast(TIME).alias("open_time")
    sums = ("volume", "quote_volume", "trades", "taker_buy_base", "taker_buy_quote")
    grouped = (
        frame.group_by(opened, maintain_order=True)
        .agg(
            pl.first("open"),
            pl.max("high"),
            pl.min("low"),
            pl.last("close"),
            *(pl.when(pl.col(n).null_count() == 0).then(pl.sum(n)).alias(n) for n in sums),
            pl.len().alias("rows"),
        )
        .filter(pl.col("rows") == higher.ms // base.ms)
    )
    return with_close_time(grouped.drop("rows"), higher)
