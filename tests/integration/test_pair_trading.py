"""A pair from stored bars to trades: `run`, both speeds of a backtest and `analyze` decide alike; what is amiss is told."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.commands.command_line import SMALL_SIM, Ran
from support.commands.in_process import Inside
from support.commands.shared_folders import made_for_all
from support.trading.sim_folder import QUARTER, SYMBOL, sim_settings

from trader_cli.analyst.analyst import Analyst
from trader_cli.analyst.bundled import from_bundle
from trader_cli.analyst.claim_basis import PRODUCER
from trader_cli.analyst.trained_pair import TrainedPair
from trader_cli.core.errors import DataError, DataMissing, DataStale, ExitCode
from trader_cli.core.market.timeframes import DAY_MS, HOUR_MS, Timeframe
from trader_cli.core.model_validity import NOT_WATCHED
from trader_cli.core.types import Abstention
from trader_cli.pipelines.backtests.backtest_recipe import Recipe, prepare
from trader_cli.pipelines.backtests.backtest_request import CURRENT, BacktestRequest, Speed
from trader_cli.pipelines.backtests.backtest_run import run_backtest
from trader_cli.pipelines.backtests.backtest_store import StoredBacktest
from trader_cli.pipelines.backtests.prepared_backtest import trade
from trader_cli.pipelines.market_access import Market, run_in_market, sim_tape
from trader_cli.pipelines.stages.model_stages import analyze, training_data
from trader_cli.pipelines.stages.model_training import train_on
from trader_cli.pipelines.stages.newest_bars import refresh_series
from trader_cli.pipelines.stages.stored_status import status
from trader_cli.settings.workspace import Workspace, workspace_of
from trader_cli.storage.artifacts import ArtifactStore, stage_key
from trader_cli.storage.bundles import BundleStore
from trader_cli.storage.ledger_reading import LedgerReading
from trader_cli.venue.clocks import FixedClock

pytestmark = pytest.mark.slow
FIVE = Timeframe.parse("5m")
HOURS = 3
SETTINGS: dict[str, Any] = {
    "analyst": {
        "fast_timeframe": "5m",
        "horizon_bars": [4],
        "walk_forward_folds": 3,
        "trees": 20,
        "learning_rate": 0.1,
        "allow_unproven": True,
    },
    "fetch": {"history_bars": 3000},
    "feature_engineering_orchestrator": {"enable_advanced_features": False, "enable_autoencoder_features": False},
}


def workspace_in(folder: Path, **analyst: Any) -> Workspace:
    changes = {**SETTINGS, "analyst": {**SETTINGS["analyst"], **analyst}}
    return workspace_of(sim_settings(folder, **changes))


def traded(factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """(A folder with both series, a pair, and some hours of `run --forever`; its trades)."""

    def make(folder: Path) -> Any:
        from trader_cli.pipelines.stages.fetching import fetch
        from trader_cli.pipelines.stages.model_stages import features, train
        from trader_cli.pipelines.trading.trading_run import run_forever

        workspace = workspace_in(folder)
        for frame in (QUARTER, FIVE):
            fetch(workspace, SYMBOL, frame)
            features(workspace, SYMBOL, frame)
        trained = train(workspace, SYMBOL, QUARTER)
        assert trained.pair is not None
        done = run_forever(workspace, [SYMBOL], QUARTER, for_s=HOURS * 3600)
        return {"trades": done.trades, "halves": trained.pair.halves, "model": trained.digest}

    return made_for_all(factory, "traded-pair", make)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("pair")
    shutil.copytree(traded(tmp_path_factory)[0], folder, dirs_exist_ok=True)
    return workspace_in(folder)


def backtested(workspace: Workspace, speed: Speed = "fast") -> StoredBacktest:
    begin = sim_tape(workspace).at(workspace.settings.sim.start)
    span = begin, begin + HOURS * HOUR_MS
    return run_backtest(workspace, BacktestRequest((SYMBOL,), QUARTER, *span, CURRENT, 30 * DAY_MS, speed))


@pytest.mark.parametrize("speed", ["fast", "faithful"])
def test_a_backtest_of_a_pair_trades_as_the_run_did(ran: Workspace, speed: Speed) -> None:
    fills = backtested(ran, speed).part(ArtifactStore(ran.cache_dir), "fills")
    assert fills is not None
    with LedgerReading.shown(ran.ledger_path) as ledger:
        assert ledger is not None
        booked = ledger.fills()
        plans = [one for one in ledger.decisions() if one.kind == "plan"]
    assert len(booked) >= 6
    assert any(one.decision_ms % QUARTER.ms for one in plans), "none was timed between slow closes"
    assert [(f.time_ms, f.purpose, float(f.price), float(f.quantity), float(f.realized)) for f in booked] == [
        (int(time.timestamp() * 1000 + 0.5), purpose, price, quantity, realised)
        for time, purpose, price, quantity, realised in fills.select(
            "time", "purpose", "price", "quantity", "realised"
        ).iter_rows()
    ]


def test_both_speeds_write_the_same_down(ran: Workspace) -> None:
    store = ArtifactStore(ran.cache_dir)
    fast, faithful = backtested(ran, "fast"), backtested(ran, "faithful")
    assert fast.name == faithful.name
    for part in ("decisions", "fills", "trades", "equity", "book"):
        one, two = fast.part(store, part), faithful.part(store, part)
        assert one is not None
        assert two is not None
        assert one.equals(two), part
    decided = fast.part(store, "decisions")
    assert decided is not None
    assert set(decided["bar_closed"].dt.epoch("ms") % FIVE.ms) == {0}
    assert "fast_bars ETHUSDT" in fast.manifest.inputs


def test_made_again_from_its_recipe_it_trades_the_same(ran: Workspace) -> None:
    store, first = ArtifactStore(ran.cache_dir), backtested(ran)
    again = prepare(Recipe.of(first.manifest), ran, store)
    fast = again.histories[SYMBOL].fast
    assert fast is not None
    assert fast.timeframe == FIVE
    trades, made = first.part(store, "trades"), trade(again).records.frames()["trades"]
    assert trades is not None
    assert trades.equals(made)


def test_an_analysis_is_of_the_last_fast_close(ran: Workspace) -> None:
    said = analyze(ran, SYMBOL, QUARTER).analysis
    assert said.timeframe == QUARTER.name
    store = ArtifactStore(ran.cache_dir)
    bars = store.current(stage_key(ran.mode, SYMBOL, FIVE, "bars"))
    assert bars is not None
    assert said.decision_time_ms == (bars.last_ms or 0) + FIVE.ms
    assert {"fast_bars", "fast_features"} <= said.digests.keys()
    assert said.permission is not None


def told_by(command: str, folder: Path, file: Path, **analyst: Any) -> Ran:
    """What a command about the series says, with a file of these settings."""
    file.write_text(json.dumps({**SETTINGS, "analyst": {**SETTINGS["analyst"], **analyst}}))
    line = Inside(folder, ("--profile", "sim", "--config", str(file)))
    return line.run(command, SYMBOL, "--timeframe", "15m", **SMALL_SIM)


@pytest.mark.parametrize(
    ("analyst", "code", "sentence"),
    [
        ({"fast_timeframe": "30m"}, ExitCode.USAGE, "The fast frame 30m is not finer than 15m."),
        (
            {"fast_timeframe": "3m"},
            ExitCode.DATA,
            "The stored model times entries in 5m; analyst.fast_timeframe is 3m.",
        ),
        (
            {"fast_timeframe": ""},
            ExitCode.DATA,
            "The stored model times entries in 5m; analyst.fast_timeframe is empty.",
        ),
        ({"fast_horizon_bars": [3]}, ExitCode.DATA, "The fast model was trained with other horizon"),
    ],
)
def test_what_does_not_fit_the_stored_pair_is_refused(
    ran: Workspace, tmp_path: Path, analyst: dict[str, Any], code: ExitCode, sentence: str
) -> None:
    done = told_by("analyze", ran.cache_dir.parent, tmp_path / "pair.yaml", **analyst)
    assert (done.code, sentence in done.err) == (code, True), done.err


def copied(ran: Workspace, tmp_path: Path) -> Workspace:
    shutil.copytree(ran.cache_dir.parent, tmp_path / "copy")
    return workspace_in(tmp_path / "copy")


def test_a_fast_frame_without_bars_is_named_by_each_command(ran: Workspace, tmp_path: Path) -> None:
    workspace = copied(ran, tmp_path)
    ArtifactStore(workspace.cache_dir).reference_path(stage_key(workspace.mode, SYMBOL, FIVE, "bars")).unlink()
    for command in ("train", "analyze"):
        done = told_by(command, tmp_path / "copy", tmp_path / "pair.yaml")
        assert done.code == ExitCode.DATA, done.err
        assert "There are no bars of ETHUSDT 5m" in done.err
        assert "fetch ETHUSDT --timeframe 5m" in done.err


def test_live_opens_nothing_by_a_pair_and_status_says_so(ran: Workspace, tmp_path: Path) -> None:
    workspace = copied(ran, tmp_path)
    store, source = ArtifactStore(workspace.cache_dir), workspace.source
    bundles = BundleStore(store.root / "models")
    pair = from_bundle(*bundles.load(str(store.found(stage_key(workspace.mode, SYMBOL, QUARTER, "model")))))
    assert isinstance(pair, TrainedPair)
    claimed = replace(pair, claim=replace(pair.claim, edge=True))
    digest = bundles.save(claimed.files(), claimed.description(PRODUCER))
    for key in store.references():
        of_live = str(store.found(key)) if key.stage != "model" else digest
        store.point(replace(key, profile="live"), of_live, market=source)
    store.point(stage_key(workspace.mode, SYMBOL, QUARTER, "model"), digest, market=source)
    fast = store.current(stage_key(workspace.mode, SYMBOL, FIVE, "bars"))
    assert fast is not None
    clock = FixedClock((fast.last_ms or 0) + FIVE.ms + 1000)
    codes = {}
    for mode in ("sim", "live"):
        options = workspace.settings.analyst.model_copy(update={"allow_unproven": False})
        settings = workspace.settings.model_copy(update={"mode": mode, "analyst": options})
        said = Analyst(settings, store=store, clock=clock, source=source).analyse(SYMBOL, QUARTER)
        codes[mode] = said.outcome.code if isinstance(said.outcome, Abstention) else "signal"
        assert said.permission is not None
    assert codes["live"] == "pair_not_watched" != codes["sim"]
    shown = status(replace(workspace, account=replace(workspace.account, mode="live")))
    told = [one.trained.opens_nothing for one in shown.series if one.trained is not None]
    assert told == [NOT_WATCHED.sentence]
    mine = [one.trained.opens_nothing for one in status(workspace).series if one.trained is not None]
    assert mine == [None]


def test_fast_bars_that_cannot_be_had_do_not_keep_the_slow_ones_away(ran: Workspace, tmp_path: Path) -> None:
    workspace = copied(ran, tmp_path)
    store = ArtifactStore(workspace.cache_dir)
    slow = stage_key(workspace.mode, SYMBOL, QUARTER, "bars")
    before = store.current(slow)
    assert before is not None
    damaged = store.reference_path(stage_key(workspace.mode, SYMBOL, FIVE, "features"))
    damaged.unlink()
    damaged.mkdir()

    async def work(market: Market) -> None:
        await market.clock.sleep(2 * DAY_MS / 1000)
        with pytest.raises(DataError, match="Cannot write"):
            await refresh_series(market, workspace, store, SYMBOL, QUARTER)

    run_in_market(workspace, work)
    after = store.current(slow)
    assert after is not None
    assert (after.last_ms or 0) > (before.last_ms or 0)


def test_fast_bars_that_end_before_the_slow_ones_are_no_ground_for_a_pair(ran: Workspace) -> None:
    store = ArtifactStore(ran.cache_dir)
    given = training_data(ran, store, SYMBOL, QUARTER)
    assert given.fast is not None
    ends_ms = (given.bars_manifest.last_ms or 0) + QUARTER.ms
    late = replace(given.fast.bars_manifest, last_ms=ends_ms - QUARTER.ms - 2 * FIVE.ms)
    behind = replace(given, fast=replace(given.fast, bars_manifest=late))
    with pytest.raises(DataStale, match="end 20 min before") as refused:
        train_on(ran, store, behind)
    assert f"trader fetch {SYMBOL} --timeframe 5m" in str(refused.value)


def test_a_bundle_with_one_byte_changed_opens_nothing(ran: Workspace, tmp_path: Path) -> None:
    workspace = copied(ran, tmp_path)
    store = ArtifactStore(workspace.cache_dir)
    digest = store.found(stage_key(workspace.mode, SYMBOL, QUARTER, "model"))
    assert digest is not None
    path = workspace.cache_dir / "models" / digest / "fast_side.txt"
    path.write_bytes(path.read_bytes().replace(b"tree", b"treE", 1))
    done = told_by("analyze", tmp_path / "copy", tmp_path / "pair.yaml")
    assert done.code == ExitCode.DATA
    assert "fast_side.txt is not what was written" in done.err


def test_bars_that_time_entries_must_reach_over_what_is_traded(ran: Workspace) -> None:
    begin = sim_tape(ran).at(ran.settings.sim.start)
    request = BacktestRequest((SYMBOL,), QUARTER, begin - 14 * DAY_MS, begin, "walk-forward", 30 * DAY_MS)
    with pytest.raises(DataMissing, match="which time entries"):
        run_backtest(ran, request)
