"""One plan is one order: entered again at any time, changed, expired, refused; and plans that are not to be entered."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from support.trading.desk import ORDER, SYMBOL, Desk, at_desk, entered, first, refused, sound

from trader_cli.core.errors import ExchangeRejected
from trader_cli.core.money.plans import Approved, Refused, TradePlan

pytestmark = pytest.mark.slow


def test_entering_again_sends_nothing_while_open_and_after_the_close(tmp_path: Path) -> None:
    async def work(desk: Desk) -> None:
        approved = desk.approved()
        assert (await entered(desk, approved)).fresh
        again = await entered(desk, approved)
        assert (again.fresh, again.quantity) == (False, 1)
        with desk.open() as (_, executor):
            await executor.close(SYMBOL, "test")
        after = await entered(desk, approved)
        assert (after.fresh, after.quantity) == (False, 1)
        assert desk.venue.seen.count(ORDER) == 2, "the entry and the exit"

    at_desk(work, tmp_path)


def test_an_order_once_seen_is_never_sent_again_whatever_a_lookup_says(tmp_path: Path) -> None:
    """A query may answer from a copy that lags (−2013) long after the fill."""

    async def work(desk: Desk) -> None:
        approved = desk.approved()
        await entered(desk, approved)
        await desk.clock.sleep(30)
        desk.venue.bend(lambda _n, route: "missing" if route == ("GET", "/fapi/v1/order") else "")
        assert (await entered(desk, approved)).quantity == 1
        assert desk.venue.seen.count(ORDER) == 1

    at_desk(work, tmp_path)


def test_an_old_plan_entered_again_leaves_the_position_of_a_newer_one_alone(tmp_path: Path) -> None:
    async def work(desk: Desk) -> None:
        old = desk.approved()
        await entered(desk, old)
        with desk.open() as (_, executor):
            await executor.close(SYMBOL, "test")
        await desk.clock.sleep(60)
        await entered(desk, desk.approved(side="short"))
        resting = [(s.client_id, s.trigger_price) for s in desk.stops()]
        assert not (await entered(desk, old)).fresh
        assert [(s.client_id, s.trigger_price) for s in desk.stops()] == resting

    at_desk(work, tmp_path)


def changed(plan: TradePlan, **fields: Any) -> Approved:
    return Approved(TradePlan(**{**{n: getattr(plan, n) for n in plan.__dataclass_fields__}, **fields}))


def test_plans_that_are_not_to_be_entered(tmp_path: Path) -> None:
    async def work(desk: Desk) -> None:
        plan = desk.plan()
        assert await refused(desk, changed(plan, expires_ms=plan.created_ms)) == "plan_expired"
        assert await refused(desk, changed(plan, account="another")) == "other_account"
        assert await refused(desk, changed(plan, mode="live")) == "other_account"
        assert await refused(desk, changed(plan, price=plan.price * 2)) == "stops_impossible"
        assert await refused(desk, changed(plan, stop_price=plan.price * 2)) == "stops_impossible"
        assert await refused(desk, changed(plan, leverage=0)) == "plan_senseless"
        assert await refused(desk, changed(plan, quantity=Decimal("0.001"))) == "below_minimum"
        assert await refused(desk, changed(plan, quantity=Decimal(100))) == "insufficient_margin"
        assert await refused(desk, changed(plan, quantity=Decimal(40), leverage=125)) == "leverage_above_bracket"
        with desk.open() as (ledger, _):
            ledger.halt("test", 1)
        assert await refused(desk, Approved(plan)) == "halted"
        with desk.open() as (ledger, _):
            ledger.clear_halt("test", 2)
            assert ledger.intents() == []
        await entered(desk, Approved(plan))
        assert await refused(desk, changed(plan, quantity=Decimal(2))) == "plan_changed"
        assert await refused(desk, desk.approved(lineage="other")) == "position_open"

    at_desk(work, tmp_path, tactician={"max_exposure": 100.0})


def test_an_order_the_exchange_refuses_opens_nothing_and_is_not_tried_again(tmp_path: Path) -> None:
    async def work(desk: Desk) -> None:
        approved = desk.approved()
        desk.venue.bend(first(ORDER, "refused"))
        with desk.open() as (_, executor):
            with pytest.raises(ExchangeRejected, match="no position of ours is open"):
                await executor.enter(approved)
        assert await refused(desk, approved) == "entry_rejected"
        assert desk.amount == 0

    at_desk(work, tmp_path)


def positions_in(desk: Desk) -> set[tuple[str, Decimal]]:
    """What the exchange ever opened, by its own books: (client id, quantity) of entries that filled."""
    return {(o.client_id, o.filled) for o in desk.engine.account.orders.values() if not o.reduce_only and o.filled > 0}


def entries_sent(desk: Desk, approved: Approved) -> int:
    """How often the entry of a plan was sent; exits that can only reduce may have been besides."""
    sent = "SELECT COUNT(*) FROM orders WHERE client_id = ? AND status = 'sending'"
    with desk.open() as (ledger, _):
        return int(ledger._db.execute(sent, (approved.plan.client_id("entry"),)).fetchone()[0])


@pytest.mark.parametrize("fault", ["limited", "throttled"])
def test_an_order_that_no_refusal_of_the_exchange_explains_is_absent_in_time_and_never_sent_again(
    tmp_path: Path, fault: str
) -> None:
    """Order, trades and position agree on it: nothing is open, and the plan is spent, valid or not."""

    async def work(desk: Desk) -> None:
        approved = desk.approved()
        desk.venue.bend(first(ORDER, fault))
        with desk.open() as (ledger, executor):
            done = await executor.enter(approved)
            assert isinstance(done, Refused)
            assert done.code == "entry_absent"
            sound(desk, ledger)
        assert await refused(desk, approved) == "entry_absent"
        await desk.clock.sleep(1000)
        assert await refused(desk, approved) == "entry_absent"
        assert (entries_sent(desk, approved), positions_in(desk), desk.stops()) == (1, set(), [])

    at_desk(work, tmp_path)


def test_an_entry_signed_at_the_wrong_time_is_refused_and_never_sent_again(tmp_path: Path) -> None:
    async def work(desk: Desk) -> None:
        approved = desk.approved()
        desk.venue.bend(first(ORDER, "wrong time"))
        with desk.open() as (_, executor), pytest.raises(ExchangeRejected):
            await executor.enter(approved)
        assert await refused(desk, approved) == "entry_rejected"
        assert (entries_sent(desk, approved), positions_in(desk), desk.stops()) == (1, set(), [])

    at_desk(work, tmp_path)


def test_after_an_absent_entry_a_new_plan_may_be_entered(tmp_path: Path) -> None:
    async def work(desk: Desk) -> None:
        desk.venue.bend(first(ORDER, "limited"))
        with desk.open() as (_, executor):
            assert isinstance(await executor.enter(desk.approved()), Refused)
        await desk.clock.sleep(60)
        assert (await entered(desk, desk.approved())).quantity == 1
        assert len(positions_in(desk)) == 1

    at_desk(work, tmp_path)


@pytest.mark.parametrize("fault", ["down", "unknown before"])
def test_an_entry_that_left_no_trace_is_unknown_until_it_is_proved_absent(tmp_path: Path, fault: str) -> None:
    """Answers that say nothing: order, trades and position must agree for `absence_after` first; one order was sent."""

    async def work(desk: Desk) -> None:
        approved = desk.approved()
        desk.venue.bend(first(ORDER, fault))
        began = desk.clock.now_ms()
        with desk.open() as (ledger, executor):
            done = await executor.enter(approved)
            assert isinstance(done, Refused)
            assert done.code == "entry_absent"
            assert desk.clock.now_ms() - began >= desk.settings.execution.absence_after * 1000
            sound(desk, ledger)
        assert await refused(desk, approved) == "entry_absent"
        assert (desk.venue.seen.count(ORDER), positions_in(desk), desk.stops()) == (1, set(), [])

    at_desk(work, tmp_path)


def test_while_an_entry_is_unknown_its_symbol_takes_no_other(tmp_path: Path) -> None:
    async def work(desk: Desk) -> None:
        rule = first(ORDER, "kill before")
        with desk.open() as (_, executor):
            assert await desk.killed_within(rule, executor.enter(desk.approved()))
        await desk.clock.sleep(5)
        assert await refused(desk, desk.approved(lineage="other")) == "order_unknown"

    at_desk(work, tmp_path)
