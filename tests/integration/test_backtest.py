"""A backtest trades as `trader run --forever` does, on the same market: the same fills, to the digit."""

from __future__ import annotations

import shutil

import pytest
from support.trading.sim_folder import QUARTER, SYMBOL, sim_settings, trained_folder

from trader_cli.core.errors import DataInvalid, DataMissing, UsageError
from trader_cli.pipelines.backtests.backtest_request import CURRENT, WALK_FORWARD, BacktestRequest
from trader_cli.pipelines.backtests.backtest_run import run_backtest
from trader_cli.pipelines.backtests.backtest_store import StoredBacktest, find, stored
from trader_cli.pipelines.market_access import sim_tape
from trader_cli.pipelines.trading.trading_run import run_forever
from trader_cli.settings import Workspace, workspace_of
from trader_cli.storage.artifacts import ArtifactStore
from trader_cli.storage.inventory import mark
from trader_cli.storage.ledger_reading import LedgerReading

pytestmark = pytest.mark.slow
HOUR_MS = 3_600_000
HOURS = 6


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Six hours traded by `run --forever` in a folder of their own, from a model that was trained before."""
    folder = tmp_path_factory.mktemp("ran")
    shutil.copytree(trained_folder(tmp_path_factory), folder, dirs_exist_ok=True)
    workspace = workspace_of(sim_settings(folder))
    run_forever(workspace, [SYMBOL], QUARTER, for_s=HOURS * 3600)
    return workspace


def start_of(workspace: Workspace) -> int:
    return sim_tape(workspace).at(workspace.settings.sim.start)


def backtested(workspace: Workspace, *, model: str = CURRENT, hours: float = HOURS) -> StoredBacktest:
    begin = start_of(workspace)
    span = (begin, begin + round(hours * HOUR_MS))
    return run_backtest(workspace, BacktestRequest((SYMBOL,), QUARTER, *span, model, 30 * 24 * HOUR_MS))


def test_it_trades_as_the_run_did(ran: Workspace) -> None:
    done, store = backtested(ran), ArtifactStore(ran.cache_dir)
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
    with pytest.raises(DataInvalid, match="0123456789abcdef"):
        backtested(ran, model="0123456789abcdef0123456789abcdef")


def test_what_a_backtest_names_is_kept(ran: Workspace) -> None:
    """Its bars, features and models are roots: gc leaves them, though nothing else refers to them."""
    done = backtested(ran)
    marks = mark(ArtifactStore(ran.cache_dir).root, lambda _: True, 0)
    named = set(done.manifest.inputs.values())
    kept = {name for _, name in marks.live}
    assert named <= kept
    assert not marks.problems
