"""Sessions in virtual time: recording, unproven models, halts, deadlines, intervals, and the golden journal."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from support.trading.desk import covered
from support.trading.sim_folder import QUARTER, sim_settings, traded_folder, trained_folder
from support.trading.virtual_venue import SYMBOL, plan_now, trading

from trader_cli.core.money.plans import Approved
from trader_cli.execution.entry_result import EntryResult
from trader_cli.execution.executor import Executor
from trader_cli.pipelines.live_trading_pipeline import LiveTradingPipeline
from trader_cli.pipelines.market_access import Market, run_in_market
from trader_cli.pipelines.trading.iterations import EventSink
from trader_cli.pipelines.trading.trading_run import run_once
from trader_cli.settings import Settings
from trader_cli.settings.room_options import ExecutionOptions
from trader_cli.settings.workspace import workspace_of
from trader_cli.storage.ledger import Ledger
from trader_cli.storage.ledger_reading import LedgerReading
from trader_cli.tactician.position_monitor import PositionMonitor

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with fetched bars, features and a model of the small market."""
    return trained_folder(tmp_path_factory)


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of the trained folder."""
    shutil.copytree(trained, tmp_path / "work")
    return tmp_path / "work"


GOLDEN = "bb4e78d014a0a249e2d423be5e0e9575"


def test_the_golden_journal(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Six hours of one symbol. A change of decisions must be a deliberate change of this digest."""
    traded, done = traded_folder(tmp_path_factory)
    assert done["trades"] >= 2
    assert done["difference"] < 1e-8
    assert done["journal"] == GOLDEN
    _require_looks_on_the_grid_of_entries(workspace_of(sim_settings(traded)).ledger_path)


def _require_looks_on_the_grid_of_entries(ledger_path: Path) -> None:
    """Every look lies a whole number of intervals after the entry of what it looks at."""
    with LedgerReading.shown(ledger_path) as ledger:
        assert ledger is not None
        looks = [(str(line.body["plan"]), line.at_ms) for line in ledger.assessments(SYMBOL, 0, ("stay", "tighten"))]
        entered = {plan: ledger.fills(decision_id=plan)[0].time_ms for plan, _ in looks}
    assert len(entered) >= 2
    assert {(at_ms - entered[plan]) % 10_000 for plan, at_ms in looks} == {0}


def test_what_the_market_showed_is_recorded(folder: Path) -> None:
    def events() -> list[dict[str, Any]]:
        files = sorted((folder / "cache" / "recordings").rglob("*.jsonl"))
        return [json.loads(line) for file in files for line in file.read_text().splitlines()]

    settings, before = sim_settings(folder), len(events())
    run_once(workspace_of(settings), SYMBOL, QUARTER, wait=1, for_s=60)
    seen = events()
    assert {"BookEvent", "MarkEvent", "BarClosedEvent"} <= {event["kind"] for event in seen[before:]}
    assert [event["time_ms"] for event in seen] == sorted(event["time_ms"] for event in seen)
    run_once(workspace_of(settings.model_copy(update={"record": False})), SYMBOL, QUARTER, wait=1, for_s=60)
    assert events() == seen


def test_an_unproven_model_trades_only_when_asked_to(tmp_path: Path) -> None:
    null = sim_settings(tmp_path, sim={"planted_lead": 0.0})
    asked = sim_settings(tmp_path, sim={"planted_lead": 0.0}, analyst={"allow_unproven": True})
    abstained = run_once(workspace_of(null), SYMBOL, QUARTER, wait=0, for_s=None).done
    assert abstained.abstention is not None
    assert abstained.abstention.code == "no_edge"
    assert "trade" not in abstained.as_dict()
    traded = run_once(workspace_of(asked), SYMBOL, QUARTER, wait=0, for_s=None).done
    assert traded.plan is not None
    assert traded.plan.unproven
    assert traded.plan.binding == "unproven"
    assert traded.trade is not None
    assert traded.trade.open == 0
    assert traded.profit.difference < 1e-8


def test_a_pending_signal_is_looked_at_again(folder: Path) -> None:
    """Refused for now, a signal is looked at every `tactics_interval` while it is valid."""
    told: dict[float, int] = {}
    for interval in (60.0, 300.0):
        settings = sim_settings(folder, tactician={"capital_cap": 1.0, "tactics_interval": interval})
        lines: list[str] = []

        async def work(market: Market, settings: Settings = settings, lines: list[str] = lines) -> None:
            with Ledger.opened(workspace_of(settings).ledger_path) as ledger:
                pipeline = LiveTradingPipeline(
                    settings,
                    exchange=market.exchange,
                    ledger=ledger,
                    source=market.source,
                    sink=EventSink(say=lines.append),
                )
                await pipeline.run_forever([SYMBOL], QUARTER, for_s=3 * 3600)

        run_in_market(workspace_of(settings), work)
        told[interval] = sum("below_minimum" in line for line in lines)
    assert told[60.0] > 3 * told[300.0] > 0


