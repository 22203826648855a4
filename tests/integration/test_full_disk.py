"""The disk is full while the ledger is written: nothing is sent that is not journalled, and what is open is protected."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from decimal import Decimal
from pathlib import Path

import pytest
from support.trading.desk import ORDER, SYMBOL, Desk, at_desk, covered, sound

from trader_cli.core.errors import DataError
from trader_cli.core.money.orders import TradeState
from trader_cli.execution.entry_result import EntryResult
from trader_cli.execution.executor import Executor
from trader_cli.storage.ledger import Ledger
from trader_cli.storage.ledger_faults import LedgerUnwritable
from trader_cli.storage.ledger_rows import Intent
from trader_cli.tactician.position_monitor import PositionMonitor

pytestmark = pytest.mark.slow


def with_small_pages(path: Path) -> Path:
    """An empty database that grows by 512 bytes, so that a limit on its pages is met at many different lines."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA page_size=512")
        db.execute("CREATE TABLE sized (one)")
        db.execute("DROP TABLE sized")
    return path


def leave_room(ledger: Ledger, pages: int, lines: int) -> None:
    """Room for so many pages from now on, after some lines about another symbol have filled parts of pages."""
    for number in range(lines):
        ledger.intend(Intent(f"other-{number}", "other", "OTHERUSDT", "entry", "BUY", Decimal(1), 1))
        ledger.note(f"other-{number}", "refused", 1, note="x" * 20)
        for side in ("BUY", "SELL"):
            trade_id = 2 * number + (side == "SELL")
            ledger.fill(
                f"other-{number}",
                TradeState(trade_id, "1", "OTHERUSDT", side, *[Decimal(0)] * 3, "USDT", Decimal(0), False, 1),
            )
    now = ledger._db.execute("PRAGMA page_count").fetchone()[0]
    ledger._db.execute(f"PRAGMA max_page_count={now + pages}")


async def entered_with_room(desk: Desk, pages: int, lines: int) -> str:
    """Enter with little room; what came of it. Afterwards there is room again and the monitor goes on."""
    before = desk.venue.seen.count(ORDER)
    said, approved = "entered", desk.approved()
    with desk.open() as (ledger, executor):
        leave_room(ledger, pages, lines)
        try:
            assert isinstance(await executor.enter(approved), EntryResult)
        except DataError as error:
            said = str(error)
    sent = desk.venue.seen.count(ORDER) - before
    if "Nothing was sent" in said:
        assert (sent, desk.amount, desk.stops()) == (0, 0, [])
    else:
        assert (sent, desk.amount) == (1, 1)
        assert covered(desk.amount, desk.stops()), said
        if said != "entered":
            assert f"{SYMBOL}: long 1 is open" in said
            assert any(f"{s.trigger_price:f}" in said for s in desk.stops() if s.type == "STOP_MARKET")
    with desk.open() as (ledger, executor):
        await desk.monitor(ledger).start_monitoring(10)
        sound(desk, ledger)
        if desk.amount:
            await executor.close(SYMBOL, "test")
        sound(desk, ledger)
    return said


def test_a_full_disk_at_any_line_of_an_entry(tmp_path: Path) -> None:
    async def work(desk: Desk) -> None:
        said = []
        for pages, lines in [(pages, lines) for pages in range(8) for lines in (0, 4, 5, 7)]:
            desk.start_over(with_small_pages(tmp_path / f"{pages}-{lines}.sqlite"))
            said.append(await entered_with_room(desk, pages, lines))
        assert "Nothing was sent" in said[0]
        assert any("protected by a stop" in one for one in said)
        assert "entered" in said

    at_desk(work, tmp_path)


def test_a_full_disk_does_not_stop_the_care_of_a_position(tmp_path: Path) -> None:
    """What cannot be written is said; stops rest, and a stop that goes missing is placed again."""

    async def work(desk: Desk) -> None:
        with_small_pages(desk.path)
        with desk.open() as (ledger, executor):
            await executor.enter(desk.approved())
            (backstop,) = [s for s in desk.stops() if s.close_position]
            ledger._db.execute("PRAGMA max_page_count=1")
            heard = []
            monitor = desk.monitor(ledger, heard=heard.append)
            for _ in range(30):
                await monitor.step(executor)
            assert "ledger_unwritable" in {r.reason for r in heard}
            assert backstop in desk.stops()
            assert covered(desk.amount, desk.stops())
        with desk.open() as (ledger, _):
            await desk.monitor(ledger).start_monitoring(10)
            sound(desk, ledger)

    at_desk(work, tmp_path)


def test_on_a_full_disk_a_stop_that_is_lost_is_replaced_and_an_exit_is_sent_once(tmp_path: Path) -> None:
    """What the disk did not take is known all the same: no second exit goes out, which could close another's."""

    async def work(desk: Desk) -> None:
        with_small_pages(desk.path)
        with desk.open() as (ledger, executor):
            await executor.enter(desk.approved())
            ledger._db.execute("PRAGMA max_page_count=1")
            monitor = desk.monitor(ledger)
            for stop in desk.stops():
                desk.by_hand("DELETE", "/fapi/v1/algoOrder", clientAlgoId=stop.client_id)
            for _ in range(4):
                await looked(desk, monitor, executor)
            assert (desk.amount, len(desk.stops())) == (1, 3)
            await executor.close(SYMBOL, "test")
            orders = desk.venue.seen.count(ORDER)
            await looked(desk, monitor, executor)
            assert (desk.amount, desk.stops()) == (0, [])
            desk.trade_by_hand("BUY", "2")
            for _ in range(4):
                await looked(desk, monitor, executor)
            assert (desk.amount, desk.venue.seen.count(ORDER)) == (2, orders)
        desk.trade_by_hand("SELL", "2", reduceOnly="true")
        with desk.open() as (ledger, _):
            await desk.monitor(ledger).start_monitoring(10)
            assert (ledger.holding(SYMBOL).amount, desk.amount, desk.stops()) == (0, 0, [])

    at_desk(work, tmp_path)


async def looked(desk: Desk, monitor: PositionMonitor, executor: Executor) -> None:
    """One look, five seconds; what the disk does not take is borne."""
    with suppress(LedgerUnwritable):
        await monitor.step(executor)
    await desk.clock.sleep(5)
