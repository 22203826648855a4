"""From a zip of the bulk archive to a checked frame. Pure; nothing is downloaded or stored here.

What the archive is known to vary is told from the file itself: a header line or none, the order of named columns,
milliseconds or microseconds (by the day or month the file's name promises, never by magnitude), rows out of order,
rows twice, rows of the neighbouring day. Everything else is refused, with the file and the line.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import polars as pl

from trader_cli.core.errors import DataInvalid
from trader_cli.core.market.bars import check_bars
from trader_cli.core.market.schemas import BARS, FUNDING, MARK, OPEN_INTEREST, TRADES, Schema
from trader_cli.core.market.timeframes import DAY_MS, Timeframe
from trader_cli.exchange.archive.catalogue import BAR_KINDS
from trader_cli.exchange.archive.zipped import csv_of_zip

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trader_cli.exchange.archive.catalogue import ArchiveFile

_NUMBER = re.compile(rb"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_MEBI = 1 << 20
_LEAST = MappingProxyType({"price": 0.0, "quantity": 0.0, "funding_rate": -math.inf, "open_interest": 0.0})
"""Bounds of the numbers that are not bars: all finite, and a price above its bound."""


@dataclass(frozen=True)
class _Layout:
    """Columns in the order of files without a header, other names they go by, and the ones the frame is made of."""

    schema: Schema
    columns: Mapping[str, Any]
    aliases: Mapping[str, str]
    widths: tuple[int, ...]
    key: str
    bound: int
    """The longest CSV accepted, in bytes."""

    @property
    def needed(self) -> list[str]:
        """The columns that are read."""
        return [name for name, dtype in self.columns.items() if dtype is not None]


def _layout(
    schema: Schema, columns: dict[str, Any], aliases: dict[str, str], widths: tuple[int, ...], key: str, bound: int
) -> _Layout:
    return _Layout(schema, MappingProxyType(columns), MappingProxyType(aliases), widths, key, bound)


F, I = pl.Float64, pl.Int64  # noqa: E741
_BAR_COLUMNS = {
    "open_time": I,
    "open": F,
    "high": F,
    "low": F,
    "close": F,
    "volume": F,
    "close_time": I,
    "quote_volume": F,
    "trades": I,
    "taker_buy_base": F,
    "taker_buy_quote": F,
    "ignore": None,
}
_BAR_ALIASES = {
    "count": "trades",
    "number_of_trades": "trades",
    "quote_asset_volume": "quote_volume",
    "taker_buy_volume": "taker_buy_base",
    "taker_buy_base_volume": "taker_buy_base",
    "taker_buy_base_asset_volume": "taker_buy_base",
    "taker_buy_quote_volume": "taker_buy_quote",
    "taker_buy_quote_asset_volume": "taker_buy_quote",
}
_LAYOUTS: Mapping[str, _Layout] = MappingProxyType(
    {
        **{
            kind: _layout(schema, _BAR_COLUMNS, _BAR_ALIASES, (12,), "open_time", 64 * _MEBI)
            for kind, schema in {"klines": BARS, "markPriceKlines": MARK, "indexPriceKlines": MARK}.items()
        },
        "aggTrades": _layout(
            TRADES,
            {
                "trade_id": I,
                "price": F,
                "quantity": F,
                "first_trade_id": None,
                "last_trade_id": None,
                "time": I,
                "buyer_is_maker": pl.Boolean,
                "is_best_match": None,
            },
            {
                "agg_trade_id": "trade_id",
                "transact_time": "time",
                "timestamp": "time",
                "is_buyer_maker": "buyer_is_maker",
            },
            (7, 8),
            "trade_id",
            1024 * _MEBI,
        ),
        "fundingRate": _layout(
            FUNDING,
            {"time": I, "funding_interval_hours": None, "funding_rate": F},
            {"calc_time": "time", "last_funding_rate": "funding_rate"},
            (3,),
            "time",
            16 * _MEBI,
        ),
        "metrics": _layout(
            OPEN_INTEREST,
            {
                "time": pl.Datetime("ms"),
                "symbol": None,
                "open_interest": F,
                "sum_open_interest_value": None,
                "count_toptrader_long_short_ratio": None,
                "sum_toptrader_long_short_ratio": None,
                "count_long_short_ratio": None,
                "sum_taker_long_short_vol_ratio": None,
            },
            {"create_time": "time", "sum_open_interest": "open_interest"},
            (8,),
            "time",
            16 * _MEBI,
        ),
    }
)


@dataclass(frozen=True)
class Parsed:
    """A checked frame of one archive file, and what was wrong with the file but could be mended by leaving rows out."""

    frame: pl.DataFrame
    repeated: int = 0
    """Rows that were there twice, equal in every column read."""
    contradictory: int = 0
    """Rows left out because another one has their time (trades: their id) and says something else."""
    outside: int = 0
    """Rows of the days beside the file's own, left out: the neighbouring file has them."""
    empty: int = 0
    """Rows of metrics without open interest, left out."""

    @property
    def defects(self) -> tuple[str, ...]:
        """A sentence per kind of row left out."""
        found = {
            "repeated": self.repeated,
            "contradicted by another of the same time": self.contradictory,
            "of a neighbouring day": self.outside,
            "without a value": self.empty,
        }
        return tuple(f"{n} {'row' if n == 1 else 'rows'} left out: {what}." for what, n in found.items() if n)


