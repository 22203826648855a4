"""Loss limits go by what the account shows, at the first look; rows that come late only say what it was."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path

import pytest
from test_assets_of_accounts import Place, at_exchange

from trader_cli.core.market.timeframes import HOUR_MS
from trader_cli.core.money.orders import OrderRequest, TradeState
from trader_cli.execution.entry_result import EntryResult
from trader_cli.execution.executor import Executor
from trader_cli.settings.room_options import ExecutionOptions
from trader_cli.settings.workspace import workspace_of
from trader_cli.tactician.loss_watch import LossWatch
from trader_cli.tactician.tactician import Tactician
from trader_cli.venue.engine.books import Income
from trader_cli.venue.server.faults import Fault, FaultPlan

pytestmark = pytest.mark.slow
D = Decimal
LIMITS = {"max_daily_loss": 0.03, "max_drawdown": 0.1}
Work = Callable[[Place], Awaitable[None]]


def at_limits(work: Work, folder: Path) -> None:
    at_exchange(work, folder, tactician=LIMITS)


async def held(place: Place) -> tuple[LossWatch, Executor]:
    """A position with a far stop, looked at once."""
    assert isinstance(await place.enter("ETHUSDT", quantity="0.5", stop="0.2"), EntryResult)
    watch, executor = LossWatch(place.settings.tactician), place.executor
    await executor.view("ETHUSDT")
    assert await watch.broken(executor) is None
    await place.clock.sleep(10)
    return watch, executor


def move(place: Place, kind: str, share: float) -> None:
    amount = (place.engine.equity("USDT") * D(str(share))).quantize(D("1e-8"))
    symbol = "" if kind == "TRANSFER" else "ETHUSDT"
    place.books.earn(Income(kind, symbol, amount, place.clock.now_ms(), asset="USDT"))


@pytest.mark.parametrize("late_s", [0, 15, 60, 110, 200, 3600])
def test_a_fall_of_the_wallet_counts_at_the_first_look_however_late_its_row(tmp_path: Path, late_s: int) -> None:
    async def work(place: Place) -> None:
        watch, executor = await held(place)
        until = place.clock.now_ms() + late_s * 1000
        place.venue.bend(FaultPlan((Fault("GET", "/fapi/v1/income", lag_s=late_s + 60, to_ms=until),)))
        move(place, "FUNDING_FEE", -0.031)
        await watch.broken(executor)
        assert "UTC day" in str(place.ledger.halted())

    at_limits(work, tmp_path)


@pytest.mark.parametrize("late_s", [0, 100, 500])
def test_a_small_fall_is_asked_about_until_its_row_is_shown(tmp_path: Path, late_s: int) -> None:
    async def work(place: Place) -> None:
        watch, executor = await held(place)
        until = place.clock.now_ms() + late_s * 1000
        place.venue.bend(FaultPlan((Fault("GET", "/fapi/v1/income", lag_s=late_s + 60, to_ms=until),)))
        move(place, "TRANSFER", -0.02)
        for _ in range(100):
            await watch.broken(executor)
            await place.clock.sleep(10)
        assert [amount for _, amount in place.ledger.transfers("USDT")][-1] < 0
        move(place, "FUNDING_FEE", -0.015)
        await watch.broken(executor)
        assert place.ledger.halted() is None, "1.5 % were lost, 2 % were withdrawn"
        move(place, "FUNDING_FEE", -0.0151)
        await watch.broken(executor)
        assert place.ledger.halted() is not None

    at_limits(work, tmp_path)


@pytest.mark.parametrize("share", [-0.5, 2.0])
def test_what_is_paid_in_or_out_breaks_no_limit(tmp_path: Path, share: float) -> None:
    """At the monitor, at tactics in a process of their own, and while nobody looks."""

    async def work(place: Place) -> None:
        watch, executor = await held(place)
        for who in ("monitor", "tactics", "monitor again"):
            move(place, "TRANSFER", share)
            await place.clock.sleep(120)
            if who == "tactics":
                own = Tactician(place.settings, exchange=place.exchange, ledger=place.ledger)
                assert await own._breach(place.ledger) is None
            else:
                await watch.broken(executor)
            assert place.ledger.halted() is None, who

    at_limits(work, tmp_path)


def test_the_highest_equity_is_remembered_by_the_ledger(tmp_path: Path) -> None:
    """A profit that was open and is gone was lost, also for a process that never saw it."""

    async def work(place: Place) -> None:
        assert isinstance(await place.enter("ETHUSDT", quantity="4", stop="0.5"), EntryResult)
        watch, executor = LossWatch(place.settings.tactician), place.executor
        account = executor.submitter.broker.account
        real = await account()
        shown = {"profit": real.wallet * D("0.16")}

        async def bent() -> object:
            from dataclasses import replace

            return replace(await account(), unrealized_profit=shown["profit"])

        executor.submitter.broker.account = bent  # type: ignore[method-assign,assignment]
        await executor.view("ETHUSDT")
        assert await watch.broken(executor) is None
        await place.clock.sleep(26 * 3600)
        shown["profit"] = real.wallet * D("0.005")
        await LossWatch(place.settings.tactician).broken(executor)
        assert "from its highest" in str(place.ledger.halted())

    at_limits(work, tmp_path)


def test_tactics_know_what_the_monitor_has_seen_meanwhile(tmp_path: Path) -> None:
    async def work(place: Place) -> None:
        tactics = Tactician(place.settings, exchange=place.exchange, ledger=place.ledger)
        assert await tactics._breach(place.ledger) is None
        watch, executor = LossWatch(place.settings.tactician), place.executor
        move(place, "FUNDING_FEE", 0.13)
        assert await watch.broken(executor) is None
        await place.clock.sleep(26 * 3600)
        move(place, "FUNDING_FEE", -0.1)
        assert "from its highest" in str(await tactics._breach(place.ledger))

    at_limits(work, tmp_path)


def test_funding_of_a_position_of_somebody_else_is_not_ours(tmp_path: Path) -> None:
    """Not even on a symbol that we trade later, before or after it."""

    async def work(place: Place) -> None:
        eight = (place.clock.now_ms() // (8 * HOUR_MS) + 1) * 8 * HOUR_MS
        await place.clock.sleep((eight - HOUR_MS / 2 - place.clock.now_ms()) / 1000)
        await place.enter("ETHUSDC")
        await place.executor.close("ETHUSDC", "by_hand")
        private = place.exchange.private
        await private.place(OrderRequest("person1", "ETHUSDT", "BUY", D(1)))
        await place.clock.sleep(3600)
        await private.place(OrderRequest("person2", "ETHUSDT", "SELL", D(1), reduce_only=True))
        await place.enter("ETHUSDT")
        await place.clock.sleep(8 * 3600)
        await place.executor.view("ETHUSDT")
        await place.executor.close("ETHUSDT", "by_hand")
        await place.clock.sleep(120)
        await place.executor.reconciler.booker.receive_income(at_once=True)
        paid = [i.time_ms for i in place.books.income if i.kind == "FUNDING_FEE" and i.symbol == "ETHUSDT"]
        booked = [time_ms for kind, symbol, _, time_ms in place.ledger.incomes() if kind == "FUNDING_FEE" and symbol]
        assert paid == [eight, eight + 8 * HOUR_MS]
        assert booked == paid[1:]

    at_limits(work, tmp_path)


def test_fees_without_a_price_are_said_once(tmp_path: Path) -> None:
    async def work(place: Place) -> None:
        said: list[str] = []
        executor = Executor(
            place.exchange, place.ledger, ExecutionOptions.of(workspace_of(place.settings)), say=said.append
        )
        assert isinstance(await executor.enter(await approved(place)), EntryResult)
        owner = place.ledger.fills()[0].client_id
        place.ledger.fill(owner, paid_in("XYZ", place))
        watch = LossWatch(place.settings.tactician)
        for _ in range(3):
            await watch.broken(executor)
            await place.clock.sleep(70)
        assert [("XYZUSDT" in words) for words in said] == [True]

    at_limits(work, tmp_path)


async def approved(place: Place) -> object:
    from trader_cli.core.money.plans import Approved

    return Approved(await place.plan("ETHUSDT", quantity="0.5", stop="0.2"))


def paid_in(asset: str, place: Place) -> TradeState:
    return TradeState(
        10**9, "77", "ETHUSDT", "BUY", D(2200), D(0), D(1), asset, D(0), maker=False, time_ms=place.clock.now_ms()
    )
