"""Closes decided together say what each alone says: outcome, probabilities, price and claim, to the last digit."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import fields, replace
from decimal import Decimal

import numpy as np
import polars as pl
import pytest
from support.trading.sim_folder import QUARTER, SYMBOL, sim_settings, trained_folder

from trader_cli.analyst.health import HEALTH_COLUMNS
from trader_cli.analyst.trained_basis import TrainedBasis
from trader_cli.analyst.trained_rule import TrainedRule
from trader_cli.backtest.model_spans import ModelSchedule, ModelSpan
from trader_cli.backtest.prepared_analyses import _COMPARED, PreparedSymbol, compare_alone, prepare
from trader_cli.backtest.stored_analyses import StoredAnalyses, SymbolHistory
from trader_cli.core.market.timeframes import DAY_MS, SETTLE_MS
from trader_cli.core.types import Abstention, Signal
from trader_cli.exchange.simulated_exchange import SimulatedExchange
from trader_cli.features.rule import NamedRule
from trader_cli.features.rule_series import rule_bars, rule_signals
from trader_cli.features.rules.sma_cross import SmaCross
from trader_cli.pipelines.backtests.backtest_run import given_model
from trader_cli.pipelines.market_access import sim_tape
from trader_cli.pipelines.stages.model_stages import training_data
from trader_cli.settings import as_settings
from trader_cli.settings.room_options import AnalysisOptions
from trader_cli.settings.workspace import Workspace, workspace_of
from trader_cli.storage.artifacts import ArtifactStore
from trader_cli.venue.simulated_market.rule_changes import RuleBook
from trader_cli.venue.simulated_market.symbol_market import SymbolMarket
from trader_cli.venue.simulated_market.tape import SymbolTape, TapeBars

pytestmark = pytest.mark.slow
CLOSES = 220


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("prepared")
    shutil.copytree(trained_folder(tmp_path_factory), folder, dirs_exist_ok=True)
    return workspace_of(sim_settings(folder))


def history_of(workspace: Workspace) -> SymbolHistory:
    store = ArtifactStore(workspace.cache_dir)
    data = training_data(workspace, store, SYMBOL, QUARTER)
    last = int(data.bars["open_time"].to_physical()[-1]) + QUARTER.ms
    span = given_model(workspace, store, data, "current", last + 1)
    models = ModelSchedule((span, ModelSpan(span.model, last + 2, span.digest)))
    return SymbolHistory(SYMBOL, QUARTER, data.bars, data.features, data.funding, models, {"bars": "b", "costs": "c"})


def with_holes(history: SymbolHistory) -> SymbolHistory:
    """Some of the newest bars are missing, some features unknown, some bars stuck."""
    dice = np.random.default_rng(7)
    kept = np.ones(history.bars.height, dtype=np.bool_)
    kept[-CLOSES:] = dice.random(CLOSES) > 0.1
    bars, features = history.bars.filter(pl.Series(kept)), history.features.filter(pl.Series(kept))
    unknown = pl.Series(dice.random(features.height) < 0.3)
    columns = [name for name in features.columns if features.schema[name].is_float()][:60]
    features = features.with_columns(pl.when(~unknown).then(pl.col(name)).alias(name) for name in columns)
    still = pl.int_range(bars.height, eager=True).is_between(bars.height - 40, bars.height - 34)
    names = ("open", "high", "low", "close")
    bars = bars.with_columns(
        *(pl.when(still).then(pl.col("close").get(bars.height - 41)).otherwise(name).alias(name) for name in names),
        pl.when(still).then(0.0).otherwise("volume").alias("volume"),
    )
    return replace(history, bars=bars, features=features)


def with_few_payments(history: SymbolHistory) -> SymbolHistory:
    """Funding is known from a few days ago only, and was paid every four hours then."""
    assert history.funding is not None
    kept = history.funding[-7:]
    first = int(kept["time"].to_physical()[0])
    times = pl.Series("time", [first + at * 4 * 3_600_000 for at in range(7)]).cast(kept.schema["time"])
    return replace(history, funding=kept.with_columns(times))


def by_a_rule(history: SymbolHistory) -> SymbolHistory:
    """A rule of one's own decides, of a series with holes."""
    holed, named = with_holes(history), NamedRule("sma_cross", "of the package", SmaCross(2, 5))
    model = history.models.spans[0].model
    basis = {one.name: getattr(model, one.name) for one in fields(TrainedBasis)}
    rule = TrainedRule(**{**basis, "features": ()}, rule=named.identity(), win_share=0.7)
    models = ModelSchedule(tuple(replace(span, model=rule) for span in history.models.spans))
    said = rule_signals(named, rule_bars(holed.bars, named.rule.inputs), QUARTER)
    return replace(holed, models=models, signals=said)


def with_futures(history: SymbolHistory) -> SymbolHistory:
    """Basis, open interest and funding lie beside the bars, one of them not always."""
    dice, features = np.random.default_rng(5), history.features
    assert isinstance(features, pl.DataFrame)
    made = [pl.Series(name, dice.normal(size=features.height)) for name in HEALTH_COLUMNS.values()]
    lost = (pl.int_range(features.height, eager=True) % 50 < 5) & (pl.int_range(features.height, eager=True) > 900)
    basis = pl.DataFrame(made).select(pl.when(~lost).then(made[0].name).alias(made[0].name))
    return replace(history, features=features.with_columns(*made[1:], basis.to_series()))


