"""The watches over a model say the same in a backtest, alone, from what is stored, and whatever follows."""

from __future__ import annotations

from dataclasses import asdict, replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from support.trading.sim_folder import QUARTER, SYMBOL, trained_copy

from trader_cli.analyst.analyst import Analyst
from trader_cli.analyst.model_watch import Watched, WatchedSeries, day_of, watch
from trader_cli.analyst.stored_watch import stored_watch
from trader_cli.analyst.trained_model import TrainedModel
from trader_cli.backtest.model_spans import ModelSchedule, ModelSpan
from trader_cli.backtest.prepared_analyses import compare_alone, prepare
from trader_cli.backtest.stored_analyses import StoredAnalyses, SymbolHistory
from trader_cli.core.market.timeframes import DAY_MS, SETTLE_MS
from trader_cli.core.types import Abstention, Signal
from trader_cli.exchange.simulated_exchange import SimulatedExchange
from trader_cli.pipelines.market_access import sim_tape
from trader_cli.pipelines.stages.model_life import promote
from trader_cli.pipelines.stages.model_stages import training_data
from trader_cli.pipelines.stages.model_training import train_on
from trader_cli.settings.room_options import AnalysisOptions
from trader_cli.settings.workspace import Workspace
from trader_cli.storage.artifacts import ArtifactStore, stage_key
from trader_cli.storage.inventory import mark
from trader_cli.venue.clocks import FixedClock
from trader_cli.venue.simulated_market.rule_changes import RuleBook
from trader_cli.venue.simulated_market.symbol_market import SymbolMarket

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return trained_copy(tmp_path_factory.mktemp("watched"), tmp_path_factory)


