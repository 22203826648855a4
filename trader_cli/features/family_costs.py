"""What each family costs: for a row of a long build, and for one new bar."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from trader_cli.features.build import Builder

if TYPE_CHECKING:
    from collections.abc import Callable

    import polars as pl

    from trader_cli.features.family import Family
    from trader_cli.features.feature_spec import FeatureSpec

_RUNS = 3


@dataclass(frozen=True)
class FamilyCost:
    """CPU time of one family: nanoseconds per row of a build from the first bar on, milliseconds per new bar."""

    name: str
    columns: int
    ns_per_row: float
    ms_per_new_bar: float

    @property
    def ns_per_value(self) -> float:
        """Nanoseconds per row and column."""
        return self.ns_per_row / self.columns


def measure(spec: FeatureSpec, frame: pl.DataFrame, clock: Callable[[], int]) -> list[FamilyCost]:
    """The cost of each family of `spec`, in its order, on BARS with its inputs: the median of three runs after one that
    is not counted. `clock` gives nanoseconds of CPU time."""
    first_ms, new_bar = int(frame["open_time"].to_physical()[0]), new_bar_ms(spec, frame, clock)
    return [
        FamilyCost(
            family.name,
            len(family.columns),
            _time(frame, spec, family, first_ms, clock) / frame.height,
            new_bar[family.name],
        )
        for family in spec.families
    ]


def new_bar_ms(spec: FeatureSpec, frame: pl.DataFrame, clock: Callable[[], int]) -> dict[str, float]:
    """Milliseconds of CPU time each family takes for the last row of `frame`, as a stream computes it."""
    last_ms = int(frame["open_time"].to_physical()[-1])
    return {family.name: _time(frame, spec, family, last_ms, clock) / 1e6 for family in spec.families}


def _time(frame: pl.DataFrame, spec: FeatureSpec, family: Family, since_ms: int, clock: Callable[[], int]) -> float:
    """Nanoseconds for the columns of one family, for rows opening at or after `since_ms`."""
    runs = []
    for _ in range(_RUNS + 1):
        builder, began = Builder(frame, spec, since_ms), clock()
        builder.columns(family)
        runs.append(clock() - began)
    return float(median(runs[1:]))
