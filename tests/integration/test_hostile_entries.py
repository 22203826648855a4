"""Entering and caring while any endpoint is slow, lags or fails: one position per intent, and covered or closed in time.

Each seed draws a plan of faults, switches of the exchange, and a disturbance of the client. TRADER_HOSTILE=2000 makes a
campaign of it, TRADER_HOSTILE_FROM chooses where it begins.
"""

from __future__ import annotations

import os
import random
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path

import pytest
from support.trading.desk import ORDER, STOP, SYMBOL, covered
from support.trading.hostile_desk import HostileDesk, hostile

from trader_cli.core.errors import TraderError
from trader_cli.execution.executor import Executor
from trader_cli.settings.room_options import ExecutionOptions
from trader_cli.settings.workspace import workspace_of
from trader_cli.storage.ledger import Ledger
from trader_cli.venue.engine.switches import every_combination
from trader_cli.venue.server.faults import random_plan
from trader_cli.venue.server.request_log import LoggedRequest

pytestmark = pytest.mark.slow

SEEDS = range(
    int(os.environ.get("TRADER_HOSTILE_FROM", "0")),
    int(os.environ.get("TRADER_HOSTILE_FROM", "0")) + int(os.environ.get("TRADER_HOSTILE", "14")),
)
SWITCHES = list(every_combination())
SPAN_S, CALM_S = 120.0, 400.0
Life = Callable[[HostileDesk, Executor], Awaitable[None]]
DEADLINE_S, BUDGET_S = 5.0, 2.0
MOST_BARE_MS = round((DEADLINE_S + BUDGET_S) * 1000)
_PAUSES_S = (0.0, 0.0, 0.0, 3.0, 20.0, 60.0)
_STEPS_S = (0.0, 0.0, 3600.0, -3600.0, 600.0, -600.0)


def disturb(desk: HostileDesk, seed: int) -> tuple[int, int]:
    """Pause the client, and set its clock, as the seed says; the span of the pause (UTC ms of the exchange)."""
    dice = random.Random(seed * 7 + 1)
    pause_s, after_s = dice.choice(_PAUSES_S), dice.random() * 30
    if pause_s:
        desk.pause(pause_s, after_s)
    step_s = dice.choice(_STEPS_S)
    if step_s:
        desk.step_clock(step_s, dice.random() * 30)
    began = desk.start_ms + round(after_s * 1000)
    return began, began + round(pause_s * 1000)


async def live(desk: HostileDesk, life: Life, said: list[tuple[int, str]]) -> None:
    """Live, and then care until long after the last fault; the account is as intended at the end."""
    with Ledger.opened(desk.path) as ledger:
        executor = Executor(
            desk.exchange,
            ledger,
            ExecutionOptions.of(workspace_of(desk.settings)),
            say=lambda line: said.append((desk.clock.now_ms(), line)),
        )
        try:
            await life(desk, executor)
        except TraderError as error:
            said.append((desk.clock.now_ms(), str(error)))
        until = desk.start_ms + round((SPAN_S + CALM_S) * 1000)
        while desk.clock.now_ms() < until:
            monitor = desk.monitor(ledger, heard=lambda r: said.append((desk.clock.now_ms(), r.sentence)))
            await monitor.start_monitoring((until - desk.clock.now_ms()) / 1000)
            await desk.clock.sleep(1)
        await executor.end()
        amount, books = desk.amount, desk.books
        assert ledger.holding(SYMBOL).amount == amount
        assert ledger.net_income() == books.wallet - Decimal(10_000)
        assert not books.open_orders(SYMBOL)
        stops = books.open_algos(SYMBOL)
        assert covered(amount, stops) if amount else not stops, (amount, stops)


def covered_in_time(desk: HostileDesk, pause: tuple[int, int], said: list[tuple[int, str]]) -> None:
    """No span without cover is longer than the limit allows where an order or stop could have ended it."""
    for span in desk.unprotected_spans():
        began, ended = span
        if awake_ms(span, pause) <= MOST_BARE_MS:
            continue
        helped = [
            r
            for r in desk.requests()
            if helps(r)
            and r.outcome == 200
            and r.executed_ms is not None
            and began <= r.arrived_ms
            and r.executed_ms < ended - 1
            and r.executed_ms - r.arrived_ms <= BUDGET_S * 1000
        ]
        assert not helped, (span, helped)
        assert tried_all_along(desk, span, pause), (span, pause)
        alarms = [at for at, line in said if line.startswith("ALARM") and began <= at <= ended]
        marks = [began + MOST_BARE_MS, *alarms, ended]
        quiet = [awake_ms(between, pause) for between in zip(marks, marks[1:], strict=False)]
        assert max(quiet) <= 10_000, (span, quiet)


