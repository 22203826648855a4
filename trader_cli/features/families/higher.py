"""Technical indicators on closed bars of higher time frames, joined by close time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trader_cli.features.bar_arrays import PRICE_INPUTS
from trader_cli.features.families import technical
from trader_cli.features.family import Family

if TYPE_CHECKING:
    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.features.bar_arrays import BarSeries, Floats
    from trader_cli.features.family import FamilyOptions

WARMUP = 48
COLUMNS = (
    "rsi_14",
    "ema_20_gap",
    "ema_20_slope",
    "natr_14",
    "bbands_position_20",
    "bbands_width_20",
    "roc_1",
    "roc_6",
    "adx_14",
    "plus_di_14",
    "minus_di_14",
    "volume_gap_20",
)


def families(options: FamilyOptions) -> tuple[Family, ...]:
    """The indicators of `COLUMNS` on each higher frame, named `htf4h_rsi_14`."""
    return tuple(_family(frame) for frame in options.higher)


def _family(frame: Timeframe) -> Family:
    named = [f"htf{frame.name}_{column}" for column in COLUMNS]

    def compute(bars: BarSeries) -> dict[str, Floats]:
        found = technical.compute(bars, COLUMNS)
        return dict(zip(named, found.values(), strict=True))

    return Family(f"htf{frame.name}", tuple(named), compute, WARMUP, PRICE_INPUTS, timeframe=frame)
