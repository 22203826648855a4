"""The disk is full while the ledger is written: nothing is sent that is not journalled, and what is open is protected."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest
from desk import ORDER, SYMBOL, Desk, at_desk, covered, sound

from trader_cli.core.errors import DataError
from trader_cli.execution.executor import Entered

pytestmark = pytest.mark.slow


def with_small_pages(path: Path) -> Path:
    """An empty database that grows by 512 bytes, so that a limit on its pages is met at many different lines."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA page_size=512")
        db.execute("VACUUM")
    return path


async def entered_with_room(desk: Desk, pages: int) -> str:
    """Enter with room for so many pages; what came of it. Afterwards there is room again and the monitor goes on."""
    before = desk.venue.seen.count(ORDER)
    said, approved = "entered", desk.approved()
    with desk.open() as (ledger, executor):
        now = ledger._db.execute("PRAGMA page_count").fetchone()[0]
        ledger._db.execute(f"PRAGMA max_page_count={now + pages}")
        try:
            assert isinstance(await executor.enter(approved), Entered)
        except DataError as error:
            said = str(error)
    sent = desk.venue.seen.count(ORDER) - before
    if "Nothing was sent" in said:
        assert (sent, desk.amount, desk.stops()) == (0, 0, [])
    else:
        assert (sent, desk.amount) == (1, 1)
        assert covered(desk.amount, desk.stops()), said
        if said != "entered":
            assert f"{SYMBOL}: long 1.000 is open, protected by a stop at" in said.replace("long 1 ", "long 1.000 ")
            shown = Decimal(said.split("protected by a stop at ")[1].split()[0])
            assert shown in {s.trigger_price for s in desk.stops()}
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
        for pages in range(0, 40, 2):
            desk.start_over(with_small_pages(tmp_path / f"{pages}.sqlite"))
            said.append(await entered_with_room(desk, pages))
        assert "Nothing was sent" in said[0]
        assert any("protected by a stop" in one for one in said)
        assert said[-1] == "entered"

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