def awake_ms(span: tuple[int, int], pause: tuple[int, int]) -> int:
    """How long of a span the client was not paused."""
    began, ended = span
    return ended - began - max(0, min(ended, pause[1]) - max(began, pause[0]))


def helps(request: LoggedRequest) -> bool:
    """Whether a request could cover or close a position: not the entry, nor a take-profit."""
    sent = request.parameters
    if request.route == ORDER:
        return sent.get("reduceOnly") == "true"
    return request.route == STOP and sent.get("type") == "STOP_MARKET"


def tried_all_along(desk: HostileDesk, span: tuple[int, int], pause: tuple[int, int]) -> bool:
    """Whether something that could cover or close arrived at the exchange all along a span, leaving a pause aside."""
    times = [r.arrived_ms for r in desk.requests() if helps(r) and span[0] <= r.arrived_ms <= span[1]]
    marks = sorted({span[0], span[1], *times})
    return all(awake_ms(between, pause) <= MOST_BARE_MS for between in zip(marks, marks[1:], strict=False))


def entered(desk: HostileDesk) -> int:
    """Entries that the exchange carried out."""
    return sum(not o.reduce_only and o.filled > 0 for o in desk.books.orders.values() if o.client_id.startswith("td-e"))


def side_of(seed: int) -> str:
    """Long and short in turn."""
    return ("long", "short")[seed % 2]


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_is_slow_or_fails_there_is_one_position_and_it_is_covered_or_closed(seed: int, tmp_path: Path) -> None:
    async def work(desk: HostileDesk) -> None:
        async def life(_desk: HostileDesk, executor: Executor) -> None:
            await executor.enter(desk.approved(side=side_of(seed)))

        pause, said = disturb(desk, seed), list[tuple[int, str]]()
        await live(desk, life, said)
        assert entered(desk) <= 1, "two positions for one intent"
        covered_in_time(desk, pause, said)

    hostile(
        work,
        tmp_path,
        seed=seed,
        switches=random.Random(seed).choice(SWITCHES),
        when=ORDER,
        faults=lambda now: random_plan(seed, now, span_s=SPAN_S),
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_an_exit_under_fire_never_overshoots_and_what_stays_is_covered(seed: int, tmp_path: Path) -> None:
    """A whole or a partial exit, or stops that vanish, while everything may be slow or fail; then care goes on."""
    dice = random.Random(seed * 13 + 5)
    share = dice.choice([None, None, Decimal("0.5"), Decimal("0.25")])
    vanish = dice.random() < 0.4

    async def work(desk: HostileDesk) -> None:
        sign = 1 if side_of(seed) == "long" else -1

        async def life(_desk: HostileDesk, executor: Executor) -> None:
            await executor.enter(desk.approved(side=side_of(seed), quantity="2"))
            desk.venue.bend(random_plan(seed, desk.clock.now_ms(), span_s=SPAN_S))
            if vanish:
                desk.at(dice.random() * 20, lambda: desk.by_hand("DELETE", "/fapi/v1/algoOpenOrders"))
            await executor.close(SYMBOL, "test", share)

        pause, said = disturb(desk, seed), list[tuple[int, str]]()
        least: list[Decimal] = []
        desk.venue.watch = lambda: least.append(desk.amount * sign)
        await live(desk, life, said)
        assert entered(desk) == 1
        assert min(least) >= 0, "an exit turned the position"
        left = desk.amount * sign
        whole = share is None or any(fill.side != desk.books.fills[0].side for fill in desk.books.fills[2:])
        assert whole or left in {2, 2 - 2 * (share or 1), 0}, left
        if not vanish:
            covered_in_time(desk, pause, said)

    hostile(work, tmp_path, seed=seed, switches=random.Random(seed).choice(SWITCHES))
