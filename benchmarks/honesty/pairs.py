"""A made-up market with two leads: a slow one that costs eat up, and a fast one that betters its entries by more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from benchmarks.honesty.markets import SIGMA, bars_of
from benchmarks.honesty.trained import FREE
from trader_cli.analyst.pair_training import train_pair
from trader_cli.analyst.training import TrainingInput
from trader_cli.core.market.bars import with_close_time
from trader_cli.core.market.schemas import TIME
from trader_cli.core.market.timeframes import Timeframe
from trader_cli.core.types import Tries
from trader_cli.features.build import build_features
from trader_cli.features.family import FamilyOptions
from trader_cli.features.inputs import known_inputs
from trader_cli.features.registry import make_spec
from trader_cli.settings import as_settings
from trader_cli.settings.room_options import TrainingOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trader_cli.analyst.trained_pair import TrainedPair

SLOW, FAST = Timeframe.parse("30m"), Timeframe.parse("5m")
EACH = SLOW.ms // FAST.ms
_SLOW_LEAD, _FAST_LEAD = 0.10, 0.6
_COST_BPS = 5.0
"""A side: 10 bp to come and go. The slow lead, up or down, is worth 9 bp of a bar of 0.9 %."""
_START_MS = 1_704_067_200_000


@dataclass(frozen=True)
class TwoFrames:
    """BARS of both frames, and the lead of each in a column of its own, row for row."""

    slow: pl.DataFrame
    fast: pl.DataFrame
    slow_lead: pl.DataFrame
    fast_lead: pl.DataFrame


def two_frames(seed: int, slow_bars: int, *, shuffled: bool = False) -> TwoFrames:
    """Slow and fast bars of one market; `shuffled`: the fast column tells of another bar than the next."""
    rng = np.random.default_rng([seed, 8])
    n, sigma = slow_bars * EACH, SIGMA / np.sqrt(EACH)
    slow_lead, fast_lead, noise = rng.choice([-1.0, 1.0], slow_bars), rng.normal(size=n), rng.normal(size=n)
    of_slow = np.append(np.zeros(EACH), np.repeat(slow_lead[:-1], EACH)) * _SLOW_LEAD / np.sqrt(EACH)
    of_fast = np.append(0.0, fast_lead[:-1]) * _FAST_LEAD
    returns = sigma * (of_slow + of_fast + np.sqrt(1 - _SLOW_LEAD**2 / EACH - _FAST_LEAD**2) * noise)
    fast = _retimed(bars_of(rng, returns, rng.normal(size=n), sigma), FAST)
    shown = rng.permutation(fast_lead) if shuffled else fast_lead
    return TwoFrames(joined(fast), fast, pl.DataFrame({"slow_lead": slow_lead}), pl.DataFrame({"fast_lead": shown}))


def _retimed(bars: pl.DataFrame, frame: Timeframe) -> pl.DataFrame:
    times = pl.Series(_START_MS + np.arange(bars.height, dtype=np.int64) * frame.ms).cast(TIME)
    return with_close_time(bars.with_columns(open_time=times).drop("close_time"), frame).select(bars.columns)


def joined(fast: pl.DataFrame) -> pl.DataFrame:
    """Slow bars of fast ones."""
    each = pl.int_range(pl.len()) // EACH
    sums = [pl.col(name).sum() for name in ("volume", "taker_buy_base", "taker_buy_quote")]
    made = fast.group_by(each.alias("_at"), maintain_order=True).agg(
        pl.col("open_time", "open").first(), pl.col("high").max(), pl.col("low").min(), pl.col("close").last(), *sums
    )
    return with_close_time(made.drop("_at"), SLOW).select(fast.columns)


def trained_pair(market: TwoFrames, **analyst: object) -> TrainedPair:
    """The pair of these bars as the only training ever run on them."""
    settings = as_settings({"costs": {**FREE, "taker_fee_bps": _COST_BPS}, "analyst": dict(analyst)})
    before: list[float] = []

    def count(sharpes: Sequence[float], share: float = 1.0) -> Tries:
        before.extend([share] * len(sharpes))
        return Tries(max(1.0, sum(before)), tuple(sharpes))

    given = (
        TrainingInput("key", "made up", "ETHUSDT", frame, bars, _features(bars, frame).hstack(lead), {})
        for frame, bars, lead in ((SLOW, market.slow, market.slow_lead), (FAST, market.fast, market.fast_lead))
    )
    return train_pair(*given, TrainingOptions.of(settings), count, count)


def _features(bars: pl.DataFrame, frame: Timeframe) -> pl.DataFrame:
    return build_features(bars, make_spec(FamilyOptions(frame, inputs=known_inputs(bars), higher=frame.higher)))