def parse_archive(body: bytes, file: ArchiveFile) -> Parsed:
    """The frame a zip of the archive holds, in the order of its key (opening time, time or trade id).

    klines → BARS; markPriceKlines, indexPriceKlines → MARK; aggTrades → TRADES; fundingRate → FUNDING (mark price
    null); metrics → OPEN_INTEREST. Times come out in UTC milliseconds. Of rows that contradict each other the bar
    with the most trades (more of it was over when it was saved) is kept, else the one written last.
    Raises `DataInvalid`, naming the file and where it can be told the line.
    """
    layout = _LAYOUTS[file.kind]
    csv = csv_of_zip(body, origin=file.name, symbol=file.symbol, bound=layout.bound)
    frame, first_line = _read(csv, layout, file)
    total = frame.height
    if file.kind == "metrics":
        frame = frame.filter(pl.col("open_interest").is_not_null() | pl.col("time").is_null())
    with_value = frame.height
    _check_filled(frame, file, first_line)
    frame = _in_milliseconds(frame, layout, file, first_line)
    inside = _inside(frame, layout, file)
    unique = _once(inside, layout.key)
    repeated = 0
    if unique.height < inside.height:
        repeated = inside.height - inside.unique().height
    contradictory = inside.height - unique.height - repeated
    checked = _checked(unique, layout, file)
    return Parsed(checked, repeated, contradictory, with_value - inside.height, total - with_value)


def _read(csv: bytes, layout: _Layout, file: ArchiveFile) -> tuple[pl.DataFrame, int]:
    """The needed columns, and the number of the line (from 1) of the first row."""
    start = 3 if csv.startswith(b"\xef\xbb\xbf") else 0
    end = csv.find(b"\n")
    cells = [
        cell.strip().lower().decode(errors="replace") for cell in csv[start : end if end >= 0 else None].split(b",")
    ]
    header = _is_header(cells, layout)
    names = _named(cells, layout, file) if header else _positional(cells, layout, file)
    schema = {name: layout.columns.get(name) or pl.String for name in names}
    at = [i for i, name in enumerate(names) if layout.columns.get(name) is not None]
    try:
        frame = pl.read_csv(
            csv[start:] if start else csv,
            has_header=False,
            skip_lines=int(header),
            schema=schema,
            columns=at,
            quote_char=None,
        )
    except pl.exceptions.NoDataError as error:
        raise DataInvalid(f"{file.name} holds no rows.") from error
    except pl.exceptions.PolarsError as error:
        raise DataInvalid(_what_cannot_be_read(csv, names, layout, file, error, header=header)) from error
    if frame.is_empty():
        raise DataInvalid(f"{file.name} holds no rows.")
    return frame.select(layout.needed), 1 + int(header)


def _is_header(cells: list[str], layout: _Layout) -> bool:
    return any(cell in layout.columns or cell in layout.aliases for cell in cells)


def _named(cells: list[str], layout: _Layout, file: ArchiveFile) -> list[str]:
    names = [layout.aliases.get(cell, cell) for cell in cells]
    absent = [name for name in layout.needed if names.count(name) != 1]
    if absent or len(set(names)) != len(names):
        raise DataInvalid(
            f"{file.name}, line 1: the columns {', '.join(layout.needed)} are expected once each;"
            f" found {', '.join(cells)}."
        )
    return names


def _positional(cells: list[str], layout: _Layout, file: ArchiveFile) -> list[str]:
    if cells == [""]:
        raise DataInvalid(f"{file.name} holds no rows.")
    if len(cells) not in layout.widths:
        wanted = " or ".join(map(str, layout.widths))
        raise DataInvalid(
            f"{file.name}, line 1: {wanted} columns are expected; found {len(cells)}: {', '.join(cells)}."
        )
    return list(layout.columns)[: len(cells)]


