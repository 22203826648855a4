"""Which pages a span of bars is asked for in, and how several requests are kept on the way at once."""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable

T = TypeVar("T")
Page = tuple[int, int, int]
"""Opening times (UTC ms) of the first and last bar, both inclusive, and how many bars that is: the request's limit."""

AHEAD = 8
"""Requests on the way at once: enough to use up the budget at any distance from the exchange."""
CHEAP_BARS = 499
"""The page that costs least per bar: 249.5 for each weight; pages of 1000 bring 200, of 1500 bring 150."""
SMALLEST_BARS = 99
"""The most bars of a page of weight 1."""
_LARGE_BARS = 1000


def page_plan(first_ms: int, last_ms: int, step_ms: int, *, flat: int | None = None) -> list[Page]:
    """Pages that cover the bars opening from `first_ms` to `last_ms`, oldest first, at the least total weight.

    Among plans of equal weight the one with the fewest pages. Weights are those of futures klines: 1, 2, 5, 10 at a
    limit below 100, below 500, up to 1000, above. `flat` is the page where every limit costs the same, as at the spot
    market. No pages where `last_ms` is before `first_ms`.
    """
    bars = max(0, (last_ms - first_ms) // step_ms + 1)
    pages, start = list[Page](), first_ms
    for limit in _sizes(bars) if flat is None else _equal(bars, flat):
        pages.append((start, start + (limit - 1) * step_ms, limit))
        start += limit * step_ms
    return pages


def _sizes(bars: int) -> list[int]:
    """Cheap pages and a rest. One of 1000 stands for two cheap ones and two bars where the rest then weighs less."""
    whole, rest = divmod(bars, CHEAP_BARS)
    if whole >= 2 and rest in {1, 2, SMALLEST_BARS + 1, SMALLEST_BARS + 2}:
        large = min(_LARGE_BARS, 2 * CHEAP_BARS + rest)
        return [CHEAP_BARS] * (whole - 2) + _equal(2 * CHEAP_BARS + rest, large)
    return _equal(bars, CHEAP_BARS)


def _equal(bars: int, size: int) -> list[int]:
    whole, rest = divmod(bars, size)
    return [size] * whole + [rest] * (rest > 0)


async def in_order(calls: Iterable[Callable[[], Awaitable[T]]], *, ahead: int = AHEAD) -> AsyncGenerator[T, None]:
    """The results of `calls` in their order, with up to `ahead` of them under way or waiting to be taken.

    A call that fails raises in its turn, after the results before it; then, or when the iteration is left, those under
    way are cancelled. Leave early through `contextlib.aclosing`, so that this happens at once.
    """
    waiting, under_way = iter(calls), deque[asyncio.Future[T]]()
    try:
        while True:
            under_way += [asyncio.ensure_future(call()) for call in islice(waiting, ahead - len(under_way))]
            if not under_way:
                return
            result = await under_way[0]
            under_way.popleft()
            yield result
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
