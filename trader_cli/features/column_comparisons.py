"""Columns of a family compared to the bit: on other pasts, made alone, by a twin."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.features.bar_arrays import PRICE_INPUTS, BarSeries
from trader_cli.features.build import Builder, family_start

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl
    from numpy.typing import NDArray

    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.features.bar_arrays import Floats, Times
    from trader_cli.features.family import Family
    from trader_cli.features.feature_spec import FeatureSpec

    Flags = NDArray[np.bool_]


_ROUNDING = 1e-9


_STEP = 1.2


_TELLING = 8


TELLING_ROWS = 4
"""A block of fewer rows moves as a whole by chance."""


def first_row_reaching(family: Family, base: Timeframe, times: Times, origin: int) -> int:
    """The first row whose anchor lies at or after `origin`."""
    return bisect_left(times.tolist(), origin, key=lambda at: family_start(family, base, at))


def longest_series(frame: pl.DataFrame, spec: FeatureSpec, family: Family) -> BarSeries:
    """The bars a family is evaluated on, of its own frame, without a gap: the longest run of them."""
    seen: list[BarSeries] = []

    def note(probe: Family, bars: BarSeries) -> Mapping[str, Floats]:
        seen.append(bars)
        return {name: np.full(len(bars), np.nan) for name in probe.columns}

    probe = replace(family, finite=True, warmup=0)
    table_of(Builder(frame, replace(spec, families=(probe,)), int(frame["open_time"].to_physical()[0]), note), probe)
    return max(seen, key=len, default=BarSeries.of(frame[:0], spec.inputs))


def with_other_past(bars: BarSeries, first: int) -> BarSeries:
    """The same bars from row `first` on; those before it run backwards, and end where row `first` opens."""
    scale = bars.open[first] / bars.open[0]
    before = {
        "open": bars.close[:first][::-1] * scale,
        "high": bars.high[:first][::-1] * scale,
        "low": bars.low[:first][::-1] * scale,
        "close": bars.open[:first][::-1] * scale,
        "volume": bars.volume[:first][::-1],
    }
    own = {name: np.concatenate([before[name], bars[name][first:]]) for name in PRICE_INPUTS}
    extra = {name: np.concatenate([values[:first][::-1], values[first:]]) for name, values in bars.extra.items()}
    return BarSeries(bars.open_ms, **own, extra=MappingProxyType(extra))


def telling_rows(family: Family, bars: BarSeries) -> list[int]:
    """Rows whose past is replaced: the last one, and those where most columns are far from what they usually are."""
    if len(bars) <= family.warmup:
        return []
    found = family.evaluate(bars)
    rows = np.stack([found[name] for name in family.columns])[:, family.warmup :]
    with np.errstate(all="ignore"):
        known = np.nan_to_num(rows, posinf=0.0, neginf=0.0)
        far = np.abs(known - np.median(known, axis=1, keepdims=True))
        rank = (far / (far.max(axis=1, keepdims=True) + 1e-300)).sum(axis=0)
    most = np.argsort(rank, kind="stable")[-_TELLING:] + family.warmup
    return sorted({len(bars) - 1, *most.tolist()})


def distances_tried(warmup: int) -> list[int]:
    """0 … warm-up, about a fifth apart."""
    steps = np.unique(np.geomspace(1, max(warmup, 1), 2 + int(np.log(max(warmup, 1)) / np.log(_STEP))).astype(int))
    return sorted({0, warmup, *(step for step in steps.tolist() if step <= warmup)})


def last_values(family: Family, bars: BarSeries) -> Floats:
    found = family.evaluate(bars)
    return np.array([found[name][-1] for name in family.columns])


def agreeing(ours: Floats, theirs: Floats, tolerance: Floats) -> Flags:
    known = np.isfinite(ours)
    with np.errstate(invalid="ignore"):
        near: Flags = np.abs(ours - theirs) <= tolerance
    return np.where(known & np.isfinite(theirs), near, known == np.isfinite(theirs))


def table_of(builder: Builder, family: Family) -> Floats:
    """The columns of a family, shape (columns, rows), NaN for null."""
    return builder.fill(family, builder.room(family))


def _differs(ours: Floats, theirs: Floats) -> Flags:
    """Where two arrays are not the same to the bit."""
    return np.asarray(ours.view(np.int64) != theirs.view(np.int64))


def moved_columns(ours: Floats, theirs: Floats, sigma: Floats) -> tuple[Flags, Flags]:
    """Where values are others, and where they only round differently, by no more than 1e-9 of a column's σ."""
    differs = _differs(ours, theirs)
    if not differs.any():
        return differs, differs
    width = sigma if ours.ndim == 1 else sigma[:, None]
    with np.errstate(invalid="ignore"):
        near = np.abs(ours - theirs) <= _ROUNDING * width
    return differs & ~near, differs & near


def standard_deviations(found: Floats) -> Floats:
    """Standard deviation of each column over its known values; 0 where there are none."""
    return np.array([np.std(row[np.isfinite(row)]) if np.isfinite(row).any() else 0.0 for row in found])


def differing_columns(ours: Floats, theirs: Floats) -> Flags:
    differs: Flags = np.logical_or.reduce(_differs(ours, theirs), axis=1)
    return differs
