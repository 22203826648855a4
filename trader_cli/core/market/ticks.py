"""The grid prices and volumes are written on, told from the numbers themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from trader_cli.core.market.bars import PRICES

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_DECIMALS = 8
_SAMPLE = 1_000
_AROUND = 101
_RARE = 0.01
_RARE_AROUND = 0.1


def _off(name: str, decimals: int) -> pl.Expr:
    """Whether a value needs more than so many decimals; a float64 rounded to them is off by a few 1e-16 of itself."""
    return (pl.col(name).round(decimals) - pl.col(name)).abs() > 4e-15 * pl.col(name).abs()


def unit_of(bars: pl.DataFrame, names: Sequence[str]) -> float | None:
    """The largest power of ten, at most 1, whose whole multiples these columns hold; `None` if 8 decimals do not do."""
    sample = bars[:: max(1, bars.height // _SAMPLE)]
    for decimals in range(MOST_DECIMALS + 1):
        off = [_off(name, decimals).any() for name in names]
        if not any(sample.select(pl.any_horizontal(off)).row(0)) and not any(
            bars.select(pl.any_horizontal(off)).row(0)
        ):
            return 10.0**-decimals
    return None


def decimals_of_bars(bars: pl.DataFrame) -> pl.Series | None:
    """How many decimals the prices of each bar need: shape (n,), 9 for more than 8; `None` if most need more."""
    sample = bars[:: max(1, bars.height // _SAMPLE)]
    beyond = sample.select(pl.any_horizontal(_off(name, MOST_DECIMALS) for name in PRICES).mean()).item()
    if beyond is None or beyond > 0.5:
        return None
    return decimals_needed(bars, PRICES)


def decimals_needed(bars: pl.DataFrame, names: Sequence[str]) -> pl.Series:
    """How many decimals these columns of each bar need: shape (n,), 9 for more than 8."""
    needed = pl.repeat(0, bars.height, dtype=pl.UInt8, eager=True)
    for decimals in range(MOST_DECIMALS + 1):
        off = bars.select(pl.any_horizontal(_off(name, decimals) for name in names)).to_series()
        if not off.any():
            break
        needed = needed + off.cast(pl.UInt8)
    return needed


def unit_of_decimals(decimals: pl.Series | None) -> float | None:
    """`unit_of` the prices, from how many decimals those of each bar need (`decimals_of_bars`)."""
    most = None if decimals is None else decimals.max()
    return 10.0 ** -int(most) if isinstance(most, int) and most <= MOST_DECIMALS else None


def off_tick(decimals: pl.Series) -> pl.Series:
    """Bars with more decimals than 99 % of all bars and 90 % of the 101 around them: boolean, shape (n,).

    A change of the tick is not one: the bars around have it, too.
    """
    off = pl.repeat(value=False, n=len(decimals), eager=True)
    for level in decimals.unique().sort(descending=True):
        at_least = decimals >= level
        if level == 0 or (at_least.mean() or 0.0) >= _RARE:
            break
        share = at_least.cast(pl.Float64).rolling_mean(_AROUND, min_samples=1, center=True)
        off |= (decimals == level) & (share < _RARE_AROUND)
    return off
