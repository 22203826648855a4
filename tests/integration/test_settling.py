"""A ledger that holds more than the exchange shows is made smaller only as a person asks, and never larger."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from support.trading.desk import SYMBOL, Desk, at_desk, entered

from trader_cli.core.money.plans import Refused
from trader_cli.execution.executor import Executor
from trader_cli.execution.ledger_adjustment import Settlement, settle
from trader_cli.settings.room_options import ExecutionOptions
from trader_cli.settings.workspace import workspace_of
from trader_cli.storage.ledger import Ledger
from trader_cli.storage.ledger_rows import Intent

pytestmark = pytest.mark.slow


def shows(desk: Desk, amount: str) -> None:
    """The exchange's position becomes another one, and no trade says why."""
    desk.engine.account.position(SYMBOL).amount = Decimal(amount)


async def settled(desk: Desk, *, book: bool, said: list[str] | None = None) -> Settlement | Refused:
    """`trader ledger settle`, as a process of its own."""
    heard = [] if said is None else said
    with Ledger.opened(desk.path) if book else Ledger.imagined(desk.path) as ledger:
        before = ledger.holding(SYMBOL).amount
        return await settle(
            Executor(desk.exchange, ledger, ExecutionOptions.of(workspace_of(desk.settings))),
            SYMBOL,
            before,
            book=book,
            say=heard.append,
        )


def holding(desk: Desk) -> Decimal:
    with Ledger.opened(desk.path) as ledger:
        return ledger.holding(SYMBOL).amount


@pytest.mark.parametrize(("amount", "left"), [("0.4", "0.4"), ("0", "0"), ("-0.5", "0")])
def test_what_nothing_explains_is_booked_by_a_person_s_word_after_two_looks(
    amount: str, left: str, tmp_path: Path
) -> None:
    async def work(desk: Desk) -> None:
        await entered(desk, desk.approved())
        with Ledger.opened(desk.path) as ledger:
            entry_price, net = ledger.holding(SYMBOL).entry_price, ledger.net_income()
        shows(desk, amount)
        shown = await settled(desk, book=False)
        gone = Decimal(left) - 1
        assert shown == Settlement(SYMBOL, Decimal(1), Decimal(amount), Decimal(0), gone, booked=False)
        assert holding(desk) == 1, "shown is not booked"
        began, said = desk.clock.now_ms(), list[str]()
        done = await settled(desk, book=True, said=said)
        assert done == Settlement(SYMBOL, Decimal(1), Decimal(amount), Decimal(0), gone, booked=True)
        assert desk.clock.now_ms() - began >= 60_000
        assert f"the ledger holds 1, the exchange shows {amount}" in said[0]
        assert holding(desk) == Decimal(left)
        with Ledger.opened(desk.path) as ledger:
            line = ledger.fills()[-1]
            assert (line.purpose, line.price, line.quantity) == ("settled", entry_price, -gone)
            assert ledger.net_income() == net
            assert ledger.last_trade_id(SYMBOL) > 0
            assert not ledger.unbooked(SYMBOL)
        again = await settled(desk, book=True)
        if amount != "-0.5":
            assert isinstance(again, Settlement)
            assert again.settled == 0
        else:
            assert isinstance(again, Refused), "what was turned is not ours to take over"

    at_desk(work, tmp_path)


def test_what_trades_explain_is_booked_by_them(tmp_path: Path) -> None:
    async def work(desk: Desk) -> None:
        await entered(desk, desk.approved())
        desk.trade_by_hand("SELL", "0.6", reduceOnly="true")
        shown = await settled(desk, book=False)
        assert isinstance(shown, Settlement)
        assert (shown.explained, shown.settled) == (Decimal("-0.6"), 0)
        assert holding(desk) == 1
        await settled(desk, book=True)
        with Ledger.opened(desk.path) as ledger:
            assert ledger.holding(SYMBOL).amount == Decimal("0.4")
            assert [f.purpose for f in ledger.fills()] == ["entry", "external"]

    at_desk(work, tmp_path)


def test_larger_is_not_settled(tmp_path: Path) -> None:
    async def work(desk: Desk) -> None:
        await entered(desk, desk.approved())
        shows(desk, "1.5")
        for book in (False, True):
            refused = await settled(desk, book=book)
            assert isinstance(refused, Refused)
            assert (refused.code, "1.5" in refused.sentence, "adopt" in refused.sentence) == ("larger", True, True)
        assert holding(desk) == 1

    at_desk(work, tmp_path)


def test_two_looks_that_differ_settle_nothing(tmp_path: Path) -> None:
    async def work(desk: Desk) -> None:
        await entered(desk, desk.approved())
        shows(desk, "0.4")

        def changed(_line: str) -> None:
            shows(desk, "1")

        with Ledger.opened(desk.path) as ledger:
            refused = await settle(
                Executor(desk.exchange, ledger, ExecutionOptions.of(workspace_of(desk.settings))),
                SYMBOL,
                Decimal(1),
                book=True,
                say=changed,
            )
            assert isinstance(refused, Refused)
            assert refused.code == "looks_differ"
            assert ledger.holding(SYMBOL).amount == 1

    at_desk(work, tmp_path)


def test_while_an_order_is_of_unknown_end_nothing_is_settled(tmp_path: Path) -> None:
    async def work(desk: Desk) -> None:
        done = await entered(desk, desk.approved())
        shows(desk, "0.4")
        with Ledger.opened(desk.path) as ledger:
            name = done.plan.client_id("exit", 7)
            now = desk.exchange.server_now_ms()
            ledger.intend(Intent(name, done.plan.plan_id, SYMBOL, "exit", "SELL", Decimal(1), now, reduce_only=True))
            ledger.note(name, "unknown", now)
        refused: Any = await settled(desk, book=True)
        assert isinstance(refused, Refused)
        assert (refused.code, name in refused.sentence) == ("order_unknown", True)
        assert holding(desk) == 1

    at_desk(work, tmp_path)
