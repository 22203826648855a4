"""The executor over the real client against a real venue with faults: one order, never unprotected, never a guess."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from support.trading.desk import (
    LOST,
    ORDER,
    POSITIONS,
    STOP,
    SYMBOL,
    Desk,
    Rule,
    at_desk,
    covered,
    entered,
    first,
    refused,
    sound,
)

from trader_cli.execution.entry_result import EntryResult
from trader_cli.execution.executor import Executor
from trader_cli.settings.room_options import ExecutionOptions
from trader_cli.settings.workspace import workspace_of
from trader_cli.storage.ledger import Ledger

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("side", ["long", "short"])
def test_an_entry_is_one_order_with_its_stops_resting(side: str, tmp_path: Path) -> None:
    async def work(desk: Desk) -> None:
        approved = desk.approved(side=side, quantity="2.5")
        done = await entered(desk, approved)
        assert (done.quantity, done.fresh, done.closed) == (Decimal("2.5"), True, None)
        assert done.uncovered_ms <= 5000
        by_kind = {(s.type, s.close_position): s for s in desk.stops()}
        assert set(by_kind) == {("STOP_MARKET", True), ("STOP_MARKET", False), ("TAKE_PROFIT_MARKET", False)}
        plan = approved.plan
        levels = [plan.backstop_price, plan.stop_price, plan.take_profit_price]
        assert sorted(s.trigger_price for s in desk.stops()) == sorted(levels)
        assert {s.quantity for s in desk.stops() if not s.close_position} == {Decimal("2.5")}
        option = desk.engine.account.option(SYMBOL)
        assert (option.leverage, option.isolated) == (plan.leverage, True)

    at_desk(work, tmp_path)


@pytest.mark.parametrize("route", [ORDER, STOP])
@pytest.mark.parametrize("fault", LOST)
def test_a_lost_reply_makes_no_second_order(route: tuple[str, str], fault: str, tmp_path: Path) -> None:
    async def work(desk: Desk) -> None:
        desk.venue.bend(first(route, *([fault] * (1 if route == ORDER else 3))))
        done = await entered(desk, desk.approved())
        assert done.quantity == 1
        assert desk.venue.seen.count(ORDER) == 1
        assert len(desk.stops()) == 3

    at_desk(work, tmp_path)


@pytest.mark.parametrize("place", [0, 1, 2], ids=["backstop", "stop", "take-profit"])
@pytest.mark.parametrize("fault", ["dropped", "unknown", "down", "throttled"])
def test_one_stop_that_fails_once_is_made_good(place: int, fault: str, tmp_path: Path) -> None:
    async def work(desk: Desk) -> None:
        desk.venue.bend(first(STOP, *[""] * place, fault))
        done = await entered(desk, desk.approved())
        assert done.closed is None
        assert done.uncovered_ms <= 5000
        kinds = {(s.type, s.close_position) for s in desk.stops()}
        assert kinds >= {("STOP_MARKET", True), ("STOP_MARKET", False)}

    at_desk(work, tmp_path)


def failing_for(desk: Desk, seconds: float, fault: str, *, everything: bool = False) -> Rule:
    """The stop service, or everything from the fill on, fails for so long from the first stop on."""
    began: list[int] = []

    def rule(_number: int, route: tuple[str, str]) -> str:
        if route == STOP and not began:
            began.append(desk.clock.now_ms())
        away = bool(began) and desk.clock.now_ms() - began[0] < seconds * 1000
        return fault if away and (everything or route == STOP) else ""

    return rule


@pytest.mark.parametrize("fault", ["down", "refused", "throttled"])
@pytest.mark.parametrize(("seconds", "closed"), [(2.5, None), (9, "unprotected")])
def test_without_stops_for_too_long_it_is_closed(
    fault: str, seconds: float, closed: str | None, tmp_path: Path
) -> None:
    async def work(desk: Desk) -> None:
        desk.venue.bend(failing_for(desk, seconds, fault))
        filled_ms = desk.clock.now_ms()
        done = await entered(desk, desk.approved())
        assert done.closed == closed
        assert (desk.amount == 0) == (closed is not None)
        if closed:
            assert 5000 <= done.uncovered_ms <= 6000
            assert desk.engine.account.fills[-1].time_ms - filled_ms <= 6000

    at_desk(work, tmp_path)


@pytest.mark.parametrize(("seconds", "closed"), [(3, None), (20, "unprotected")])
def test_the_exchange_away_between_order_and_stop(seconds: float, closed: str | None, tmp_path: Path) -> None:
    async def work(desk: Desk) -> None:
        desk.venue.bend(failing_for(desk, seconds, "down", everything=True))
        assert (await entered(desk, desk.approved())).closed == closed

    at_desk(work, tmp_path)


def test_while_the_exchange_is_away_with_a_bare_position_entering_goes_on_and_alarms(tmp_path: Path) -> None:
    async def work(desk: Desk) -> None:
        desk.venue.bend(failing_for(desk, 300, "down", everything=True))
        said: list[int] = []
        with Ledger.opened(desk.path) as ledger:
            executor = Executor(
                desk.exchange,
                ledger,
                ExecutionOptions.of(workspace_of(desk.settings)),
                say=lambda line: said.append(desk.clock.now_ms()) if line.startswith("ALARM") else None,
            )
            began = desk.clock.now_ms()
            done = await executor.enter(desk.approved())
            assert isinstance(done, EntryResult)
            assert done.closed == "unprotected"
            assert 300_000 <= desk.clock.now_ms() - began <= 310_000
            assert max(b - a for a, b in zip([began, *said], [*said, began + 300_000], strict=True)) <= 10_000
            sound(desk, ledger)

    at_desk(work, tmp_path)


@pytest.mark.parametrize("side", ["long", "short"])
@pytest.mark.parametrize("kind", ["STOP_MARKET", "TAKE_PROFIT_MARKET"])
def test_a_stop_cancelled_by_somebody_is_placed_again(side: str, kind: str, tmp_path: Path) -> None:
    async def work(desk: Desk) -> None:
        await entered(desk, desk.approved(side=side))
        for gone in [s for s in desk.stops() if s.type == kind]:
            desk.by_hand("DELETE", "/fapi/v1/algoOrder", algoId=gone.algo_id)
        with desk.open() as (ledger, executor):
            assert await desk.monitor(ledger).step(executor)
            assert {s.type for s in desk.stops()} == {"STOP_MARKET", "TAKE_PROFIT_MARKET"}
            assert len(desk.stops()) == 3
            sound(desk, ledger)

    at_desk(work, tmp_path)


@pytest.mark.parametrize("part", ["1", "0.4"])
def test_a_position_closed_by_hand_is_booked_as_external(part: str, tmp_path: Path) -> None:
    async def work(desk: Desk) -> None:
        await entered(desk, desk.approved())
        desk.trade_by_hand("SELL", part, reduceOnly="true")
        with desk.open() as (ledger, executor):
            open_still = await desk.monitor(ledger).step(executor)
            assert open_still == (part != "1")
            assert [f.purpose for f in ledger.fills()] == ["entry", "external"]
            assert ledger.fills()[-1].quantity == Decimal(part)
            sound(desk, ledger)

    at_desk(work, tmp_path)


def test_a_hand_that_turns_the_position_is_booked_as_far_as_it_was_ours(tmp_path: Path) -> None:
    async def work(desk: Desk) -> None:
        await entered(desk, desk.approved())
        desk.trade_by_hand("SELL", "3")
        with desk.open() as (ledger, executor):
            heard: list[Any] = []
            await desk.monitor(ledger, heard=heard.append).step(executor)
            assert ledger.holding(SYMBOL).amount == 0
            assert desk.amount == -2, "what is foreign is left alone"
            assert desk.stops() == []
            assert "alarm" in {r.action for r in heard}

    at_desk(work, tmp_path)


def test_what_is_foreign_is_refused_and_never_touched(tmp_path: Path) -> None:
    async def work(desk: Desk) -> None:
        price = (desk.engine.mark(SYMBOL) * Decimal("0.98")).quantize(Decimal("0.01"))
        desk.by_hand(*ORDER, side="BUY", type="LIMIT", quantity="1", price=price, timeInForce="GTC")
        assert await refused(desk, desk.approved()) == "foreign_position"
        desk.by_hand("DELETE", "/fapi/v1/allOpenOrders")
        desk.trade_by_hand("SELL", "2")
        assert await refused(desk, desk.approved()) == "foreign_position"
        desk.by_hand(
            *STOP,
            side="BUY",
            type="STOP_MARKET",
            algoType="CONDITIONAL",
            workingType="MARK_PRICE",
            triggerPrice=(price / Decimal("0.9")).quantize(Decimal("0.01")),
            closePosition="true",
        )
        with desk.open() as (ledger, executor):
            assert not await desk.monitor(ledger).step(executor)
            with pytest.raises(IndexError):
                ledger.entries(SYMBOL)[-1]
            await executor.sweep(SYMBOL)
        assert (desk.amount, len(desk.stops())) == (-2, 1)
        desk.trade_by_hand("BUY", "2", reduceOnly="true")
        assert desk.stops() == []
        with desk.open() as (_, executor):
            assert isinstance(await executor.enter(desk.approved()), EntryResult)

    at_desk(work, tmp_path)


def test_foreign_quantity_beside_ours_is_left_when_ours_closes(tmp_path: Path) -> None:
    async def work(desk: Desk) -> None:
        await entered(desk, desk.approved())
        desk.trade_by_hand("BUY", "2")
        with desk.open() as (ledger, executor):
            heard: list[Any] = []
            await desk.monitor(ledger, heard=heard.append).step(executor)
            assert next(r.action for r in heard) == "alarm"
            assert await executor.close(SYMBOL, "test") == 1
            assert (desk.amount, ledger.holding(SYMBOL).amount) == (2, 0)
            assert desk.stops() == []

    at_desk(work, tmp_path)


def test_a_liquidation_is_booked_to_the_cent(tmp_path: Path) -> None:
    async def work(desk: Desk) -> None:
        await entered(desk, desk.approved(leverage=100, quantity="5", stop="0.002"))
        desk.by_hand("DELETE", "/fapi/v1/algoOpenOrders")
        for _ in range(400):
            await desk.clock.sleep(600)
            if desk.amount == 0:
                break
        assert desk.amount == 0, "this tape reaches the level"
        with desk.open() as (ledger, _):
            await desk.monitor(ledger).start_monitoring(20)
            assert [f.purpose for f in ledger.fills()] == ["entry", "external"]
            assert "INSURANCE_CLEAR" in {kind for kind, *_ in ledger.incomes()}
            sound(desk, ledger)

    at_desk(work, tmp_path, 0.2)


def test_a_thin_book_fills_in_parts_and_stops_fit_what_filled(tmp_path: Path) -> None:
    async def work(desk: Desk) -> None:
        market: Any = desk.engine.markets[SYMBOL]
        book = market.book

        def thin(most: float) -> Callable[[int, int], Any]:
            return lambda now_ms, levels: [[(p, min(q, most)) for p, q in side] for side in book(now_ms, levels)]

        market.book = thin(0.01)
        done = await entered(desk, desk.approved(quantity="3"))
        assert done.quantity == desk.amount == Decimal("0.5")
        assert {s.quantity for s in desk.stops() if not s.close_position} == {Decimal("0.5")}
        market.book = thin(0.003)
        with desk.open() as (ledger, executor):
            assert await executor.close(SYMBOL, "test") == Decimal("0.5")
            assert len(executor.exits(ledger.entries(SYMBOL)[-1])) == 4
            sound(desk, ledger)

    at_desk(work, tmp_path)


@pytest.mark.parametrize("side", ["long", "short"])
@pytest.mark.parametrize("fault", ["", "dropped", "refused", "down"])
def test_tightening_never_leaves_less_than_full_cover(side: str, fault: str, tmp_path: Path) -> None:
    async def work(desk: Desk) -> None:
        approved = desk.approved(side=side)
        await entered(desk, approved)
        plan, seen = approved.plan, []

        def look() -> None:
            resting = [s for s in desk.stops() if s.type == "STOP_MARKET" and not s.close_position]
            seen.append((len(resting), covered(desk.amount, desk.stops())))

        desk.venue.watch = look
        with desk.open() as (ledger, executor):
            desk.venue.bend(first(STOP, fault))
            for share in ("0.2", "0.4", "0.3", "-1", "0.6"):
                await executor.view(SYMBOL)
                cover, _ = await executor.keep_covered(plan)
                assert cover is not None
                level = plan.stop_price + (plan.price - plan.stop_price) * Decimal(share)
                await executor.protector.tighten(plan, cover, level)
            (resting,) = [s for s in desk.stops() if s.type == "STOP_MARKET" and not s.close_position]
            assert abs(resting.trigger_price - level) < Decimal("0.011")
            sound(desk, ledger)
        assert min(count for count, _ in seen) >= 1
        assert all(full for _, full in seen)

    at_desk(work, tmp_path)


@pytest.mark.parametrize("fault", ["down", "empty", "html", "object", "dropped"])
def test_a_failed_question_about_positions_is_never_read_as_flat(fault: str, tmp_path: Path) -> None:
    async def work(desk: Desk) -> None:
        await entered(desk, desk.approved())
        with desk.open() as (ledger, executor):
            desk.venue.bend(first(POSITIONS, *[fault] * 4))
            monitor = desk.monitor(ledger)
            assert await monitor.step(executor)
            assert len(desk.stops()) == 3
            assert ledger.holding(SYMBOL).amount == 1
            await monitor.start_monitoring(20)
            assert (len(desk.stops()), desk.amount) == (3, 1)
            sound(desk, ledger)

    at_desk(work, tmp_path)


NO_FILTERS: tuple[Any, ...] = (
    [],
    [{"filterType": "PRICE_FILTER", "tickSize": "soon"}],
    [{"filterType": "LOT_SIZE", "stepSize": "0", "minQty": "0", "maxQty": "0"}, {"filterType": "MARKET_LOT_SIZE"}],
)


@pytest.mark.parametrize("filters", NO_FILTERS, ids=["none listed", "unreadable", "switched off"])
def test_what_reduces_is_sent_whatever_filters_the_exchange_lists_by_now(filters: Any, tmp_path: Path) -> None:
    async def work(desk: Desk) -> None:
        await entered(desk, desk.approved(quantity="2.5"))
        books = desk.exchange._book.bodies
        books[SYMBOL] = {**books[SYMBOL], "filters": filters}
        with desk.open() as (_, executor):
            assert await executor.close(SYMBOL, "by hand") == Decimal("2.5")
        assert desk.amount == 0
        assert not desk.stops()

    at_desk(work, tmp_path)
