"""Support and resistance levels that someone gives: each known from a time on, nearest below and above at each close.

The frame has the columns known_time (UTC milliseconds), price (quote currency, > 0), strength (≥ 0, any scale). A level
without the time it became known is refused: it could have been drawn with what came after.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from trader_cli.core.errors import DataInvalid
from trader_cli.core.market.schemas import TIME, Schema, check_schema

if TYPE_CHECKING:
    from trader_cli.features.bar_arrays import Floats, Times

KNOWN_LEVELS = ("level_support", "level_resistance", "level_support_strength", "level_resistance_strength")
"""Prices and strengths of the nearest level at or below the close, and above it; NaN where there is none."""

LEVELS = Schema("levels", 1, {"known_time": TIME, "price": pl.Float64, "strength": pl.Float64})

_HINT = (
    "Give a frame with the columns known_time (UTC ms), price, strength, or"
    " {'support': …, 'resistance': …, 'known_time': …}."
)


def as_levels(given: object) -> pl.DataFrame | None:
    """The levels frame of what a caller of the guide's method gives: a frame, a dict of two prices with the time they
    became known, or `None`. Raises `DataInvalid` for anything else."""
    if given is None or isinstance(given, pl.DataFrame):
        return None if given is None else check_levels(given)
    if not isinstance(given, Mapping):
        raise DataInvalid(f"Levels are a frame or a mapping; found {type(given).__name__}.", hint=_HINT)
    if "known_time" not in given:
        raise _without_time(list(given))
    prices = [float(given[side]) for side in ("support", "resistance") if given.get(side) is not None]
    columns = {"known_time": [given["known_time"]] * len(prices), "price": prices, "strength": [1.0] * len(prices)}
    return check_levels(pl.DataFrame(columns)) if prices else None


def check_levels(levels: pl.DataFrame) -> pl.DataFrame:
    """The levels in order of the time they became known. Raises `DataInvalid` for a frame that is none."""
    if "known_time" not in levels.columns:
        raise _without_time(levels.columns)
    dtype = levels.schema["known_time"]
    if not (dtype.is_integer() or isinstance(dtype, pl.Datetime)):
        raise DataInvalid(f"known_time of levels is UTC milliseconds; found {dtype}.", hint=_HINT)
    if isinstance(dtype, pl.Datetime) and dtype.time_zone is None:
        raise DataInvalid("known_time of levels has no time zone.", hint="Make it UTC.")
    time = pl.col("known_time").dt.convert_time_zone("UTC") if isinstance(dtype, pl.Datetime) else pl.col("known_time")
    numbers = [pl.col(name).cast(pl.Float64) for name in ("price", "strength") if name in levels.columns]
    frame = check_schema(levels.with_columns(time.cast(TIME), *numbers), LEVELS)
    bad = ~(pl.col("price").is_finite() & (pl.col("price") > 0) & pl.col("strength").is_finite())
    wrong = frame.filter(bad | (pl.col("strength") < 0))
    if wrong.height:
        raise DataInvalid(f"A level has a price above 0 and a strength of at least 0; found {wrong.row(0)[1:]}.")
    return frame.sort("known_time", maintain_order=True)


def _without_time(found: list[str]) -> DataInvalid:
    return DataInvalid(
        f"Levels need known_time, when each became known: without it they could look ahead; found {found}.", hint=_HINT
    )


def nearest_levels(levels: pl.DataFrame, decided_ms: Times, close: Floats) -> dict[str, Floats]:
    """`KNOWN_LEVELS` for each decision, shape (n,), of the levels known by then; `levels` come from `check_levels`.

    A price given twice counts once, with the later strength.
    """
    out = np.full((4, len(decided_ms)), np.nan)
    known = levels["known_time"].to_physical().to_numpy()
    starts = np.searchsorted(decided_ms, known, side="left")
    prices: list[float] = []
    strengths: dict[float, float] = {}
    for i, (price, strength) in enumerate(levels.select("price", "strength").iter_rows()):
        if price not in strengths:
            insort(prices, price)
        strengths[price] = strength
        stop = int(starts[i + 1]) if i + 1 < len(starts) else len(decided_ms)
        if starts[i] < stop:
            rows = slice(int(starts[i]), stop)
            out[:, rows] = _around(np.array(prices), strengths, close[rows])
    return dict(zip(KNOWN_LEVELS, out, strict=True))


def _around(prices: Floats, strengths: dict[float, float], close: Floats) -> Floats:
    """Prices and strengths of the nearest level at or below each close, and above it, shape (4, n)."""
    ranked = np.array([strengths[price] for price in prices.tolist()])
    above = np.searchsorted(prices, close, side="right")
    padded, weights = (np.concatenate([[np.nan], values, [np.nan]]) for values in (prices, ranked))
    return np.stack([padded[above], padded[above + 1], weights[above], weights[above + 1]])
