"""From bars to features: which families, from which anchors, joined by close time.

Batch, streaming and restart are one function: `build_features(..., since_ms=t)` gives for the rows from t on the very
bits the whole build gives, because every block is evaluated from its own anchor.
"""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from trader_cli.core.errors import DataInvalid
from trader_cli.core.identity.anchors import anchor_block, blocks_between, floor_block
from trader_cli.core.market.schemas import TIME, milliseconds
from trader_cli.features.bar_arrays import BarSeries
from trader_cli.features.short_gaps import bridge, first_needed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.features.bar_arrays import Floats, Times
    from trader_cli.features.family import Family
    from trader_cli.features.feature_spec import FeatureSpec

    Evaluate = Callable[[Family, BarSeries], Mapping[str, Floats]]


_FEW_ROWS = 8
TILE = 4096
"""Rows of a finite family at a time (of the base frame): what it computes in between stays in a core's cache, and a
certificate that tries as many has seen every length it is evaluated on."""


def evaluate(family: Family, bars: BarSeries) -> Mapping[str, Floats]:
    """The plain way to evaluate a family; callers may pass one that remembers."""
    return family.evaluate(bars)


def history_start(spec: FeatureSpec, at_ms: int) -> int:
    """Opening time of the earliest base bar that a row opening at `at_ms` depends on."""
    return min((family_start(family, spec.timeframe, at_ms) for family in spec.families), default=at_ms)


def family_start(family: Family, base: Timeframe, at_ms: int) -> int:
    """Opening time of the earliest base bar that this family's columns depend on, in a row opening at `at_ms`."""
    return _anchor(family, base, _row_of(family, base, at_ms))


def _row_of(family: Family, base: Timeframe, at_ms: int) -> int:
    """Opening time of the family's own bar that the base row opening at `at_ms` reads: the last one closed by then."""
    frame = family.frame(base)
    return at_ms if frame == base else frame.floor(at_ms + base.ms) - frame.ms


def _anchor(family: Family, base: Timeframe, at_ms: int) -> int:
    """Opening time of the first bar a family is evaluated on for its own row opening at `at_ms`."""
    frame = family.frame(base)
    start = at_ms if family.finite else floor_block(at_ms, anchor_block(frame))
    return frame.floor(start) - family.warmup * frame.ms


def build_features(
    bars: pl.DataFrame, spec: FeatureSpec, *, since_ms: int | None = None, evaluate: Evaluate = evaluate
) -> pl.DataFrame:
    """FEATURES of a valid BARS frame (or one with more inputs, see `features.inputs`), one row per bar opening at or
    after `since_ms` (default: all).

    Columns are null where their anchor lies before the first bar or behind a gap that is not bridged
    (`features.short_gaps`), and where the value is undefined.
    One thread computes them, in the memory they stay in; another readies that memory, since the first touch of a page
    costs as much as a cheap feature. Computing in two was no steadier: short calls want the interpreter's lock
    in turn.
    """
    since = _since(bars, since_ms)
    builder = Builder(bars, spec, since, evaluate)
    if spec.families and 0 < builder.rows <= _FEW_ROWS:
        return _few_rows(builder, spec)
    with ThreadPoolExecutor(1) as ahead:
        rooms = ahead.map(builder.room, spec.families)
        columns = [
            column
            for family, room in zip(spec.families, rooms, strict=True)
            for column in builder.columns(family, room)
        ]
    return pl.DataFrame([*builder.keys(), *columns])


def _few_rows(builder: Builder, spec: FeatureSpec) -> pl.DataFrame:
    """A frame of few rows, made row by row and turned: hundreds of Series of one value cost more than the values."""
    table = np.full((len(spec.columns), builder.rows), np.nan)
    first = 0
    for family in spec.families:
        builder.fill(family, table[first : first + len(family.columns)])
        first += len(family.columns)
    rows = [pl.Series(str(row), np.ascontiguousarray(table[:, row]), nan_to_null=True) for row in range(builder.rows)]
    frame = pl.DataFrame(rows).transpose(column_names=spec.columns)
    for place, key in enumerate(builder.keys()):
        frame.insert_column(place, key)
    return frame


def _since(bars: pl.DataFrame, since_ms: int | None) -> int:
    if since_ms is not None:
        return since_ms
    return int(milliseconds(bars["open_time"][:1])[0]) if bars.height else 0


