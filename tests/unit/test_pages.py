"""Pages: the plan is the cheapest there is, and what runs ahead stays in order, bounded and under control."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trader_cli.exchange.market_data.pages import in_order, page_plan
from trader_cli.venue.clocks import VirtualClock, run_virtual
from trader_cli.venue.request_weights import request_weight

MOST = 3200


def weight(limit: int) -> int:
    return request_weight("/fapi/v1/klines", {"limit": limit})


@cache
def cheapest() -> tuple[tuple[int, int], ...]:
    """(least weight, least pages for it) of every number of bars, by trying every size of the last page."""
    sizes = [99, 499, 1000, 1500]  # within a weight the largest page is never worse: it may be left unfilled
    best = [(0, 0)]
    for bars in range(1, MOST + 1):
        best.append(min((w + weight(s), p + 1) for s in sizes for w, p in [best[max(0, bars - s)]]))
    return tuple(best)


def test_no_plan_is_cheaper_or_of_equal_weight_with_fewer_pages() -> None:
    for bars, wanted in enumerate(cheapest()):
        plan = page_plan(0, (bars - 1) * 60_000, 60_000)
        assert (sum(weight(limit) for _, _, limit in plan), len(plan)) == wanted, bars


@given(
    st.integers(0, 10**6), st.integers(-5, 20_000), st.sampled_from([60_000, 900_000]), st.sampled_from([None, 1000])
)
def test_pages_cover_every_bar_once_and_in_order(first: int, bars: int, step: int, flat: int | None) -> None:
    start = first * step
    plan = page_plan(start, start + (bars - 1) * step, step, flat=flat)
    opens = [opened for begin, end, _ in plan for opened in range(begin, end + 1, step)]
    assert opens == list(range(start, start + bars * step, step))
    assert all((end - begin) // step + 1 == limit for begin, end, limit in plan)


def test_known_weights() -> None:
    def costs(bars: int, flat: int | None = None) -> list[int]:
        return [limit for _, _, limit in page_plan(0, bars - 1, 1, flat=flat)]

    assert costs(520) == [499, 21]
    assert costs(99) == [99]
    assert costs(1000) == [1000]
    assert costs(2500, flat=1000) == [1000, 1000, 500]


class Errand:
    """Calls that take given seconds of virtual time; notes what is under way, and how each ended."""

    def __init__(self, seconds: list[float], fails: int | None = None) -> None:
        self.seconds, self.fails = seconds, fails
        self.under_way, self.most, self.ended = 0, 0, dict[int, str]()

    async def call(self, number: int) -> int:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        self.ended[number] = "cancelled"
        try:
            await asyncio.sleep(self.seconds[number])
            self.ended[number] = "failed" if number == self.fails else "done"
            if number == self.fails:
                raise ValueError(f"call {number}")
            return number
        finally:
            self.under_way -= 1

    def calls(self) -> Any:
        return (lambda number=number: self.call(number) for number in range(len(self.seconds)))


def virtually(work: Any) -> Any:
    return run_virtual(work, VirtualClock(0))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 100), max_size=40), st.integers(1, 9))
def test_results_come_in_order_and_never_more_than_so_many_are_under_way(seconds: list[float], ahead: int) -> None:
    errand = Errand(seconds)

    async def work() -> list[int]:
        return [number async for number in in_order(errand.calls(), ahead=ahead)]

    assert virtually(work) == list(range(len(seconds)))
    assert errand.most == min(ahead, len(seconds))


def test_a_pipe_that_is_full_takes_as_long_as_its_share() -> None:
    clock = VirtualClock(0)

    async def work() -> None:
        assert len([n async for n in in_order(Errand([1.0] * 80).calls(), ahead=8)]) == 80

    run_virtual(work, clock)
    assert clock.now_ms() == 10_000


def test_results_that_nobody_takes_are_not_piled_up() -> None:
    errand = Errand([1.0] * 40)

    async def work() -> int:
        async with aclosing(in_order(errand.calls(), ahead=4)) as results:
            async for _ in results:
                await asyncio.sleep(1000)
                break
        return len(errand.ended)

    assert virtually(work) == 4


@pytest.mark.parametrize("fails", [0, 3, 9, 11])
def test_a_failing_call_raises_in_its_turn_and_ends_the_rest(fails: int) -> None:
    errand, taken = Errand([5.0] * fails + [1.0] + [50.0] * (11 - fails), fails), list[int]()

    async def work() -> int:
        with pytest.raises(ValueError, match=f"call {fails}"):
            async for number in in_order(errand.calls(), ahead=4):
                taken.append(number)
        return errand.under_way

    assert virtually(work) == 0
    assert taken == list(range(fails))
    assert "done" not in [how for number, how in errand.ended.items() if number > fails]


def test_leaving_early_or_being_cancelled_ends_what_is_under_way() -> None:
    errand = Errand([1.0, *[50.0] * 20])

    async def collect() -> None:
        async for _ in in_order(errand.calls()):
            pass

    async def work() -> list[int]:
        async with aclosing(in_order(errand.calls())) as results:
            async for _ in results:
                break
        left = [errand.under_way]
        task = asyncio.create_task(collect())
        await asyncio.sleep(10)
        left.append(errand.under_way)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return [*left, errand.under_way]

    assert virtually(work) == [0, 8, 0]
