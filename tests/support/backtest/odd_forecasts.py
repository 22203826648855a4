"""Made-up bars and what was said of them, as odd as both can be, and the options that trade them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trader_cli.analyst.book import Forecasts
from trader_cli.backtest.backtest_account import AccountOptions
from trader_cli.backtest.ideal_backtest import IdealTerms
from trader_cli.core.market.timeframes import Timeframe
from trader_cli.features.bar_arrays import BarSeries
from trader_cli.settings import Settings, as_settings
from trader_cli.settings.room_options import AnalysisOptions, ExecutionOptions, ManagementOptions, PlanningOptions
from trader_cli.settings.workspace import workspace_of

START_MS = 1_704_067_200_000


@dataclass(frozen=True)
class OddForecasts:
    """Bars of a time frame, what was said of them, and settings of plan and exits."""

    bars: BarSeries
    timeframe: Timeframe
    said: Forecasts
    settings: Settings

    @property
    def terms(self) -> IdealTerms:
        """The options of the fast engine."""
        settings, workspace = self.settings, workspace_of(self.settings)
        options = PlanningOptions.of(settings), ExecutionOptions.of(workspace), ManagementOptions.of(settings)
        return IdealTerms(AccountOptions(*options), AnalysisOptions.of(settings))


def odd_forecasts(seed: int, count: int = 160) -> OddForecasts:
    """Of a walk on a fine or a coarse tick, off it by rounding or not, with gaps or none, that may jump."""
    rng = np.random.default_rng(seed)
    volatility = 10 ** rng.uniform(-3, -1.7)
    bars, timeframe = _bars(rng, count, volatility), Timeframe.parse(str(rng.choice(["1m", "15m", "1h", "4h"])))
    rows = np.flatnonzero(rng.random(count - 20) < rng.choice([0.5, 0.9, 1.0])) + 10
    horizon, n = int(rng.choice([1, 2, 4, 12])), len(rows)
    told = rng.dirichlet([rng.choice([1, 5, 30]), rng.choice([1, 5]), 0.2], n)
    told[rng.random(n) < 0.05] = np.nan
    wanted = (rng.random(n) < rng.choice([0.05, 0.5, 1.0])) & np.isfinite(told[:, 0])
    side = rng.choice([-1, 1], n).astype(np.int8)
    barrier = np.abs(rng.normal(size=n)) * volatility * np.sqrt(horizon) + volatility * 0.3
    opened = START_MS + np.arange(count, dtype=np.int64) * timeframe.ms
    series = BarSeries(opened, *bars)
    return OddForecasts(series, timeframe, Forecasts(rows, told, side, wanted, barrier, horizon), _settings(rng))


def _bars(rng: np.random.Generator, count: int, volatility: float) -> tuple[NDArray[np.float64], ...]:
    steps = rng.standard_normal((count, 8)) * volatility / 3
    if rng.random() < 0.5:
        steps += (rng.random((count, 8)) < 0.01) * rng.standard_normal((count, 8)) * volatility * 4
    tick = float(rng.choice([0.01, 0.1, 1e-4]))
    path = np.round(np.maximum(np.round(100 * np.exp(np.cumsum(steps).reshape(count, 8)) / tick) * tick, tick), 4)
    opened = path[:, 0] if rng.random() < 0.5 else np.concatenate([[100.0], path[:-1, -1]])
    high, low = np.maximum(path.max(axis=1), opened), np.minimum(path.min(axis=1), opened)
    volume, prices = np.round(rng.gamma(2, 50, count), 3), (opened, high, low, path[:, -1])
    if rng.random() < 0.4:  # as many a file has them: off by a float's last digits
        prices = tuple(price * 1.1 / 1.1 for price in prices)
    return (*prices, volume)


def _settings(rng: np.random.Generator) -> Settings:
    high = float(rng.choice([0.8, 0.6, 0.55]))
    monitor: dict[str, Any] = {
        "trail_distance": float(rng.choice([1.0, 0.4, 2.0])),
        "trail_step": float(rng.choice([0.25, 0.1, 1.0])),
        "confidence_half_life": float(rng.choice([4, 0.7])),
        "min_dwell": float(rng.choice([1, 0, 0.5, 3])),
    }
    return as_settings(
        {
            "tactician": {"max_price_drift": float(rng.choice([0.25, 0.9]))},
            "monitor": monitor,
            "high_risk_threshold": high,
            "medium_risk_threshold": min(high, float(rng.choice([0.6, 0.52, 0.55]))),
        }
    )
