"""The exchange shows too little, too late, or refuses for a while: nothing is concluded from it that costs protection."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from support.trading.desk import ORDER, POSITIONS, STOP, SYMBOL, Desk, Rule, at_desk, covered, entered, first, sound

from trader_cli.core.errors import ConfigurationError, TraderError
from trader_cli.core.money.plans import Approved, Refused
from trader_cli.execution import preflight

pytestmark = pytest.mark.slow

TRADES, STOPS = ("GET", "/fapi/v1/userTrades"), ("GET", "/fapi/v1/openAlgoOrders")
ACCOUNT, INCOME = ("GET", "/fapi/v3/account"), ("GET", "/fapi/v1/income")


def until(desk: Desk, seconds: float, fault: str, *routes: tuple[str, str]) -> Rule:
    """This fault on these routes for so long."""
    end = desk.clock.now_ms() + seconds * 1000
    return lambda _number, asked: fault if asked in routes and desk.clock.now_ms() < end else ""


@pytest.mark.parametrize("lagging", [(TRADES,), (POSITIONS,), (TRADES, POSITIONS)])
@pytest.mark.parametrize("seconds", [0.2, 3.0])
def test_an_entry_whose_fill_is_not_shown_yet_keeps_its_stops(tmp_path: Path, lagging: Any, seconds: float) -> None:
    async def work(desk: Desk) -> None:
        approved, unprotected = desk.approved(), []

        def lag(_number: int, asked: tuple[str, str]) -> str:
            filled_ms = desk.engine.account.fills[0].time_ms if desk.engine.account.fills else desk.clock.now_ms()
            return (
                "nothing"
                if asked in lagging and desk.amount and desk.clock.now_ms() < filled_ms + seconds * 1000
                else ""
            )

        def watch() -> None:
            if len(desk.engine.account.algos) >= 1 and desk.amount and not covered(desk.amount, desk.stops()):
                unprotected.append(desk.clock.now_ms())

        desk.venue.watch = watch
        desk.venue.bend(lag)
        done = await entered(desk, approved)
        assert done.quantity == 1
        assert done.cover is not None
        assert unprotected == []

    at_desk(work, tmp_path)


def test_a_position_that_is_not_shown_for_a_moment_keeps_its_stops(tmp_path: Path) -> None:
    async def work(desk: Desk) -> None:
        await entered(desk, desk.approved())
        heard: list[Any] = []
        with desk.open() as (ledger, executor):
            monitor = desk.monitor(ledger, heard=heard.append)
            desk.venue.bend(until(desk, 0.5, "nothing", POSITIONS))
            assert await monitor.step(executor)
            assert covered(desk.amount, desk.stops())
            assert "not_shown" in {report.reason for report in heard}
            await desk.clock.sleep(1)
            await monitor.step(executor)
            sound(desk, ledger)

    at_desk(work, tmp_path)


def test_exits_that_are_refused_leave_the_stops(tmp_path: Path) -> None:
    async def work(desk: Desk) -> None:
        await entered(desk, desk.approved())
        with desk.open() as (ledger, executor):
            desk.venue.bend(lambda _number, asked: "nothing to reduce" if asked == ORDER else "")
            with pytest.raises(TraderError, match="protected by a stop"):
                await executor.close(SYMBOL, "test")
            assert covered(desk.amount, desk.stops())
            desk.venue.bend(lambda _number, _asked: "")
            assert await executor.close(SYMBOL, "test") == 1
            sound(desk, ledger)

    at_desk(work, tmp_path)


def test_a_stale_look_after_an_exit_never_closes_twice(tmp_path: Path) -> None:
    """Half is closed once, also where positions and trades lag; foreign quantity beside ours is never sold."""

    async def work(desk: Desk) -> None:
        await entered(desk, desk.approved(quantity="2"))
        desk.trade_by_hand("BUY", "3")
        with desk.open() as (ledger, executor):
            await executor.view(SYMBOL)
            end = desk.clock.now_ms() + 2000
            desk.venue.bend(lambda _n, asked: "nothing" if asked == TRADES and desk.clock.now_ms() < end else "")
            assert await executor.close(SYMBOL, "test", Decimal("0.5")) == 1
            assert desk.amount == 4
            await desk.clock.sleep(3)
            await executor.view(SYMBOL)
            assert ledger.holding(SYMBOL).amount == 1
            assert await executor.close(SYMBOL, "test") == 1
            assert (desk.amount, ledger.holding(SYMBOL).amount) == (3, 0)

    at_desk(work, tmp_path)


@pytest.mark.parametrize("route", [ACCOUNT, TRADES, INCOME, STOPS])
def test_protection_does_not_wait_for_unrelated_reads(tmp_path: Path, route: tuple[str, str]) -> None:
    async def work(desk: Desk) -> None:
        await entered(desk, desk.approved())
        desk.by_hand("DELETE", "/fapi/v1/algoOpenOrders")
        with desk.open() as (ledger, executor):
            await desk.clock.sleep(5)
            desk.venue.bend(until(desk, 90, "down", route))
            await desk.monitor(ledger).step(executor)
            assert covered(desk.amount, desk.stops())

    at_desk(work, tmp_path)


@pytest.mark.parametrize("fault", ["no key", "wrong time", "refused"])
def test_a_monitor_survives_a_transient_refusal(tmp_path: Path, fault: str) -> None:
    """Also where it is the very first answer it gets: with a position open it goes on."""

    async def work(desk: Desk) -> None:
        await entered(desk, desk.approved())
        heard: list[Any] = []
        with desk.open() as (ledger, _):
            desk.venue.bend(first(POSITIONS, fault))
            await desk.monitor(ledger, heard=heard.append).start_monitoring(30)
            assert [report.action for report in heard][-1] in {"stay", "tighten"}
            assert ("wait" in {report.action for report in heard}) == (fault != "wrong time")
            sound(desk, ledger)

    at_desk(work, tmp_path)


def test_a_key_that_is_refused_with_nothing_open_ends_the_monitor(tmp_path: Path) -> None:
    async def work(desk: Desk) -> None:
        with desk.open() as (ledger, _):
            desk.venue.bend(lambda _number, asked: "no key" if asked == POSITIONS else "")
            with pytest.raises(ConfigurationError):
                await desk.monitor(ledger).start_monitoring(30)

    at_desk(work, tmp_path)


def test_an_old_mark_price_opens_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(desk: Desk) -> None:
        monkeypatch.setattr(preflight, "MARK_AGE_MS", -60_000)
        with desk.open() as (_, executor):
            done = await executor.enter(desk.approved())
        assert isinstance(done, Refused)
        assert done.code == "stale_price"
        assert desk.amount == 0

    at_desk(work, tmp_path)


def test_a_thin_book_is_left_by_a_limit_order(tmp_path: Path) -> None:
    async def work(desk: Desk) -> None:
        await entered(desk, desk.approved())
        with desk.open() as (ledger, executor):
            desk.venue.bend(first(ORDER, "thin"))
            assert await executor.close(SYMBOL, "test") == 1
            assert [i.price is not None for i in executor.exits(ledger.entries(SYMBOL)[-1])] == [False, True]
            sound(desk, ledger)

    at_desk(work, tmp_path)


def test_a_refusal_after_the_fill_is_not_the_end_of_protecting(tmp_path: Path) -> None:
    async def work(desk: Desk) -> None:
        def no_key(_number: int, asked: tuple[str, str]) -> str:
            fills = desk.engine.account.fills
            late = fills and desk.clock.now_ms() < fills[0].time_ms + 4000
            return "no key" if late and asked in {STOP, POSITIONS} else ""

        approved = desk.approved()
        desk.venue.bend(no_key)
        with desk.open() as (ledger, executor):
            done = await executor.enter(approved)
            assert not isinstance(done, Refused)
            assert done.cover is not None
            sound(desk, ledger)
        with desk.open() as (ledger, executor):
            await desk.monitor(ledger).start_monitoring(30)
            sound(desk, ledger)

    at_desk(work, tmp_path)


def test_a_stop_that_vanished_beyond_its_level_closes(tmp_path: Path) -> None:
    """The quantity stop was passed and is gone; the backstop further away does not make the stop looser."""

    async def work(desk: Desk) -> None:
        plan = desk.plan(stop="0.004")
        await entered(
            desk, Approved(replace(plan, backstop_price=(plan.price * Decimal("0.9")).quantize(Decimal("0.01"))))
        )
        stop = next(s for s in desk.stops() if not s.close_position and s.type == "STOP_MARKET")
        desk.by_hand("DELETE", "/fapi/v1/algoOrder", clientAlgoId=stop.client_id)
        with desk.open() as (ledger, executor):
            for _ in range(600):
                if desk.engine.mark(SYMBOL) < plan.stop_price:
                    break
                await desk.clock.sleep(300)
            assert desk.engine.mark(SYMBOL) < plan.stop_price, "this tape falls below the stop"
            if desk.amount:
                await desk.monitor(ledger).step(executor)
            await executor.view(SYMBOL)
            assert ledger.holding(SYMBOL).amount == 0
            sound(desk, ledger)

    at_desk(work, tmp_path)


def test_an_order_carried_out_long_after_is_ours_and_single(tmp_path: Path) -> None:
    """Answered with −1007, and carried out nine seconds later: it is found and protected, and not sent again."""

    async def work(desk: Desk) -> None:
        approved = desk.approved()
        client_id = approved.plan.client_id("entry")

        async def carry_out_late() -> None:
            await desk.clock.sleep(9)
            desk.by_hand(*ORDER, side="BUY", type="MARKET", quantity="1", newClientOrderId=client_id)

        with desk.open() as (ledger, executor):
            desk.venue.bend(first(ORDER, "unknown before"))
            late = asyncio.ensure_future(carry_out_late())
            done = await executor.enter(approved)
            await late
            assert not isinstance(done, Refused)
            assert (done.quantity, desk.venue.seen.count(ORDER), desk.amount) == (1, 1, 1)
            assert done.uncovered_ms < 1000
            sound(desk, ledger)

    at_desk(work, tmp_path)


def test_what_is_at_work_already_counts_at_entry(tmp_path: Path) -> None:
    async def work(desk: Desk) -> None:
        with desk.open() as (_, executor):
            done = await executor.enter(desk.approved())
            assert isinstance(done, Refused)
            assert done.code == "capital_cap"

    at_desk(work, tmp_path, tactician={"capital_cap": 1000.0})


def test_after_a_part_is_closed_the_stops_fit_what_is_left(tmp_path: Path) -> None:
    """Stops for more than the position could close what is not ours."""

    async def work(desk: Desk) -> None:
        await entered(desk, desk.approved(quantity="2"))
        with desk.open() as (ledger, executor):
            assert await executor.close(SYMBOL, "test", Decimal("0.5")) == 1
            await desk.monitor(ledger).step(executor)
            sizes = {(s.type, s.quantity) for s in desk.stops() if not s.close_position}
            assert sizes == {("STOP_MARKET", 1), ("TAKE_PROFIT_MARKET", 1)}
            sound(desk, ledger)

    at_desk(work, tmp_path)
