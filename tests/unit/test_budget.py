"""The request budget in virtual time: never too much in a window, first come first served, and others are heard."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trader_cli.core.errors import RateLimited
from trader_cli.exchange.connection.weight_budget import RequestBudget, WeightBudget
from trader_cli.venue.clocks import VirtualClock, run_virtual
from trader_cli.venue.request_weights import FUTURES, request_weight

KLINES, FUNDING, OPEN_INTEREST, SPOT = (
    "/fapi/v1/klines",
    "/fapi/v1/fundingRate",
    "/futures/data/openInterestHist",
    "/api/v3/klines",
)
MINUTE = 60_000


def at(clock: VirtualClock, work: Any) -> Any:
    return run_virtual(work, clock)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 200), st.integers(1, 10)), min_size=1, max_size=80),
    st.integers(10, 60),
    st.integers(0, 2 * MINUTE),
)
def test_no_minute_is_overspent_and_whoever_comes_first_is_served_first(
    arrivals: list[tuple[float, int]], limit: int, start_ms: int
) -> None:
    clock, came, sent = VirtualClock(start_ms), list[int](), list[tuple[int, int, int]]()

    async def one(budget: WeightBudget, number: int, seconds: float, weight: int) -> None:
        await asyncio.sleep(seconds)
        came.append(number)
        await budget.spend(weight)
        sent.append((number, clock.now_ms(), weight))

    async def work() -> None:
        budget = WeightBudget(clock, 1.0, replace(FUTURES, limit=limit))
        await asyncio.gather(*(one(budget, n, *arrival) for n, arrival in enumerate(arrivals)))

    at(clock, work)
    spent = defaultdict[int, int](int)
    for _, time_ms, weight in sent:
        spent[time_ms // MINUTE] += weight
    assert max(spent.values()) <= limit
    assert [number for number, _, _ in sent] == came


def test_a_full_pipe_uses_every_minute_up() -> None:
    clock = VirtualClock(50_000)

    async def work() -> None:
        budget = WeightBudget(clock, 0.5, replace(FUTURES, limit=40))
        await asyncio.gather(*(budget.spend(2) for _ in range(100)))

    at(clock, work)
    assert clock.now_ms() == 9 * MINUTE


def test_an_urgent_request_passes_those_that_wait() -> None:
    clock, sent = VirtualClock(0), list[str]()

    async def work() -> None:
        budget = WeightBudget(clock, 0.5, replace(FUTURES, limit=20))

        async def one(name: str, *, urgent: bool = False) -> None:
            await budget.spend(5, urgent=urgent)
            sent.append(f"{name} {clock.now_ms()}")

        waiting = [asyncio.create_task(one(f"read {n}")) for n in range(3)]
        await asyncio.sleep(1)
        await asyncio.gather(one("stop", urgent=True), one("stop", urgent=True), one("stop", urgent=True), *waiting)

    at(clock, work)
    assert sent == ["read 0 0", "read 1 0", "stop 1000", "stop 1000", "read 2 60000", "stop 60000"]


def test_one_who_gives_up_waiting_holds_nobody_up() -> None:
    clock = VirtualClock(0)

    async def work() -> int:
        budget = WeightBudget(clock, 1.0, replace(FUTURES, limit=10))
        await budget.spend(10)
        first, second = (asyncio.create_task(budget.spend(5)) for _ in range(2))
        await asyncio.sleep(1)
        first.cancel()
        await second
        return budget.used

    assert at(clock, work) == 5
    assert clock.now_ms() == MINUTE


def test_the_exchanges_count_is_heard_but_not_that_of_an_earlier_minute() -> None:
    clock = VirtualClock(0)

    async def work() -> list[int]:
        budget, seen = WeightBudget(clock, 1.0), list[int]()
        await budget.spend(3)
        budget.observe({"x-mbx-USED-weight-1m": "900"}, 0)
        seen.append(budget.used)
        budget.observe({"X-MBX-USED-WEIGHT-1M": "5"}, 10)
        seen.append(budget.used)
        sent_ms = clock.now_ms()
        await clock.sleep(61)
        budget.observe({"X-MBX-USED-WEIGHT-1M": "2000"}, sent_ms)
        seen.append(budget.used)
        budget.observe({"X-MBX-USED-WEIGHT-1M": "7"}, clock.now_ms())
        return [*seen, budget.used]

    assert at(clock, work) == [900, 900, 0, 7]


def test_a_clock_set_back_over_the_minute_does_not_begin_it_again() -> None:
    now = [1000 * MINUTE + 100]

    async def work() -> list[int]:
        budget, seen = WeightBudget(VirtualClock(0), 1.0, now_ms=lambda: now[0]), list[int]()
        for back in (0, 500, -700, 60 * MINUTE):
            now[0] -= back
            await budget.spend(7)
            seen.append(budget.used)
        return seen

    assert at(VirtualClock(0), work) == [7, 14, 21, 7]


def together(fraction: float = 1.0) -> tuple[VirtualClock, RequestBudget]:
    clock = VirtualClock(0)
    return clock, RequestBudget(clock, fraction, clock.now_ms)


@pytest.mark.parametrize(
    ("path", "requests", "window_ms"),
    [(KLINES, 1200, MINUTE), (SPOT, 3000, MINUTE), (FUNDING, 500, 5 * MINUTE), (OPEN_INTEREST, 1000, 5 * MINUTE)],
)
def test_every_limit_is_kept_in_its_own_window(path: str, requests: int, window_ms: int) -> None:
    clock, budget = together()
    sent = list[int]()

    async def work() -> None:
        for _ in range(requests + 1):
            await budget.spend(path, {"limit": 499})
            sent.append(clock.now_ms())

    at(clock, work)
    assert sent[-2:] == [0, window_ms]


def test_a_pool_that_is_used_up_does_not_hold_the_others() -> None:
    clock, budget = together()

    async def work() -> list[int]:
        for _ in range(1000):
            await budget.spend(OPEN_INTEREST, {})
        held = asyncio.create_task(budget.spend(OPEN_INTEREST, {}))
        times = []
        for path in (KLINES, FUNDING, SPOT):
            await budget.spend(path, {})
            times.append(clock.now_ms())
        await held
        return [*times, clock.now_ms()]

    assert at(clock, work) == [0, 0, 0, 5 * MINUTE]


def test_a_ban_freezes_every_pool_and_a_long_one_is_an_error() -> None:
    clock, budget = together()

    async def work() -> list[int]:
        budget.freeze(7)
        times = []
        for path in (KLINES, FUNDING, OPEN_INTEREST, SPOT):
            await budget.spend(path, {})
            times.append(clock.now_ms())
        budget.freeze(120)
        for path in (KLINES, FUNDING, OPEN_INTEREST, SPOT):
            with pytest.raises(RateLimited, match="120 s"):
                await budget.spend(path, {}, urgent=path == KLINES)
        return times

    assert at(clock, work) == [7000] * 4


def per_minute(limit: Any, kind: str = "REQUEST_WEIGHT", interval: str = "MINUTE", number: int = 1) -> list[Any]:
    return [{"rateLimitType": kind, "interval": interval, "intervalNum": number, "limit": limit}]


@pytest.mark.parametrize(
    ("limits", "spot", "allowed"),
    [
        (None, False, 2400),
        ([], False, 2400),
        ({"limit": 5}, False, 2400),
        ([1, None, {}], False, 2400),
        (per_minute(0), False, 2400),
        (per_minute("many"), False, 2400),
        (per_minute(100, "ORDERS"), False, 2400),
        (per_minute(100, interval="DAY"), False, 2400),
        (per_minute(100, number=5), False, 2400),
        (per_minute(100, "RAW_REQUESTS") + per_minute(90), False, 90),
        (per_minute(100), True, 2400),
    ],
)
def test_limits_are_learned_and_odd_ones_left_aside(limits: Any, spot: bool, allowed: int) -> None:
    clock, budget = together()

    async def work() -> int:
        budget.learn(limits, spot=spot)
        sent = 0
        while clock.now_ms() == 0:
            await budget.spend(KLINES, {"limit": 99})
            sent += 1
        return sent - 1

    assert at(clock, work) == allowed * request_weight(KLINES, {"limit": 99})
