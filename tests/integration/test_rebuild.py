"""A lost ledger is made again from the exchange's history, and the position is cared for as before."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from support.trading.virtual_venue import SYMBOL, plan_now, trading

from trader_cli.core.errors import UsageError
from trader_cli.core.money.plans import Approved
from trader_cli.execution.entry_result import EntryResult
from trader_cli.execution.executor import Executor
from trader_cli.execution.rebuild import rebuild
from trader_cli.settings.room_options import ExecutionOptions
from trader_cli.storage.ledger import Ledger
from trader_cli.tactician.position_monitor import PositionMonitor

pytestmark = pytest.mark.slow


def test_a_lost_ledger_is_made_again_and_the_position_is_ours(tmp_path: Path) -> None:
    async def work(exchange: Any, ledger: Ledger, _venue: Any) -> None:
        executor = Executor(exchange, ledger, ExecutionOptions.of(exchange.workspace))
        first = await plan_now(exchange, side="short")
        await executor.enter(Approved(first))
        await executor.close(SYMBOL, "test")
        await exchange.clock.sleep(60)
        await executor.enter(Approved(await plan_now(exchange)))
        await exchange.clock.sleep(30)
        await executor.view(SYMBOL)
        with pytest.raises(UsageError, match="not empty"):
            await rebuild(executor, [SYMBOL])
        with Ledger.opened(tmp_path / "again.sqlite") as again:
            made = Executor(exchange, again, ExecutionOptions.of(exchange.workspace))
            assert await rebuild(made, [SYMBOL]) == {SYMBOL: len(ledger.fills())}
            assert again.holding(SYMBOL) == ledger.holding(SYMBOL)
            assert again.net_income() == ledger.net_income()
            assert [asdict(f) for f in again.fills()] == [asdict(f) for f in ledger.fills()]
            view = await made.view(SYMBOL)
            assert view.foreign == 0
            assert view.foreign_orders == 0
            plan, kept = made.plan_of(SYMBOL), executor.plan_of(SYMBOL)
            assert plan is not None
            assert kept is not None
            assert (plan.side, plan.stop_price, plan.backstop_price) == (
                kept.side,
                kept.stop_price,
                kept.backstop_price,
            )
            monitor = PositionMonitor(exchange.settings, exchange=exchange, ledger=again)
            await monitor.start_monitoring(30)
            assert await made.close(SYMBOL, "test") > 0
            assert again.holding(SYMBOL).amount == 0
            assert await exchange.private.open_stops(SYMBOL) == []

    trading(tmp_path, work)


def test_a_plan_that_was_entered_is_found_again_after_a_rebuild_with_the_time_it_was_without_cover(
    tmp_path: Path,
) -> None:
    async def work(exchange: Any, ledger: Ledger, _venue: Any) -> None:
        executor = Executor(exchange, ledger, ExecutionOptions.of(exchange.workspace))
        plan = await plan_now(exchange)
        first = await executor.enter(Approved(plan))
        assert isinstance(first, EntryResult)
        await exchange.clock.sleep(1800)
        with Ledger.opened(tmp_path / "again.sqlite") as again:
            made = Executor(exchange, again, ExecutionOptions.of(exchange.workspace))
            await rebuild(made, [SYMBOL])
            found = await made.enter(Approved(plan))
            assert isinstance(found, EntryResult)
            assert (found.fresh, found.closed, found.quantity) == (False, None, first.quantity)
            assert found.cover is not None
            assert found.cover.full
            assert found.uncovered_ms == first.uncovered_ms
            await made.close(SYMBOL, "test")
            left = await made.enter(Approved(plan))
            assert isinstance(left, EntryResult)
            assert (left.fresh, left.closed, left.uncovered_ms) == (False, "test", first.uncovered_ms)

    trading(tmp_path, work)
