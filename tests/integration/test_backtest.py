"""A backtest trades as `trader run --forever` does, on the same market: the same fills, to the digit."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from support.commands.command_line import SMALL_SIM, Ran
from support.commands.in_process import Inside
from support.trading.sim_folder import HOURS, QUARTER, SYMBOL, sim_settings, traded_folder

from trader_cli.core.errors import DataMissing, UsageError
from trader_cli.core.identity.manifests import ArtifactKey
from trader_cli.core.market.schemas import milliseconds
from trader_cli.pipelines.backtests.backtest_request import CURRENT, WALK_FORWARD, BacktestRequest, Speed
from trader_cli.pipelines.backtests.backtest_run import run_backtest
from trader_cli.pipelines.backtests.backtest_store import StoredBacktest, find, stored
from trader_cli.pipelines.market_access import sim_tape
from trader_cli.report.browser import chromium
from trader_cli.report.ledger_report import ledger_report
from trader_cli.settings import Workspace, workspace_of
from trader_cli.storage.artifacts import ArtifactStore
from trader_cli.storage.inventory import SESSION, mark
from trader_cli.storage.ledger_reading import LedgerReading

pytestmark = pytest.mark.slow
HOUR_MS = 3_600_000


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Six hours traded by `run --forever` in a folder of their own, from a model that was trained before."""
    folder = tmp_path_factory.mktemp("ran")
    shutil.copytree(traded_folder(tmp_path_factory)[0], folder, dirs_exist_ok=True)
    return workspace_of(sim_settings(folder))


def start_of(workspace: Workspace) -> int:
    return sim_tape(workspace).at(workspace.settings.sim.start)


def backtested(
    workspace: Workspace, *, model: str = CURRENT, hours: float = HOURS, speed: Speed = "fast"
) -> StoredBacktest:
    begin = start_of(workspace)
    span = (begin, begin + round(hours * HOUR_MS))
    return run_backtest(workspace, BacktestRequest((SYMBOL,), QUARTER, *span, model, 30 * 24 * HOUR_MS, speed))


SPEEDS: tuple[Speed, ...] = ("fast", "faithful")


@pytest.mark.parametrize("speed", SPEEDS)
def test_it_trades_as_the_run_did(ran: Workspace, speed: Speed) -> None:
    done, store = backtested(ran, speed=speed), ArtifactStore(ran.cache_dir)
    fills = done.part(store, "fills")
    assert fills is not None
    with LedgerReading.shown(ran.ledger_path) as ledger:
        assert ledger is not None
        booked = ledger.fills()
    assert len(booked) >= 3
    assert [
        (f.time_ms, f.purpose, f.side, float(f.price), float(f.quantity), float(f.commission), float(f.realized))
        for f in booked
    ] == [
        (int(time.timestamp() * 1000 + 0.5), purpose, side, price, quantity, fee, realised)
        for time, purpose, side, price, quantity, fee, realised in fills.select(
            "time", "purpose", "side", "price", "quantity", "fee", "realised"
        ).iter_rows()
    ]


def test_both_speeds_leave_the_same_under_one_name(ran: Workspace) -> None:
    fast, faithful = (backtested(ran, speed=speed) for speed in SPEEDS)
    assert fast.name == faithful.name
    assert fast.manifest.chunks == faithful.manifest.chunks
    assert fast.figures == faithful.figures
    assert (fast.manifest.notes["speed"], faithful.manifest.notes["speed"]) == SPEEDS


def test_it_is_held_to_the_last_close_which_is_not_decided(ran: Workspace) -> None:
    """What came of that decision would be filled by prices after the span."""
    done, store = backtested(ran), ArtifactStore(ran.cache_dir)
    equity, decisions = done.part(store, "equity"), done.part(store, "decisions")
    assert equity is not None
    assert decisions is not None
    last = done.request.until_ms or 0
    assert int(milliseconds(equity["time"])[-1]) == last
    assert int(milliseconds(decisions["bar_closed"]).max()) == last - QUARTER.ms  # type: ignore[arg-type]


def test_the_run_names_what_it_went_by_and_a_sweep_keeps_it(ran: Workspace) -> None:
    store = ArtifactStore(ran.cache_dir)
    keys = [key for key in store.references() if key.stage.startswith(SESSION)]
    manifests = [found for key in keys if (found := store.current(key)) is not None]
    with LedgerReading.shown(ran.ledger_path) as ledger:
        assert ledger is not None
        plans = [plan for decision in ledger.entries(SYMBOL) if (plan := ledger.plan(decision)) is not None]
    assert len(plans) >= 2
    (session,) = manifests
    assert session.notes["plans"] == [plan.plan_id for plan in plans]
    named = set(session.inputs.values())
    assert named == {plan.digests[stage] for plan in plans for stage in ("bars", "features", "model")}
    live = mark(store.root, lambda _versions: True, 0).live
    for plan in plans:
        assert {("manifests", plan.digests["bars"]), ("manifests", plan.digests["features"])} <= live
        assert ("models", plan.digests["model"]) in live
    bars = store.manifest(plans[0].digests["bars"], ArtifactKey("sim", SYMBOL, QUARTER.name, "bars"))
    assert {("chunks", f"{chunk.key}.{chunk.content}") for chunk in bars.chunks} <= live


