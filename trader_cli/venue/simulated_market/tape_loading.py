"""Tapes from Parquet files of bars, checked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from trader_cli.core.errors import DataInvalid
from trader_cli.core.market.bars import PRICES, check_bars, with_close_time
from trader_cli.core.market.schemas import TIME
from trader_cli.core.market.symbols import is_symbol, symbol_in
from trader_cli.core.market.timeframes import Timeframe, known_timeframes
from trader_cli.settings.source_names import file_source, tape_files
from trader_cli.venue.simulated_market.tape import FLOWS, SymbolTape, Tape, TapeBars, path_seed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


TAPE_COLUMNS = ("open_time", *PRICES, "volume")
"""What a tape is made of, beside recorded flows."""


def load_tape(path: Path, seed: int) -> Tape:
    """A tape from a Parquet file of bars, or a folder of them.

    Columns: open_time (UTC), open, high, low, close, volume, and where known the other BARS columns and `symbol`;
    without that column the file's name begins with the symbol (`ETHUSDT-1m-2023.parquet`; `BTCUSDT_260327-15m.parquet`
    is the contract delivered that day, not the perpetual).
    Raises `DataMissing` and `DataInvalid`, the latter with the offending row.
    """
    symbols: dict[str, SymbolTape] = {}
    for file in tape_files(path):
        for found in load_bars_file(file):
            if found.symbol in symbols:
                raise DataInvalid(
                    f"The tape {path} holds {found.symbol} twice, the second time in {file.name}.",
                    hint="Name one file per symbol.",
                )
            symbols[found.symbol] = _symbol_tape(found, seed)
    return Tape(file_source(path, seed), f"tape {path.name}", symbols)


@dataclass(frozen=True)
class SymbolBars:
    """Checked BARS of one symbol, as a file has them."""

    symbol: str
    timeframe: Timeframe
    bars: pl.DataFrame


def load_bars_file(file: Path) -> tuple[SymbolBars, ...]:
    """The bars a Parquet file holds, one entry per symbol; the columns are those of `load_tape`.

    The time frame is the smallest step between rows, of a single row that in the file's name (`ETHUSDT-1m-...`).
    Raises `DataInvalid` with the reason, where there is one with the offending row.
    """
    return tuple(_symbol_bars(symbol, frame, file) for symbol, frame in _frames(file).items())


def _frames(file: Path) -> dict[str, pl.DataFrame]:
    try:
        frame = pl.read_parquet(file)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataInvalid(f"{file} is not a readable Parquet file: {str(error).splitlines()[0]}.") from error
    absent = [name for name in TAPE_COLUMNS if name not in frame.columns]
    if absent:
        raise DataInvalid(
            f"{file} has no column {absent[0]!r}; a tape needs open_time, open, high, low, close, volume."
        )
    if not isinstance(frame.schema["open_time"], pl.Datetime):
        raise DataInvalid(f"{file}: open_time must be a UTC timestamp; found {frame.schema['open_time']}.")
    if frame.is_empty():
        raise DataInvalid(f"{file} holds no bars.")
    frame = frame.with_columns(pl.col("open_time").cast(TIME))
    if "symbol" in frame.columns:
        if frame["symbol"].null_count():
            raise DataInvalid(f"{file}: row {frame['symbol'].is_null().arg_max()} has no symbol.")
        parts = frame.partition_by("symbol", as_dict=True, include_key=False)
        named = {str(key[0]): part for key, part in parts.items()}
        wrong = next((name for name in named if not is_symbol(name)), None)
        if wrong is not None:
            raise DataInvalid(f"{file}: {wrong!r} in its symbol column is not a symbol.")
        return named
    symbol = symbol_in(file.name)
    if symbol is None:
        raise DataInvalid(
            f"{file}: cannot tell the symbol.", hint="Add a symbol column or begin the file name with it."
        )
    return {symbol: frame}


def _symbol_bars(symbol: str, frame: pl.DataFrame, file: Path) -> SymbolBars:
    timeframe = _timeframe(symbol, frame, file)
    try:
        whole = with_close_time(frame, timeframe)
    except pl.exceptions.PolarsError as error:
        raise DataInvalid(f"{file}, {symbol}: not all columns are numbers: {str(error).splitlines()[0]}.") from error
    return SymbolBars(symbol, timeframe, check_bars(whole, timeframe, origin=f"{file}, {symbol}"))


def _timeframe(symbol: str, frame: pl.DataFrame, file: Path) -> Timeframe:
    if frame.height == 1:
        named = re.search(r"-(\d+[mhd])(?=[-.])", file.name)
        if named is None or named[1] not in known_timeframes():
            raise DataInvalid(
                f"{file}: {symbol} has a single bar, which does not tell its time frame.",
                hint="Name it in the file's name, as in ETHUSDT-1m-2023.parquet.",
            )
        return Timeframe.parse(named[1])
    steps = frame["open_time"].to_physical().diff().drop_nulls().abs()
    smallest = steps.filter(steps > 0).min()  # of rows with the same time `check_bars` names the second
    step_ms = smallest if isinstance(smallest, int) else 0
    timeframe = Timeframe.of_ms(step_ms)
    if timeframe is None:
        raise DataInvalid(f"{file}: {symbol} has bars {step_ms} ms apart, which is no time frame the exchange offers.")
    return timeframe


def _symbol_tape(found: SymbolBars, seed: int) -> SymbolTape:
    bars = found.bars
    recorded = {name: bars[name].to_numpy().astype(np.float64) for name in FLOWS if bars[name].null_count() == 0}
    return make_symbol_tape(found.symbol, found.timeframe, bars, seed, recorded)


def make_symbol_tape(
    symbol: str,
    timeframe: Timeframe,
    frame: pl.DataFrame,
    seed: int,
    recorded: dict[str, Floats],
    mark: Mapping[str, Floats] = MappingProxyType({}),
) -> SymbolTape:
    """A symbol's tape from checked BARS; tick and step are the decimals its numbers use. `mark`: see `TapeBars`."""
    arrays = {name: frame[name].cast(pl.Float64).to_numpy() for name in (*PRICES, "volume")}
    prices = np.concatenate([arrays[name] for name in PRICES])
    tick, step = tick_of(prices), tick_of(arrays["volume"])
    opened = frame["open_time"].to_physical().to_numpy().astype(np.int64)
    bars = TapeBars(opened, recorded=recorded, mark=mark, **arrays)
    return SymbolTape.of(symbol, timeframe, path_seed(symbol, seed), tick, step, bars)


def tick_of(values: Floats) -> float:
    """The smallest step that values (n,) are written in, 1e-8 at least."""
    return 10.0 ** -_decimals(values)


def _decimals(values: Floats) -> int:
    """Decimals that write every value exactly to within float rounding, at most 8."""
    for decimals in range(8):
        if np.all(np.abs(np.round(values, decimals) - values) <= 1e-9 * np.maximum(np.abs(values), 1e-6)):
            return decimals
    return 8
