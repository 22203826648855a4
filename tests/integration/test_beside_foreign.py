"""What is not ours beside ours, close-position stops of others, rules that change, and what the exchange does by force."""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from support.trading.desk import ORDER, STOP, SYMBOL, covered, sound
from support.trading.hostile_desk import HostileDesk, hostile
from test_slow_and_late import living, on

from trader_cli.core.errors import TraderError
from trader_cli.core.money.plans import Refused
from trader_cli.execution.entry_result import EntryResult
from trader_cli.execution.executor import Executor
from trader_cli.settings.room_options import ExecutionOptions
from trader_cli.settings.workspace import workspace_of
from trader_cli.storage.ledger import Ledger
from trader_cli.venue.engine.switches import Switches
from trader_cli.venue.server.faults import FaultPlan
from trader_cli.venue.simulated_market.rule_changes import RuleChange

pytestmark = pytest.mark.slow
INCOME = ("GET", "/fapi/v1/income")


def ours(desk: HostileDesk) -> list[Any]:
    """Our stops that rest."""
    return [s for s in desk.stops() if s.client_id.startswith("td-") and s.type == "STOP_MARKET"]


@pytest.mark.parametrize("side", ["long", "short"])
def test_beside_foreign_quantity_the_cover_is_a_quantity_stop_of_our_size(side: str, tmp_path: Path) -> None:
    async def life(desk: HostileDesk, ledger: Ledger, executor: Executor) -> None:
        assert isinstance(await executor.enter(desk.approved(side=side)), EntryResult)
        same = "BUY" if side == "long" else "SELL"
        desk.trade_by_hand(same, "3")
        heard: list[Any] = []
        monitor = desk.monitor(ledger, heard=heard.append)
        await monitor.start_monitoring(45)
        assert {(s.close_position, s.quantity) for s in ours(desk)} == {(False, Decimal(1))}
        assert "foreign" in {r.reason for r in heard}
        assert ledger.latched(SYMBOL) is not None
        assert desk.unprotected_s(ours_only=True) == 0
        assert abs(desk.amount) == 4, "what is foreign is left alone"
        desk.trade_by_hand("SELL" if side == "long" else "BUY", "3", reduceOnly="true")
        await monitor.start_monitoring(30)
        assert {s.close_position for s in ours(desk)} == {True, False}, "alone again, the backstop is back"
        assert covered(desk.amount, ours(desk))

    living(life, tmp_path)


@pytest.mark.parametrize("side", ["long", "short"])
def test_another_ones_close_position_stop_is_answered_by_quantity_stops(side: str, tmp_path: Path) -> None:
    said: list[str] = []

    async def life(desk: HostileDesk, ledger: Ledger, executor: Executor) -> None:
        assert isinstance(await executor.enter(desk.approved(side=side)), EntryResult)
        desk.by_hand("DELETE", "/fapi/v1/algoOpenOrders")
        away = Decimal("0.97") if side == "long" else Decimal("1.03")
        level = (desk.engine.mark(SYMBOL) * away).quantize(Decimal("0.01"))
        desk.by_hand(
            *STOP,
            side="SELL" if side == "long" else "BUY",
            type="STOP_MARKET",
            algoType="CONDITIONAL",
            workingType="MARK_PRICE",
            triggerPrice=level,
            closePosition="true",
        )
        monitor = desk.monitor(ledger)
        for _ in range(7):
            await monitor.step(executor)
            await desk.clock.sleep(10)
        assert {(s.close_position, s.quantity) for s in ours(desk)} == {(False, Decimal(1))}
        tries = [r for r in desk.requests(STOP) if r.parameters.get("closePosition") == "true"]
        assert len(tries) <= 12, "no loop of refusals"
        assert sum("not ours" in line for line in said) == 1

    living(life, tmp_path, said=said)


def test_ticks_that_change_while_entering_are_read_again(tmp_path: Path) -> None:
    async def life(desk: HostileDesk, ledger: Ledger, executor: Executor) -> None:
        approved = desk.approved()
        done: Any = await executor.enter(approved)
        await desk.monitor(ledger).start_monitoring(30)
        assert isinstance(done, EntryResult)
        assert done.closed is None
        assert covered(desk.amount, desk.stops())
        sound(desk, ledger)

    def faults(_now: int) -> FaultPlan:
        return FaultPlan((on(ORDER, after_s=1.5),))

    living(
        life,
        tmp_path,
        faults=faults,
        changes=lambda now: [RuleChange(SYMBOL, now + 1000, tick=Decimal("0.1"))],
    )


@pytest.mark.parametrize("kind", ["liquidate", "deleverage", "settle"])
def test_what_the_exchange_closes_by_force_is_named_booked_and_latches(kind: str, tmp_path: Path) -> None:
    async def life(desk: HostileDesk, ledger: Ledger, executor: Executor) -> None:
        assert isinstance(await executor.enter(desk.approved(leverage=20)), EntryResult)
        getattr(desk, kind)()
        heard: list[Any] = []
        await desk.monitor(ledger, heard=heard.append).start_monitoring(60)
        named = {"liquidate": "liquidation", "deleverage": "adl", "settle": "settlement"}[kind]
        assert [r.reason for r in heard if r.action == "flat"] == [named]
        latched = ledger.latched(SYMBOL)
        assert latched is not None and latched[0] == named
        assert (ledger.halted() is not None) == (kind == "liquidate")
        sound(desk, ledger)
        refused = await executor.enter(desk.approved(lineage="next"))
        assert isinstance(refused, Refused)

    living(life, tmp_path)


