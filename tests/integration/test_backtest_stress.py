"""A backtest under stress: harder is never cheaper, days drawn again keep what a market is, and nothing is kept of it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from decimal import Decimal
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from support.commands.command_line import SMALL_SIM
from support.commands.in_process import Inside
from support.trading.sim_folder import QUARTER, SYMBOL, sim_settings, trained_folder

from trader_cli.backtest.costs import SLIPPAGE
from trader_cli.core.errors import DataMissing
from trader_cli.core.market.bars import check_bars
from trader_cli.core.market.timeframes import DAY_MS, HOUR_MS
from trader_cli.exchange.simulated_exchange import SimulatedExchange
from trader_cli.exchange.strained_exchange import Strain, StrainedExchange
from trader_cli.pipelines.backtests import backtest_stress
from trader_cli.pipelines.backtests.backtest_recipe import Recipe, prepare
from trader_cli.pipelines.backtests.backtest_request import CURRENT, BacktestRequest
from trader_cli.pipelines.backtests.backtest_run import run_backtest
from trader_cli.pipelines.backtests.backtest_store import StoredBacktest
from trader_cli.pipelines.backtests.backtest_stress import StressCase, StressResult, stress
from trader_cli.pipelines.backtests.prepared_backtest import PreparedBacktest, slower, trade
from trader_cli.pipelines.backtests.resampled_market import drawn_days, model_spans, played_by, resampled
from trader_cli.pipelines.market_access import sim_tape
from trader_cli.pipelines.stages.fetching import fetch
from trader_cli.pipelines.stages.model_stages import features
from trader_cli.settings import Workspace, workspace_of
from trader_cli.storage.artifacts import ArtifactStore
from trader_cli.storage.state import TrialLedger, VenueState

pytestmark = pytest.mark.slow
DAYS = 3


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Three more days than the model knows of."""
    folder = tmp_path_factory.mktemp("stressed")
    shutil.copytree(trained_folder(tmp_path_factory), folder, dirs_exist_ok=True)
    workspace = workspace_of(sim_settings(folder))
    tape = sim_tape(workspace)
    VenueState(workspace.state_dir).save_time(tape.source, tape.at(workspace.settings.sim.start) + DAYS * DAY_MS)
    for stage in (fetch, features):
        stage(workspace, SYMBOL, QUARTER)
    return workspace


@pytest.fixture(scope="module")
def done(at: Workspace) -> StoredBacktest:
    begin = sim_tape(at).at(at.settings.sim.start)
    return run_backtest(at, BacktestRequest((SYMBOL,), QUARTER, begin, begin + DAYS * DAY_MS, CURRENT, HOUR_MS))


@pytest.fixture(scope="module")
def prepared(at: Workspace, done: StoredBacktest) -> PreparedBacktest:
    return prepare(Recipe.of(done.manifest), at, ArtifactStore(at.cache_dir))


def test_dearer_is_paid_and_what_was_is_left_as_it_was(at: Workspace, done: StoredBacktest) -> None:
    trials = TrialLedger(at.state_dir).overlapping(at.lineage, SYMBOL, 0, 2**62)
    store = ArtifactStore(at.cache_dir)
    before = sorted(store.root.rglob("*"))
    as_it_was, none, fees = stress(at, store, done, (StressCase("none"), StressCase("fees", Strain(fees=3))))
    assert as_it_was.total_return == none.total_return == done.figures.risk.total_return
    assert fees.total_return is not None
    assert fees.total_return < none.total_return
    assert TrialLedger(at.state_dir).overlapping(at.lineage, SYMBOL, 0, 2**62) == trials
    assert sorted(store.root.rglob("*")) == before


@pytest.fixture(scope="module")
def half_a_day(prepared: PreparedBacktest) -> PreparedBacktest:
    return replace(prepared, request=replace(prepared.request, until_ms=prepared.span[0] + 12 * HOUR_MS))


def test_fees_are_as_many_times_as_high(half_a_day: PreparedBacktest) -> None:
    once, thrice = (
        trade(half_a_day, make_venue=partial(StrainedExchange, strain=Strain(fees=k))).records.frames()["fills"][:2]
        for k in (1, 3)
    )
    assert once["price"].to_list() == thrice["price"].to_list()
    assert thrice["fee"].to_numpy() == pytest.approx(3 * once["fee"].to_numpy())