def with_an_ageing_model(history: SymbolHistory) -> SymbolHistory:
    """It becomes too old half-way."""
    age_ms = round(as_settings({}).analyst.max_model_age * DAY_MS)
    half = int(history.bars["open_time"].to_physical()[-CLOSES // 2]) - age_ms
    spans = tuple(replace(span, model=replace(span.model, last_ms=half)) for span in history.models.spans)
    return replace(history, models=ModelSchedule(spans))


CHANGES: dict[str, Callable[[SymbolHistory], SymbolHistory]] = {
    "as stored": lambda history: history,
    "with an ageing model": with_an_ageing_model,
    "with holes": with_holes,
    "with few payments": with_few_payments,
    "by a rule": by_a_rule,
    "with futures": with_futures,
    "without funding": lambda history: replace(history, funding=None),
}


LEAST_HEALTH = {"as stored": 0.45, "with futures": 0.4}
"""Where some closes are vetoed by what health is told from bars and book."""


@pytest.mark.parametrize("change", CHANGES)
def test_closes_decided_together_say_what_each_alone_says(workspace: Workspace, change: str) -> None:
    history = CHANGES[change](history_of(workspace))
    picky = workspace.settings.analyst.model_copy(update={"min_market_health": LEAST_HEALTH.get(change, 0.1)})
    options = replace(AnalysisOptions.of(workspace.settings), analyst=picky)
    tape = sim_tape(workspace)
    last = int(history.bars["open_time"].to_physical()[-1]) + QUARTER.ms
    first = last - (CLOSES - 1) * QUARTER.ms
    prepared = prepare(history, SymbolMarket(tape.symbols[SYMBOL]), RuleBook(), (first, last), options)
    venue = SimulatedExchange(tape, first, Decimal(10_000))
    alone = StoredAnalyses({SYMBOL: history}, venue, options)
    codes, late = set(), 0
    for close in range(first, last + 1, QUARTER.ms):
        venue.advance(close + SETTLE_MS)
        said = alone.of(SYMBOL, close)
        assert prepared.analysis(close) == said
        assert prepared.mark_at(close) == venue.engine.markets[SYMBOL].last_price(close + SETTLE_MS)
        venue.advance(close + SETTLE_MS + (1_300, 70_000)[close // QUARTER.ms % 2])
        later = prepared.later(close, alone)
        assert later is None or later == alone.made(SYMBOL, close)
        late += later is not None
        codes.add("signal" if said.signal else said.outcome.code)  # type: ignore[union-attr]
    assert late > 0.8 * CLOSES, "hardly anything could be told late"
    assert "signal" in codes
    assert "unhealthy_market" in codes or change not in LEAST_HEALTH
    assert ("model_expired" in codes) == (change == "with an ageing model")
    if change == "with holes":
        assert {"bars_stale", "data_quality", "features_incomplete"} & codes


def test_a_close_asked_late_is_as_healthy_as_its_book_is_then(workspace: Workspace) -> None:
    """Where a tick is near a thousandth of the price, one tick down leaves nothing near the middle within the minute."""
    history, tape = history_of(workspace), sim_tape(workspace)
    one, bars = tape.symbols[SYMBOL], tape.symbols[SYMBOL].bars
    tick, alike = round(float(np.median(bars.close)) / 1001, 2), np.ones(len(bars.open_ms))
    prices = (at * tick * alike for at in (1001, 1002, 998, 1001))
    coarse = SymbolTape.of(
        SYMBOL, one.timeframe, one.seed, tick, one.step, TapeBars(bars.open_ms, *prices, bars.volume)
    )
    last = int(history.bars["open_time"].to_physical()[-1]) + QUARTER.ms
    first, options = last - 60 * QUARTER.ms, AnalysisOptions.of(workspace.settings)
    prepared = prepare(history, SymbolMarket(coarse), RuleBook(), (first, last), options)
    venue = SimulatedExchange(replace(tape, symbols={SYMBOL: coarse}), first, Decimal(10_000))
    alone, codes = StoredAnalyses({SYMBOL: history}, venue, options), set()
    for close in range(first, last + 1, QUARTER.ms):
        venue.advance(close + SETTLE_MS + 25_000)
        later, made = prepared.later(close, alone), alone.made(SYMBOL, close)
        assert later is None or later == made
        codes.add("signal" if made.signal else made.outcome.code)  # type: ignore[union-attr]
    assert "unhealthy_market" in codes


def test_a_signal_that_alone_would_be_another_stops_a_backtest(workspace: Workspace) -> None:
    """At its own time, and asked a little later."""
    history, tape = history_of(workspace), sim_tape(workspace)
    last = int(history.bars["open_time"].to_physical()[-1]) + QUARTER.ms
    first, options = last - (CLOSES - 1) * QUARTER.ms, AnalysisOptions.of(workspace.settings)
    prepared = prepare(history, SymbolMarket(tape.symbols[SYMBOL]), RuleBook(), (first, last), options)
    assert len(prepared.signals) > 1
    assert prepared.inputs is not None

    def compared(one: PreparedSymbol) -> None:
        venue = SimulatedExchange(tape, first, Decimal(10_000))
        compare_alone(one, StoredAnalyses({SYMBOL: history}, venue, options))

    compared(prepared)
    looked_at = prepared.signals[:: max(1, len(prepared.signals) // _COMPARED)]
    second = prepared.at(int(looked_at[1]))
    for outcomes in (prepared.outcomes, prepared.inputs.told):
        changed: list[Signal | Abstention] = list(outcomes)
        signal = changed[second]
        assert isinstance(signal, Signal)
        changed[second] = replace(signal, horizon_bars=signal.horizon_bars + 1)
        other = (
            replace(prepared, outcomes=changed)
            if outcomes is prepared.outcomes
            else replace(prepared, inputs=replace(prepared.inputs, told=changed))
        )
        with pytest.raises(AssertionError, match="together"):
            compared(other)
