"""Zips as the bulk archive has them, made from frames."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass

import polars as pl

from trader_cli.exchange.archive.catalogue import ArchiveFile

KLINE_HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
)
ORDER = (
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
)


@dataclass(frozen=True)
class Way:
    """One way the archive writes a file: with or without a header, in ms or µs, columns in which order, line ends."""

    header: bool = True
    micro: bool = False
    order: tuple[int, ...] = ()
    ends: str = "\n"
    mark: bool = False
    """A byte order mark."""


def zipped(csv: str | bytes, file: ArchiveFile, *, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip with this one CSV."""
    return zipped_members({file.name.replace(".zip", ".csv"): csv}, compression)


def zipped_members(members: dict[str, str | bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w", compression) as opened:
        for name, text in members.items():
            opened.writestr(name, text)
    return body.getvalue()


def kline_csv(bars: pl.DataFrame, way: Way) -> str:
    """BARS as the archive's CSV. Numbers are written so that they read back to the bit."""
    factor, late = (1000, 999) if way.micro else (1, 0)
    frame = bars.select(ORDER).with_columns(
        open_time=pl.col("open_time").to_physical() * factor,
        close_time=pl.col("close_time").to_physical() * factor + late,
        ignore=pl.lit(0),
    )
    return written(frame, KLINE_HEADER.split(","), way)


def written(frame: pl.DataFrame, header: list[str], way: Way) -> str:
    """Rows as CSV, in a way of the archive; an order of columns needs a header."""
    at = list(way.order or range(frame.width))
    lines = [",".join(_cell(row[i]) for i in at) for row in frame.iter_rows()]
    if way.header:
        lines = [",".join(header[i] for i in at), *lines]
    return ("\ufeff" if way.mark else "") + way.ends.join(lines) + way.ends


def _cell(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
