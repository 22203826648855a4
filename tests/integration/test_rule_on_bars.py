"""`trader backtest --rule NAME --on-bars`: what is stored is what a plain loop over the bars comes to, and says what it is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from support.backtest.plain_bar_loop import plain
from support.commands.in_process import Inside
from support.trading.sim_folder import QUARTER, SYMBOL, sim_settings, trained_folder

from trader_cli.backtest.bar_values import Bars, Reason
from trader_cli.core.errors import DataMissing, UsageError
from trader_cli.core.market.schemas import milliseconds
from trader_cli.features.rule import NamedRule
from trader_cli.features.rule_series import rule_bars, rule_signals
from trader_cli.features.rules.sma_cross import SmaCross
from trader_cli.pipelines.backtests.backtest_comparison import compare
from trader_cli.pipelines.backtests.backtest_request import ON_BARS, BacktestRequest
from trader_cli.pipelines.backtests.backtest_store import StoredBacktest, find, stored, tries_now
from trader_cli.pipelines.backtests.bar_backtest import Stake, bar_terms, run_bar_backtest
from trader_cli.pipelines.stages.model_stages import training_data
from trader_cli.report.backtest_report import backtest_report
from trader_cli.settings import Workspace, workspace_of
from trader_cli.storage.artifacts import ArtifactStore

pytestmark = pytest.mark.slow
FAST = {"fast": 3, "slow": 8, "stop": 0.004, "target": 0.006}
STAKE = Stake(0.7, 15.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("bars")
    shutil.copytree(trained_folder(tmp_path_factory), made, dirs_exist_ok=True)
    return made


def workspace(folder: Path, **parameters: object) -> Workspace:
    return workspace_of(sim_settings(folder, rule={"name": "sma_cross", "parameters": {**FAST, **parameters}}))


def tried(made: Workspace, since: int | None = None, until: int | None = None) -> StoredBacktest:
    return run_bar_backtest(made, BacktestRequest((SYMBOL,), QUARTER, since, until, ON_BARS, 0), STAKE)


def test_every_trade_and_the_wallet_are_those_of_a_plain_loop(folder: Path) -> None:
    made = workspace(folder)
    done, store = tried(made, since=0), ArtifactStore(made.cache_dir)
    series = training_data(made, store, SYMBOL, QUARTER)
    opened, rates = milliseconds(series.bars["open_time"]), np.zeros(series.bars.height)
    assert series.funding is not None
    for at, rate in zip(milliseconds(series.funding["time"]).tolist(), series.funding["funding_rate"], strict=True):
        rates[opened == at // 60_000 * 60_000] += rate
    bars = Bars(opened, *(series.bars[name].to_numpy() for name in ("open", "high", "low", "close")), rates)
    said = rule_signals(NamedRule("x", "y", SmaCross(**FAST)), rule_bars(series.bars, ("close",)), QUARTER)  # type: ignore[arg-type]
    loop = plain(bars, said, bar_terms(made.settings, STAKE))
    trades, equity, fills = (done.part(store, name) for name in ("trades", "equity", "fills"))
    assert trades is not None and equity is not None and fills is not None
    t = loop.trades
    for name, values in (
        ("quantity", t.quantity),
        ("entry_price", t.entry_price),
        ("realised", t.realised),
        ("fees", t.fees),
        ("funding", t.funding),
    ):
        assert np.array_equal(trades[name].to_numpy(), values), name
    assert trades["side"].to_list() == ["long" if sign > 0 else "short" for sign in t.sign]
    assert np.array_equal(milliseconds(trades["opened"]), opened[t.entry])
    assert np.array_equal(equity["equity"].to_numpy(), loop.equity)
    ended = t.reason != Reason.STILL_OPEN
    assert len({*t.reason[ended].tolist()}) >= 3, "signals, stops and targets were met"
    assert fills.height == len(t) + int(ended.sum())
    assert fills["time"].is_sorted()
    f = done.figures
    unrealised = equity["equity"][-1] - equity["wallet"][-1]
    net = float(trades.filter(pl.col("closed").is_not_null())["net"].sum())
    assert equity["wallet"][-1] == pytest.approx(f.balance + net, rel=1e-8)
    assert f.final_equity == pytest.approx(f.balance + net + unrealised, rel=1e-8)


def test_a_side_that_stood_when_the_span_began_opens_nothing(folder: Path) -> None:
    made, store = workspace(folder), ArtifactStore(workspace(folder).cache_dir)
    series = training_data(made, store, SYMBOL, QUARTER)
    said = rule_signals(NamedRule("x", "y", SmaCross(**FAST)), rule_bars(series.bars, ("close",)), QUARTER)  # type: ignore[arg-type]
    opened = milliseconds(series.bars["open_time"])
    row = next(
        at for at in range(1000, 1100) if said.side[at] and said.side[at] == said.side[at - 1] == said.side[at + 1]
    )
    trades = tried(made, since=int(opened[row])).part(store, "trades")
    changed = row + int(np.flatnonzero(said.side[row:] != said.side[row])[0])
    assert trades is not None
    assert milliseconds(trades["opened"])[0] >= opened[changed + 1]
    whole = tried(made, since=0).part(store, "trades")
    assert whole is not None
    later = whole.filter(pl.col("opened") >= trades["opened"][0])
    assert later["entry_price"].to_list() == trades["entry_price"].to_list()


def test_made_again_it_is_the_same_and_one_trial(folder: Path) -> None:
    made = workspace(folder)
    first, again = tried(made), tried(made)
    assert (first.name, first.manifest) == (again.name, again.manifest)
    other = tried(workspace(folder, fast=2))
    assert other.figures.claim.trials == first.figures.claim.trials + 1
    assert other.name != first.name
    assert {first.name, other.name} <= {one.name for one in stored(made, ArtifactStore(made.cache_dir))}


def test_later_tries_are_no_part_of_what_it_was_judged_by(folder: Path, tmp_path: Path) -> None:
    """`show` tells both numbers; the artifact and its page hold the one of then."""
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    made = workspace(tmp_path)
    store, first = ArtifactStore(made.cache_dir), tried(made, since=0)
    counted = first.figures.claim.trials
    assert tries_now(made, first.request) == counted
    others = [tried(workspace(tmp_path, slow=slow), since=0) for slow in (41, 42)]
    assert tries_now(made, first.request) == counted + 2
    found = find(made, store, first.name)
    assert found.figures.claim.trials == counted
    assert (
        backtest_report(store, made.mode, found.manifest).assumptions["trials counted"].startswith(f"{counted:.3g} on")
    )
    assert [one.figures.claim.trials for one in others] == [counted + 1, counted + 2]


def test_it_is_not_compared_as_if_decided(folder: Path) -> None:
    made = workspace(folder)
    with pytest.raises(UsageError, match="nothing was decided there"):
        compare(made, ArtifactStore(made.cache_dir), tried(made), tried(workspace(folder, fast=2)))


@pytest.mark.parametrize(
    ("since", "until", "error", "sentence"),
    [
        (20, 10, UsageError, "is not before --until"),
        (4 * 10**12, None, DataMissing, "No bars of ETHUSDT 15m are stored in that span"),
        (None, 10, DataMissing, "No bars"),
    ],
)
def test_a_span_that_cannot_be_traded_is_refused(
    folder: Path, since: int | None, until: int | None, error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        tried(workspace(folder), since, until)


def test_several_symbols_and_stakes_that_make_no_sense_are_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match="trades one symbol"):
        run_bar_backtest(workspace(folder), BacktestRequest((SYMBOL, "B"), QUARTER, None, None, ON_BARS, 0), STAKE)
    for share, leverage in ((0.0, 1.0), (1.5, 1.0), (1.0, 0.5), (1.0, 200.0), (float("nan"), 1.0)):
        with pytest.raises(UsageError, match="A stake is a share"):
            Stake(share, leverage)


def test_the_command_says_what_kind_it_is(folder: Path) -> None:
    small = {"TRADER_ANALYST__LEARNERS": "1", "TRADER_SIM__DAYS": "40", "TRADER_SIM__SYMBOLS": '["ETHUSDT"]'}
    places = {"TRADER_CACHE_DIR": str(folder / "cache"), "TRADER_STATE_DIR": str(folder / "state")}
    command = ("backtest", SYMBOL, "-t", "15m", "-p", "sim", "--on-bars")
    inside = Inside(folder)
    without = inside.run(*command, **small, **places)
    assert (without.code, "none is named" in without.err) == (2, True)
    decided = inside.run(*command[:-1], "--stake", "0.5", **small, **places)
    assert (decided.code, "go with --on-bars" in decided.err) == (2, True)
    ran = inside.run(*command, "--rule", "sma_cross", "--set", "fast=5", "--set", "short=false", **small, **places)
    assert ran.code == 0, ran.err
    assert "rule sma_cross, fast 5, short False on bare bars" in ran.out
    assert "filled at the next open, one position at a time" in ran.out
    for wrong in ("fast", "fast=five", 'fast="5"'):
        refused = inside.run(*command, "--rule", "sma_cross", "--set", wrong, **small, **places)
        assert (refused.code, "--set wants a parameter" in refused.err) == (2, True)
    listed = inside.run("backtest", "list", "-p", "sim", "--json", **small, **places)
    bodies = json.loads(listed.out)["backtests"]
    assert ON_BARS in [body["request"]["model"] for body in bodies]
    assert [body["made_ms"] for body in bodies] == sorted(body["made_ms"] for body in bodies)
    assert bodies[0]["differs"] == []
    table = inside.run("backtest", "list", "-p", "sim", **small, **places).out
    assert "beside the one before" in table


def test_bars_alone_are_enough_for_a_rule_that_reads_no_features(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    made = workspace(tmp_path)
    for path in (tmp_path / "cache" / "refs").rglob("features.json"):
        path.unlink()
    assert tried(made).figures.trades.count > 10


BROKEN = {
    "raises": ("        raise RuntimeError('no')\n", 3, r"line 14: RuntimeError: no"),
    "is of another length": ("        return BarSignals.of(bars['close'][1:] * 0, 0.02)\n", 4, "of shape"),
    "never ends": ("        while True: pass\n", 3, "did not end within 4 s"),
    "peeks": (
        "        return BarSignals.of(np.sign(np.roll(bars['close'], -1) - bars['close']), 0.02)\n",
        10,
        "The rule mine looks ahead and may not be used",
    ),
}
FILE = '''
from dataclasses import dataclass
import numpy as np
from trader_cli.features.rule import BarSignals, Rule

@dataclass(frozen=True)
class Mine(Rule):
    @property
    def warmup(self):
        return 1

    def signals(self, bars):
        """."""
'''


@pytest.mark.parametrize("fault", BROKEN)
def test_a_rule_file_with_a_fault_is_told_and_leaves_nothing(folder: Path, fault: str) -> None:
    body, code, sentence = BROKEN[fault]
    (folder / "mine.py").write_text(FILE + body)
    small = {"TRADER_ANALYST__LEARNERS": "1", "TRADER_SIM__DAYS": "40", "TRADER_SIM__SYMBOLS": '["ETHUSDT"]'}
    places = {"TRADER_CACHE_DIR": str(folder / "cache"), "TRADER_STATE_DIR": str(folder / "state")}
    before, limit = sorted((folder / "cache" / "refs").rglob("*.json")), "4" if fault == "never ends" else "120"
    for how in (["--on-bars"], []) if fault != "never ends" else (["--on-bars"],):
        command = ["backtest", SYMBOL, "-t", "15m", "-p", "sim", "--rule", "mine.py:Mine", *how]
        ran = Inside(folder).run(*command, **small, **places, TRADER_RULE__TIME_LIMIT=limit)
        assert (ran.code, sentence in ran.err) == (code, True), ran.err
    assert sorted((folder / "cache" / "refs").rglob("*.json")) == before
