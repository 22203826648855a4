"""Keys of waiting: how long one answer is waited for, and how long silence must last before an entry is absent."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.trading.desk import ORDER, STOP, Desk, at_desk, first
from support.trading.hostile_desk import HostileDesk, hostile

from trader_cli.core.money.plans import Refused
from trader_cli.execution.entry_result import EntryResult
from trader_cli.venue.server.faults import Fault, FaultPlan

pytestmark = pytest.mark.slow


def absent_after_s(path: Path, seconds: float) -> float:
    """How long an entry that left no trace is unknown."""

    async def work(desk: Desk) -> float:
        desk.venue.bend(first(ORDER, "unknown before"))
        began = desk.clock.now_ms()
        with desk.open() as (_, executor):
            done = await executor.enter(desk.approved())
            assert isinstance(done, Refused)
            assert done.code == "entry_absent"
        assert desk.venue.seen.count(ORDER) == 1
        return (desk.clock.now_ms() - began) / 1000

    took_s = at_desk(work, path, execution={"absence_after": seconds})
    assert isinstance(took_s, float)
    return took_s


def test_an_entry_is_absent_after_the_seconds_that_are_set(tmp_path: Path) -> None:
    took = [absent_after_s(tmp_path / str(seconds), seconds) for seconds in (30.0, 90.0)]
    assert 30 <= took[0] < 40
    assert 90 <= took[1] < 100


def blind_after_s(path: Path, budget_s: float) -> float:
    """How long after an entry the first stop arrives, where no reply and no query about it is answered in time."""

    async def work(desk: HostileDesk) -> float:
        with desk.open() as (_, executor):
            done = await executor.enter(desk.approved())
            assert isinstance(done, EntryResult)
            assert done.quantity == 1
            await executor.end()
        assert len(desk.requests(ORDER)) == 1
        return (desk.requests(STOP)[0].arrived_ms - desk.requests(ORDER)[0].arrived_ms) / 1000

    def slow(now: int) -> FaultPlan:
        until = now + 30_000
        late = [Fault(*ORDER, after_s=20.0, count=1)]
        late += [
            Fault("GET", path, after_s=20.0, to_ms=until)
            for path in ("/fapi/v1/order", "/fapi/v1/userTrades", "/fapi/v3/positionRisk")
        ]
        return FaultPlan(tuple(late))

    waited_s = hostile(work, path, faults=slow, when=ORDER, execution={"request_budget": budget_s})
    assert isinstance(waited_s, float)
    return waited_s


def test_a_budget_ends_the_waiting_for_a_reply(tmp_path: Path) -> None:
    waited = [blind_after_s(tmp_path / str(seconds), seconds) for seconds in (1.0, 3.0)]
    assert 1 <= waited[0] < 1.6
    assert 3 <= waited[1] < 3.6
