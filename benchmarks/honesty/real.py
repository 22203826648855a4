"""Real bars: every symbol's 1h of the spot market and 15m, made from minutes, of the perpetuals.

They lie as Parquet in `klines/spot` and `klines/um` of the folder that `REAL_BARS` names.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import polars as pl

from trader_cli.core.market.bars import aggregate_bars, with_close_time
from trader_cli.core.market.schemas import BARS
from trader_cli.core.market.timeframes import Timeframe

_M1, _M15, _H1 = (Timeframe.parse(name) for name in ("1m", "15m", "1h"))


@dataclass(frozen=True)
class RealTape:
    """A file of bars and the time frame it is looked at in."""

    path: Path
    stored: Timeframe
    timeframe: Timeframe

    @property
    def name(self) -> str:
        """Of a line of the report."""
        return f"{self.path.stem} at {self.timeframe}"

    def read(self) -> pl.DataFrame:
        """BARS; what the file lacks is null."""
        frame = pl.read_parquet(self.path)
        wanted = [name for name in BARS.columns if name in frame.columns and name != "close_time"]
        bars = with_close_time(frame.select(wanted), self.stored)
        return bars if self.stored == self.timeframe else aggregate_bars(bars, self.stored, self.timeframe)


def _files(pattern: str) -> list[Path]:
    folder = os.environ.get("REAL_BARS")
    return sorted((Path(folder) / "klines").glob(pattern)) if folder else []


@cache
def hourly() -> tuple[RealTape, ...]:
    """The nine symbols of the spot market."""
    return tuple(RealTape(path, _H1, _H1) for path in _files("spot/*-1h.parquet"))


@cache
def quarter_hourly() -> tuple[RealTape, ...]:
    """The perpetuals whose minutes are stored."""
    return tuple(RealTape(path, _M1, _M15) for path in _files("um/*-1m-*.parquet"))