@pytest.fixture(scope="module")
def history(workspace: Workspace) -> SymbolHistory:
    """Traded by a model of the first two thirds of the bars."""
    store = ArtifactStore(workspace.cache_dir)
    data = training_data(workspace, store, SYMBOL, QUARTER)
    cut = int(data.bars["open_time"].to_physical()[data.bars.height * 2 // 3])
    made = train_on(workspace, store, data, until_ms=cut)
    promote(workspace, made.digest, SYMBOL, QUARTER)
    models = ModelSchedule((ModelSpan(made.trained, cut, made.digest),))
    return SymbolHistory(SYMBOL, QUARTER, data.bars, data.features, data.funding, models, {"bars": "b", "costs": "c"})


def model_of(history: SymbolHistory) -> TrainedModel:
    model = history.models.spans[0].model
    assert isinstance(model, TrainedModel)
    return model


def series_of(history: SymbolHistory, rows: int | None = None) -> WatchedSeries:
    """Of so many bars, all if it is not said."""
    bars, names = history.series.cut(0, rows or len(history.series)), model_of(history).base_features
    return WatchedSeries(QUARTER, bars, lambda wanted: history.matrix(names, wanted))


def days_of(history: SymbolHistory) -> list[int]:
    """Those that begin after the training."""
    last = day_of(int(history.series.open_ms[-1]) + QUARTER.ms)
    return list(range(day_of(model_of(history).last_ms), last + 1, DAY_MS))


def test_a_day_is_known_by_what_came_before_it_alone(history: SymbolHistory) -> None:
    days, model = days_of(history), model_of(history)
    together, end = watch(model, series_of(history), days)
    assert len(together) > 8
    assert together[-1].forecasts > 500
    assert (np.diff([one.evidence for one in together]) >= 0).all()
    for day, known in zip(days, together, strict=True):
        rows = int(np.searchsorted(history.series.open_ms, day - QUARTER.ms, side="right"))
        assert watch(model, series_of(history, rows), [day])[0] == [known]
        assert watch(model, series_of(history), [day])[0] == [known]
    state = None
    for day, known in list(zip(days, together, strict=True))[::3]:
        found, state = watch(model, series_of(history), [day], state)
        assert found == [known], "a day goes on from one before"
    assert watch(model, series_of(history), days[-1:], state)[1] == end


def test_from_what_is_stored_it_is_the_same_and_is_told_once_a_day(
    workspace: Workspace, history: SymbolHistory
) -> None:
    store = ArtifactStore(workspace.cache_dir)
    bars, features = (store.current(stage_key("sim", SYMBOL, QUARTER, stage)) for stage in ("bars", "features"))
    assert bars
    assert features
    last = int(history.series.open_ms[-1]) + QUARTER.ms
    known = stored_watch(store, "sim", model_of(history), bars, features, QUARTER)
    assert [known] == watch(model_of(history), series_of(history), [day_of(last)])[0]
    key = stage_key("sim", SYMBOL, QUARTER, "watch")
    told = store.pointed(key)
    assert told is not None
    assert ("documents", told) in mark(Path(workspace.cache_dir), lambda _: True, 0).live
    body = store.require_document(told)
    half = days_of(history)[len(days_of(history)) // 2]
    (before,), state = watch(model_of(history), series_of(history), [half])
    store.point(key, store.put_document({**body, "watched": asdict(before), "state": asdict(state)}))
    assert stored_watch(store, "sim", model_of(history), bars, features, QUARTER) == known, "it goes on from there"
    wrong = replace(known, evidence=1e6)
    store.point(key, store.put_document({**body, "watched": asdict(wrong)}))
    assert stored_watch(store, "sim", model_of(history), bars, features, QUARTER) == wrong, "as first told that day"
    said = Analyst(workspace, store=store, clock=FixedClock(last)).analyse(SYMBOL, QUARTER)
    assert isinstance(said.outcome, Abstention)
    assert said.outcome.code == "forecasts_wrong"
    store.unpoint(key)
    believed = Analyst(workspace, store=store, clock=FixedClock(last)).analyse(SYMBOL, QUARTER)
    assert believed.probabilities != said.probabilities


def test_closes_decided_together_are_doubted_as_each_alone_is(workspace: Workspace, history: SymbolHistory) -> None:
    picky = {"max_moved_features": 0.02, "forecast_alarm": 0.45}
    options = replace(
        AnalysisOptions.of(workspace.settings), analyst=workspace.settings.analyst.model_copy(update=picky)
    )
    tape, last = sim_tape(workspace), int(history.series.open_ms[-1]) + QUARTER.ms
    first = history.models.spans[0].from_ms + QUARTER.ms
    whole = replace(history)
    prepared = prepare(whole, SymbolMarket(tape.symbols[SYMBOL]), RuleBook(), (first, last), options)
    alone = StoredAnalyses({SYMBOL: whole}, SimulatedExchange(tape, first, Decimal(10_000)), options)
    codes: list[str] = []
    for close in range(first, last + 1, 7 * QUARTER.ms):
        alone.venue.advance(close + SETTLE_MS)
        said = alone.of(SYMBOL, close)
        assert prepared.analysis(close) == said
        codes.append("signal" if isinstance(said.outcome, Signal) else said.outcome.code)
    assert "features_moved" in codes or "forecasts_wrong" in codes, set(codes)
    beside = SimulatedExchange(tape, first, Decimal(1))
    compare_alone(prepared, StoredAnalyses({SYMBOL: replace(history)}, beside, options))


def test_what_is_wrong_is_no_less_wrong_when_it_is_too_old(workspace: Workspace, history: SymbolHistory) -> None:
    """Together as alone: what is open is cared for by base rates from then on, whatever the age."""
    picky = {"max_moved_features": 0.02, "forecast_alarm": 0.45}
    usual, analyst = AnalysisOptions.of(workspace.settings), workspace.settings.analyst
    young, old = (
        replace(usual, analyst=analyst.model_copy(update={**picky, "max_model_age": days})) for days in (45.0, 0.1)
    )
    tape, last = sim_tape(workspace), int(history.series.open_ms[-1]) + QUARTER.ms
    first, market = history.models.spans[0].from_ms + QUARTER.ms, SymbolMarket(tape.symbols[SYMBOL])
    of_young, of_old = (prepare(replace(history), market, RuleBook(), (first, last), one) for one in (young, old))
    alone = StoredAnalyses({SYMBOL: replace(history)}, SimulatedExchange(tape, first, Decimal(10_000)), old)
    codes = set()
    for close in range(first + DAY_MS, last + 1, 13 * QUARTER.ms):
        alone.venue.advance(close + SETTLE_MS)
        said, before = of_old.analysis(close), of_young.analysis(close)
        assert said == alone.of(SYMBOL, close)
        assert isinstance(said.outcome, Abstention)
        codes.add(said.outcome.code)
        if isinstance(before.outcome, Abstention) and before.outcome.code in {"features_moved", "forecasts_wrong"}:
            assert (said.outcome, said.probabilities) == (before.outcome, before.probabilities)
    assert len(codes) > 1, codes
    assert "model_expired" in codes


def test_forecasts_turned_round_are_found_out(history: SymbolHistory) -> None:
    """Its slope as steep, the other way: what a lead that has turned would look like."""
    model = model_of(history)
    turned = replace(
        model, side=replace(model.side, booster=replace(model.side.booster, slope=-model.side.booster.slope))
    )
    days = days_of(history)
    honest, found = (watch(one, series_of(history), days)[0][-1] for one in (model, turned))
    assert found.evidence > 100 > honest.evidence, (found, honest)
    assert isinstance(found, Watched)
