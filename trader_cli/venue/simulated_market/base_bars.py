"""The bars of a tape with what traded in them, and bars of longer time frames made of them, where they are asked for.

Summing the paths of a whole tape takes longer than most commands: they are summed in blocks, each once. A bar is the
same whichever bars are made beside it.
"""

from __future__ import annotations

from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.venue.simulated_market.derived_series import seen_as
from trader_cli.venue.simulated_market.intrabar_path import flows
from trader_cli.venue.simulated_market.tape import FLOWS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from trader_cli.venue.simulated_market.number_format import View
    from trader_cli.venue.simulated_market.tape import SymbolTape

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

SUMS = ("volume", *FLOWS)
_PRICES = ("open", "high", "low", "close")
_BLOCK = 1024
"""Bars of the tape whose paths are summed at once."""
_GROUPED = 4096
"""About how many bars of the tape are grouped at once."""


class Blocks:
    """Columns of so many rows that are made in blocks where they are asked for, each block once."""

    def __init__(self, rows: int, size: int, make: Callable[[int, int], Mapping[str, Floats]]) -> None:
        """`make` gives the columns of rows [first, stop)."""
        self._rows, self._size, self._make = rows, size, make
        self._made = np.zeros(-(-rows // size), dtype=np.bool_)
        self._columns: dict[str, Floats] = {}

    def between(self, first: int, stop: int) -> dict[str, Floats]:
        """Rows [first, stop) as columns."""
        begin = max(0, min(first, self._rows - 1)) // self._size  # at least one: the names of the columns are in it
        end = max(begin + 1, -(-stop // self._size))
        if not self._made[begin:end].all():
            for block in (begin + np.flatnonzero(~self._made[begin:end])).tolist():
                self._fill(block * self._size, min((block + 1) * self._size, self._rows))
                self._made[block] = True
        return {name: column[first:stop] for name, column in self._columns.items()}

    def _fill(self, first: int, stop: int) -> None:
        for name, values in self._make(first, stop).items():
            self._columns.setdefault(name, np.empty(self._rows))[first:stop] = values


class BaseBars:
    """Columns of a tape's bars, by row: open_ms, open, high, low, close, volume, and the flows."""

    def __init__(self, tape: SymbolTape) -> None:
        self._tape = tape
        self._tables: dict[tuple[View, int], tuple[Floats, Blocks]] = {}

    @cached_property
    def _flows(self) -> Blocks:
        return Blocks(len(self._tape.open_ms), _BLOCK, partial(flows, self._tape))

    def between(self, first: int, stop: int, names: tuple[str, ...] = FLOWS) -> dict[str, Floats]:
        """Rows [first, stop) as columns, with the flows that are named."""
        tape = self._tape
        own = {name: getattr(tape, name)[first:stop] for name in (*_PRICES, "volume")}
        told = self._told(first, stop, names)
        return {"open_ms": tape.open_ms[first:stop].astype(np.float64), **own, **told}

    def _told(self, first: int, stop: int, names: tuple[str, ...]) -> Mapping[str, Floats]:
        """Flows as recorded, where all that are named are."""
        recorded = self._tape.bars.recorded
        known = recorded if recorded.keys() >= set(names) else self._flows.between(first, stop)
        return {name: known[name][first:stop] if known is recorded else known[name] for name in names}

    def flow(self, name: str, stop: int | None = None) -> Floats:
        """A flow of all rows, or of those before one."""
        return self._told(0, len(self._tape.open_ms) if stop is None else stop, (name,))[name]

    def grouped(self, view: View, interval_ms: int) -> tuple[Floats, Blocks]:
        """Opening times of all bars of an interval, and the bars as a view shows them."""
        key: tuple[View, int] = ("last" if view == "mark" else view, interval_ms)
        if key not in self._tables:
            opened = self._tape.open_ms.astype(np.float64)
            group, begins = _begins(opened, interval_ms)
            ends, size = np.append(begins, len(opened)), max(1, _GROUPED * self._tape.timeframe.ms // interval_ms)

            def make(first: int, stop: int) -> dict[str, Floats]:
                rows = self.between(int(ends[first]), int(ends[stop]))
                return grouped(seen_as(view, self._tape.seed, rows), interval_ms)

            self._tables[key] = group[begins] * interval_ms, Blocks(len(begins), size, make)
        return self._tables[key]


def _begins(opened: Floats, interval_ms: int) -> tuple[Floats, Ints]:
    """The number of the interval each bar lies in, and where a new one begins."""
    group = opened // interval_ms
    return group, np.flatnonzero(np.diff(group, prepend=np.nan) != 0)


def grouped(base: dict[str, Floats], interval_ms: int) -> dict[str, Floats]:
    """Bars of an interval from finer ones; bars missing on the tape are missing from the sum, as on the exchange."""
    group, first = _begins(base["open_ms"], interval_ms)
    if not first.size:
        return base
    last = np.append(first[1:], len(group)) - 1
    return {
        "open_ms": group[first] * interval_ms,
        "open": base["open"][first],
        "high": np.maximum.reduceat(base["high"], first),
        "low": np.minimum.reduceat(base["low"], first),
        "close": base["close"][last],
        **{name: np.add.reduceat(base[name], first) for name in SUMS},
    }


def page_rows(opened: Floats, start_ms: int | None, end_ms: int | None, limit: int) -> range:
    """Rows of a page of bars that open at these times: the first `limit` from `start_ms` on, or the last `limit`."""
    stop = len(opened) if end_ms is None else int(np.searchsorted(opened, end_ms, side="right"))
    if start_ms is None:
        return range(max(0, stop - limit), stop)
    first = int(np.searchsorted(opened, start_ms, side="left"))
    return range(first, max(first, min(stop, first + limit)))
