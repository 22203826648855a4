"""The hostile desk itself: its measure of cover, and the client that is paused or whose clock is set."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from support.hosts.signed_client import Caller
from support.trading.desk import ORDER, STOP, SYMBOL, sound
from support.trading.hostile_desk import HostileDesk, hostile

from trader_cli.execution.entry_result import EntryResult
from trader_cli.venue.engine.switches import Switches
from trader_cli.venue.server.faults import Fault, FaultPlan, random_plan
from trader_cli.venue.simulated_market.rule_changes import RuleChange

pytestmark = pytest.mark.slow


async def entering(desk: HostileDesk) -> Any:
    with desk.open() as (ledger, executor):
        done = await executor.enter(desk.approved())
        return done, ledger.holding(SYMBOL).amount


def test_a_quiet_venue_shows_no_bare_moment(tmp_path: Path) -> None:
    async def work(desk: HostileDesk) -> None:
        with desk.open() as (ledger, executor):
            assert isinstance(await executor.enter(desk.approved()), EntryResult)
            sound(desk, ledger)
        await desk.clock.sleep(30)
        assert desk.unprotected_spans() == []
        assert desk.unprotected_s() == 0

    hostile(work, tmp_path)


@pytest.mark.parametrize("seconds", [3, 4.5])
def test_stops_that_come_late_leave_one_span_of_just_that_length(tmp_path: Path, seconds: float) -> None:
    async def work(desk: HostileDesk) -> None:
        desk.trade_by_hand("BUY", "1")
        filled = desk.clock.now_ms()
        async with aiohttp.ClientSession() as session:
            trigger = str(round(desk.engine.mark(SYMBOL) * 9 / 10, 2))
            status, _ = await Caller(session, desk.venue.url, desk.clock).ask(
                *STOP,
                symbol=SYMBOL,
                side="SELL",
                type="STOP_MARKET",
                algoType="CONDITIONAL",
                closePosition="true",
                triggerPrice=trigger,
            )
        assert status == 200
        (span,) = desk.unprotected_spans()
        assert span == (filled, filled + round(1000 * seconds))
        assert not desk.helped(span, 2)
        assert desk.helped(span, 5)

    hostile(work, tmp_path, faults=[Fault(*STOP, before_s=seconds)])


def test_the_same_world_gives_the_same_life(tmp_path: Path) -> None:
    def played(name: str) -> Any:
        async def work(desk: HostileDesk) -> Any:
            await asyncio.wait({asyncio.ensure_future(entering(desk))}, timeout=60)
            log = [(r.route, r.arrived_ms, r.executed_ms, r.replied_ms, r.status) for r in desk.requests()]
            return desk.clock.now_ms(), desk.unprotected_spans(), log

        (tmp_path / name).mkdir()
        return hostile(work, tmp_path / name, faults=lambda now: random_plan(5, now, span_s=30, most_delay_s=10))

    assert played("a") == played("b")


def test_a_paused_client_gets_no_turn_while_the_exchange_goes_on(tmp_path: Path) -> None:
    async def work(desk: HostileDesk) -> None:
        begun, turns = desk.clock.now_ms(), list[int]()

        async def ticking() -> None:
            while True:
                await desk.clock.sleep(0.5)
                turns.append(desk.clock.now_ms() - begun)

        ticker = asyncio.ensure_future(ticking())
        desk.at(6, lambda: desk.trade_by_hand("BUY", "1"))
        desk.pause(10, after_s=2.2)
        async with aiohttp.ClientSession() as session:
            asked = asyncio.ensure_future(Caller(session, desk.venue.url, desk.clock).buy())
            await desk.clock.sleep(15)
            assert (await asked)[0] == 200
        ticker.cancel()
        assert turns[:4] == [500, 1000, 1500, 2000]
        assert turns[4] == 12_200, "it wakes when the pause is over, not before"
        assert desk.amount == 2
        entry = desk.requests(ORDER)[0]
        assert (entry.executed_ms, entry.replied_ms) == (begun + 5000, begun + 8000), "during the pause"
        assert [c.at_ms - begun for c in desk.cover.history(SYMBOL) if c.amount][:2] == [5000, 6000]

    hostile(work, tmp_path, faults=[Fault(*ORDER, before_s=5, after_s=3)])


def test_a_client_paused_in_the_middle_of_a_request_does_not_stop_time(tmp_path: Path) -> None:
    async def work(desk: HostileDesk) -> None:
        begun = desk.clock.now_ms()
        desk.pause(20, after_s=1)
        await entering(desk)
        assert desk.clock.now_ms() - begun >= 21_000

    hostile(work, tmp_path, faults=[Fault(*ORDER, after_s=2)])


@pytest.mark.parametrize("seconds", [3600, -3600, 600])
def test_the_clients_wall_clock_can_be_set(tmp_path: Path, seconds: int) -> None:
    async def work(desk: HostileDesk) -> None:
        wall, mono = desk.client_clock.now_ms(), desk.client_clock.monotonic_ms()
        desk.step_clock(seconds, after_s=1)
        await desk.client_clock.sleep(2)
        assert desk.client_clock.now_ms() - wall == 2000 + 1000 * seconds
        assert desk.client_clock.monotonic_ms() - mono == 2000
        assert desk.clock.now_ms() - desk.start_ms == 2000

    hostile(work, tmp_path)


def test_the_exchange_acts_and_changes_beside_the_client(tmp_path: Path) -> None:
    async def work(desk: HostileDesk) -> None:
        desk.trade_by_hand("BUY", "2")
        desk.at(1, lambda: desk.settle(quantity="0.5"))
        desk.at(2, lambda: desk.deleverage(quantity="0.5"))
        desk.at(3, desk.liquidate)
        await desk.clock.sleep(2.5)
        assert desk.amount == 1
        await desk.clock.sleep(1)
        assert desk.amount == 0
        names = [o.client_id.split("-")[0] for o in desk.books.orders.values()][1:]
        assert names == ["settlement_autoclose", "adl_autoclose", "autoclose"]
        assert desk.unprotected_spans() == [(desk.start_ms, desk.start_ms + 3000)]
        assert desk.engine.switches.used_id == "refused"
        assert desk.engine.listing(SYMBOL).status == "BREAK"

    hostile(
        work,
        tmp_path,
        switches=Switches(used_id="refused"),
        changes=lambda now: [RuleChange(SYMBOL, now + 3000, status="BREAK")],
        binance_exchange={"max_retries": 0},
    )


def test_a_desk_of_several_symbols(tmp_path: Path) -> None:
    async def work(desk: HostileDesk) -> None:
        desk.by_hand("POST", "/fapi/v1/marginType", symbol="BTCUSDT", marginType="ISOLATED")
        desk.by_hand(*ORDER, symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.1")
        await desk.clock.sleep(1)
        assert desk.unprotected_s("BTCUSDT") == 1
        assert desk.unprotected_s() == 0

    hostile(work, tmp_path, symbols=("ETHUSDT", "BTCUSDT"))


def test_faults_may_begin_with_the_first_request_of_a_route(tmp_path: Path) -> None:
    async def work(desk: HostileDesk) -> None:
        await desk.clock.sleep(7)
        await asyncio.wait({asyncio.ensure_future(entering(desk))}, timeout=30)
        order = desk.requests(ORDER)[0]
        assert (order.failure, order.status, order.outcome) == ("503 unknown", 503, 200)
        assert desk.venue._faults.plan.faults[0].from_ms == order.arrived_ms >= desk.start_ms + 7000
        before = [r for r in desk.requests() if r.number < order.number]
        assert len(before) > 5
        assert all(r.failure is None for r in before)

    fault = Fault("*", "*", failure="503 unknown")
    hostile(work, tmp_path, faults=lambda now: FaultPlan((replace(fault, from_ms=now),)), when=ORDER)


def test_what_fails_outside_the_client_is_raised(tmp_path: Path) -> None:
    async def work(desk: HostileDesk) -> None:
        desk.at(1, lambda: desk.trade_by_hand("BUY", "-1"))
        await desk.clock.sleep(2)

    with pytest.raises(Exception, match="less than or equal to zero"):
        hostile(work, tmp_path)


def test_a_plan_may_be_given_in_three_ways(tmp_path: Path) -> None:
    async def work(desk: HostileDesk) -> tuple[Fault, ...]:
        return desk.venue._faults.plan.faults

    fault = Fault("GET", "*", lag_s=3)
    given = ([fault], FaultPlan((fault,)), lambda _now: FaultPlan((fault,)))
    assert [hostile(work, tmp_path, faults=way) for way in given] == [(fault,)] * 3
