"""Made-up bars."""

from __future__ import annotations

import numpy as np
import polars as pl

from trader_cli.core.market.bars import with_close_time
from trader_cli.core.market.schemas import TIME
from trader_cli.core.market.timeframes import Timeframe

START_MS = 1_704_067_200_000


def random_bars(
    n: int, timeframe: str = "15m", seed: int = 0, start_ms: int = START_MS, sigma: float = 0.004
) -> pl.DataFrame:
    """A valid BARS frame: a random walk with ranges and volumes."""
    rng = np.random.default_rng(seed)
    step = Timeframe.parse(timeframe)
    close = 2000 * np.exp(np.cumsum(rng.normal(0, sigma, n)))
    opened = np.concatenate([[2000.0], close[:-1]])
    reach = np.abs(rng.normal(0, sigma / 2, (2, n)))
    frame = pl.DataFrame(
        {
            "open_time": pl.Series(start_ms + np.arange(n, dtype=np.int64) * step.ms).cast(TIME),
            "open": opened,
            "high": np.maximum(opened, close) * (1 + reach[0]),
            "low": np.minimum(opened, close) * (1 - reach[1]),
            "close": close,
            "volume": rng.lognormal(5, 0.6, n),
        }
    )
    return with_close_time(frame, step)
