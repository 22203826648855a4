"""A backtest of the largest symbols: others open nothing, both speeds agree, and it is made again from its parts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from support.commands.in_process import Inside
from support.trading.sim_folder import QUARTER, SYMBOL, sim_settings

from trader_cli.core.market.schemas import milliseconds
from trader_cli.core.market.timeframes import DAY_MS
from trader_cli.pipelines.backtests.backtest_recipe import Recipe, prepare
from trader_cli.pipelines.backtests.backtest_request import WALK_FORWARD, BacktestRequest
from trader_cli.pipelines.backtests.backtest_run import run_backtest
from trader_cli.pipelines.backtests.backtest_store import StoredBacktest
from trader_cli.pipelines.backtests.prepared_backtest import trade
from trader_cli.pipelines.market_access import sim_tape
from trader_cli.pipelines.stages.fetching import fetch
from trader_cli.pipelines.stages.model_stages import features
from trader_cli.settings import Workspace, workspace_of
from trader_cli.storage.artifacts import ArtifactStore

pytestmark = pytest.mark.slow
OTHER = "BTCUSDT"
DAYS = 4


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Two symbols, traded by a rule that is often in the market."""
    folder = tmp_path_factory.mktemp("largest")
    rule = {"name": "sma_cross", "parameters": {"fast": 3, "slow": 8}}
    market = {"symbols": [SYMBOL, OTHER], "days": 20}
    made = workspace_of(sim_settings(folder, rule=rule, sim=market, analyst={"allow_unproven": True}))
    for symbol in (SYMBOL, OTHER):
        for stage in (fetch, features):
            stage(made, symbol, QUARTER)
    return made


def request(at: Workspace, top: int | None) -> BacktestRequest:
    end = sim_tape(at).at(at.settings.sim.start)
    span = (end - DAYS * DAY_MS, end)
    return BacktestRequest((SYMBOL, OTHER), QUARTER, *span, WALK_FORWARD, DAY_MS, top=top, survivors=True)


@pytest.fixture(scope="module")
def done(at: Workspace) -> StoredBacktest:
    return run_backtest(at, request(at, 1))


@pytest.fixture(scope="module")
def both(at: Workspace) -> StoredBacktest:
    return run_backtest(at, request(at, None))


def test_who_is_not_among_the_largest_opens_nothing_at_either_speed(at: Workspace, both: StoredBacktest) -> None:
    """Members by turns, a day each."""
    prepared = prepare(Recipe.of(both.manifest), at, ArtifactStore(at.cache_dir))
    first, last = prepared.span
    days = [(at_ms, at_ms + DAY_MS) for at_ms in range(first, last, DAY_MS)]
    member = {symbol: tuple(days[turn::2]) for turn, symbol in enumerate(sorted(prepared.histories))}
    by_turns = {symbol: replace(h, member=member[symbol]) for symbol, h in prepared.histories.items()}
    fast = replace(prepared, histories=by_turns)
    faithful = replace(fast, request=replace(fast.request, speed="faithful"))
    one, other = (trade(made).records.frames() for made in (fast, faithful))
    assert all(one[part].equals(other[part]) for part in one)
    entered = one["decisions"].filter(pl.col("kind") == "entered")
    assert set(entered["symbol"]) == set(member)
    for symbol, closed in zip(entered["symbol"], milliseconds(entered["bar_closed"]).tolist(), strict=True):
        assert any(begin <= closed < end for begin, end in member[symbol])
    assert "outside_universe" in one["decisions"]["code"].to_list()


def test_both_speeds_and_the_recipe_trade_the_same(at: Workspace, done: StoredBacktest) -> None:
    store = ArtifactStore(at.cache_dir)
    prepared = prepare(Recipe.of(done.manifest), at, store)
    faithful = replace(prepared, request=replace(prepared.request, speed="faithful"))
    for made in (prepared, faithful):
        frames = trade(made).records.frames()
        for part in ("decisions", "fills", "trades", "equity"):
            stored = done.part(store, part)
            assert frames[part].is_empty() if stored is None else frames[part].equals(stored), part


def test_the_universe_is_part_of_what_was_tried(done: StoredBacktest, both: StoredBacktest) -> None:
    assert both.name != done.name
    assert (both.request.symbols, done.request.symbols) == ((SYMBOL, OTHER), (OTHER,))
    assert done.request.top == 1
    assert done.request.survivors


def test_symbols_are_chosen_one_way(tmp_path: Path) -> None:
    inside = Inside(tmp_path, ("--profile", "sim"))
    refused = inside.run("backtest", SYMBOL, "--all")
    assert (refused.code, "one of them" in refused.err) == (2, True)
    empty = tmp_path / "mine.txt"
    empty.write_text("# none\n")
    refused = inside.run("backtest", "--symbols-file", str(empty))
    assert (refused.code, "lists no symbol" in refused.err) == (2, True)
