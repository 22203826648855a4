"""The ledger's file is deleted or replaced under a process at work: it is said, care goes on, and nothing is opened."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from support.trading.desk import ORDER, SYMBOL, Desk, at_desk, covered, sound

from trader_cli.core.errors import DataError
from trader_cli.execution.entry_result import EntryResult
from trader_cli.storage.ledger import Ledger
from trader_cli.storage.ledger_faults import LedgerUnwritable
from trader_cli.tactician.monitor_reports import Report

pytestmark = pytest.mark.slow
KEPT = "kept"


def moved_away(path: Path) -> None:
    path.rename(path.with_suffix(f".{KEPT}"))


def replaced(path: Path) -> None:
    moved_away(path)
    path.write_bytes(path.with_suffix(f".{KEPT}").read_bytes())


def put_back(path: Path) -> None:
    path.with_suffix(f".{KEPT}").replace(path)


TAKEN = pytest.mark.parametrize("taken", [moved_away, replaced])


@TAKEN
def test_care_goes_on_and_says_that_nothing_is_written(tmp_path: Path, taken: Callable[[Path], None]) -> None:
    async def work(desk: Desk) -> None:
        told: list[Report] = []
        with desk.open() as (ledger, executor):
            assert isinstance(await executor.enter(desk.approved()), EntryResult)
            monitor = desk.monitor(ledger, heard=told.append)
            await monitor.step(executor)
            taken(desk.path)
            for stop in desk.stops():
                desk.by_hand("DELETE", "/fapi/v1/algoOrder", clientAlgoId=stop.client_id)
            await monitor.start_monitoring(30)
            assert covered(desk.amount, desk.stops())
            (alarm, *_) = [r for r in told if r.reason == "ledger_unwritable"]
            assert "deleted or replaced" in alarm.sentence
            assert "`trader ledger rebuild`" in alarm.sentence
            told.clear()
            put_back(desk.path)
            await monitor.start_monitoring(15)
            assert not [r for r in told if r.reason == "ledger_unwritable"]
        with desk.open() as (ledger, executor):
            await desk.monitor(ledger).start_monitoring(10)
            sound(desk, ledger)

    at_desk(work, tmp_path)


@TAKEN
def test_nothing_is_opened_and_a_monitor_without_a_position_ends(tmp_path: Path, taken: Callable[[Path], None]) -> None:
    async def work(desk: Desk) -> None:
        with desk.open() as (ledger, executor):
            taken(desk.path)
            with pytest.raises(DataError, match=r"deleted or replaced .* Nothing was sent"):
                await executor.enter(desk.approved())
            assert desk.venue.seen.count(ORDER) == 0
            with pytest.raises(LedgerUnwritable, match="deleted or replaced"):
                await desk.monitor(ledger).start_monitoring(30)

    at_desk(work, tmp_path)


def test_a_position_that_ends_meanwhile_is_booked_once_the_file_is_back(tmp_path: Path) -> None:
    async def work(desk: Desk) -> None:
        with desk.open() as (ledger, executor):
            await executor.enter(desk.approved())
            moved_away(desk.path)
            monitor = desk.monitor(ledger)
            desk.trade_by_hand("SELL", "1", reduceOnly="true")
            orders = desk.venue.seen.count(ORDER)
            for _ in range(5):
                with pytest.raises(LedgerUnwritable):
                    await monitor.step(executor)
                await asyncio.sleep(10)
            assert (desk.amount, desk.venue.seen.count(ORDER)) == (0, orders)
            put_back(desk.path)
            await monitor.step(executor)
        with Ledger.opened(desk.path) as ledger:
            assert ledger.holding(SYMBOL).amount == 0
            sound(desk, ledger)

    at_desk(work, tmp_path)
