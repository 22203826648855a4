"""TA-Lib's 61 candlestick patterns, 0, ±80, ±100 or ±200: evidence of an edge is weak (Marshall, Young & Rose 2006), so
they are features and never rules.

Patterns hold running sums of bar sizes, so the last bits depend on where they begin: anchored like other indicators.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from trader_cli.features.family import Family

if TYPE_CHECKING:
    from trader_cli.features.bar_arrays import BarSeries, Floats
    from trader_cli.features.family import FamilyOptions

WARMUP = 64


def families(options: FamilyOptions) -> tuple[Family, ...]:  # noqa: ARG001
    """All patterns, named `candle_engulfing`."""
    return (Family("candle", tuple(patterns()), _compute, WARMUP, ("open", "high", "low", "close")),)


@lru_cache(maxsize=1)
def patterns() -> dict[str, str]:
    """Column name → TA-Lib's function, in TA-Lib's order."""
    import talib

    return {
        f"candle_{name.removeprefix('CDL').lower()}": name
        for name in talib.get_function_groups()["Pattern Recognition"]
    }


def _compute(bars: BarSeries) -> dict[str, Floats]:
    from trader_cli.features.families.ta_lib import raw_talib

    prices = bars.open, bars.high, bars.low, bars.close
    return {column: getattr(raw_talib, name)(*prices) for column, name in patterns().items()}
