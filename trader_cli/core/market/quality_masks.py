"""Which bars of a series show each kind of data-quality finding, as masks over its rows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from trader_cli.core.market.bars import PRICES
from trader_cli.core.market.ticks import decimals_of_bars, off_tick, unit_of, unit_of_decimals

if TYPE_CHECKING:
    from trader_cli.core.market.timeframes import Timeframe


STUCK_BARS = 3


OUTLIER_SIGMAS = 20.0


BLOCK_BARS = 50


BLOCKS = 4


LEAST_SIGMA = 5e-4


OTHER_INSTRUMENT_FACTOR = 3.0


_REVERTED_SHARE = 0.25


_STRAIGHT = 1e-9


_ROUNDED_RUN = 3


_ROUNDED_STEP = 4


def changes_of(bars: pl.DataFrame, timeframe: Timeframe) -> pl.DataFrame:
    """What the detectors share: at (opening, ms), steps since the row before, log returns from the close before."""
    at = pl.col("open_time").to_physical()
    return bars.select(
        at.alias("at"),
        (at.diff() // timeframe.ms).alias("steps"),
        (pl.col("close") / pl.col("close").shift(1)).log().alias("move"),
        (pl.col("open") / pl.col("close").shift(1)).log().alias("seam"),
    )


def masks_by_kind(view: pl.DataFrame, bars: pl.DataFrame) -> dict[str, pl.Series]:
    """Per kind, which of the n bars it holds."""
    decimals = decimals_of_bars(bars)
    filled = _interpolated(view, bars, unit_of_decimals(decimals))
    fine = off_tick(decimals) if decimals is not None else pl.repeat(value=False, n=bars.height, eager=True)
    masks = {
        "zero_volume": bars["volume"] == 0,
        "stuck": _stuck(view, bars),
        "interpolated": filled,
        "off_tick": fine & ~filled,
        "volumes_disagree": _volumes_disagree(bars),
    }
    return masks | _outliers(view, bars)


def _stuck(view: pl.DataFrame, bars: pl.DataFrame) -> pl.Series:
    still = bars.select(
        (pl.col("volume") == 0) & (pl.col("high") == pl.col("low"))  # open and close lie between them
    ).to_series()
    begins = (
        ~still
        | (view["steps"] != 1).fill_null(value=True)
        | (bars["close"] != bars["close"].shift(1)).fill_null(value=True)
    )
    return _long_enough(still, begins | ~still.shift(1, fill_value=False), STUCK_BARS)


def _long_enough(mask: pl.Series, begins: pl.Series, least: int) -> pl.Series:
    """`mask` without its runs of fewer than `least`; `begins` is true where a new run begins."""
    runs = pl.DataFrame({"mask": mask, "run": begins.cast(pl.UInt32).cum_sum()})
    return runs.select(pl.col("mask") & (pl.col("mask").sum().over("run") >= least)).to_series() if mask.any() else mask


def _interpolated(view: pl.DataFrame, bars: pl.DataFrame, price_unit: float | None) -> pl.Series:
    between = (view["steps"] == 1) & (view["steps"].shift(-1) == 1)
    exact = bars.select(
        *(_bent(name) <= _STRAIGHT * pl.col(name) for name in (*PRICES, "volume")),
        _changes("volume").alias("volume_changes"),
        pl.any_horizontal(_changes(name) for name in PRICES).alias("price_changes"),
    )
    found = (between & exact.select(pl.all_horizontal(pl.all())).to_series()).fill_null(value=False)
    volume_unit = unit_of(bars, ("volume",)) if price_unit is not None else None
    if price_unit is None or volume_unit is None:
        return found
    rounded = bars.select(
        *(_bent(name) <= price_unit * 1.01 for name in PRICES),
        (_bent("volume") <= volume_unit * 1.01).alias("straight"),
        (pl.col("volume").diff().abs() > _ROUNDED_STEP * volume_unit).alias("slopes"),
    )
    near = (between & rounded.select(pl.all_horizontal(pl.all())).to_series()).fill_null(value=False)
    return found | _long_enough(near, ~near | ~near.shift(1, fill_value=False), _ROUNDED_RUN)


def _bent(name: str) -> pl.Expr:
    """How far a value lies from the mean of its neighbours."""
    return (pl.col(name) - (pl.col(name).shift(1) + pl.col(name).shift(-1)) / 2).abs()


def _changes(name: str) -> pl.Expr:
    return pl.col(name) != pl.col(name).shift(1)


def bends(name: str, unit: pl.Series) -> pl.Expr:
    """Whether a value may lie on the line between its neighbours, written in units (n,), and is not that before it."""
    return (_bent(name) <= pl.max_horizontal(_STRAIGHT * pl.col(name), 1.02 * pl.lit(unit))) & (
        _changes(name) if name == "volume" else pl.lit(value=True)
    )


def takes_back() -> pl.Expr:
    """Of what `changes_of` gives: whether the bar after takes back all but a part of the move, without a gap."""
    move = pl.col("move")
    taken_back = (move + move.shift(-1)).abs() <= _REVERTED_SHARE * move.abs()
    return taken_back & (pl.col("steps") == 1) & (pl.col("steps").shift(-1) == 1)


def _outliers(view: pl.DataFrame, bars: pl.DataFrame) -> dict[str, pl.Series]:
    size = (pl.col("move") / pl.col("steps").sqrt()).abs()
    usual = usual_size(view.select(size).to_series())
    limit = OUTLIER_SIGMAS * pl.max_horizontal(1.4826 * pl.lit(usual), pl.lit(LEAST_SIGMA))
    reach = pl.max_horizontal(
        (pl.col("high") / pl.max_horizontal("open", "close")).log(),
        (pl.min_horizontal("open", "close") / pl.col("low")).log(),
    )
    found = (
        view.hstack(bars.select(PRICES))
        .select(
            (size > limit).alias("big"),
            takes_back().alias("back"),
            (pl.col("seam").abs() > math.log(OTHER_INSTRUMENT_FACTOR)).alias("other_instrument"),
            (reach > limit).alias("wick"),
        )
        .with_columns(pl.all().fill_null(value=False))
    )
    other, printed = found["other_instrument"], found["big"] & found["back"]
    printed &= ~printed.shift(1, fill_value=False)  # the bar that takes a print back is none itself
    printed &= ~other | (other & other.shift(-1, fill_value=False))  # a print so bad that it looks like another coin
    returned = printed.shift(1, fill_value=False)
    return {
        "bad_print": printed,
        "wick": found["wick"],
        "jump": found["big"] & ~printed & ~returned & ~other,
        "other_instrument": other & ~printed & ~returned,
    }


def usual_size(size: pl.Series) -> pl.Series:
    """The median of `size` over about `BLOCKS` * `BLOCK_BARS` bars before each one's block; of all, at the start.

    The median of the medians of blocks: a tenth of the time of a median that rolls by single bars.
    """
    typical = size.median()
    if not isinstance(typical, float):
        return size.fill_null(0.0)
    medians = _block_medians(size).rolling_median(BLOCKS, min_samples=1).to_numpy()
    before = np.append(np.nan, medians[:-1])
    return pl.Series(np.where(np.isnan(before), typical, before)[np.arange(len(size)) // BLOCK_BARS])


def _block_medians(size: pl.Series) -> pl.Series:
    """The median of each `BLOCK_BARS` values, nulls left out; null for a block of nulls."""
    blocks = -(-len(size) // BLOCK_BARS)
    padded = np.full(blocks * BLOCK_BARS, np.nan)
    padded[: len(size)] = size.to_numpy()  # null as NaN
    ordered = np.sort(padded.reshape(blocks, BLOCK_BARS), axis=1)  # NaN comes last
    known = BLOCK_BARS - np.isnan(ordered).sum(axis=1)
    rows = np.arange(blocks)
    low, high = ordered[rows, np.maximum(known - 1, 0) // 2], ordered[rows, np.minimum(known // 2, BLOCK_BARS - 1)]
    return pl.Series((low + high) / 2, nan_to_null=True)


def _volumes_disagree(bars: pl.DataFrame) -> pl.Series:
    traded = pl.col("volume") > 0
    mean = pl.col("quote_volume") / pl.col("volume")
    wrong = (
        traded & ((mean < pl.col("low") * (1 - 1e-5)) | (mean > pl.col("high") * (1 + 1e-5))),
        pl.col("taker_buy_base") > pl.col("volume") * (1 + 1e-9),
        pl.col("taker_buy_quote") > pl.col("quote_volume") * (1 + 1e-9),
        traded & (pl.col("trades") == 0),
    )
    return bars.select(pl.any_horizontal(rule.fill_null(value=False) for rule in wrong)).to_series()