def test_slower_orders_arrive_later_each_by_as_much_more(half_a_day: PreparedBacktest) -> None:
    def entered(prepared: PreparedBacktest) -> list[int]:
        account = trade(prepared)
        orders = account.venue.engine.account.orders
        return [f.time_ms for f in account.venue.engine.account.fills if not orders[f.order_id].reduce_only]

    once, slow, slower_still = (entered(slower(half_a_day, k)) for k in (1, 3, 9))
    first = entered(half_a_day)[0]
    assert once[0] > first
    assert slow[0] - first == pytest.approx(3 * (once[0] - first), abs=2)
    assert slower_still[0] - first == pytest.approx(9 * (once[0] - first), abs=5)


def test_entries_are_missed_by_their_share_and_each_alike_again(half_a_day: PreparedBacktest) -> None:
    def codes(missed: float) -> list[str]:
        account = trade(half_a_day, make_venue=partial(StrainedExchange, strain=Strain(missed=missed)))
        decided = account.records.frames()["decisions"]
        assert len(account.venue.engine.account.fills) == 0 or missed < 1
        return decided.filter(pl.col("kind") != "abstention")["code"].to_list()

    assert "entry_unfilled" not in codes(0.0)
    assert codes(0.5) == codes(0.5)
    assert "entry_unfilled" in codes(0.5)
    assert "entered" not in codes(1.0)


def test_a_wider_book_is_wider_by_that_and_has_as_much(half_a_day: PreparedBacktest) -> None:
    tape = half_a_day.tape.symbols[SYMBOL]
    wide = replace(half_a_day.tape, symbols={SYMBOL: replace(tape, book_width=3)})
    venues = [SimulatedExchange(one, half_a_day.span[0], Decimal(1000)) for one in (half_a_day.tape, wide)]
    near, far = (venue.order_book(SYMBOL) for venue in venues)
    spread = [float(book.asks[0][0]) - float(book.bids[0][0]) for book in (near, far)]
    assert spread[1] == pytest.approx(3 * spread[0])
    assert [size for _, size in near.asks] == [size for _, size in far.asks]
    entries = [trade(one).records.frames()["fills"][0] for one in (half_a_day, replace(half_a_day, tape=wide))]
    slippage = [fills.select(SLIPPAGE / pl.col("quantity")).item() for fills in entries]
    assert slippage[1] == pytest.approx(3 * slippage[0])


def test_days_that_stay_where_they_are_change_nothing(at: Workspace, prepared: PreparedBacktest) -> None:
    """Bars, features and decisions are made anew of the very same days: to the bit what is stored."""
    store, since = ArtifactStore(at.cache_dir), prepared.span[0]
    same = played_by(
        prepared, store, [(since + n * DAY_MS, since + (n + 1) * DAY_MS, since + n * DAY_MS) for n in range(DAYS)]
    )
    one, two = prepared.histories[SYMBOL], same.histories[SYMBOL]
    prices = ["open_time", "open", "high", "low", "close"]
    upto = one.bars["open_time"].dt.epoch("ms") < prepared.span[1]
    assert two.bars.select(prices).equals(one.bars.filter(upto).select(prices))
    assert (two.bars["volume"] - one.bars.filter(upto)["volume"]).abs().max() < 1e-6  # type: ignore[operator]
    assert trade(same).records.frames()["fills"].equals(trade(prepared).records.frames()["fills"])


def test_days_drawn_again_are_days_of_the_same_market(at: Workspace, prepared: PreparedBacktest) -> None:
    store = ArtifactStore(at.cache_dir)
    drawn, again, other = (resampled(prepared, store, seed) for seed in (1, 1, 2))
    bars, old = drawn.histories[SYMBOL].bars, prepared.histories[SYMBOL].bars
    assert bars.equals(again.histories[SYMBOL].bars)
    assert not bars.equals(other.histories[SYMBOL].bars)
    check_bars(bars, QUARTER, origin="drawn")
    since, until = prepared.span
    inside = pl.col("open_time").dt.epoch("ms") >= since
    assert bars.filter(~inside).equals(old.filter(~inside))
    count = (until - since) // QUARTER.ms
    moves, known = (
        frame.select((pl.col("close") / pl.col("close").shift()).log().alias("m"), "open_time")
        .filter(inside)["m"]
        .to_numpy()[:count]
        for frame in (bars, old)
    )
    assert len(moves) == len(known)
    for day in np.split(moves, DAYS):
        assert any(np.allclose(day, whole, atol=2e-5) for whole in np.split(known, DAYS))
    tape = drawn.tape.symbols[SYMBOL]
    assert np.all(tape.bars.high >= np.maximum(tape.bars.open, tape.bars.close))
    assert np.all(tape.bars.low <= np.minimum(tape.bars.open, tape.bars.close))
    ticks = tape.bars.close / tape.tick
    assert np.allclose(ticks, np.rint(ticks), atol=1e-6)
    assert len(drawn.histories[SYMBOL].features) == len(bars)


