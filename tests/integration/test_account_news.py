"""What happens to a position is looked at when the account's stream tells of it, and at the usual looks without one."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from support.trading.desk import Desk, at_desk, covered

from trader_cli.execution.entry_result import EntryResult
from trader_cli.execution.request_listener import RequestListener
from trader_cli.venue.clocks import VirtualClock, run_virtual
from trader_cli.venue.streams.stream_connection import StreamConnection

pytestmark = pytest.mark.slow

STOP = ("DELETE", "/fapi/v1/algoOrder")


async def cared_for(desk: Desk, what: Any) -> float:
    """Seconds from what a person does at the exchange, 3 s after a look, until all is in order again."""
    with desk.open() as (ledger, executor):
        assert isinstance(await executor.enter(desk.approved()), EntryResult)
        care = asyncio.ensure_future(desk.monitor(ledger).start_monitoring())
        await asyncio.sleep(33)
        began = desk.clock.now_ms()
        what(desk)
        for _ in range(600):
            await asyncio.sleep(0.05)
            in_order = care.done() if desk.amount == 0 else covered(desk.amount, desk.stops())
            if in_order:
                break
        taken = (desk.clock.now_ms() - began) / 1000
        care.cancel()
        await asyncio.gather(care, return_exceptions=True)
        return taken


def closed(desk: Desk) -> None:
    desk.trade_by_hand("SELL", "1", reduceOnly="true")


def bared(desk: Desk) -> None:
    for stop in desk.stops():
        desk.by_hand(*STOP, clientAlgoId=stop.client_id)


@pytest.mark.parametrize("what", [closed, bared])
def test_a_position_that_ends_is_looked_at_before_the_next_look_is_due(tmp_path: Path, what: Any) -> None:
    async def work(desk: Desk) -> float:
        return await cared_for(desk, what)

    with_stream = at_desk(work, tmp_path / "a", binance_exchange={"streams": True})
    without = at_desk(work, tmp_path / "b")
    assert with_stream < 1.5
    assert 2 < without < 10.5


def test_a_stream_that_says_nothing_takes_no_look_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StreamConnection, "hear", lambda *_: None)

    async def work(desk: Desk) -> float:
        return await cared_for(desk, bared)

    assert 2 < at_desk(work, tmp_path / "a", binance_exchange={"streams": True}) < 10.5


def test_many_events_are_one_look_a_second() -> None:
    clock = VirtualClock(0)

    async def main() -> list[int]:
        listener, woken = RequestListener(Path("nowhere"), clock), list[int]()

        async def chatter() -> None:
            while True:
                listener.wake()
                await asyncio.sleep(0.01)

        task = asyncio.ensure_future(chatter())
        for _ in range(5):
            await listener.nap(10)
            listener.take_news()
            woken.append(clock.now_ms())
        task.cancel()
        await listener.nap(10)
        return [*woken, clock.now_ms()]

    first, *rest, last = run_virtual(main, clock)
    assert first == 1000
    assert [after - before for before, after in zip([first, *rest], rest, strict=False)] == [1000] * 4
    assert last - rest[-1] >= 10_000