def test_a_part_that_is_deleveraged_leaves_stops_of_the_rest(tmp_path: Path) -> None:
    async def life(desk: HostileDesk, ledger: Ledger, executor: Executor) -> None:
        assert isinstance(await executor.enter(desk.approved(quantity="2", leverage=20)), EntryResult)
        desk.deleverage(quantity="0.5")
        await desk.monitor(ledger).start_monitoring(60)
        assert {s.quantity for s in desk.stops() if not s.close_position} == {Decimal("1.5")}
        sound(desk, ledger)

    living(life, tmp_path)


@pytest.mark.parametrize("path", ["/fapi/v1/fundingRate", "/futures/data/*", "/api/v3/*"])
def test_a_limit_of_another_pool_or_host_stops_nothing_of_care(path: str, tmp_path: Path) -> None:
    async def life(desk: HostileDesk, ledger: Ledger, executor: Executor) -> None:
        for ask in (desk.exchange.get_funding_rates(SYMBOL), desk.exchange.get_spot_klines(SYMBOL, "1h", 5)):
            try:
                await ask
            except TraderError:
                continue
        assert desk.exchange.frozen_s() == 0
        assert isinstance(await executor.enter(desk.approved()), EntryResult)
        sound(desk, ledger)

    living(life, tmp_path, faults=FaultPlan((on(("GET", path), failure="429"),)))


def test_too_many_orders_stop_new_orders_only(tmp_path: Path) -> None:
    async def life(desk: HostileDesk, ledger: Ledger, executor: Executor) -> None:
        assert isinstance(await executor.enter(desk.approved()), EntryResult)
        desk.venue.bend(FaultPlan((on(ORDER, failure="-1015", count=1),)))
        assert await executor.close(SYMBOL, "test") == 1
        assert desk.exchange.orders_held_s() > 0
        with pytest.raises(TraderError, match="no new order"):
            await executor.enter(desk.approved(lineage="next"))
        sound(desk, ledger)

    living(life, tmp_path)


@pytest.mark.parametrize("answer", ["trimmed", "refused"])
def test_an_exit_of_more_than_is_left_closes_what_is_left(answer: str, tmp_path: Path) -> None:
    """A person closes half while the exit is under way."""

    async def life(desk: HostileDesk, ledger: Ledger, executor: Executor) -> None:
        assert isinstance(await executor.enter(desk.approved(quantity="2")), EntryResult)
        desk.trade_by_hand("SELL", "1", reduceOnly="true")
        await executor.close(SYMBOL, "test")
        assert desk.amount == 0
        sound(desk, ledger)

    living(life, tmp_path, switches=Switches(reduce_above_position=answer))  # type: ignore[arg-type]


def test_a_position_turned_by_hand_is_never_touched(tmp_path: Path) -> None:
    async def work(desk: HostileDesk) -> None:
        with Ledger.opened(desk.path) as ledger:
            executor = Executor(desk.exchange, ledger, ExecutionOptions.of(workspace_of(desk.settings)))
            assert isinstance(await executor.enter(desk.approved()), EntryResult)
            desk.trade_by_hand("SELL", "3")
            await desk.monitor(ledger).start_monitoring(30)
            assert desk.amount == -2
            assert ledger.holding(SYMBOL).amount == 0
            assert ours(desk) == []

    hostile(work, tmp_path)


def test_what_others_add_is_the_first_to_go_when_they_reduce(tmp_path: Path) -> None:
    """One of our two is sold by hand, three are added, two of them go again: one is ours still."""

    async def life(desk: HostileDesk, ledger: Ledger, executor: Executor) -> None:
        assert isinstance(await executor.enter(desk.approved(quantity="2")), EntryResult)
        desk.trade_by_hand("SELL", "1", reduceOnly="true")
        for side, quantity in (("BUY", "3"), ("SELL", "2")):
            await desk.monitor(ledger).start_monitoring(30)
            desk.trade_by_hand(side, quantity)
        await desk.monitor(ledger).start_monitoring(30)
        assert ledger.holding(SYMBOL).amount == 1
        assert desk.amount == 2, "what is foreign is left alone"
        assert sum(s.quantity for s in ours(desk)) == 1

    living(life, tmp_path)


def test_income_that_does_not_come_is_not_asked_for_at_each_look(tmp_path: Path) -> None:
    async def life(desk: HostileDesk, ledger: Ledger, executor: Executor) -> None:
        assert isinstance(await executor.enter(desk.approved()), EntryResult)
        await desk.clock.sleep(15)
        began = desk.clock.now_ms()
        desk.venue.bend(FaultPlan((on(INCOME, failure="503"),)))
        for _ in range(5):
            with suppress(TraderError):
                await executor.reconciler.booker.receive_income(at_once=True)
            await desk.clock.sleep(1)
        assert len(desk.requests(INCOME, since_ms=began)) == 1

    living(life, tmp_path)