def test_no_model_gets_a_day_it_was_trained_on(prepared: PreparedBacktest) -> None:
    since, until = prepared.span
    spans = [(since, since + 10 * DAY_MS), (since + 10 * DAY_MS, since + 25 * DAY_MS + HOUR_MS)]
    for seed in range(50):
        moves = drawn_days(spans, np.random.default_rng(seed))
        assert moves[0][0] == since
        assert [end for _, end, _ in moves][:-1] == [begin for begin, _, _ in moves][1:]
        for begin, end, source in moves:
            (span,) = (one for one in spans if one[0] <= begin < one[1])
            assert span[0] <= source
            assert source + end - begin <= span[1]
            assert (begin - source) % DAY_MS == 0
    assert model_spans(prepared) == [(since, until)]
    with pytest.raises(DataMissing, match="two whole days"):
        drawn_days([(since, since + DAY_MS)], np.random.default_rng(0))


def test_the_command_shows_what_survives(at: Workspace, done: StoredBacktest, monkeypatch: pytest.MonkeyPatch) -> None:
    few = (StressCase("costs ×2", Strain(fees=2), book_width=2), StressCase("days drawn again, 1", draw=1))
    monkeypatch.setattr("trader_cli.pipelines.backtests.backtest_stress.CASES", few)
    trader = Inside(at.cache_dir.parent, ("--profile", "sim"))
    told = trader.run("stress", done.name[:8], "--json", **SMALL_SIM)
    assert told.code == 0, told.err
    assert [case["case"] for case in told.json["cases"]] == ["as it was", *(case.name for case in few)]
    assert told.json["cases"][0]["total_return"] == done.figures.risk.total_return
    assert all(case["survives"] == (case["total_return"] > 0) for case in told.json["cases"])
    shown = trader.run("stress", **SMALL_SIM)
    assert (shown.code, "costs ×2" in shown.out, "cases still make money" in shown.err) == (0, True, True)


def test_one_that_is_interrupted_shows_what_was_tried_and_that_it_begins_anew(
    at: Workspace, done: StoredBacktest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(case: StressCase, *_others: object) -> StressResult:
        if case != backtest_stress.CASES[0]:
            raise KeyboardInterrupt
        return StressResult(case.name, 0.1, 1.0, -0.1, 3, None)

    monkeypatch.setattr(backtest_stress, "_tried", interrupted)
    trader = Inside(at.cache_dir.parent, ("--profile", "sim"))
    told = trader.run("stress", done.name, **SMALL_SIM)
    assert told.code == 130
    assert "as it was" in told.out
    assert "costs ×2" in told.out
    assert "costs ×3" not in told.out
    assert f"1 of 1 cases still make money; {len(backtest_stress.CASES) - 1} were not tried." in told.err
    assert "so run again it begins anew" in told.err
    quiet = trader.run("stress", done.name, "--json", **SMALL_SIM)
    assert (quiet.code, set(quiet.json)) == (130, {"error", "exit_code"})


def test_what_cannot_be_tried_says_why(at: Workspace, done: StoredBacktest, tmp_path: Path) -> None:
    short = {**done.manifest.notes, "request": {**done.request.as_dict(), "until_ms": done.manifest.first_ms + DAY_MS}}  # type: ignore[operator]
    brief = StoredBacktest("brief", replace(done.manifest, notes=short))
    _, refused = stress(at, ArtifactStore(at.cache_dir), brief, (StressCase("days", draw=1),))
    assert (refused.total_return, refused.survives) == (None, False)
    assert "two whole days" in str(refused.refused)
    nobody = Inside(tmp_path, ("--profile", "sim"))
    assert nobody.run("stress").code == 4
