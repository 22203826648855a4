"""What happened is told once: whole entries, every end and its reason, unprotected closes; never what did not happen."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.commands.in_process import Inside
from support.hosts.venue_process import Place, venue_process
from support.trading.desk import ORDER, STOP, SYMBOL, Desk, first
from support.trading.hostile_desk import HostileDesk, hostile
from test_trading_on_a_host import enter, trade

from trader_cli.core.errors import ExchangeUnavailable
from trader_cli.core.types import Abstention
from trader_cli.execution.coverage import remembered
from trader_cli.execution.entry_result import EntryResult
from trader_cli.pipelines.trading.iterations import Iteration
from trader_cli.pipelines.trading.live_loop import LiveLoop
from trader_cli.settings.workspace import workspace_of
from trader_cli.storage.ledger import Ledger
from trader_cli.tactician.monitor_reports import Report
from trader_cli.venue.server.faults import Fault, FaultPlan

pytestmark = pytest.mark.slow


async def heard(desk: Desk, looks: int = 3) -> list[tuple[str, str, str]]:
    """(action, reason, quantity) of what a monitor in a process of its own tells in so many looks, "stay" left out."""
    told: list[Report] = []
    with desk.open() as (ledger, executor):
        monitor = desk.monitor(ledger, loss=0.1, heard=told.append)
        for _ in range(looks):
            await monitor.step(executor)
            await asyncio.sleep(2)
    return [(r.action, r.reason, r.quantity) for r in told if r.action not in {"stay", "alarm", "wait"}]


async def open_position(desk: Desk) -> None:
    with desk.open() as (_, executor):
        assert isinstance(await executor.enter(desk.approved()), EntryResult)


def by_hand(desk: HostileDesk) -> None:
    desk.trade_by_hand("SELL", "1", reduceOnly="true")


ENDS: dict[str, Callable[[HostileDesk], Any]] = {
    "external": by_hand,
    "liquidation": lambda desk: desk.liquidate(),
    "adl": lambda desk: desk.deleverage(),
    "settlement": lambda desk: desk.settle(),
}


def test_an_entry_of_a_process_that_was_killed_is_told_with_its_whole_quantity(tmp_path: Path) -> None:
    async def work(desk: HostileDesk) -> list[list[tuple[str, str, str]]]:
        async def life() -> None:
            with desk.open() as (_, executor):
                await executor.enter(desk.approved())

        assert await desk.killed_within(first(ORDER, "kill after"), life())
        return [await heard(desk), await heard(desk)]

    assert hostile(work, tmp_path) == [[("entered", "long", "1")], []]


@pytest.mark.parametrize("reason", ENDS)
@pytest.mark.parametrize("seen_first", [True, False], ids=["between two looks", "while no process ran"])
@pytest.mark.parametrize("booked", [False, True], ids=["", "booked by another command"])
def test_every_end_is_told_once_by_its_name(tmp_path: Path, reason: str, *, seen_first: bool, booked: bool) -> None:
    async def work(desk: HostileDesk) -> list[list[tuple[str, str, str]]]:
        await open_position(desk)
        if seen_first:
            assert await heard(desk) == []
        ENDS[reason](desk)
        if booked:
            with desk.open() as (_, executor):
                await executor.view(SYMBOL)
        return [await heard(desk), await heard(desk)]

    assert hostile(work, tmp_path) == [[("flat", reason, "0")], []]


def test_an_unprotected_close_is_told_once(tmp_path: Path) -> None:
    async def work(desk: HostileDesk) -> list[tuple[str, str, str]]:
        await open_position(desk)
        for stop in desk.stops():
            desk.by_hand("DELETE", "/fapi/v1/algoOrder", clientAlgoId=stop.client_id)
        desk.venue.bend(FaultPlan((Fault(*STOP, failure="503"),)))
        return await heard(desk, looks=6)

    told = hostile(work, tmp_path)
    assert [line[:2] for line in told] == [("close", "unprotected"), ("flat", "unprotected")]


def test_a_close_that_the_entry_itself_has_told_is_no_news_to_the_next_process(tmp_path: Path) -> None:
    async def work(desk: HostileDesk) -> list[tuple[str, str, str]]:
        desk.venue.bend(FaultPlan((Fault(*STOP, failure="503"),)))
        with desk.open() as (_, executor):
            done = await executor.enter(desk.approved())
            assert isinstance(done, EntryResult)
            assert done.closed == "unprotected"
        return await heard(desk)

    assert hostile(work, tmp_path) == []


def test_an_end_is_told_at_the_time_at_which_it_was(tmp_path: Path) -> None:
    async def work(desk: HostileDesk) -> tuple[int, list[Report]]:
        await open_position(desk)
        by_hand(desk)
        ended_ms, told = desk.clock.now_ms(), list[Report]()
        await asyncio.sleep(7200)
        with desk.open() as (ledger, executor):
            await desk.monitor(ledger, heard=told.append).step(executor)
        return ended_ms, [report for report in told if report.action == "flat"]

    ended_ms, told = hostile(work, tmp_path)
    assert [report.at_ms for report in told] == [ended_ms]


def test_a_run_tells_of_an_entry_that_was_left_again(tmp_path: Path) -> None:
    said: list[str] = []

    class Heard:
        """As much of a trader as telling needs."""

        class sink:  # noqa: N801
            say = staticmethod(said.append)

        workspace = workspace_of({"position_monitoring_interval": 10})

        @staticmethod
        def now_ms() -> int:
            return 0

    async def work(desk: HostileDesk) -> EntryResult:
        desk.venue.bend(FaultPlan((Fault(*STOP, failure="503"),)))
        with desk.open() as (_, executor):
            done = await executor.enter(desk.approved())
        assert isinstance(done, EntryResult)
        return done

    done = hostile(work, tmp_path)
    assert done.closed == "unprotected"
    forever = LiveLoop(Heard, [], None)  # type: ignore[arg-type]
    for _ in range(2):
        forever._tell(Iteration(SYMBOL, "15m", None, Abstention("x", "x"), done))
    assert len(said) == 1
    assert "unprotected" in said[0]


def test_cannot_be_asked_is_said_only_where_nothing_answered(tmp_path: Path) -> None:
    with Ledger.opened(tmp_path / "ledger.sqlite") as ledger:
        silent = remembered(ledger, SYMBOL, ExchangeUnavailable("no connection.", answered=False))
        spoken = remembered(ledger, SYMBOL, ExchangeUnavailable("it answered <html>."))
    assert silent.startswith("The exchange cannot be asked.")
    assert "cannot be asked" not in spoken
    assert "it answered <html>." in spoken


def test_through_the_command_line_an_end_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "venue").mkdir()
    with venue_process(tmp_path / "venue") as place:
        demo = Inside(tmp_path, ("--profile", "demo"))
        assert enter(demo, place, place.plan()).code == 0
        trade(place, "SELL", "1", reduce_only=True)
        told = [monitored(demo, place), monitored(demo, place)]
        assert told == [[("flat", "external")], []]
        shown = demo.run("monitor", **place.environment())
        assert (shown.code, shown.out.strip()) == (0, "flat: no position of ours is open.")
        again = demo.run("flatten", **place.environment())
        assert (again.code, again.out.strip()) == (0, "flat: no position of ours is open.")


def test_what_flatten_has_told_and_what_a_rebuilt_ledger_remembers_is_no_news(tmp_path: Path) -> None:
    (tmp_path / "venue").mkdir()
    with venue_process(tmp_path / "venue") as place:
        demo = Inside(tmp_path, ("--profile", "demo"))
        assert enter(demo, place, place.plan()).code == 0
        assert demo.run("flatten", "--json", **place.environment()).json["closed"] == {SYMBOL: "1"}
        assert monitored(demo, place) == []
        assert enter(demo, place, place.plan()).code == 0
        place.ledger(tmp_path / "state").unlink()
        assert demo.run("ledger", "rebuild", **place.environment()).code == 0
        assert demo.run("reset", **place.environment()).code == 0
        told = demo.run("monitor", "--for", "1s", "--json", **place.environment()).json["reports"]
        assert {report["action"] for report in told} == {"stay"}
        trade(place, "SELL", "1", reduce_only=True)
        shown = demo.run("monitor", **place.environment())
        lines = [line for line in (shown.out + shown.err).splitlines() if "flat (external)" in line]
        assert len(lines) == 1, shown.out + shown.err


def monitored(demo: Inside, place: Place) -> list[tuple[str, str]]:
    """(action, reason) of what `trader monitor` reports of positions."""
    done = demo.run("monitor", "--json", **place.environment())
    assert (done.code, done.json["open"]) == (0, {}), done.err
    return [(r["action"], r["reason"]) for r in done.json["reports"] if r["action"] not in {"stay", "alarm", "wait"}]