def _what_cannot_be_read(
    csv: bytes, names: list[str], layout: _Layout, file: ArchiveFile, error: Exception, *, header: bool
) -> str:
    """The first line that is not what it should be. Slow, and only done once reading has failed."""
    for number, line in enumerate(csv.splitlines(), 1):
        cells = line.removeprefix(b"\xef\xbb\xbf").split(b",")
        if number == 1 and header:
            continue
        if len(cells) > len(names):
            return f"{file.name}, line {number}: {len(names)} cells are expected; found {len(cells)}."
        for name, cell in zip(names, cells, strict=False):
            if layout.columns.get(name) in {F, I} and cell and _NUMBER.fullmatch(cell) is None:
                shown = cell[:40].decode(errors="replace")
                return f"{file.name}, line {number}: {name} should be a number; found {shown!r}."
    return f"{file.name} cannot be read: {str(error).splitlines()[0]}."


def _check_filled(frame: pl.DataFrame, file: ArchiveFile, first_line: int) -> None:
    for column in frame.iter_columns():
        if column.null_count():
            row = column.is_null().arg_max() or 0
            raise DataInvalid(f"{file.name}, line {row + first_line}: {column.name} is missing or cannot be read.")


def _in_milliseconds(frame: pl.DataFrame, layout: _Layout, file: ArchiveFile, first_line: int) -> pl.DataFrame:
    """Time columns in UTC ms. A row's unit is the one in which it lies in, or a day beside, the file's own span."""
    stamped = "open_time" if "open_time" in frame.columns else "time"
    if layout.columns[stamped] == pl.Datetime("ms"):
        frame = frame.with_columns(pl.col(stamped).to_physical())
    first, last = file.first_ms - DAY_MS, file.end_ms + DAY_MS - 1
    time = pl.col(stamped)
    is_ms, is_us = time.is_between(first, last), time.is_between(first * 1000, last * 1000 + 999)
    neither, micro = frame.select((~(is_ms | is_us)).alias("neither"), is_us.alias("micro"))
    if neither.any():
        row = neither.arg_max() or 0
        raise DataInvalid(
            f"{file.name}, line {row + first_line}: {stamped} {frame[stamped][row]} lies outside the file's span,"
            f" {file.first_ms} to {file.end_ms - 1}, in milliseconds as in microseconds."
        )
    if not micro.any():
        return frame
    stamps = [name for name in ("open_time", "close_time", "time") if name in frame.columns]
    return frame.with_columns(pl.when(micro).then(pl.col(name) // 1000).otherwise(name).alias(name) for name in stamps)


def _inside(frame: pl.DataFrame, layout: _Layout, file: ArchiveFile) -> pl.DataFrame:
    """The rows of the file's own span. Metrics end with the one that speaks of the next midnight."""
    stamped = "open_time" if "open_time" in frame.columns else "time"
    end = file.end_ms if layout.schema is OPEN_INTEREST else file.end_ms - 1
    within = frame[stamped].is_between(file.first_ms, end)
    if within.all():
        return frame
    if not within.any():
        raise DataInvalid(f"{file.name}: every row is of a day beside the file's own.")
    return frame.filter(within)


def _once(frame: pl.DataFrame, key: str) -> pl.DataFrame:
    """In ascending order of `key`, one row for each."""
    if (frame[key].diff().slice(1) > 0).all():
        return frame
    order = [key, "trades", "volume"] if "trades" in frame.columns else [key]
    return frame.sort(order, maintain_order=True).unique(subset=key, keep="last", maintain_order=True)


def _checked(frame: pl.DataFrame, layout: _Layout, file: ArchiveFile) -> pl.DataFrame:
    schema = layout.schema
    if file.kind in BAR_KINDS:
        timeframe = Timeframe.parse(file.interval or "")
        bars = frame.select(pl.col(name).cast(dtype) for name, dtype in BARS.columns.items())
        return check_bars(bars, timeframe, origin=file.name).select(list(schema.columns))
    if "mark_price" in schema.columns:
        frame = frame.with_columns(pl.lit(None, dtype=pl.Float64).alias("mark_price"))
    made = frame.select(pl.col(name).cast(dtype) for name, dtype in schema.columns.items())
    for name in [name for name in _LEAST if name in made.columns]:
        fits = pl.col(name).is_finite() & (pl.col(name) > 0 if name == "price" else pl.col(name) >= _LEAST[name])
        wrong = made.select(~fits).to_series()
        if wrong.any():
            row = made.row(wrong.arg_max() or 0, named=True)
            raise DataInvalid(f"{file.name}: {row['time']:%Y-%m-%d %H:%M:%S} UTC has a {name} of {row[name]}.")
    return made
