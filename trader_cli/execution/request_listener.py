"""Hearing what other processes, and streams, say to the one that owns the ledger: also while it waits.

That a flatten is asked for is acknowledged as soon as the event loop turns; what is asked is done at the next look.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trader_cli.storage.owner_requests import acknowledge, is_acknowledged, request_of
from trader_cli.venue.clocks import sleep_unless

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from trader_cli.core.ports import Clock

REQUESTS = ("halt", "reset", "flatten")
_EVERY_S = 1.0
_SPACING_S = 1.0
_ACKNOWLEDGE_S = 0.5  # `flatten` waits three seconds for it


@dataclass(frozen=True)
class RequestListener:
    """Requests that lie beside the ledger at `path`. Where time is `virtual` naps are not cut into seconds."""

    path: Path
    clock: Clock
    virtual: bool = False
    _news: asyncio.Event = field(default_factory=asyncio.Event, repr=False, compare=False)

    def wake(self) -> None:
        """Something has happened to the account: a look is due. Naps end at once."""
        self._news.set()

    def has_news(self) -> bool:
        """Whether `wake` was called since `take_news`."""
        return self._news.is_set()

    def take_news(self) -> None:
        """A look begins: what happens from now on is news again."""
        self._news.clear()

    def is_requested(self) -> bool:
        """Whether another process asks for anything; a flatten is acknowledged."""
        self.acknowledge()
        return any(request_of(self.path, what) is not None for what in REQUESTS)

    def acknowledge(self) -> None:
        """Say that a flatten that is asked for was seen."""
        if request_of(self.path, "flatten") is not None and not is_acknowledged(self.path, "flatten"):
            acknowledge(self.path, "flatten")

    async def nap(self, seconds: float, is_over: Callable[[], bool] = lambda: False) -> None:
        """Sleep so many seconds of the clock, or until something is asked, it `is_over`, or there is news.

        News end it a second after its beginning at the earliest: many events at once are one look.
        """
        if self.virtual:
            await self.clock.sleep(seconds)
            return
        until_ms = self.clock.monotonic_ms() + seconds * 1000
        most_s = _EVERY_S / max(self.clock.loop_s(1.0), 1e-9)
        began_ms = self.clock.monotonic_ms()
        while (left_s := (until_ms - self.clock.monotonic_ms()) / 1000) > 0:
            rested = self.clock.monotonic_ms() - began_ms >= _SPACING_S * 1000
            if rested and self.has_news():
                return
            wait_s = min(left_s, most_s) if rested else min(left_s, most_s, _SPACING_S)
            await sleep_unless(self.clock, wait_s, self._news if rested else asyncio.Event())
            if self.is_requested() or is_over():
                return

    @contextmanager
    def open(self) -> Iterator[None]:
        """Inside, a flatten is acknowledged whenever the loop turns, whatever is waited for there."""
        if self.virtual:
            yield
            return
        task = asyncio.ensure_future(self._listen())
        try:
            yield
        finally:
            task.cancel()

    async def _listen(self) -> None:
        while True:
            self.acknowledge()
            await asyncio.sleep(_ACKNOWLEDGE_S)