@pytest.mark.parametrize("closes", [True, False])
def test_a_loss_limit_halts_and_closes_if_so_set(tmp_path: Path, closes: bool) -> None:
    async def work(exchange: Any, ledger: Ledger, _venue: Any) -> tuple[Decimal, str | None]:
        executor = Executor(exchange, ledger, ExecutionOptions.of(exchange.workspace))
        await executor.enter(Approved(await plan_now(exchange)))
        await PositionMonitor(exchange.settings, exchange=exchange, ledger=ledger).step(executor)
        return ledger.holding(SYMBOL).amount, ledger.halted()

    limits = {"max_daily_loss": 1e-9, "close_on_halt": closes}
    held, halted = trading(tmp_path, work, tactician=limits)
    assert "UTC day" in str(halted)
    assert (held == 0) == closes


@pytest.mark.parametrize(("deadline", "closed"), [(5.0, "unprotected"), (60.0, None)])
def test_the_protection_deadline_is_as_set(tmp_path: Path, deadline: float, closed: str | None) -> None:
    """Stops cannot be placed for ten seconds: past the deadline the position is closed, else it is covered late."""

    async def work(exchange: Any, ledger: Ledger, venue: Any) -> EntryResult:
        venue.down["POST", "/fapi/v1/algoOrder"] = exchange.server_now_ms() + 10_000
        done = await Executor(exchange, ledger, ExecutionOptions.of(exchange.workspace)).enter(
            Approved(await plan_now(exchange))
        )
        assert isinstance(done, EntryResult)
        assert (ledger.holding(SYMBOL).amount == 0) == (closed is not None)
        return done

    done = trading(tmp_path, work, execution={"protection_deadline": deadline})
    assert done.closed == closed
    assert done.uncovered_ms >= deadline * 1000 if closed else 10_000 <= done.uncovered_ms < 12_000


def test_persistence_is_as_set(tmp_path: Path) -> None:
    """Covered by what the position shows, with order and trades silent: `enter` waits so long to learn more of it."""
    from support.trading.hostile_desk import HostileDesk, hostile

    from trader_cli.core.errors import ExchangeUnavailable
    from trader_cli.venue.server.faults import Fault, FaultPlan

    async def work(desk: HostileDesk) -> int:
        began = desk.clock.now_ms()
        with Ledger.opened(desk.path) as ledger:
            with pytest.raises(ExchangeUnavailable, match="not known"):
                await Executor(desk.exchange, ledger, ExecutionOptions.of(workspace_of(desk.settings))).enter(
                    desk.approved()
                )
        assert covered(desk.amount, desk.stops())
        return desk.clock.now_ms() - began

    routes, order = (("GET", "/fapi/v1/order"), ("GET", "/fapi/v1/userTrades")), ("POST", "/fapi/v1/order")
    silent = FaultPlan((Fault(*order, failure="dropped", count=1), *(Fault(*route, failure="503") for route in routes)))

    waited = []
    for seconds in (5.0, 30.0):
        (tmp_path / str(seconds)).mkdir()
        waited.append(
            hostile(work, tmp_path / str(seconds), faults=silent, when=order, execution={"persistence": seconds})
        )
    assert 5000 <= waited[0] < 15_000
    assert 30_000 <= waited[1] < 45_000


def test_the_monitors_interval_and_history_are_as_set(tmp_path: Path) -> None:
    async def work(exchange: Any, ledger: Ledger, _venue: Any) -> tuple[int, int]:
        await Executor(exchange, ledger, ExecutionOptions.of(exchange.workspace)).enter(
            Approved(await plan_now(exchange))
        )
        monitor = PositionMonitor(exchange.settings, exchange=exchange, ledger=ledger)
        monitor.add_position("p", {"symbol": SYMBOL})
        await monitor.start_monitoring(120)
        looks = len(ledger.assessments(SYMBOL, 0, ("stay", "tighten")))
        return looks, len(monitor.get_position_status("p")["assessments"])

    often = trading(tmp_path / "a", work, position_monitoring_interval=10)
    seldom = trading(tmp_path / "b", work, position_monitoring_interval=40, max_assessment_history=2)
    assert often == (13, 13)
    assert seldom == (4, 2)
