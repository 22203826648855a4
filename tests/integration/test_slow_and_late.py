"""Answers that are slow, late, lost or lagging, one kind at a time, with the delays once seen, their halves and doubles."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from support.trading.desk import ORDER, POSITIONS, STOP, SYMBOL, covered, sound
from support.trading.hostile_desk import HostileDesk, hostile

from trader_cli.core.errors import ExchangeUnavailable, TraderError
from trader_cli.core.money.plans import Refused
from trader_cli.execution.entry_result import EntryResult
from trader_cli.execution.executor import Executor
from trader_cli.settings.room_options import ExecutionOptions
from trader_cli.settings.workspace import workspace_of
from trader_cli.storage.ledger import Ledger
from trader_cli.venue.engine.switches import Switches
from trader_cli.venue.server.faults import Fault, FaultPlan

pytestmark = pytest.mark.slow

BY_ID, TRADES = ("GET", "/fapi/v1/order"), ("GET", "/fapi/v1/userTrades")
LIST, STOP_BY_ID = ("GET", "/fapi/v1/openAlgoOrders"), ("GET", "/fapi/v1/algoOrder")
MOST_BARE_S = 7.0
"""The deadline and one budget."""
Life = Callable[[HostileDesk, Ledger, Executor], Awaitable[Any]]


def on(route: tuple[str, str], **what: Any) -> Fault:
    """A fault of one route."""
    return Fault(*route, **what)


def living(life: Life, path: Path, *, said: list[str] | None = None, **world: Any) -> Any:
    """Live as one process in this world; replies under way are let go at the end."""

    async def work(desk: HostileDesk) -> Any:
        with Ledger.opened(desk.path) as ledger:
            executor = Executor(
                desk.exchange,
                ledger,
                ExecutionOptions.of(workspace_of(desk.settings)),
                say=(said if said is not None else []).append,
            )
            try:
                return await life(desk, ledger, executor)
            finally:
                await executor.end()

    return hostile(work, path, **world)


def entries(desk: HostileDesk) -> int:
    """Entries that the exchange carried out."""
    return sum(not order.reduce_only and order.filled > 0 for order in desk.books.orders.values())


@pytest.mark.parametrize("late_s", [3.0, 12.5, 25.0, 29.0])
def test_the_entrys_reply_is_late(late_s: float, tmp_path: Path) -> None:
    async def life(desk: HostileDesk, ledger: Ledger, executor: Executor) -> None:
        done = await executor.enter(desk.approved())
        assert isinstance(done, EntryResult)
        assert (done.quantity, done.closed, entries(desk)) == (1, None, 1)
        assert desk.unprotected_s() <= 1.0
        assert abs(done.uncovered_ms / 1000 - desk.unprotected_s()) <= 0.01
        sound(desk, ledger)

    living(life, tmp_path, faults=[on(ORDER, after_s=late_s)])


@pytest.mark.parametrize("late_s", [1.0, 12.5, 25.0, 50.0])
def test_replies_to_stops_are_late(late_s: float, tmp_path: Path) -> None:
    async def life(desk: HostileDesk, ledger: Ledger, executor: Executor) -> None:
        done = await executor.enter(desk.approved())
        assert isinstance(done, EntryResult)
        assert done.closed is None
        assert desk.unprotected_s() == 0
        await desk.monitor(ledger).start_monitoring(200)
        sound(desk, ledger)
        assert len(desk.stops()) == 3, "what was sent too often is gone again"

    living(life, tmp_path, faults=[on(STOP, after_s=late_s)])


@pytest.mark.parametrize("seconds", [20, 40, 80])
def test_every_order_fails_for_a_while(seconds: int, tmp_path: Path) -> None:
    said: list[str] = []

    async def life(desk: HostileDesk, ledger: Ledger, executor: Executor) -> None:
        done = await executor.enter(desk.approved())
        assert isinstance(done, EntryResult)
        assert done.closed == "unprotected"
        ((_, ended),) = desk.unprotected_spans()
        assert ended - desk.start_ms <= (seconds + MOST_BARE_S) * 1000
        assert sum(line.startswith("ALARM") for line in said) >= (seconds - 7) // 10
        sound(desk, ledger)

    def faults(now: int) -> FaultPlan:
        end = now + seconds * 1000
        return FaultPlan((on(STOP, failure="503", to_ms=end), on(ORDER, failure="503", from_ms=now + 1, to_ms=end)))

    living(life, tmp_path, faults=faults, said=said)


@pytest.mark.parametrize("lost", ["dropped", "empty", "timeout -1007", "503 unknown"])
@pytest.mark.parametrize("lag_s", [9.0, 18.0, 30.0, 60.0])
@pytest.mark.parametrize("lagging", [(BY_ID, TRADES), (BY_ID, TRADES, POSITIONS)], ids=["orders", "all"])
def test_the_reply_is_lost_and_queries_lag(lagging: Any, lag_s: float, lost: str, tmp_path: Path) -> None:
    async def life(desk: HostileDesk, ledger: Ledger, executor: Executor) -> None:
        done = await executor.enter(desk.approved())
        assert isinstance(done, EntryResult)
        assert (done.quantity, entries(desk), len(desk.requests(ORDER))) == (1, 1, 1)
        assert desk.unprotected_s() <= 1.0
        sound(desk, ledger)

    faults = [on(ORDER, failure=lost, count=1), *(on(route, lag_s=lag_s) for route in lagging)]
    living(life, tmp_path, faults=faults)


@pytest.mark.parametrize("lag_s", [0.0, 30.0, 60.0])
def test_an_entry_that_never_arrived_is_unknown_for_as_long_as_queries_may_lag(lag_s: float, tmp_path: Path) -> None:
    async def life(desk: HostileDesk, ledger: Ledger, executor: Executor) -> None:
        began, approved = desk.clock.now_ms(), desk.approved()
        done = await executor.enter(approved)
        assert isinstance(done, Refused)
        assert done.code == "entry_absent"
        assert 90_000 <= desk.clock.now_ms() - began <= 100_000
        assert len(desk.requests(ORDER)) == 1
        assert desk.stops() == []
        again = await executor.enter(approved)
        assert isinstance(again, Refused)
        assert len(desk.requests(ORDER)) == 1, "it is not sent again, under no id"
        assert ledger.holding(SYMBOL).amount == 0

    faults = [on(ORDER, failure="dropped before", count=1), *(on(r, lag_s=lag_s) for r in (BY_ID, TRADES, POSITIONS))]
    for accepted in ("refused", "accepted"):
        switches = Switches(close_stop_while_flat=accepted)  # type: ignore[arg-type]
        (tmp_path / accepted).mkdir()
        living(life, tmp_path / accepted, faults=faults, switches=switches)


def test_while_an_entry_is_unknown_its_symbol_takes_no_other(tmp_path: Path) -> None:
    async def life(desk: HostileDesk, ledger: Ledger, executor: Executor) -> None:
        with pytest.raises(ExchangeUnavailable, match="not known"):
            await executor.enter(desk.approved())
        other = await executor.enter(desk.approved(lineage="another"))
        assert isinstance(other, Refused)
        assert other.code == "order_unknown"
        assert len(desk.requests(ORDER)) == 1

    living(
        life,
        tmp_path,
        faults=lambda now: FaultPlan(
            (on(ORDER, failure="dropped before", count=1), on(TRADES, failure="503", from_ms=now + 1))
        ),
    )


@pytest.mark.parametrize("slow_s", [4.0, 8.0, 16.0])
def test_the_list_of_stops_is_slow_after_they_vanished(slow_s: float, tmp_path: Path) -> None:
    async def life(desk: HostileDesk, ledger: Ledger, executor: Executor) -> None:
        assert isinstance(await executor.enter(desk.approved()), EntryResult)
        await desk.monitor(ledger).start_monitoring(5)
        gone_ms = desk.clock.now_ms()
        desk.by_hand("DELETE", "/fapi/v1/algoOpenOrders")
        assert await desk.monitor(ledger).step(executor)
        assert desk.clock.now_ms() - gone_ms <= 6000, "each is asked for by its own id"
        assert covered(desk.amount, desk.stops())
        sound(desk, ledger)

    living(life, tmp_path, faults=lambda now: FaultPlan((on(LIST, after_s=slow_s, from_ms=now + 1),)))


@pytest.mark.parametrize("failure", ["dropped before", "503", "dropped", "503 unknown"])
def test_one_lost_exit_is_repeated_at_once(failure: str, tmp_path: Path) -> None:
    async def life(desk: HostileDesk, ledger: Ledger, executor: Executor) -> None:
        assert isinstance(await executor.enter(desk.approved()), EntryResult)
        began = desk.clock.now_ms()
        assert await executor.close(SYMBOL, "test") == 1
        assert desk.clock.now_ms() - began <= 3000
        assert desk.amount == 0
        sound(desk, ledger)

    living(life, tmp_path, faults=lambda now: FaultPlan((on(ORDER, failure=failure, from_ms=now + 1, count=1),)))


@pytest.mark.parametrize("failure", ["dropped before", "dropped"])
def test_a_partial_exit_is_repeated_only_once_the_first_is_proved_absent(failure: str, tmp_path: Path) -> None:
    async def life(desk: HostileDesk, ledger: Ledger, executor: Executor) -> None:
        assert isinstance(await executor.enter(desk.approved(quantity="2")), EntryResult)
        await desk.clock.sleep(1)
        began = desk.clock.now_ms()
        try:
            await executor.close(SYMBOL, "test", Decimal("0.5"))
        except TraderError:
            assert failure == "dropped before"
        exits = list(desk.requests(ORDER, began))
        assert len(exits) == 1
        assert desk.amount == (2 if failure == "dropped before" else 1)
        await desk.monitor(ledger).start_monitoring(30)
        assert covered(desk.amount, desk.stops())

    def faults(now: int) -> FaultPlan:
        return FaultPlan(
            (on(ORDER, failure=failure, from_ms=now + 500, count=1), on(BY_ID, lag_s=40, from_ms=now + 500))
        )

    living(life, tmp_path, faults=faults)


@pytest.mark.parametrize("beside", ["-2022", "-4118", "accepted"])
def test_a_target_in_the_way_of_an_exit_is_taken_away_and_never_a_stop(beside: str, tmp_path: Path) -> None:
    async def life(desk: HostileDesk, ledger: Ledger, executor: Executor) -> None:
        assert isinstance(await executor.enter(desk.approved()), EntryResult)
        assert await executor.close(SYMBOL, "test") == 1
        assert desk.unprotected_s() == 0
        sound(desk, ledger)

    switches = Switches(reduce_beside_cover=beside, take_profits="cover")  # type: ignore[arg-type]
    living(life, tmp_path, switches=switches)


@pytest.mark.parametrize("limit", ["429", "418"])
@pytest.mark.parametrize("seconds", [5, 20, 60])
def test_during_a_ban_nothing_is_sent_and_an_order_goes_first_after_it(
    seconds: int, limit: str, tmp_path: Path
) -> None:
    said: list[str] = []

    async def life(desk: HostileDesk, ledger: Ledger, executor: Executor) -> None:
        done = await executor.enter(desk.approved())
        assert isinstance(done, EntryResult)
        assert desk.venue.log.while_banned + desk.venue.log.while_limited == 0
        ((_, ended),) = desk.unprotected_spans()
        after = [
            r for r in desk.requests() if r.arrived_ms >= desk.start_ms + seconds * 1000 and r.status not in {429, 418}
        ]
        assert after[0].route in {ORDER, STOP}, "an order goes first"
        assert ended - desk.start_ms <= (seconds + MOST_BARE_S) * 1000
        if seconds > 10:
            assert [line for line in said if line.startswith("ALARM")]
        sound(desk, ledger)

    def faults(now: int) -> FaultPlan:
        end = now + seconds * 1000
        routes = (STOP, BY_ID, TRADES, POSITIONS, LIST)
        return FaultPlan(tuple(on(r, failure=limit, to_ms=end, from_ms=now if r == STOP else now + 1) for r in routes))

    living(life, tmp_path, faults=faults, said=said)


@pytest.mark.parametrize("slow_s", [15.0, 30.0, 60.0])
def test_what_filled_is_said_though_its_trades_are_not_shown(slow_s: float, tmp_path: Path) -> None:
    async def life(desk: HostileDesk, ledger: Ledger, executor: Executor) -> None:
        done = await executor.enter(desk.approved())
        assert isinstance(done, EntryResult)
        assert (done.quantity, done.closed) == (1, None)
        assert done.cover is not None
        assert done.cover.full
        assert done.filled.startswith("long 1 at ")
        order = next(iter(desk.books.orders.values()))
        assert done.average_price == order.filled_quote / order.filled
        closed = await executor.close(SYMBOL, "test")
        assert closed == 1

    living(life, tmp_path, faults=[on(TRADES, after_s=slow_s)], when=ORDER)


@pytest.mark.parametrize("down_s", [120.0, 150.0, 300.0])
def test_a_blind_backstop_is_taken_away_though_it_cannot_be_at_once(down_s: float, tmp_path: Path) -> None:
    async def life(desk: HostileDesk, ledger: Ledger, executor: Executor) -> None:
        with suppress(TraderError):
            await executor.enter(desk.approved())
        assert desk.stops()
        await desk.monitor(ledger).start_monitoring(down_s)
        assert not desk.stops()

    faults = [
        on(ORDER, before_s=60, failure="503 before"),
        on(("DELETE", "/fapi/v1/algoOrder"), failure="503"),
    ]
    living(
        life,
        tmp_path,
        when=ORDER,
        switches=Switches(close_stop_while_flat="accepted"),
        faults=lambda now: FaultPlan((faults[0], replace(faults[1], from_ms=now, to_ms=now + round(down_s * 1000)))),
    )


@pytest.mark.parametrize("failure", ["truncated", "empty", "[]", "503 unknown", "502"])
def test_a_stop_whose_reply_cannot_be_read_was_sent(failure: str, tmp_path: Path) -> None:
    async def life(desk: HostileDesk, ledger: Ledger, executor: Executor) -> None:
        with suppress(TraderError):
            await executor.enter(desk.approved())
        sent = [r.parameters["clientAlgoId"] for r in desk.requests(STOP)]
        assert len(sent) == len(set(sent)), "none is sent a second time under its id"
        assert all(ledger.last_note(client_id) is not None for client_id in sent)
        await desk.monitor(ledger).start_monitoring(60)
        assert covered(desk.amount, desk.stops())
        assert await executor.close(SYMBOL, "test") == abs(desk.amount) or desk.amount == 0
        assert desk.amount == 0
        await desk.monitor(ledger).start_monitoring(200)
        assert not desk.stops()

    living(life, tmp_path, when=ORDER, faults=lambda now: FaultPlan((on(STOP, failure=failure, to_ms=now + 30_000),)))