class Builder:
    """Evaluates families on the same bars, for the rows opening at or after `since_ms`."""

    def __init__(self, bars: pl.DataFrame, spec: FeatureSpec, since_ms: int, evaluate: Evaluate = evaluate) -> None:
        opened = milliseconds(bars["open_time"])
        first = first_needed(opened, history_start(spec, since_ms), spec.timeframe.ms)
        self._base = spec.timeframe
        self._own = self._series = BarSeries.of(bars[first:], spec.inputs)
        self._bridged = bridge(self._own, self._base.ms)
        if self._bridged is not None:
            self._series = self._bridged.bars
        self._since = since_ms
        self._first = int(np.searchsorted(self._own.open_ms, since_ms))
        self._keep = int(np.searchsorted(self._series.open_ms, since_ms))
        self._evaluate = evaluate
        self._higher: dict[str, _ClosedBars] = {}

    def keys(self) -> list[pl.Series]:
        """The two columns FEATURES begin with."""
        opened = self._own.open_ms[self._first :]
        return [
            pl.Series("open_time", opened, dtype=TIME),
            pl.Series("decision_time", opened + self._base.ms, dtype=TIME),
        ]

    @property
    def rows(self) -> int:
        """How many rows are wanted."""
        return len(self._own) - self._first

    def room(self, family: Family) -> Floats:
        """Memory for the columns of a family, shape (columns, rows wanted), all NaN."""
        return np.full((len(family.columns), self.rows), np.nan)

    def columns(self, family: Family, room: Floats | None = None) -> list[pl.Series]:
        """The columns of one family, as Series of the rows wanted, in `room` if it is given."""
        values = self.fill(family, self.room(family) if room is None else room)
        return [pl.Series(name, row, nan_to_null=True) for name, row in zip(family.columns, values, strict=True)]

    def fill(self, family: Family, room: Floats) -> Floats:
        """`room`, with the values of one family; NaN stays where they are not known."""
        if self._bridged is None:
            return self._filled(family, room)
        found = self._filled(family, np.full((len(room), len(self._series) - self._keep), np.nan))
        room[:] = found[:, self._bridged.at[self._first :] - self._keep]
        if family.warmup:
            room[:, ~self._bridged.settled[self._first :]] = np.nan
        return room

    def _filled(self, family: Family, room: Floats) -> Floats:
        """The same for rows of all bars, those that are missing with them."""
        frame = family.frame(self._base)
        if frame == self._base:
            _fill_anchored(room, family, self._base, self._series, self._since, self._evaluate)
            return room
        closed = self._closed_bars(frame)
        first_row = int(self._series.open_ms[self._keep]) if room.shape[1] else self._since
        since = _row_of(family, self._base, first_row)
        known = np.full((len(family.columns), len(closed.bars) + 1), np.nan)
        _fill_anchored(known[:, :-1], family, self._base, closed.bars, since, self._evaluate)
        return np.take(known, closed.at, axis=1, out=room, mode="wrap")

    def _closed_bars(self, frame: Timeframe) -> _ClosedBars:
        if frame.name not in self._higher:
            rows = self._series.open_ms[self._keep :]
            self._higher[frame.name] = _ClosedBars.of(self._series, self._base, frame, rows)
        return self._higher[frame.name]


@dataclass(frozen=True)
class _ClosedBars:
    """Higher bars, and for each base row the index of the one that closed last by the row's own close; −1: none did
    within its own length."""

    bars: BarSeries
    at: Times

    @classmethod
    def of(cls, series: BarSeries, base: Timeframe, frame: Timeframe, rows_ms: Times) -> _ClosedBars:
        bars = series.aggregated(base, frame)
        decided, closed = rows_ms + base.ms, bars.open_ms + frame.ms
        at = np.searchsorted(closed, decided, side="right") - 1
        fresh = (at >= 0) & (decided - np.append(closed, 0)[at] < frame.ms)
        return cls(bars, np.where(fresh, at, -1))


def _fill_anchored(
    room: Floats, family: Family, base: Timeframe, bars: BarSeries, since_ms: int, evaluate: Evaluate
) -> None:
    """Writes the family's columns into `room`, whose last column is the last bar's, but for rows before `since_ms`,
    those whose anchor is out of reach, and what is not finite. Raises `DataInvalid` for columns of another length."""
    frame, keep = family.frame(base), len(bars) - room.shape[1]
    for anchor, first, stop in spans(family, frame, bars.open_ms, since_ms, frame.ms // base.ms):
        begin = max(first, keep)
        if begin >= stop:
            continue
        found = evaluate(family, bars.cut(anchor, stop))
        tile = room[:, begin - keep : stop - keep]
        for row, name in zip(tile, family.columns, strict=True):
            if len(found[name]) != stop - anchor:
                raise DataInvalid(
                    f"The family {family.name!r} gives {len(found[name])} values of {name!r} for {stop - anchor} bars."
                )
            row[:] = found[name][begin - anchor :]
        finite = np.isfinite(tile)
        if not finite.all():
            tile[~finite] = np.nan


def spans(
    family: Family, frame: Timeframe, open_ms: Times, since_ms: int, ratio: int = 1
) -> Iterator[tuple[int, int, int]]:
    """(anchor, first, stop): evaluate the rows [anchor, stop), use those from `first` on. `ratio`: base bars a bar."""
    for begin, stop in _segments(open_ms, frame.ms):
        start_ms, last_ms = int(open_ms[begin]), int(open_ms[stop - 1])
        if family.finite:
            first = begin + max(family.warmup, -(-(since_ms - start_ms) // frame.ms))
            rows = max(1, TILE // ratio)
            for tile in range(first, stop, rows):
                yield tile - family.warmup, tile, min(tile + rows, stop)
            continue
        for block_ms, end_ms in blocks_between(max(start_ms, since_ms), last_ms, anchor_block(frame)):
            anchor = begin + (frame.floor(block_ms) - start_ms) // frame.ms - family.warmup
            if anchor >= begin:
                yield anchor, anchor + family.warmup, min(stop, begin + -((start_ms - end_ms) // frame.ms))


def _segments(open_ms: Times, step: int) -> list[tuple[int, int]]:
    """[first, stop) of every run of bars without a gap."""
    if not len(open_ms):
        return []
    breaks = np.flatnonzero(np.diff(open_ms) != step) + 1
    edges = [0, *breaks.tolist(), len(open_ms)]
    return list(itertools.pairwise(edges))
