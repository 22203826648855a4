"""What the watches over a model know today, from what is stored: told once a day, and kept beside the analysis."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from trader_cli.analyst.analysis import refuse_absent
from trader_cli.analyst.fitted_families import history_bars
from trader_cli.analyst.forecast_evidence import Bets
from trader_cli.analyst.model_watch import Watched, WatchedSeries, WatchState, day_of, watch
from trader_cli.core.identity.digests import digest_value
from trader_cli.core.json_values import built, items_of, number_of, object_of, whole_of
from trader_cli.features.bar_arrays import BarSeries
from trader_cli.storage.artifacts import stage_key
from trader_cli.storage.inventory import WATCH

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trader_cli.analyst.trained_model import TrainedModel
    from trader_cli.core.identity.manifests import Manifest
    from trader_cli.core.json_values import JsonObject
    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.storage.artifacts import ArtifactStore

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


def stored_watch(
    store: ArtifactStore, profile: str, model: TrainedModel, bars: Manifest, features: Manifest, timeframe: Timeframe
) -> Watched:
    """What was known when the UTC day of the last bar's close began: as it was told first on that day.

    It goes on from the day it was told before, so that a day costs what came since.
    """
    day, key = day_of((bars.last_ms or 0) + timeframe.ms), stage_key(profile, model.symbol, timeframe, WATCH)
    name = digest_value([model.key, model.producer, features.settings, bars.source])
    pointed = store.found(key)
    told = (store.get_document(pointed) if pointed else None) or {}
    before = built(Watched, object_of(told["watched"])) if told.get("of") == name else None
    if before is not None and before.day_ms == day:
        return before
    known = _state_of(object_of(told["state"])) if before is not None and before.day_ms < day else None
    found, state = watch(model, _series(store, model, bars, features, timeframe, day, known), [day], known)
    body = {"of": name, "model": model.key, "watched": asdict(found[0]), "state": asdict(state)}
    store.point(key, store.put_document(body))
    return found[0]


def _state_of(body: JsonObject) -> WatchState:
    bets = object_of(body["bets"])
    stakes = tuple(number_of(stake) for stake in items_of(bets["stakes"]))
    return WatchState(built(Bets, {**bets, "stakes": stakes}), whole_of(body["next_ms"]))


def _series(
    store: ArtifactStore,
    model: TrainedModel,
    bars: Manifest,
    features: Manifest,
    timeframe: Timeframe,
    day_ms: int,
    known: WatchState | None,
) -> WatchedSeries:
    """As much of the stored series as is read."""
    since = min(known.next_ms if known else model.last_ms, day_ms - model.bins.window * timeframe.ms)
    span = ((bars.last_ms or 0) - since) // timeframe.ms + 2
    count = span + history_bars(timeframe) + model.volatility_span
    near = BarSeries.of(store.read(bars.tail(count)).tail(count))

    def matrix(rows: Ints) -> tuple[Floats, Ints]:
        behind = len(near) - int(rows[0])
        read = store.read(features.tail(behind)).tail(behind)[: len(rows)]
        refuse_absent(model, read.columns)
        wanted = read.select(model.base_features)
        unknown = wanted.select(pl.sum_horizontal(pl.all().is_null()))
        return wanted.to_numpy().astype(np.float64), unknown.to_series().to_numpy().astype(np.int64)

    return WatchedSeries(timeframe, near, matrix)
