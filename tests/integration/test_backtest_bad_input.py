"""What may go wrong with a backtest ends with a sentence, the right exit code, and the whole of it kept or nothing."""

from __future__ import annotations

import json
import re
import resource
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest
from support.backtest.real_folder import RULE, fetched, real_workspace, ticked_bars
from support.commands.command_line import SMALL_SIM, CommandLine
from support.commands.in_process import Inside
from support.trading.sim_folder import QUARTER, SYMBOL

from trader_cli.core.errors import DataError, DataInvalid
from trader_cli.core.market.timeframes import DAY_MS
from trader_cli.pipelines.backtests.backtest_request import WALK_FORWARD, BacktestRequest
from trader_cli.pipelines.backtests.backtest_run import run_backtest
from trader_cli.pipelines.backtests.backtest_store import StoredBacktest, find, stored
from trader_cli.pipelines.stages.model_stages import train
from trader_cli.settings import Workspace
from trader_cli.storage.artifacts import ArtifactStore
from trader_cli.storage.state import Trial, TrialLedger

pytestmark = pytest.mark.slow
OTHER = "BTCUSDT"
BARS = ticked_bars(16, 4)


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    made = real_workspace(tmp_path_factory.mktemp("faults"))
    for number, symbol in enumerate((SYMBOL, OTHER)):
        fetched(made, symbol, ticked_bars(16, 4 + number))
    tried(made)
    return made


def tried(at: Workspace, symbol: str = SYMBOL, **changes: object) -> StoredBacktest:
    asked = BacktestRequest((symbol,), QUARTER, None, None, WALK_FORWARD, 60 * DAY_MS)
    return run_backtest(at, replace(asked, **changes))  # type: ignore[arg-type]


def seeded(at: Workspace, seed: int) -> Workspace:
    """The same market on another path: a backtest of its own."""
    return replace(at, settings=at.settings.model_copy(update={"seed": seed}))


def names(at: Workspace) -> set[str]:
    return {one.name for one in stored(at, ArtifactStore(at.cache_dir))}


def test_a_model_of_another_symbol_is_refused(at: Workspace) -> None:
    digest = train(at, OTHER, QUARTER).digest
    with pytest.raises(DataInvalid, match=f"is of {OTHER} 15m, not of {SYMBOL} 15m"):
        tried(at, model=digest)


def test_gaps_stop_it_unless_they_are_allowed_and_nothing_is_traded_in_them(tmp_path: Path) -> None:
    holed = pl.concat([BARS[:1000], BARS[1100:]])
    allowed = real_workspace(tmp_path, fetch={"allow_gaps": True})
    fetched(allowed, SYMBOL, holed)
    with pytest.raises(DataError, match="gap"):
        tried(real_workspace(tmp_path))
    done = tried(allowed)
    fills = done.part(ArtifactStore(allowed.cache_dir), "fills")
    hole = (BARS["open_time"][1001], BARS["open_time"][1099])
    assert fills is not None
    assert fills.filter(pl.col("time").is_between(*hole), purpose="entry").is_empty()


def test_a_metric_that_this_version_does_not_know_is_told(at: Workspace, tmp_path: Path) -> None:
    """Listed, for it is there; not shown, for half of it might be meant otherwise."""
    store, done = ArtifactStore(at.cache_dir), tried(at)
    notes = {**done.manifest.notes, "figures": {**done.manifest.notes["figures"], "omega": 1.0}}  # type: ignore[dict-item]
    newer = StoredBacktest(done.name, replace(done.manifest, notes=notes))
    with pytest.raises(DataInvalid, match="another version"):
        newer.figures  # noqa: B018
    assert find(at, store, done.name).figures.trades.count > 0


