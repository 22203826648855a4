"""From bars to features: which families, from which anchors, joined by close time.

Batch, streaming and restart are one function: `build_features(..., since_ms=t)` gives for the rows from t on the very
bits the whole build gives, because every block is evaluated from its own anchor.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from trader_cli.core.anchors import anchor_block, blocks_between, floor_block
from trader_cli.core.schemas import TIME
from trader_cli.features.series import BarSeries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from trader_cli.core.timeframes import Timeframe
    from trader_cli.features.family import Family
    from trader_cli.features.registry import FeatureSpec
    from trader_cli.features.series import Floats, Times

    Evaluate = Callable[[Family, BarSeries], Mapping[str, Floats]]


_FEW_ROWS = 8


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

    Columns are null where their anchor lies before the first bar or behind a gap, or where the value is undefined.
    Columns are made in the memory they stay in. One thread does it: two were no faster, since the many short calls of
    the anchored families want the interpreter's lock in turn.
    """
    since = _since(bars, since_ms)
    builder = Builder(bars, spec, since, evaluate)
    if spec.families and 0 < builder.rows <= _FEW_ROWS:
        return _few_rows(builder, spec)
    columns = itertools.chain.from_iterable(map(builder.columns, spec.families))
    return pl.DataFrame([*builder.keys(), *columns])


def _few_rows(builder: Builder, spec: FeatureSpec) -> pl.DataFrame:
    """A frame of few rows, made row by row and turned: hundreds of Series of one value cost more than the values."""
    columns = np.stack([values for family in spec.families for values in builder.values(family).values()])
    rows = [pl.Series(str(row), np.ascontiguousarray(columns[:, row]), nan_to_null=True) for row in range(builder.rows)]
    return pl.DataFrame(builder.keys()).hstack(pl.DataFrame(rows).transpose(column_names=spec.columns))


def _since(bars: pl.DataFrame, since_ms: int | None) -> int:
    first = bars["open_time"].to_physical().min() if since_ms is None else since_ms
    return first if isinstance(first, int) else 0


class Builder:
    """Evaluates families on the same bars, for the rows opening at or after `since_ms`."""

    def __init__(self, bars: pl.DataFrame, spec: FeatureSpec, since_ms: int, evaluate: Evaluate = evaluate) -> None:
        opened = bars["open_time"].to_physical().to_numpy()
        first = int(np.searchsorted(opened, history_start(spec, since_ms)))
        self._base = spec.timeframe
        self._series = BarSeries.of(bars[first:], spec.inputs)
        self._since = since_ms
        self._keep = int(np.searchsorted(self._series.open_ms, since_ms))
        self._evaluate = evaluate
        self._higher: dict[str, _ClosedBars] = {}

    def keys(self) -> list[pl.Series]:
        """The two columns FEATURES begin with."""
        opened = self._series.open_ms[self._keep :]
        return [
            pl.Series("open_time", opened).cast(TIME),
            pl.Series("decision_time", opened + self._base.ms).cast(TIME),
        ]

    @property
    def rows(self) -> int:
        """How many rows are wanted."""
        return len(self._series) - self._keep

    def columns(self, family: Family) -> list[pl.Series]:
        """The columns of one family, as Series of the rows wanted."""
        return [pl.Series(name, values, nan_to_null=True) for name, values in self.values(family).items()]

    def values(self, family: Family) -> dict[str, Floats]:
        """The columns of one family, for the rows wanted; NaN where they are not known."""
        frame = family.frame(self._base)
        if frame == self._base:
            return _anchored(family, frame, self._series, self._since, self._keep, self._evaluate)
        closed = self._closed_bars(frame)
        first_row = int(self._series.open_ms[self._keep]) if self.rows else self._since
        since = _row_of(family, self._base, first_row)
        found = _anchored(family, frame, closed.bars, since, 0, self._evaluate)
        return {name: np.append(values, np.nan)[closed.at] for name, values in found.items()}

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


def _anchored(
    family: Family, frame: Timeframe, bars: BarSeries, since_ms: int, keep: int, evaluate: Evaluate
) -> dict[str, Floats]:
    """The family's columns over the bars from row `keep` on; NaN before `since_ms`, where an anchor is out of reach,
    and for what is not finite."""
    spans = list(_spans(family, frame, bars.open_ms, since_ms))
    if len(spans) == 1 and spans[0][1] <= keep < spans[0][2] == len(bars):
        anchor = spans[0][0]
        found = evaluate(family, bars.cut(anchor, len(bars)))
        return {name: _finite(np.array(found[name][keep - anchor :], dtype=np.float64)) for name in family.columns}
    out = dict(zip(family.columns, np.empty((len(family.columns), len(bars) - keep)), strict=True))
    known = keep
    for anchor, first, stop in spans:
        if stop <= keep:
            continue
        found = evaluate(family, bars.cut(anchor, stop))
        begin = max(first, keep)
        for name, column in out.items():
            column[known - keep : begin - keep] = np.nan
            part = column[begin - keep : stop - keep]
            part[:] = found[name][begin - anchor :]
            if found[name].dtype.kind == "f":
                _finite(part)
        known = max(stop, keep)
    for column in out.values():
        column[known - keep :] = np.nan
    return out


def _finite(values: Floats) -> Floats:
    """The same array, with NaN for what is not finite."""
    finite = np.isfinite(values)
    if not finite.all():
        values[~finite] = np.nan
    return values


def _spans(family: Family, frame: Timeframe, open_ms: Times, since_ms: int) -> Iterator[tuple[int, int, int]]:
    """(anchor, first, stop): evaluate the rows [anchor, stop), use those from `first` on."""
    for begin, stop in _segments(open_ms, frame.ms):
        start_ms, last_ms = int(open_ms[begin]), int(open_ms[stop - 1])
        if family.finite:
            first = begin + max(family.warmup, -(-(since_ms - start_ms) // frame.ms))
            if first < stop:
                yield first - family.warmup, first, stop
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