def test_what_the_last_plan_was_made_from_is_kept_while_its_session_goes_on(ran: Workspace, tmp_path: Path) -> None:
    """A session is written down at its end; until then its plan's own reference keeps what it names."""
    shutil.copytree(ran.cache_dir, tmp_path / "cache")
    store = ArtifactStore(tmp_path / "cache")
    with LedgerReading.shown(ran.ledger_path) as ledger:
        assert ledger is not None
        plan = ledger.plan(ledger.entries(SYMBOL)[0])
    assert plan is not None
    store.point(
        ArtifactKey("sim", SYMBOL, QUARTER.name, "plan"),
        store.put_document({"kind": "plan", "plan": plan.as_dict()}),
    )
    for session in (tmp_path / "cache" / "refs").rglob(f"{SESSION}*.json"):
        session.unlink()
    live = mark(store.root, lambda _versions: True, 0).live
    assert ("models", plan.digests["model"]) in live
    assert {("manifests", plan.digests["features"]), ("manifests", plan.digests["bars"])} <= live


def test_its_money_adds_up(ran: Workspace) -> None:
    done, store = backtested(ran), ArtifactStore(ran.cache_dir)
    trades, equity = done.part(store, "trades"), done.part(store, "equity")
    assert trades is not None
    assert equity is not None
    unrealised, net, f = equity["equity"][-1] - equity["wallet"][-1], float(trades["net"].sum()), done.figures
    assert f.final_equity == pytest.approx(f.balance + net + unrealised, rel=1e-8)
    assert net == pytest.approx(f.realised - f.costs.fees - f.costs.funding, rel=1e-8)


def test_made_again_it_is_the_same(ran: Workspace) -> None:
    first, again = backtested(ran), backtested(ran)
    assert (first.name, first.manifest) == (again.name, again.manifest)
    store = ArtifactStore(ran.cache_dir)
    assert find(ran, store, first.name[:6]) == first
    assert first in stored(ran, store)


def test_the_same_configuration_is_one_trial_in_any_span(ran: Workspace) -> None:
    assert backtested(ran, hours=5).figures.claim.trials == backtested(ran, hours=4).figures.claim.trials


def test_another_latency_is_another_backtest_and_no_other_trial(ran: Workspace) -> None:
    assumed = ran.settings.backtest.model_copy(update={"latency_ms": 300.0})
    slower = workspace_of(ran.settings.model_copy(update={"backtest": assumed}))
    first, second = backtested(ran), backtested(slower)
    assert first.name != second.name
    assert first.figures.claim.trials == second.figures.claim.trials


def test_a_model_never_trades_what_it_was_trained_on(ran: Workspace) -> None:
    begin = start_of(ran) - 24 * HOUR_MS
    with pytest.raises(UsageError, match="it has seen"):
        run_backtest(ran, BacktestRequest((SYMBOL,), QUARTER, begin, None, CURRENT, HOUR_MS))


def test_models_trained_on_the_way_know_nothing_of_what_they_trade(ran: Workspace) -> None:
    done = backtested(ran, model=WALK_FORWARD, hours=2)
    assert [name for name in done.manifest.inputs if name.startswith("model ")] == [f"model {SYMBOL} {start_of(ran)}"]
    assert done.name != backtested(ran, hours=2).name


@pytest.mark.parametrize(
    ("since", "until", "error"),
    [(10, 4, UsageError), (24 * 365, None, DataMissing), (-24 * 365, -24 * 300, DataMissing)],
    ids=["since after until", "after the last bar", "before the first"],
)
def test_a_span_that_cannot_be_traded_is_refused(
    ran: Workspace, since: int, until: int | None, error: type[Exception]
) -> None:
    begin = start_of(ran)
    end = None if until is None else begin + until * HOUR_MS
    with pytest.raises(error):
        run_backtest(ran, BacktestRequest((SYMBOL,), QUARTER, begin + since * HOUR_MS, end, CURRENT, HOUR_MS))


def test_a_bundle_that_is_not_there_is_named(ran: Workspace) -> None:
    with pytest.raises(DataMissing, match="0123456789abcdef"):
        backtested(ran, model="0123456789abcdef0123456789abcdef")


def test_what_a_backtest_names_is_kept(ran: Workspace) -> None:
    """Its bars, features and models are roots: gc leaves them, though nothing else refers to them."""
    done = backtested(ran)
    marks = mark(ArtifactStore(ran.cache_dir).root, lambda _: True, 0)
    named = set(done.manifest.inputs.values())
    kept = {name for _, name in marks.live}
    assert named <= kept
    assert not marks.problems


