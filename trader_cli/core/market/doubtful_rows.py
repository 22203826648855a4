"""`doubtful_bars` at every row of a series, each as it was told when that row was the last: most rows need no look."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from trader_cli.core.market.bars import PRICES
from trader_cli.core.market.quality import doubtful_bars
from trader_cli.core.market.quality_masks import (
    BLOCK_BARS,
    BLOCKS,
    LEAST_SIGMA,
    OTHER_INSTRUMENT_FACTOR,
    OUTLIER_SIGMAS,
    bends,
    changes_of,
    takes_back,
    usual_size,
)
from trader_cli.core.market.ticks import MOST_DECIMALS, decimals_needed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trader_cli.core.market.timeframes import Timeframe

    Mask = NDArray[np.bool_]
    Floats = NDArray[np.float64]

_SLACK = 0.999
_REACH = BLOCK_BARS * (BLOCKS + 1)
"""Bars before one from which what is usual is told."""


def doubts_by_row(bars: pl.DataFrame, timeframe: Timeframe, window: int, last: int) -> dict[int, dict[str, int]]:
    """What `doubtful_bars` finds in the newest `window` bars up to each row, by row; rows without are left out.

    `bars` are valid BARS (n, 11). Only rows beside which a bar looks odd by itself are looked at in full.
    """
    view = changes_of(bars, timeframe)
    size = (view["move"] / view["steps"].sqrt()).abs()
    printed = _printed(view, size)
    other, misprinted = (_just_before(mask, last) for mask in (_otherwise_odd(bars, view), printed))
    back = view.select(takes_back().fill_null(value=False)).to_series().to_numpy()
    found = {}
    for row in np.flatnonzero(other | misprinted).tolist():
        if other[row]:
            doubts = doubtful_bars(bars[max(0, row + 1 - window) : row + 1], timeframe, last)
        else:
            seen = slice(max(0, row + 1 - window), row + 1)
            doubts = _misprinted(size[seen].to_numpy(), back[seen], last)
        if doubts:
            found[row] = doubts
    return found


def _just_before(mask: Mask, last: int) -> Mask:
    """Rows one of whose `last` bars is true, its own included."""
    return np.convolve(mask, np.ones(last, dtype=np.int64))[: len(mask)] > 0


def _misprinted(size: Floats, back: Mask, last: int) -> dict[str, int]:
    """What `doubtful_bars` finds of a window (n,) of moves whose `last` bars can be misprinted, but nothing else."""
    seen = np.append(np.nan, size[1:])  # the first of a window moves from nothing
    limit = OUTLIER_SIGMAS * np.maximum(1.4826 * usual_size(pl.Series(seen, nan_to_null=True)).to_numpy(), LEAST_SIGMA)
    printed = (seen > limit) & back
    printed[-1:] = False  # that a bar is taken back is told by the bar after it
    held = int((printed & ~np.append(False, printed[:-1]))[-last:].sum())
    return {"bad_print": held} if held else {}


def _otherwise_odd(bars: pl.DataFrame, view: pl.DataFrame) -> Mask:
    """Bars that any window around them might find stuck, filled in, or of another instrument."""
    still = bars.select((pl.col("volume") == 0) & (pl.col("high") == pl.col("low"))).to_series()
    other = view.select(pl.col("seam").abs() > math.log(OTHER_INSTRUMENT_FACTOR)).to_series()
    masks = (still, other, _straight(bars, view))
    return np.asarray(np.any([mask.fill_null(value=False).to_numpy() for mask in masks], axis=0))


def _straight(bars: pl.DataFrame, view: pl.DataFrame) -> pl.Series:
    """Bars on a straight line between their neighbours, to the coarsest unit that the three are written in."""
    lines = [bends(name, _coarsest(bars, names)) for names in (PRICES, ("volume",)) for name in names]
    between = (view["steps"] == 1) & (view["steps"].shift(-1) == 1)
    return between & bars.select(pl.all_horizontal(lines)).to_series()


def _coarsest(bars: pl.DataFrame, names: tuple[str, ...]) -> pl.Series:
    """The unit of a bar and its neighbours: no window that holds them is written more coarsely."""
    needed = decimals_needed(bars, names).cast(pl.Int64)
    around = pl.DataFrame([needed.shift(-1).alias("a"), needed.alias("b"), needed.shift(1).alias("c")])
    return 10.0 ** -around.max_horizontal().clip(0, MOST_DECIMALS).cast(pl.Float64)


def _printed(view: pl.DataFrame, size: pl.Series) -> Mask:
    """Bars whose move is far outside the least that could be usual before them, and is taken back."""
    usual = _least_usual(size.fill_null(np.nan).to_numpy())
    limit = _SLACK * OUTLIER_SIGMAS * np.maximum(1.4826 * usual, LEAST_SIGMA)
    odd = (size > pl.Series(limit)) & view.select(takes_back()).to_series()
    return odd.fill_null(value=False).to_numpy()


def _least_usual(size: Floats) -> Floats:
    """A bound of the usual size at each row from below, wherever blocks begin; 0 where little lies before. Shape (n,).

    Whatever the blocks are, what is usual is a median of medians of so many consecutive bars.
    """
    out = np.zeros(len(size))
    known = _REACH + BLOCK_BARS
    if len(size) <= known:
        return out
    medians = np.median(np.lib.stride_tricks.sliding_window_view(np.nan_to_num(size), BLOCK_BARS), axis=1)
    lowest = np.lib.stride_tricks.sliding_window_view(medians, _REACH - BLOCK_BARS).min(axis=1)
    out[known:] = lowest[known - _REACH + 1 : len(out) - _REACH + 1]
    return out
