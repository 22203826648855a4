"""What is asked of the analyst, and of how many markets it may fail."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import polars as pl

from benchmarks.honesty.markets import FRAME, null, planted
from benchmarks.honesty.pairs import trained_pair, two_frames
from benchmarks.honesty.real import hourly, quarter_hourly
from benchmarks.honesty.retrained import a_year_of_looks, dying, retrained_null, returning
from benchmarks.honesty.trained import DEAR, FREE, trained, trained_on
from trader_cli.core.market.schemas import FEATURE_KEYS

if TYPE_CHECKING:
    from collections.abc import Callable

    from trader_cli.analyst.trained_model import TrainedModel
    from trader_cli.analyst.trained_pair import TrainedPair
    from trader_cli.core.types import Claim

BARS, MANY_BARS, NOISE_COLUMNS = 4000, 16_000, 200


class Judged(Protocol):
    """What a market came to: what is claimed of it, and figures."""

    @property
    def claim(self) -> Claim:
        """Whether there is an edge, and why."""

    @property
    def metrics(self) -> dict[str, float]:
        """By name."""


@dataclass(frozen=True)
class Campaign:
    """A market by its seed, trained on; the share of markets that must, or may, claim an edge; how many there are."""

    says: str
    model: Callable[[int], Judged]
    least: float = 0.0
    most: float = 1.0
    markets: int | None = None


def _next_bar(strength: float, bars: int, costs: dict[str, float]) -> Callable[[int], TrainedModel]:
    return lambda seed: trained(planted(seed, bars, strength), FRAME, costs)


def _null(costs: dict[str, float]) -> Callable[[int], TrainedModel]:
    return lambda seed: trained(null(seed, BARS), FRAME, costs)


def _persistent(seed: int) -> TrainedModel:
    return trained(planted(seed, BARS, 0.15, 0.9), FRAME, FREE, horizon_bars=12)


def _beside_noise(seed: int) -> TrainedModel:
    noise = np.random.default_rng([seed, 7]).normal(size=(BARS, NOISE_COLUMNS))
    columns = pl.DataFrame({f"noise_{at}": noise[:, at] for at in range(NOISE_COLUMNS)})
    return trained(planted(seed, BARS, 0.25), FRAME, FREE, columns)


def _too_weak(seed: int) -> TrainedModel:
    """The 99 % quantile of the expected move, 2.33 ρσ = 10.5 bp, is half of what it costs to come and go."""
    cost = {**FREE, "taker_fee_bps": 2.33 * 0.05 * 0.009 * 1e4}
    return trained(planted(seed, BARS, 0.05), FRAME, cost)


def _permuted(seed: int) -> TrainedModel:
    """A strong lead whose features are those of other bars, drawn without putting back: labels know nothing of them."""
    order = np.random.default_rng([seed, 8]).permutation(BARS)

    def drawn(features: pl.DataFrame) -> pl.DataFrame:
        return features.select(*FEATURE_KEYS).hstack(features.drop(*FEATURE_KEYS)[order])

    return trained_on(planted(seed, BARS, 0.35), FRAME, FREE, drawn)


def _hourly(seed: int) -> TrainedModel:
    return trained(hourly()[seed].read(), hourly()[seed].timeframe)


def _quarter_hourly(seed: int) -> TrainedModel:
    return trained(quarter_hourly()[seed].read(), quarter_hourly()[seed].timeframe)


def _pair(seed: int) -> TrainedPair:
    return trained_pair(two_frames(seed, BARS))


def _slow_alone(seed: int) -> TrainedModel:
    return trained_pair(two_frames(seed, BARS)).slow


def _pair_shuffled(seed: int) -> TrainedPair:
    return trained_pair(two_frames(seed, BARS, shuffled=True))


CAMPAIGNS = {
    "null": Campaign("no edge, usual costs", _null({}), most=0.05),
    "null-free": Campaign("no edge, no costs", _null(FREE), most=0.05),
    "next": Campaign("a lead of 0.15 with the next bar", _next_bar(0.15, BARS, FREE), least=34 / 40),
    "next-long": Campaign("one of 0.10, 16,000 bars", _next_bar(0.10, MANY_BARS, FREE), least=19 / 20),
    "next-dear": Campaign("one of 0.25, 5 bp a side", _next_bar(0.25, BARS, DEAR), least=36 / 40),
    "persistent": Campaign("a lead of 0.15 that lasts, 12-bar barriers", _persistent, least=32 / 40),
    "noise": Campaign("one of 0.25 beside 200 columns of noise", _beside_noise, least=18 / 20),
    "retrain-null": Campaign("no edge, looked at on 30 further days", retrained_null, most=2 / 20),
    "z4": Campaign("a book of z 4 after a year of daily looks", a_year_of_looks, least=1.0),
    "dying": Campaign("a lead of 0.35, 1,000 bars after its death", dying, most=2 / 20),
    "returning": Campaign("one that is back after 1,500 bars, within 2,000", returning, least=8 / 10),
    "permuted": Campaign("a lead of 0.35 whose features are those of other bars", _permuted, most=0.05),
    "weak": Campaign("a lead weaker than costs", _too_weak, most=1 / 20),
    "pair": Campaign("a slow lead weaker than costs, its entries timed by a fast one", _pair, least=8 / 10),
    "pair-slow-alone": Campaign("the same market by the slow model alone", _slow_alone, most=1 / 10),
    "pair-shuffled": Campaign("the same with the fast lead shuffled", _pair_shuffled, most=1 / 10),
    "hourly": Campaign("real 1h bars", _hourly, markets=len(hourly())),
    "quarter-hourly": Campaign("real 15m bars", _quarter_hourly, markets=len(quarter_hourly())),
}
