"""The process dies at every request it makes, before, while or after the exchange carries it out; another goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from support.trading.desk import STOP, SYMBOL, Desk, Rule, at_desk, covered, honest, sound

from trader_cli.core.money.plans import Approved
from trader_cli.execution.entry_result import EntryResult

pytestmark = pytest.mark.slow

Life = Callable[[Desk, Approved], Awaitable[Any]]


async def enter(desk: Desk, approved: Approved) -> None:
    """Enter, and a look around."""
    with desk.open() as (ledger, executor):
        assert isinstance(await executor.enter(approved), EntryResult)
        await desk.monitor(ledger).start_monitoring(5)


async def protection(desk: Desk, approved: Approved) -> None:
    """Tighten, halve on an opinion, look again, close."""
    with desk.open() as (ledger, executor):
        view = await executor.view(SYMBOL)
        cover, _ = await executor.keep_covered(approved.plan)
        assert cover is not None
        nearer = (approved.plan.price + approved.plan.stop_price) / 2
        await executor.protector.tighten(approved.plan, cover, nearer)
        await executor.close(SYMBOL, "medium_risk", view.held / view.held / 2)
        await desk.monitor(ledger).start_monitoring(5)
        await executor.close(SYMBOL, "done")


def dying(number: int, how: str) -> Rule:
    return lambda seen, _route: how if seen == number else ""


async def go_on(desk: Desk, approved: Approved, *, by_monitor: bool) -> None:
    """What a person does after a crash: the monitor, or the command again and then the monitor."""
    with desk.open() as (ledger, executor):
        if not by_monitor:
            await executor.enter(approved)
            sound(desk, ledger)
        await desk.monitor(ledger).start_monitoring(20)
        sound(desk, ledger)
        if desk.amount:
            await executor.close(SYMBOL, "done")
        sound(desk, ledger)
        assert len([i for i in ledger.intents() if i.purpose == "entry"]) <= 1


async def die_and_go_on(
    desk: Desk, path: Path, side: str, before: Life | None, life: Life, rule: Rule, number: int = 0
) -> list[Any]:
    """One account from its start to flat, killed once at a request; the requests of the life."""
    desk.start_over(path)
    approved = desk.approved(side=side)
    if before is not None:
        await before(desk, approved)
    began = len(desk.venue.seen)
    killed = await desk.killed_within(rule, life(desk, approved))
    asked = desk.venue.seen[began:]
    assert killed == (rule is not honest) or len(asked) <= number, "only what was asked after its end came too late"
    await go_on(desk, approved, by_monitor=path.name.startswith("watch"))
    return asked


def ways(route: tuple[str, str]) -> tuple[str, ...]:
    """How to die at a request: a read has no effect that a crash could miss."""
    return ("kill before",) if route[0] == "GET" else ("kill before", "kill after", "kill late")


@pytest.mark.parametrize(("before", "life"), [(None, enter), (enter, protection)])
@pytest.mark.parametrize("side", ["long", "short"])
def test_killed_at_every_request_it_ends_as_intended(
    before: Life | None, life: Life, side: str, tmp_path: Path
) -> None:
    async def campaign(desk: Desk) -> None:
        asked = await die_and_go_on(desk, tmp_path / "whole.sqlite", side, before, life, honest)
        deaths = [(n, way) for n, route in enumerate(asked, start=1) for way in ways(route)]
        chosen = deaths if side == "long" else deaths[1::4]
        for number, way in chosen:
            try:
                path = tmp_path / f"{'again' if deaths.index((number, way)) % 2 else 'watch'}-{number}-{way}.sqlite"
                await die_and_go_on(desk, path, side, before, life, dying(number, way), number)
            except BaseException as error:
                error.add_note(f"{way} at request {number}: {asked[number - 1]}")
                raise

    at_desk(campaign, tmp_path)


async def died_bare(desk: Desk, approved: Approved) -> None:
    """A process that died right after the fill: no stop of its was carried out."""
    desk.venue.bend(lambda _n, route: "down" if route == STOP else "")
    life = asyncio.ensure_future(enter(desk, approved))
    await desk.clock.sleep(0.1)
    life.cancel()
    await asyncio.gather(life, return_exceptions=True)
    desk.venue.bend(honest)
    assert desk.amount and not desk.stops()


@pytest.mark.parametrize("seconds", [3, 60])
def test_after_a_crash_a_stop_is_tried_before_anything_is_closed(seconds: int, tmp_path: Path) -> None:
    """However long it was: the limit counts from the look that found the position, the seconds told from the fill."""

    async def work(desk: Desk) -> None:
        approved = desk.approved()
        await died_bare(desk, approved)
        await desk.clock.sleep(seconds)
        with desk.open() as (ledger, executor):
            done = await executor.enter(approved)
            assert isinstance(done, EntryResult)
            assert done.closed is None
            assert seconds * 1000 <= done.uncovered_ms <= seconds * 1000 + 1000
            assert done.cover is not None and done.cover.full
            assert covered(desk.amount, desk.stops())
            sound(desk, ledger)

    at_desk(work, tmp_path)


def test_after_a_crash_what_cannot_be_covered_is_closed(tmp_path: Path) -> None:
    async def work(desk: Desk) -> None:
        approved = desk.approved()
        await died_bare(desk, approved)
        await desk.clock.sleep(60)
        desk.venue.bend(lambda _n, route: "down" if route == STOP else "")
        with desk.open() as (ledger, executor):
            began = desk.clock.now_ms()
            done = await executor.enter(approved)
            assert isinstance(done, EntryResult)
            assert done.closed == "unprotected"
            assert desk.engine.account.fills[-1].time_ms - began <= 7000
            sound(desk, ledger)

    at_desk(work, tmp_path)
