"""Short gaps are bridged: bars that are missing are read as bars in which nothing was traded.

Where an exchange stands still it lists no bars, or bars without trades at the last close; histories of the same hours
differ in nothing else. A column over a month of bars need not be null for a month because an hour of them is missing.
No row is made for a bar that is missing, and none until as many bars have followed a gap as it took: short windows
would see little else. A longer gap is not bridged, and rows behind it wait until their history is whole again
(docs/decisions/0019-short-gaps.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.features.bar_arrays import BarSeries

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trader_cli.features.bar_arrays import Floats, Times

    Flags = NDArray[np.bool_]

MOST_BRIDGED = 12
"""Bars; an exchange that was down for maintenance was rarely down for longer, at one hour a bar."""
_FLOWS = frozenset({"quote_volume", "trades", "taker_buy_base", "taker_buy_quote"})


@dataclass(frozen=True)
class BridgedBars:
    """Bars with short gaps bridged. `at`: places of the bars there really are, (n,); `settled`: so many bars have
    followed each gap as it took, (n,)."""

    bars: BarSeries
    at: Times
    settled: Flags

    def own_rows(self, values: Floats) -> Floats:
        """Of values of all bars, (m, …), those of the bars there are, (n, …); NaN where they have not settled."""
        rows = values[self.at]
        rows[~self.settled] = np.nan
        return rows


def bridge(bars: BarSeries, step_ms: int) -> BridgedBars | None:
    """The bars with what is missing in gaps of at most 12 of them; `None` where there is no such gap.

    A bar that is missing opens, stays and closes at the last close, without volume; other inputs are not known then.
    """
    missing = _missing(bars.open_ms, step_ms)
    if not missing.any():
        return None
    source = np.repeat(np.arange(len(bars)), 1 + missing)
    at = np.arange(len(bars)) + np.concatenate([[0], np.cumsum(missing)[:-1]])
    behind = np.arange(len(source)) - at[source]
    made, close = behind > 0, bars.close[source]
    open_, high, low = (np.where(made, close, one[source]) for one in (bars.open, bars.high, bars.low))
    volume = np.where(made, 0.0, bars.volume[source])
    extra = {name: _untraded(name, values[source], made) for name, values in bars.extra.items()}
    times = bars.open_ms[source] + behind * step_ms
    filled = BarSeries(times, open_, high, low, close, volume, MappingProxyType(extra))
    return BridgedBars(filled, at, _settled(missing))


def first_needed(open_ms: Times, start_ms: int, step_ms: int) -> int:
    """The first bar on which what begins at `start_ms` depends: where that lies in a short gap, the bar before."""
    first = int(np.searchsorted(open_ms, start_ms))
    if 0 < first < len(open_ms) and open_ms[first] > start_ms and _missing(open_ms[first - 1 : first + 1], step_ms)[0]:
        return first - 1
    return first


def _missing(open_ms: Times, step_ms: int) -> Times:
    """How many bars are missing behind each, where the gap is short; shape (n,)."""
    missing = np.zeros(len(open_ms), dtype=np.int64)
    apart = np.diff(open_ms)
    short = (apart > step_ms) & (apart <= (MOST_BRIDGED + 1) * step_ms) & (apart % step_ms == 0)
    missing[:-1][short] = apart[short] // step_ms - 1
    return missing


def _untraded(name: str, values: Floats, made: Flags) -> Floats:
    """An input of bars of which some were made: nothing was traded in these, and of other inputs nothing is known."""
    traded = np.where(np.isnan(values), np.nan, 0.0) if name in _FLOWS else np.full(len(values), np.nan)
    return np.where(made, traded, values)


def _settled(missing: Times) -> Flags:
    settled = np.ones(len(missing), dtype=bool)
    for before in np.flatnonzero(missing).tolist():
        settled[before + 1 : before + 1 + missing[before]] = False
    return settled
