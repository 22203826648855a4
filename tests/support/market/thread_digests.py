"""Prints digests of what is made from the same bars and trades; run in processes with other numbers of threads."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable

import numpy as np
import polars as pl
from support.market.bars import random_bars

from trader_cli.analyst.analysis import AnalysisInput, analyse
from trader_cli.analyst.feature_engineering_orchestrator import FeatureEngineeringOrchestrator
from trader_cli.analyst.labels import triple_barrier
from trader_cli.analyst.training import TrainingInput, train
from trader_cli.core.identity.digests import digest_bytes, digest_value
from trader_cli.core.market.schemas import TIME
from trader_cli.core.market.timeframes import Timeframe
from trader_cli.core.types import Tries
from trader_cli.features.bar_arrays import BarSeries
from trader_cli.features.inputs import align_inputs
from trader_cli.settings import as_settings
from trader_cli.settings.room_options import AnalysisOptions, TrainingOptions

M15 = Timeframe.parse("15m")
BARS, TRADES = 2500, 600_000


def traded(bars: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(bars whose volume is that of the trades, many trades a bar)."""
    rng = np.random.default_rng(5)
    start = int(bars["open_time"].to_physical()[0])
    at = np.sort(rng.integers(start, start + bars.height * M15.ms, TRADES))
    quantity = rng.lognormal(0, 1, TRADES)
    trades = pl.DataFrame(
        {
            "time": pl.Series(at).cast(TIME),
            "trade_id": np.arange(TRADES),
            "price": rng.lognormal(7.6, 0.01, TRADES),
            "quantity": quantity,
            "buyer_is_maker": rng.random(TRADES) < 0.5,
        }
    )
    volume = np.bincount((at - start) // M15.ms, quantity, bars.height)
    return bars.with_columns(pl.Series("volume", volume)), trades


def bytes_of(frame: pl.DataFrame, names: Iterable[str]) -> str:
    return digest_bytes(*(frame[name].to_numpy().tobytes() for name in names))


def digests(threads: int) -> dict[str, str]:
    analyst = {
        "threads": threads,
        "trees": 20,
        "walk_forward_folds": 3,
        "learners": 1,
        "allow_unproven": True,
        "enable_market_health_analysis": False,
    }
    uncached = {"wavelet_cache": {"cache_enabled": False}}
    settings = as_settings({"analyst": analyst, "feature_engineering_orchestrator": uncached})
    bars, trades = traded(random_bars(BARS, seed=3))
    aligned = align_inputs(bars, M15, trades=trades)
    features = FeatureEngineeringOrchestrator(settings).build(aligned, M15)
    series = BarSeries.of(bars)
    labels = triple_barrier(series, 8, 1.0, 64, M15.ms)
    model = train(TrainingInput("k", "tape", "E", M15, bars, features, {}), TrainingOptions.of(settings), Tries.alone)
    row = features.row(-1, named=True)
    analysis = analyse(AnalysisInput("E", M15, series, row, model, None, 0, None, {}), AnalysisOptions.of(settings))
    return {
        "aligned": bytes_of(aligned, aligned.columns),
        "features": bytes_of(features, features.columns),
        "labels": digest_value(repr([np.asarray(part).tobytes() for part in vars(labels).values()])),
        "model": digest_bytes(*model.files().values(), json.dumps(model.description("test"), sort_keys=True).encode()),
        "analysis": digest_value(analysis.as_dict()),
    }


if __name__ == "__main__":
    print(json.dumps(digests(int(sys.argv[1]))))
