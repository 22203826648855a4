"""Where a bar lies in the day and the week, UTC: known before it opens."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.core.market.timeframes import DAY_MS, MINUTE_MS
from trader_cli.features.family import Family

if TYPE_CHECKING:
    from trader_cli.features.bar_arrays import BarSeries, Floats, Times
    from trader_cli.features.family import FamilyOptions

_THURSDAY = 4  # the epoch began on a Thursday; weeks here begin on Monday
_DAY = DAY_MS // MINUTE_MS
_COLUMNS = ("session_day_sin", "session_day_cos", "session_week_sin", "session_week_cos")


def families(options: FamilyOptions) -> tuple[Family, ...]:
    """Sine and cosine of the time of day (below one day) and of the week, at the bar's opening."""
    columns = _COLUMNS if options.timeframe.ms < DAY_MS else _COLUMNS[2:]
    return (Family("session", columns, _compute, 0, parameters={"columns": columns}, finite=True),)


def _compute(bars: BarSeries, columns: tuple[str, ...]) -> dict[str, Floats]:
    minute = bars.open_ms // MINUTE_MS
    found = dict(
        zip(_COLUMNS, (*_circle(minute, _DAY), *_circle(minute + (_THURSDAY - 1) * _DAY, 7 * _DAY)), strict=True)
    )
    return {name: found[name] for name in columns}


def _circle(minute: Times, period: int) -> tuple[Floats, Floats]:
    """Sine and cosine of where each minute lies in the period, looked up."""
    at = minute % period
    sine, cosine = _table(period)
    return sine[at], cosine[at]


@lru_cache(maxsize=2)
def _table(period: int) -> tuple[Floats, Floats]:
    turn = 2 * np.pi * np.arange(period) / period
    return np.sin(turn), np.cos(turn)
