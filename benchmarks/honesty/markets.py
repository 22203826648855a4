"""Made-up hourly markets: without an edge, or with one planted in takers' imbalance. BARS frames, each by its seed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from benchmarks.honesty.real import hourly
from trader_cli.core.market.bars import with_close_time
from trader_cli.core.market.schemas import TIME
from trader_cli.core.market.timeframes import Timeframe

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

FRAME = Timeframe.parse("1h")
SIGMA = 0.009
"""Standard deviation of a bar's log return."""
_START_MS = 1_704_067_200_000
_STEPS = 16
_SHOWN = 0.08
"""Change of takers' share of the volume by one standard deviation of the lead."""
_HOURS_A_YEAR = 8760


def bars_of(rng: np.random.Generator, returns: Floats, lead: Floats, sigma: Floats | float = SIGMA) -> pl.DataFrame:
    """Bars with these log returns (n,), a random path within each, and the lead (n,) in takers' share of the volume."""
    n = len(returns)
    steps = rng.normal(size=(n, _STEPS)) * np.broadcast_to(sigma, n)[:, None] / np.sqrt(_STEPS)
    path = np.cumsum(steps + ((returns - steps.sum(axis=1)) / _STEPS)[:, None], axis=1)
    close = 2000.0 * np.exp(np.cumsum(returns))
    opened = np.append(2000.0, close[:-1])
    volume = rng.lognormal(5, 0.6, n)
    bought = volume * np.clip(0.5 + _SHOWN * lead, 0.0, 1.0)
    return with_close_time(
        pl.DataFrame(
            {
                "open_time": pl.Series(_START_MS + np.arange(n, dtype=np.int64) * FRAME.ms).cast(TIME),
                "open": opened,
                "high": np.maximum(opened * np.exp(np.maximum(path.max(axis=1), 0.0)), np.maximum(opened, close)),
                "low": np.minimum(opened * np.exp(np.minimum(path.min(axis=1), 0.0)), np.minimum(opened, close)),
                "close": close,
                "volume": volume,
            }
        ),
        FRAME,
    ).with_columns(pl.Series("taker_buy_base", bought), pl.Series("taker_buy_quote", bought * close))


def planted(seed: int, bars: int, strength: Floats | float, persistence: float = 0.0) -> pl.DataFrame:
    """A lead of correlation `strength`, constant or by bar (n,), with the next bar's return: AR(1), or white."""
    rng = np.random.default_rng([seed, 1])
    lead, noise = rng.normal(size=bars), rng.normal(size=bars)
    for at in range(1, bars if persistence else 0):
        lead[at] = persistence * lead[at - 1] + np.sqrt(1 - persistence**2) * lead[at]
    of_bar = np.broadcast_to(strength, bars)[:-1]
    returns = SIGMA * np.append(noise[:1], of_bar * lead[:-1] + np.sqrt(1 - of_bar**2) * noise[1:])
    return bars_of(rng, returns, lead)


def random_walk(seed: int, bars: int) -> pl.DataFrame:
    """Normal returns of one volatility."""
    rng = np.random.default_rng([seed, 2])
    return bars_of(rng, SIGMA * rng.normal(size=bars), rng.normal(size=bars))


def garch(seed: int, bars: int) -> pl.DataFrame:
    """GARCH(1, 1) of persistence 0.98."""
    rng = np.random.default_rng([seed, 3])
    shocks, variance, now = rng.normal(size=bars), np.empty(bars), 1.0
    for at in range(bars):
        variance[at] = now
        now = 0.02 + now * (0.9 + 0.08 * shocks[at] ** 2)
    sigma = SIGMA * np.sqrt(variance)
    return bars_of(rng, sigma * shocks, rng.normal(size=bars), sigma)


def heavy_tailed(seed: int, bars: int) -> pl.DataFrame:
    """Student's t of three degrees of freedom."""
    rng = np.random.default_rng([seed, 4])
    return bars_of(rng, SIGMA * rng.standard_t(3, size=bars) / np.sqrt(3), rng.normal(size=bars))


def drifted(seed: int, bars: int) -> pl.DataFrame:
    """A random walk that gains 50 % a year."""
    rng = np.random.default_rng([seed, 5])
    drift = np.log(1.5) / _HOURS_A_YEAR
    return bars_of(rng, drift + SIGMA * rng.normal(size=bars), rng.normal(size=bars))


def flipped(seed: int, bars: int) -> pl.DataFrame:
    """Real hourly returns whose signs are tossed: real volatility, no direction."""
    rng = np.random.default_rng([seed, 6])
    close = hourly()[seed % len(hourly())].read()["close"].to_numpy()
    returns = np.diff(np.log(close))
    first = int(rng.integers(0, len(returns) - bars))
    of_bars = np.clip(returns[first : first + bars], -0.3, 0.3) * rng.choice([-1.0, 1.0], bars)
    return bars_of(rng, of_bars, rng.normal(size=bars), np.maximum(np.abs(of_bars), 1e-4))


NULLS: tuple[Callable[[int, int], pl.DataFrame], ...] = (random_walk, garch, heavy_tailed, drifted, flipped)


def null(seed: int, bars: int) -> pl.DataFrame:
    """One of the markets without an edge, each in its turn; real ones where there are any."""
    kinds = NULLS if hourly() else NULLS[:-1]
    return kinds[seed % len(kinds)](seed, bars)
