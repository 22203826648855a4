"""Questions to the exchange whose waiting is bounded: a budget ends the waiting, not the request.

What is answered late is still heard: by whoever asks the same again. Nothing here decides what an answer means.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from trader_cli.core.errors import ExchangeUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable

    from trader_cli.core.ports import Clock

T = TypeVar("T")
_UNHEARD_MS = 2500
"""A late answer is heard by whoever asks again soon; later it would be an old one."""
_MOST_UNDER_WAY = 3
"""Of one question: more would only add weight."""


@dataclass(eq=False)
class _Query(Generic[T]):
    """One request under way, and when it was sent."""

    at_ms: int
    task: asyncio.Task[T]
    done_ms: int | None = None
    hear: Callable[[T, int], None] | None = None


@dataclass
class BoundedQueries:
    """Reads of the care path. `budget_s` is how long one answer is waited for; times are the clock's monotonic ones."""

    clock: Clock
    budget_s: float
    _lines: dict[Hashable, list[_Query[Any]]] = field(default_factory=dict)

    async def ask(
        self,
        key: Hashable,
        question: Callable[[], Awaitable[T]],
        *,
        since_ms: int = 0,
        share_ms: int = 0,
        hear: Callable[[T, int], None] | None = None,
    ) -> tuple[T, int]:
        """(an answer, when it was asked): this question's, or of the same one asked earlier and answered only now.

        Only answers to what was asked at or after `since_ms` (monotonic) count. A request not older than
        `share_ms` is joined rather than sent again. `hear` is told the answer, and when it was asked for, that comes
        after the waiting has ended. Raises what the request raised, or `ExchangeUnavailable` when the budget ends.
        """
        line = self._lines.setdefault(key, [])
        now = self.clock.monotonic_ms()
        line[:] = [query for query in line if query.done_ms is None or now - query.done_ms <= _UNHEARD_MS]
        query = self._begun(line, question, share_ms)
        try:
            return await self._answered(line, query, since_ms)
        finally:
            query.hear = hear or query.hear
            if not line and self._lines.get(key) is line:
                del self._lines[key]  # weeks of questions leave nothing behind

    async def _answered(self, line: list[_Query[T]], newest: _Query[T], since_ms: int) -> tuple[T, int]:
        until = self.clock.monotonic_ms() + round(self.budget_s * 1000)
        while True:
            heard = [query for query in line if query.task.done()]
            for query in heard:
                line.remove(query)
            good = [query for query in heard if query.at_ms >= since_ms and _succeeded(query.task)]
            if good:
                last = max(good, key=lambda query: query.at_ms)
                return last.task.result(), last.at_ms
            if newest.task.done():
                answer = newest.task.result()
                if newest.at_ms < since_ms:
                    raise ExchangeUnavailable("The exchange has answered earlier questions only.")
                return answer, newest.at_ms
            left_s = (until - self.clock.monotonic_ms()) / 1000
            if left_s <= 0:
                raise ExchangeUnavailable(f"The exchange has not answered within {self.budget_s:g} s.")
            waiting = [query.task for query in line]
            await asyncio.wait(waiting, timeout=self.clock.loop_s(left_s), return_when=asyncio.FIRST_COMPLETED)

    def _begun(self, line: list[_Query[T]], question: Callable[[], Awaitable[T]], share_ms: int) -> _Query[T]:
        """The request whose answer is waited for: a new one, or the last where that is young or too many wait."""
        now = self.clock.monotonic_ms()
        waiting = [query for query in line if not query.task.done()]
        if waiting and (now - waiting[-1].at_ms < share_ms or len(waiting) >= _MOST_UNDER_WAY):
            return waiting[-1]
        query = _Query(now, asyncio.ensure_future(question()))
        query.task.add_done_callback(lambda task: self._heard(query, task))
        line.append(query)
        return query

    def _heard(self, query: _Query[T], task: asyncio.Task[T]) -> None:
        """When it was answered; a failure that nobody waits for any more is no unhandled error."""
        query.done_ms = self.clock.monotonic_ms()
        if _succeeded(task) and query.hear is not None:
            query.hear(task.result(), query.at_ms)

    async def end(self) -> None:
        """Give up what is still under way: nobody will ask for it any more."""
        tasks = [query.task for line in self._lines.values() for query in line]
        self._lines.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _succeeded(task: asyncio.Task[object]) -> bool:
    return not task.cancelled() and task.exception() is None
