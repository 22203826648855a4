"""The claim a whole training comes to on a market: tape → bars → features → labels → walk-forward → claim."""

from __future__ import annotations

import numpy as np
import polars as pl

from trader_cli.analyst.training import TrainingInput, train
from trader_cli.core.market.bars import aggregate_bars, with_close_time
from trader_cli.core.market.schemas import TIME
from trader_cli.core.market.timeframes import Timeframe
from trader_cli.core.types import Claim, Tries
from trader_cli.features.build import build_features
from trader_cli.features.family import FamilyOptions
from trader_cli.features.registry import make_spec
from trader_cli.settings import as_settings
from trader_cli.settings.room_options import TrainingOptions
from trader_cli.venue.simulated_market.tape import Tape

M15 = Timeframe.parse("15m")


def claim_on(tape: Tape, *, cost_factor: float = 1.0, drift_per_year: float = 0.0) -> Claim:
    """Train on the first symbol's 15m bars, as the only trial; costs and drift may be raised."""
    symbol = next(iter(tape.symbols.values()))
    years = (symbol.open_ms - symbol.open_ms[0]) / (365 * 86_400_000)
    lift = np.exp(drift_per_year * years)
    prices = {name: getattr(symbol, name) * lift for name in ("open", "high", "low", "close")}
    times = pl.Series(symbol.open_ms).cast(TIME)
    minutes = with_close_time(pl.DataFrame({"open_time": times, **prices, "volume": symbol.volume}), symbol.timeframe)
    bars = aggregate_bars(minutes, symbol.timeframe, M15)
    default = as_settings({}).costs
    costs = {name: getattr(default, name) * cost_factor for name in type(default).model_fields}
    features = build_features(bars, make_spec(FamilyOptions(M15, higher=M15.higher)))
    given = TrainingInput("key", tape.source, symbol.symbol, M15, bars, features, {})
    return train(given, TrainingOptions.of(as_settings({"costs": costs})), Tries.alone).claim
