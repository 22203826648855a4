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
from trader_cli.core.bars import aggregate_bars
from trader_cli.core.errors import ConfigurationError
from trader_cli.core.schemas import TIME
from trader_cli.features.series import BarSeries
from trader_cli.features.technical import higher_family, technical_family
from trader_cli.features.wavelet import wavelet_family

if TYPE_CHECKING:
    from collections.abc import Callable

    from trader_cli.core.timeframes import Timeframe
    from trader_cli.features.family import Family
    from trader_cli.features.series import Floats, Times

    Evaluate = Callable[[Family, BarSeries], dict[str, Floats]]


@dataclass(frozen=True)
class FeatureSpec:
    """What to build. `higher` are time frames above the base frame; families follow in this order."""

    timeframe: Timeframe
    technical: bool = True
    wavelets: tuple[str, ...] = ("haar", "db4")
    levels: int = 4
    window: int = 64
    higher: tuple[Timeframe, ...] = ()

    def __post_init__(self) -> None:
        for names in (self.wavelets, tuple(frame.name for frame in self.higher)):
            if len(set(names)) < len(names):
                raise ConfigurationError(f"A feature family is named twice: {', '.join(names)}.")
        for frame in self.higher:
            if frame.ms <= self.timeframe.ms or frame.ms % self.timeframe.ms:
                raise ConfigurationError(f"A higher frame of {self.timeframe} is a multiple of it; {frame} is not.")

    def families(self) -> tuple[Family, ...]:
        """The families, base frame first, then the higher frames."""
        own = [wavelet_family(self.timeframe, name, self.levels, self.window) for name in self.wavelets]
        if self.technical:
            own.append(technical_family(self.timeframe))
        return (*own, *(higher_family(frame) for frame in self.higher))

    def identity(self) -> list[dict[str, object]]:
        """JSON-able: everything besides the bars that can change a column."""
        return [family.identity() for family in self.families()]


def evaluate(family: Family, bars: BarSeries) -> dict[str, Floats]:
    """The plain way to evaluate a family; callers may pass one that remembers."""
    return family.compute(bars)


def history_start(spec: FeatureSpec, at_ms: int) -> int:
    """Opening time of the earliest base bar that a row opening at `at_ms` depends on."""
    starts = [_anchor(family, _row_of(family, spec.timeframe, at_ms)) for family in spec.families()]
    return min(starts, default=at_ms)


def _row_of(family: Family, base: Timeframe, at_ms: int) -> int:
    """Opening time of the family's own bar that the base row opening at `at_ms` reads: the last one closed by then."""
    if family.timeframe == base:
        return at_ms
    return family.timeframe.floor(at_ms + base.ms) - family.timeframe.ms


def _anchor(family: Family, at_ms: int) -> int:
    """Opening time of the first bar a family is evaluated on for its own row opening at `at_ms`."""
    start = floor_block(at_ms, anchor_block(family.timeframe))
    return family.timeframe.floor(start) - family.warmup * family.timeframe.ms


def build_features(
    bars: pl.DataFrame, spec: FeatureSpec, *, since_ms: int | None = None, evaluate: Evaluate = evaluate
) -> pl.DataFrame:
    """FEATURES of a valid BARS frame, one row per bar opening at or after `since_ms` (default: all).

    Columns are null where their anchor lies before the first bar or behind a gap, or where the value is undefined.
    """
    since = bars["open_time"].to_physical().min() if since_ms is None else since_ms
    if bars.is_empty() or not isinstance(since, int):
        since = 0
    needed = bars.filter(pl.col("open_time").to_physical() >= history_start(spec, since))
    base = BarSeries.of(needed)
    keep = base.open_ms >= since
    columns: dict[str, Floats] = {}
    for family in spec.families():
        if family.timeframe == spec.timeframe:
            found = _anchored(family, base, since, evaluate)
            columns |= {name: values[keep] for name, values in found.items()}
        else:
            columns |= _higher(family, needed, spec.timeframe, base.open_ms[keep], evaluate)
    opened = pl.Series("open_time", base.open_ms[keep]).cast(TIME)
    decided = pl.Series("decision_time", base.open_ms[keep] + spec.timeframe.ms).cast(TIME)
    return pl.DataFrame([opened, decided]).hstack(pl.DataFrame(columns, nan_to_null=True))


def _anchored(family: Family, bars: BarSeries, since_ms: int, evaluate: Evaluate) -> dict[str, Floats]:
    """The family's columns over all of `bars`, NaN before `since_ms` and where an anchor is out of reach."""
    out = {name: np.full(len(bars), np.nan) for name in family.columns}
    step = family.timeframe.ms
    for first, stop in _segments(bars.open_ms, step):
        last_ms = int(bars.open_ms[stop - 1])
        for start_ms, end_ms in blocks_between(
            max(int(bars.open_ms[first]), since_ms), last_ms, anchor_block(family.timeframe)
        ):
            anchor = first + (_anchor(family, start_ms) - int(bars.open_ms[first])) // step
            if anchor < first:
                continue
            end = min(stop, first + -((int(bars.open_ms[first]) - end_ms) // step))
            found = evaluate(family, bars.cut(anchor, end))
            for name, values in found.items():
                fresh = values[family.warmup :]
                out[name][anchor + family.warmup : end] = np.where(np.isfinite(fresh), fresh, np.nan)
    return out


def _segments(open_ms: Times, step: int) -> list[tuple[int, int]]:
    """[first, stop) of every run of bars without a gap."""
    if not len(open_ms):
        return []
    breaks = np.flatnonzero(np.diff(open_ms) != step) + 1
    edges = [0, *breaks.tolist(), len(open_ms)]
    return list(itertools.pairwise(edges))


def _higher(
    family: Family, bars: pl.DataFrame, base: Timeframe, rows_ms: Times, evaluate: Evaluate
) -> dict[str, Floats]:
    """Columns of a higher family at base rows: those of the last higher bar closed by each row's own close."""
    higher = BarSeries.of(aggregate_bars(bars, base, family.timeframe))
    if not len(rows_ms) or not len(higher):
        return {name: np.full(len(rows_ms), np.nan) for name in family.columns}
    found = _anchored(family, higher, _row_of(family, base, int(rows_ms[0])), evaluate)
    decided = rows_ms + base.ms
    closed = higher.open_ms + family.timeframe.ms
    at = np.searchsorted(closed, decided, side="right") - 1
    fresh = (at >= 0) & (decided - closed[at] < family.timeframe.ms)
    return {name: np.where(fresh, values[at], np.nan) for name, values in found.items()}