@contextmanager
def no_room(size: int) -> Iterator[None]:
    """No file may grow beyond so many bytes: the system says no, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [0, 3000, 20_000])
def test_on_a_full_disk_nothing_is_stored_and_it_is_said(at: Workspace, size: int) -> None:
    fresh, before = seeded(at, 100 + size), names(at)
    with no_room(size), pytest.raises(DataError):
        tried(fresh)
    assert names(at) == before
    done = tried(fresh)
    assert names(at) == before | {done.name}
    assert done.figures.trades.count > 0


def test_a_trial_that_cannot_be_counted_is_said(tmp_path: Path) -> None:
    ledger = TrialLedger(tmp_path)
    for number in range(3):
        ledger.record(Trial.of_span(f"x-{number}", "data", SYMBOL, (0, 1), 0.1))
    with no_room(3000), pytest.raises(DataInvalid, match="The trial ledger"):
        ledger.record(Trial.of_span("one more", "data", SYMBOL, (0, 1), 0.1))
    assert len(ledger.overlapping("data", SYMBOL, 0, 1)) == 3


def test_an_interrupted_one_stores_nothing_and_the_next_is_whole(at: Workspace) -> None:
    fresh, before = seeded(at, 77), names(at)

    def interrupt(what: str, done: int, total: int) -> None:
        if what == "bars traded" and done * 2 > total:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run_backtest(fresh, BacktestRequest((SYMBOL,), QUARTER, None, None, WALK_FORWARD, 60 * DAY_MS), interrupt)
    assert names(at) == before
    done, twin = tried(fresh), tried(fresh)
    assert done.manifest == twin.manifest


def test_two_at_once_store_one_and_the_same(at: Workspace, tmp_path: Path) -> None:
    settings = {
        "mode": "paper",
        "cache_dir": str(at.settings.cache_dir),
        "state_dir": str(at.state_dir),
        "analyst": {"allow_unproven": True, "learners": 1},
        "rule": RULE,
        "seed": 31,
    }
    file = tmp_path / "mine.yaml"
    file.write_text(json.dumps(settings))
    line = CommandLine(Path(at.state_dir).parent, ("--config", str(file)))
    both = [line.begin("backtest", SYMBOL, "-t", "15m", "--json") for _ in range(2)]
    told = [one.ended(most_s=240.0) for one in both]
    assert [ran.code for ran in told] == [0, 0], [ran.err for ran in told]
    assert told[0].json == told[1].json
    assert told[0].json["backtest"] in names(at)
    assert not line.leftovers()


@pytest.mark.parametrize("rule", [(), ("--rule", "sma_cross")])
def test_where_too_little_lies_before_the_span_the_hint_is_a_beginning_that_does(
    made_once: dict[str, Path], tmp_path: Path, rule: tuple[str, ...]
) -> None:
    shutil.copytree(made_once["features"], tmp_path, dirs_exist_ok=True)
    inside, command = Inside(tmp_path, ("--profile", "sim")), ("backtest", SYMBOL, "-t", "15m", *rule)
    for early in ("2024-01-02", "2019-01-01"):
        refused = inside.run(*command, "--since", early, **SMALL_SIM)
        assert refused.code == 4
        [later, fetched] = re.findall(r"--since (\d{4}-\d\d-\d\d)", refused.err)
        assert fetched < early < later
    assert inside.run(*command, "--since", later, **SMALL_SIM).code == 0
    the_day_before = f"{date.fromisoformat(later) - timedelta(days=1)}"
    assert inside.run(*command, "--since", the_day_before, **SMALL_SIM).code == 4, "no later than it must be"


def test_a_span_of_which_nothing_is_stored_is_told_with_commands_that_fetch_it(
    made_once: dict[str, Path], tmp_path: Path
) -> None:
    shutil.copytree(made_once["features"], tmp_path, dirs_exist_ok=True)
    inside = Inside(tmp_path, ("--profile", "sim"))
    for more in ((), ("--rule", "sma_cross", "--on-bars")):
        command = ("backtest", SYMBOL, "-t", "15m", *more)
        past = inside.run(*command, "--since", "2020-01-01", "--until", "2020-02-01", **SMALL_SIM).err
        assert "trader fetch ETHUSDT --timeframe 15m --since 2019-11-02" in past
        ahead = inside.run(*command, "--since", "2030-01-01", **SMALL_SIM).err
        assert re.search(r"Use a --since before 2024-\d\d-\d\d, or run `trader fetch ETHUSDT --timeframe 15m ", ahead)
        until = inside.run(*command, "--until", "2020-02-01", **SMALL_SIM).err
        assert "--since 2019-12-03" in until, "no --since that nobody gave is said to be wrong"
