"""Where a bar lies in the day and the week, UTC: known before it opens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trader_cli.core.timeframes import DAY_MS
from trader_cli.features.family import Family

if TYPE_CHECKING:
    from trader_cli.features.registry import FamilyOptions
    from trader_cli.features.series import BarSeries, Floats

_THURSDAY = 4  # the epoch began on a Thursday; weeks here begin on Monday
_WEEK_MS = 7 * DAY_MS
_COLUMNS = ("session_day_sin", "session_day_cos", "session_week_sin", "session_week_cos")


def families(options: FamilyOptions) -> tuple[Family, ...]:
    """Sine and cosine of the time of day (below one day) and of the week, at the bar's opening."""
    columns = _COLUMNS if options.timeframe.ms < DAY_MS else _COLUMNS[2:]
    return (Family("session", columns, _compute, 0, parameters={"columns": columns}, finite=True),)


def _compute(bars: BarSeries, columns: tuple[str, ...]) -> dict[str, Floats]:
    day = 2 * np.pi * (bars.open_ms % DAY_MS) / DAY_MS
    week = 2 * np.pi * ((bars.open_ms + (_THURSDAY - 1) * DAY_MS) % _WEEK_MS) / _WEEK_MS
    found = dict(zip(_COLUMNS, (np.sin(day), np.cos(day), np.sin(week), np.cos(week)), strict=True))
    return {name: found[name] for name in columns}