@pytest.fixture(scope="module")
def trader(ran: Workspace) -> Inside:
    """The command line in the folder of the run."""
    return Inside(ran.cache_dir.parent, ("--profile", "sim"))


def reported(trader: Inside, *arguments: str, **environment: str) -> Ran:
    return trader.run("report", *arguments, **SMALL_SIM, **environment)


def test_the_page_of_a_backtest_says_what_it_came_to(ran: Workspace, trader: Inside) -> None:
    done = backtested(ran)
    made = reported(trader, done.name[:7], "-o", "of.html", "--json")
    assert made.code == 0, made.err
    html = (trader.folder / "of.html").read_text()
    assert made.json == {"report": "of.html", "picture": None, "bytes": len(html.encode())}
    found = dict(re.findall(r'data-figure="([\w.]+)" data-value="([^"]+)"', html))
    assert float(found["risk.total_return"]) == done.figures.risk.total_return
    assert float(found["costs.taker_fees"]) == done.figures.costs.taker_fees
    assert all(digest in html for digest in (done.manifest.digest, *done.manifest.inputs.values()))
    newest = reported(trader)
    assert (newest.code, "report-" in newest.out) == (0, True)


@pytest.mark.parametrize("kind", ["session", "account"])
def test_the_page_of_the_account_shows_the_same_trades(ran: Workspace, trader: Inside, kind: str) -> None:
    """The run and its backtest traded alike: so say their pages."""
    assert reported(trader, kind, "-o", f"{kind}.html").code == 0
    store, done = ArtifactStore(ran.cache_dir), backtested(ran)
    with LedgerReading.shown(ran.ledger_path) as ledger:
        assert ledger is not None
        told = ledger_report(ledger, store, "account" if kind == "account" else "session", ran.mode, 0.95)
    trades, theirs, decided = told.frames["trades"], done.part(store, "trades"), done.part(store, "decisions")
    assert theirs is not None and decided is not None
    same = ("opened", "symbol", "side", "quantity", "entry_price", "exit_price", "realised", "fees", "net", "reason")
    assert trades.select(same).equals(theirs.select(same))
    levels, their_levels = told.frames["levels"], done.part(store, "levels")
    assert their_levels is not None
    assert set(levels["price"].to_list()) == set(their_levels["price"].to_list())
    assert told.figures.realised == pytest.approx(done.figures.realised)
    ended = trades.filter(trades["closed"].is_not_null())["net"].sum()
    assert told.figures.balance == 10_000
    if told.figures.still_open == 0:
        assert told.figures.final_equity - told.figures.balance == pytest.approx(ended, rel=1e-9)
    promised, theirs_said = (of.filter(kind="entered") for of in (told.frames["decisions"], decided))
    assert promised["probability"].to_list() == theirs_said["probability"].to_list()
    assert promised["probability"].null_count() == 0
    assert not told.bars[SYMBOL].is_empty()


def test_what_is_no_report_is_not_written_over(trader: Inside) -> None:
    precious = trader.folder / "notes.html"
    precious.write_text("mine")
    refused = reported(trader, "-o", "notes.html")
    assert (refused.code, "it is no report" in refused.err, precious.read_text()) == (2, True, "mine")


def test_without_a_browser_no_picture_and_no_page(trader: Inside) -> None:
    refused = reported(trader, "-o", "pictured.html", "--png", PATH="")
    assert (refused.code, "none is installed" in refused.err) == (3, True)
    assert not (trader.folder / "pictured.html").exists()


@pytest.mark.skipif(chromium() is None, reason="no Chromium is installed (Debian: chromium)")
def test_a_picture_is_taken(trader: Inside) -> None:
    assert reported(trader, "-o", "pictured.html", "--png").code == 0
    assert (trader.folder / "pictured.png").read_bytes().startswith(b"\x89PNG")


def test_a_backtest_or_a_ledger_that_is_not_there_is_named(trader: Inside, tmp_path: Path) -> None:
    assert reported(trader, "fffffff").code == 4
    nobody = Inside(tmp_path, ("--profile", "sim"))
    for what in ("account", "session"):
        assert (nobody.run("report", what).code, nobody.run("report").code) == (4, 4)


def test_two_backtests_are_compared(ran: Workspace, trader: Inside) -> None:
    one, two = backtested(ran, hours=4), backtested(ran, hours=5)
    told = trader.run("backtest", "compare", one.name, two.name, "--json", **SMALL_SIM)
    assert told.code == 0, told.err
    assert [cause["cause"] for cause in told.json["causes"]] == ["span"]
    worths = sum(cause["worth"] for cause in told.json["causes"]) + told.json["interaction"]
    assert worths == pytest.approx(told.json["difference"], abs=1e-8)
    shown = trader.run("backtest", "compare", one.name, two.name, **SMALL_SIM)
    assert (shown.code, "interaction" in shown.out, "first decision that differs" in shown.out) == (0, True, True)
