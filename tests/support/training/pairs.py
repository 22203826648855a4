"""A small market of two frames with a lead in each, and pairs trained on it with few features: seconds of work."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from trader_cli.analyst.pair_training import train_pair
from trader_cli.analyst.training import TrainingInput
from trader_cli.core.market.bars import aggregate_bars, with_close_time
from trader_cli.core.market.schemas import TIME
from trader_cli.core.market.timeframes import Timeframe
from trader_cli.core.types import Tries
from trader_cli.settings import as_settings
from trader_cli.settings.room_options import TrainingOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trader_cli.analyst.trained_pair import TrainedPair

SLOW, FAST = Timeframe.parse("30m"), Timeframe.parse("5m")
EACH, START_MS = 6, 1_704_067_200_000
QUICK: dict[str, Any] = {
    "trees": 20,
    "walk_forward_folds": 4,
    "horizon_bars": [1, 2],
    "learning_rate": 0.1,
    "fast_timeframe": "5m",
}
_FEW = {"feature_engineering_orchestrator": {"enable_autoencoder_features": False}}
FREE = {"taker_fee_bps": 5.0, "slippage_bps": 0.0, "funding_bps": 0.0}


@dataclass(frozen=True)
class Market:
    """What a training of a pair starts from."""

    slow: TrainingInput
    fast: TrainingInput


@cache
def market(slow_bars: int = 1500, seed: int = 1, slow_lead: float = 0.1, fast_lead: float = 0.6) -> Market:
    """Bars of both frames; features are the lead and a column of noise."""
    rng = np.random.default_rng(seed)
    n, sigma = slow_bars * EACH, 0.004
    whether, when, noise = rng.choice([-1.0, 1.0], slow_bars), rng.normal(size=n), rng.normal(size=n)
    told = np.append(np.zeros(EACH), np.repeat(whether[:-1], EACH)) * slow_lead / np.sqrt(EACH)
    returns = sigma * (told + fast_lead * np.append(0.0, when[:-1]) + np.sqrt(1 - fast_lead**2) * noise)
    close = 2000 * np.exp(np.cumsum(returns))
    opened = np.append(2000.0, close[:-1])
    reach = 1 + sigma * rng.random((2, n))
    fast = pl.DataFrame(
        {
            "open_time": pl.Series(START_MS + np.arange(n, dtype=np.int64) * FAST.ms).cast(TIME),
            "open": opened,
            "high": np.maximum(opened, close) * reach[0],
            "low": np.minimum(opened, close) / reach[1],
            "close": close,
            "volume": rng.lognormal(5, 0.5, n),
        }
    )
    fast = with_close_time(fast, FAST)
    slow = aggregate_bars(fast, FAST, SLOW)
    return Market(_input(slow, SLOW, whether, rng), _input(fast, FAST, when, rng))


def _input(bars: pl.DataFrame, frame: Timeframe, lead: np.ndarray, rng: np.random.Generator) -> TrainingInput:
    columns = {"lead": lead, "noise": rng.normal(size=len(lead))}
    made = bars.select("open_time", decision_time="close_time").with_columns(
        **{name: pl.Series(values) for name, values in columns.items()}
    )
    return TrainingInput("key", "tape", "ETHUSDT", frame, bars, made, {})


def options(**analyst: Any) -> TrainingOptions:
    """Of quick trainings without fitted families' cost."""
    return TrainingOptions.of(as_settings({"costs": FREE, "analyst": {**QUICK, **analyst}, **_FEW}))


class Counted:
    """A trial ledger in memory: how many Sharpe ratios were told in each call."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def __call__(self, sharpes: Sequence[float], share: float = 1.0) -> Tries:
        self.calls.append(len(sharpes))
        return Tries(float(max(1, sum(self.calls))), tuple(sharpes))


def trained(given: Market, slow: Counted | None = None, pairs: Counted | None = None, **analyst: Any) -> TrainedPair:
    """The pair of a market."""
    return train_pair(given.slow, given.fast, options(**analyst), slow or Counted(), pairs or Counted())


@cache
def usual() -> TrainedPair:
    """The pair of the usual market."""
    return trained(market())


def without_fast_lead(given: Market, seed: int = 5) -> Market:
    """The same with the fast column shuffled."""
    shuffled = given.fast.features.with_columns(
        lead=pl.Series(np.random.default_rng(seed).permutation(given.fast.features["lead"].to_numpy()))
    )
    return Market(given.slow, replace(given.fast, features=shuffled))
