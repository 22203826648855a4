"""The monitor where one thing is gone: it still protects what is bare, and closes when asked, all in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from support.trading.desk import ORDER, STOP, SYMBOL, Says, covered
from support.trading.hostile_desk import HostileDesk, hostile
from test_full_disk import leave_room, with_small_pages

from trader_cli.exchange.binance import BinanceExchange
from trader_cli.execution.entry_result import EntryResult
from trader_cli.execution.executor import Executor
from trader_cli.storage import owner_requests
from trader_cli.storage.ledger import Ledger
from trader_cli.tactician.monitor_reports import Report
from trader_cli.tactician.position_monitor import PositionMonitor
from trader_cli.venue.server.faults import Fault, FaultPlan

pytestmark = pytest.mark.slow

DOWN = {
    "exchangeInfo": ("/fapi/v1/exchangeInfo", "503"),
    "time": ("/fapi/v1/time", "503"),
    "userTrades": ("/fapi/v1/userTrades", "503"),
    "openAlgoOrders": ("/fapi/v1/openAlgoOrders", "503"),
    "income": ("/fapi/v1/income", "503"),
    "account": ("/fapi/v3/account", "503"),
    "premiumIndex": ("/fapi/v1/premiumIndex", "503"),
}
SLOW = {f"{name} slow": Fault("GET", path, after_s=25.0) for name, (path, _) in DOWN.items()}
FAULTS = {name: Fault("GET", path, failure=failure) for name, (path, failure) in DOWN.items()} | SLOW
OTHER = ("nothing", "clock ahead", "clock behind")


@asynccontextmanager
async def another_process(desk: HostileDesk) -> AsyncIterator[BinanceExchange]:
    """A connection for care, made under whatever is wrong now."""
    exchange = BinanceExchange(desk.settings, clock=desk.client_clock)
    await exchange.initialize(protection=True)
    try:
        yield exchange
    finally:
        await exchange.close()


def fill_disk(ledger: Ledger) -> None:
    """No room for one more line."""
    leave_room(ledger, 0, 0)


async def until(desk: HostileDesk, done: Callable[[], bool], most_s: float) -> float:
    """How long it took."""
    began = desk.clock.now_ms()
    while not done():
        assert desk.clock.now_ms() - began < most_s * 1000, desk.amount
        await asyncio.sleep(0.25)
    return (desk.clock.now_ms() - began) / 1000


async def covers_and_closes(desk: HostileDesk, wrong: str) -> list[Report]:
    """A position whose stops a person took away; then a flatten that another process asks for."""
    with_small_pages(desk.path)
    with desk.open() as (_, executor):
        assert isinstance(await executor.enter(desk.approved()), EntryResult)
    for stop in desk.stops():
        desk.by_hand("DELETE", "/fapi/v1/algoOrder", clientAlgoId=stop.client_id)
    if wrong in FAULTS:
        desk.venue.bend(FaultPlan((FAULTS[wrong],)))
    desk.client_clock.step({"clock ahead": 3600, "clock behind": -3600}.get(wrong, 0))
    heard: list[Report] = []
    async with another_process(desk) as exchange:
        with Ledger.opened(desk.path) as ledger:
            if wrong == "disk":
                fill_disk(ledger)
            monitor = PositionMonitor(
                desk.settings,
                exchange=exchange,
                ledger=ledger,
                assessor=Says(0.1, exchange.server_now_ms),
                report=heard.append,
            )
            protection = asyncio.ensure_future(monitor.start_monitoring())
            await until(desk, lambda: protection.done() or covered(desk.amount, desk.stops()) or desk.amount == 0, 12)
            assert not protection.done(), protection.exception()
            assert desk.amount == 1, "a stop is tried first"
            await asyncio.sleep(30)
            assert not protection.done() or protection.exception() is None, protection.exception()
            assert covered(desk.amount, desk.stops())
            owner_requests.ask(desk.path, "flatten", "by hand")
            await until(desk, lambda: desk.amount == 0, 15)
            await asyncio.sleep(1)
            protection.cancel()
            await asyncio.gather(protection, return_exceptions=True)
    return heard


@pytest.mark.parametrize("wrong", [*FAULTS, *OTHER, "disk"])
def test_the_monitor_protects_and_closes_without(tmp_path: Path, wrong: str) -> None:
    heard = hostile(lambda desk: covers_and_closes(desk, wrong), tmp_path)
    if wrong == "disk":
        assert any(report.reason == "ledger_unwritable" for report in heard)


def test_a_quiet_look_asks_no_more_than_positions_stops_and_the_account(tmp_path: Path) -> None:
    async def work(desk: HostileDesk) -> dict[str, int]:
        with desk.open() as (ledger, executor):
            assert isinstance(await executor.enter(desk.approved(quantity="1")), EntryResult)
            monitor = desk.monitor(ledger, loss=0.1)
            for _ in range(3):
                await monitor.step(executor)
                await asyncio.sleep(10)
            since = desk.clock.now_ms()
            await monitor.step(executor)
            found: dict[str, int] = {}
            for request in desk.requests(since_ms=since):
                found[request.route[1]] = found.get(request.route[1], 0) + 1
            return found

    found = hostile(work, tmp_path)
    assert sum(found.values()) <= 3, found
    assert found.get("/fapi/v3/positionRisk") == 1


def test_a_flatten_that_is_asked_between_two_looks_is_answered_within_a_second(tmp_path: Path) -> None:
    async def work(desk: HostileDesk) -> float:
        with desk.open() as (ledger, executor):
            assert isinstance(await executor.enter(desk.approved()), EntryResult)
            monitor = desk.monitor(ledger, loss=0.1)
            protection = asyncio.ensure_future(monitor.start_monitoring())
            await asyncio.sleep(13)
            owner_requests.ask(desk.path, "flatten", "by hand")
            took = await until(
                desk, lambda: owner_requests.is_acknowledged(desk.path, "flatten") or desk.amount == 0, 3
            )
            await until(desk, lambda: desk.amount == 0, 3)
            await asyncio.wait_for(protection, 20)
            return took

    assert hostile(work, tmp_path) <= 1.5


def test_it_does_not_end_over_a_bare_position_when_its_time_is_up(tmp_path: Path) -> None:
    async def work(desk: HostileDesk) -> None:
        with desk.open() as (ledger, executor):
            assert isinstance(await executor.enter(desk.approved()), EntryResult)
            for stop in desk.stops():
                desk.by_hand("DELETE", "/fapi/v1/algoOrder", clientAlgoId=stop.client_id)
            down = (Fault(*STOP, failure="503"), Fault(*ORDER, failure="503"))
            desk.venue.bend(FaultPlan(down))
            protection = asyncio.ensure_future(desk.monitor(ledger, loss=0.1).start_monitoring(for_s=5))
            await asyncio.sleep(40)
            assert not protection.done(), "it is bare"
            desk.venue.bend(FaultPlan())
            await asyncio.wait_for(protection, 30)
            assert desk.amount == 0 or covered(desk.amount, desk.stops())

    hostile(work, tmp_path)


def test_however_the_care_ends_no_shield_is_left_up_and_nothing_under_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[Executor] = []

    async def end(executor: Executor) -> None:
        ended.append(executor)

    async def work(desk: HostileDesk) -> None:
        with desk.open() as (ledger, _):
            monitor = desk.monitor(ledger)

            async def broken(_executor: Executor | None = None) -> bool:
                monitor._protection.unprotected.add(SYMBOL)
                await monitor._protection._mind_unprotected([SYMBOL])
                raise RuntimeError("a bug")

            monkeypatch.setattr(monitor, "step", broken)
            with pytest.raises(RuntimeError, match="a bug"):
                await monitor.start_monitoring()
            assert (len(ended), monitor._protection._shield._up) == (1, None)

    monkeypatch.setattr(Executor, "end", end)
    hostile(work, tmp_path)
