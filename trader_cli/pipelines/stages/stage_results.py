"""What the stages after fetch come to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trader_cli.analyst.trained_pair import TrainedPair
    from trader_cli.core.types import Analysis, Claim


@dataclass(frozen=True)
class FeaturesBuilt:
    """What the features stage came to. `made` 0 is a cache hit; `quality`: bars by kind of data-quality finding;
    `unknown`: families of which the last row does not know every column; `missing_bars` in gaps, and how many rows they
    cost: such as have fewer than nine in ten features though some row before them had, `rows_lost`."""

    symbol: str
    timeframe: str
    source: str
    rows: int
    complete_rows: int
    columns: int
    wavelet_columns: int
    found: int
    made: int
    first_ms: int
    last_ms: int
    digest: str
    certificate: str
    quality: dict[str, int] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    gaps: int = 0
    missing_bars: int = 0
    rows_lost: int = 0


@dataclass(frozen=True)
class PairTrained:
    """What both halves of a pair are: their digests, and what each says of itself, which licenses nothing.

    `slow_alone` is what a slow model would claim without a fast one; `fast` figures of the fast model's own horizon.
    """

    fast_timeframe: str
    halves: dict[str, str]
    slow_alone: Claim
    fast: dict[str, float]
    timing_slope: float | None

    @classmethod
    def of(cls, pair: TrainedPair) -> PairTrained:
        """Of a pair."""
        figures = {} if pair.fast is None else pair.fast.metrics
        slope = None if pair.timing is None else pair.timing.slope
        return cls(pair.fast_timeframe, pair.halves, pair.slow.claim, figures, slope)


@dataclass(frozen=True)
class Trained:
    """What training came to. `cached` means that the very same training had been done before; `act`: whether the act
    model decides, and why not; `None` where there is none; `pair`: both halves, where a fast frame times entries."""

    symbol: str
    timeframe: str
    source: str
    claim: Claim
    metrics: dict[str, float]
    features: int
    first_ms: int
    last_ms: int
    digest: str
    cached: bool
    act: str | None = None
    pair: PairTrained | None = None


@dataclass(frozen=True)
class Analysed:
    """An analysis, and whether the very same one was there already."""

    analysis: Analysis
    source: str
    cached: bool
