"""Following the clock of a separately running `trader venue serve`."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from trader_cli.core.errors import ExchangeUnavailable
from trader_cli.venue.clocks import WallClock, loop_clock

if TYPE_CHECKING:
    from collections.abc import Iterator

    import aiohttp

    from trader_cli.core.ports import Clock
    from trader_cli.settings.model import BinanceExchangeSettings


async def clock_of(options: BinanceExchangeSettings) -> Clock:
    """The clock these settings follow: the venue's where they say so, else that of the running event loop."""
    if options.clock == "venue" and options.base_url is not None:
        return await attach(options.base_url)
    return loop_clock()


async def attach(base_url: str) -> Clock:
    """The venue's clock: one running beside it at its rate, or a lease on driven time. Raises `ExchangeUnavailable`."""
    import aiohttp

    session = aiohttp.ClientSession(base_url)
    try:
        shown = await _json(session, "GET", "/venue/clock")
        if shown["kind"] != "driven":
            await session.close()
            return WallClock(float(shown["rate"] or 1.0), int(shown["now_ms"]))
        leased = await _json(session, "POST", "/venue/lease")
    except (aiohttp.ClientError, TimeoutError, KeyError, ValueError, TypeError) as error:
        await session.close()
        raise ExchangeUnavailable(
            f"No trader venue answers at {base_url}: {error}.",
            hint="Start it with `trader venue serve`, or set clock: wall.",
        ) from error
    return LeasedClock(session, str(leased["lease"]), int(leased["now_ms"]))


async def _json(session: aiohttp.ClientSession, method: str, path: str, body: Any = None) -> dict[str, Any]:
    async with session.request(method, path, json=body) as reply:
        reply.raise_for_status()
        return dict(await reply.json())


class LeasedClock:
    """Driven time under a lease: it stands still while we work, and moves when every client sleeps."""

    def __init__(self, session: aiohttp.ClientSession, lease: str, now_ms: int) -> None:
        self._session = session
        self._lease = lease
        self._now_ms = now_ms
        self._turn = asyncio.Lock()

    def now_ms(self) -> int:
        """Shared time as of our last sleep: it cannot have moved since."""
        return self._now_ms

    def monotonic_ms(self) -> int:
        """Shared time: nobody sets it back."""
        return self._now_ms

    def loop_s(self, seconds: float) -> float:
        """Shared time stands still while we wait for an answer: such waits are in real seconds."""
        return seconds

    async def sleep(self, seconds: float) -> None:
        """Let shared time pass. One sleep of this client at a time: one that is over by then waits no more."""
        until_ms = self._now_ms + round(seconds * 1000)
        async with self._turn:
            if until_ms > self._now_ms or seconds <= 0:
                await self._slept(until_ms)

    async def _slept(self, until_ms: int) -> None:
        import aiohttp

        try:
            reply = await _json(self._session, "POST", f"/venue/lease/{self._lease}/sleep", {"until_ms": until_ms})
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ExchangeUnavailable(f"The venue's driven clock is lost: {error}.") from error
        self._now_ms = int(reply["now_ms"])

    @contextmanager
    def held(self) -> Iterator[None]:
        """The lease holds time whenever we are not asleep."""
        yield

    async def close(self) -> None:
        """Give the lease back."""
        import aiohttp

        if not self._session.closed:
            with suppress(aiohttp.ClientError, TimeoutError):  # the venue may be gone, and the lease with it
                await _json(self._session, "DELETE", f"/venue/lease/{self._lease}")
            await self._session.close()
