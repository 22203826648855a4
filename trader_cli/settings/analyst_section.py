"""The section `analyst` of the settings."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator

from trader_cli.core.market.timeframes import known_timeframes
from trader_cli.settings.section import Fraction, Positive, Section

MOST_LEARNERS = 6
"""Horizons × shapes of trees that are tried at most: each is a trial."""
Horizon = Annotated[int, Field(ge=1, le=1000)]


def _listed(value: object) -> object:
    """One horizon is a list of one."""
    return (value,) if isinstance(value, int | str) else value


class AnalystSettings(Section):
    """Labels, training, and what an analysis contains."""

    enable_dual_model_system: bool = Field(description="ask the meta-label model whether to act on a side")
    enable_market_health_analysis: bool = Field(description="compute market health and let it veto")
    enable_liquidation_risk_analysis: bool = Field(description="probability of touching liquidation, by leverage")
    enable_feature_engineering: bool = Field(description="build missing features from stored bars when analysing")
    enable_ml_predictions: bool = Field(description="use the trained models; off: abstain")
    enable_regime_classification: bool = Field(description="filtered market regime")
    horizon_bars: Annotated[tuple[Horizon, ...], BeforeValidator(_listed)] = Field(
        min_length=1, max_length=6, description="bars until a label's vertical barrier, one or several; each is tried"
    )
    embargo_bars: int | None = Field(
        ge=1, le=5000, description="bars between what is learned from and what is judged; null: the longest horizon"
    )
    barrier_width: Positive = Field(description="distance of the price barriers, in σ·√horizon")
    volatility_span: int = Field(
        ge=8, le=2000, description="bars behind whose root mean square return volatility is, each counting alike"
    )
    walk_forward_folds: int = Field(ge=3, le=50, description="out-of-sample segments of the walk-forward")
    trees: int = Field(ge=5, le=2000, description="boosting rounds")
    leaves: int = Field(ge=2, le=255, description="leaves per tree")
    learning_rate: Annotated[float, Field(gt=0, le=1)] = Field(description="boosting step")
    learners: int = Field(
        ge=1, le=3, description="shapes of trees tried at each horizon, six learners at most in all; each is a trial"
    )
    fast_timeframe: str = Field(
        description="bars that time entries inside what the series' own models permit: 1m, 3m or 5m; empty: none"
    )
    fast_horizon_bars: Annotated[tuple[Horizon, ...], BeforeValidator(_listed)] = Field(
        min_length=1, max_length=3, description="fast bars that a fast model looks ahead, one or several; each is tried"
    )
    threads: int = Field(
        ge=1, le=64, description="segments of the walk-forward that are trained at once, each on one core"
    )
    claim_probability: Annotated[float, Field(gt=0.5, lt=1)] = Field(
        description="deflated Sharpe probability a claim of an edge needs"
    )
    min_market_health: Fraction = Field(description="market health below which the analyst abstains")
    max_book_age: Positive = Field(description="seconds after which a stored book or ticker is stale")
    max_bar_age: Positive = Field(description="bars after which the last closed bar is stale")
    max_model_age: Positive = Field(
        description="days after the last bar learned from until which a model's claim holds for opening"
    )
    forecast_alarm: Annotated[float, Field(gt=0, lt=0.5)] = Field(
        description="chance at which right forecasts of a model are ever taken for wrong ones, which ends its trading"
    )
    max_moved_features: Fraction = Field(
        description="share of what a model reads that may lie where it never lay in training; 1: any"
    )
    allow_unproven: bool = Field(
        description="signal without a claimed edge, to watch the flow with the smallest order; refused in live"
    )
    maintenance_margin_rate: Annotated[float, Field(gt=0, lt=0.5)] = Field(
        description="maintenance margin assumed for liquidation risk where no bracket is known"
    )

    @property
    def longest_horizon(self) -> int:
        """Of those that are tried, in bars; of a rule of one's own the longest that it holds."""
        return max(self.horizon_bars)

    @property
    def longest_fast_horizon(self) -> int:
        """Of those that fast models look ahead, in fast bars."""
        return max(self.fast_horizon_bars)

    @property
    def embargo(self) -> int:
        """Bars between the end of the last label that is learned from and the first row that is judged."""
        return self.longest_horizon if self.embargo_bars is None else self.embargo_bars

    @model_validator(mode="after")
    def _apart(self) -> Self:
        for name, horizons in (("horizon_bars", self.horizon_bars), ("fast_horizon_bars", self.fast_horizon_bars)):
            if len(set(horizons)) < len(horizons):
                raise ValueError(f"name each horizon once in {name}")
        if self.fast_timeframe and self.fast_timeframe not in known_timeframes():
            raise ValueError(f"fast_timeframe is one of {', '.join(known_timeframes())}, or empty")
        if self.fast_timeframe and not self.enable_dual_model_system:
            raise ValueError("a fast_timeframe is half of the dual model system: switch enable_dual_model_system on")
        if self.embargo < self.longest_horizon:
            raise ValueError("embargo_bars must be at least the longest of horizon_bars")
        return self
