"""A socket that is there again whenever it was lost: it subscribes, reads, watches, and says when it is up.

A connection lives a day at the exchange: the next one is up before the last one ends. What is heard twice meanwhile is
for the listener to know. Nothing that was missed comes again: after each `up` the truth is read by REST.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from typing import TYPE_CHECKING, cast

import orjson

from trader_cli.core.errors import TraderError
from trader_cli.core.market.timeframes import HOUR_MS, MINUTE_MS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    import aiohttp

    from trader_cli.core.ports import Clock
    from trader_cli.exchange.streams.stream_messages import Event

LOG = logging.getLogger("trader.exchange.streams")
LIFE_MS = 24 * HOUR_MS - 10 * MINUTE_MS
"""The exchange ends a connection after a day; ours is followed by the next ten minutes before."""
_PING_MS, _SILENT_MS = 20_000, 45_000
"""We ping so often; a socket on which nothing at all has come for so long, not even a pong, is dead."""
_LOOK_S, _OPENING_S = 1.0, 10.0
_FIRST_S, _LONGEST_S = 0.5, 30.0
"""Waits before trying again double from the first to the longest, each times a half to three halves."""


class StreamSocket:
    """`url` is asked for at each connect; `names` are subscribed to by message. Run it as a task; `close` ends it.

    `hear` gets each event and when it came (the clock's UTC ms); `up` is called once all is subscribed, `down` when the
    connection is lost. `is_stale` says whether it must be made anew although it is open. None of them may wait.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        clock: Clock,
        url: Callable[[], Awaitable[str]],
        names: Sequence[str] = (),
        *,
        hear: Callable[[Event, int], None],
        up: Callable[[], None],
        down: Callable[[], None],
        is_stale: Callable[[], bool] = lambda: False,
    ) -> None:
        self._session, self._clock, self._url, self._names = session, clock, url, tuple(names)
        self._hear, self._up, self._down, self._is_stale = hear, up, down, is_stale
        self._dice = random.Random()
        self._tries = 0
        self.connects = 0
        self._renewed = asyncio.Event()

    def renew(self) -> None:
        """Let the next connection take the place of the one that is open: its URL is another."""
        self._renewed.set()

    async def run(self) -> None:
        """Connect, again and again, until cancelled."""
        while True:
            try:
                await self._connected()
                self._tries = 0
            except _lost() as error:
                LOG.info("a stream could not be connected: %s", type(error).__name__)
            wait_s = min(_FIRST_S * 2**self._tries, _LONGEST_S) * self._dice.uniform(0.5, 1.5)
            self._tries = min(self._tries + 1, 10)
            await self._clock.sleep(wait_s)

    async def _connected(self) -> None:
        """One connection and those that follow it without a gap, until one is lost."""
        line = await self._open()
        try:
            self._up()
            while True:
                ended = asyncio.create_task(line.read())
                await self._until_replaced(ended)
                if ended.done():
                    await ended
                    return
                following = await self._opened_or_none()
                if following is None:
                    await ended
                    return
                ended.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await ended
                await line.close()
                line = following
                self._up()
        finally:
            self._down()
            await line.close()

    async def _until_replaced(self, ended: asyncio.Task[None]) -> None:
        """Until the connection has ended, or another should take its place."""
        began = self._clock.monotonic_ms()
        self._renewed.clear()
        while not ended.done() and not self._renewed.is_set():
            if self._clock.monotonic_ms() - began >= LIFE_MS:
                return
            await asyncio.wait({ended}, timeout=self._clock.loop_s(_LOOK_S))

    async def _opened_or_none(self) -> _Line | None:
        try:
            return await self._open()
        except _lost():
            return None

    async def _open(self) -> _Line:
        url = await self._url()
        opening = self._session.ws_connect(url, autoping=False, compress=0, max_msg_size=16 * 2**20)
        socket = await asyncio.wait_for(opening, self._clock.loop_s(_OPENING_S))
        line = _Line(socket, self._clock, self._hear, self._is_stale)
        try:
            await asyncio.wait_for(line.subscribe(self._names), self._clock.loop_s(_OPENING_S))
        except BaseException:
            await line.close()
            raise
        self.connects += 1
        return line


async def run_all(*works: Callable[[], Awaitable[None]]) -> None:
    """All of them side by side until cancelled, or until one fails: then none goes on."""
    tasks = [asyncio.ensure_future(work()) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _lost() -> tuple[type[Exception], ...]:
    """What is raised where there is no connection, or no key for one."""
    import aiohttp

    return OSError, aiohttp.ClientError, TraderError


class _Line:
    """One connection that is open."""

    def __init__(
        self,
        socket: aiohttp.ClientWebSocketResponse,
        clock: Clock,
        hear: Callable[[Event, int], None],
        is_stale: Callable[[], bool],
    ) -> None:
        self._socket, self._clock, self._hear, self._is_stale = socket, clock, hear, is_stale
        self._came_ms = clock.monotonic_ms()

    async def subscribe(self, names: Sequence[str]) -> None:
        """To all of them; raises `ConnectionError` where that is refused."""
        if not names:
            return
        await self._socket.send_json({"method": "SUBSCRIBE", "params": list(names), "id": 1})
        while True:
            told = await self._next()
            if isinstance(told, dict) and told.get("id") == 1 and "e" not in told:
                if told.get("error"):
                    raise ConnectionError("The exchange refused a subscription.")
                return
            self._give(told)

    async def read(self) -> None:
        """Hear what comes until the connection ends, is silent, or a stream of it is stale."""
        watch = asyncio.create_task(self._watch())
        try:
            while not watch.done():
                self._give(await self._next())
        except _Ended:
            pass
        finally:
            watch.cancel()

    def _give(self, told: object) -> None:
        """Events to the listener; one that it cannot read ends the connection, as garbled ones do."""
        for event in told if isinstance(told, list) else [told]:
            if isinstance(event, dict) and "e" in event:
                try:
                    self._hear(cast("Event", event), self._clock.now_ms())
                except (KeyError, TypeError, ValueError):
                    raise _Ended from None

    async def _next(self) -> object:
        """The next message, decoded. Raises `_Ended` where there is none any more, or what came is no message."""
        import aiohttp

        kinds = aiohttp.WSMsgType
        while True:
            message = await self._socket.receive()
            self._came_ms = self._clock.monotonic_ms()
            if message.type is kinds.PING:
                await self._socket.pong(message.data)
            elif message.type is kinds.TEXT:
                try:
                    return orjson.loads(message.data)
                except orjson.JSONDecodeError:
                    raise _Ended from None
            elif message.type is not kinds.PONG:
                raise _Ended

    async def _watch(self) -> None:
        pinged_ms = self._clock.monotonic_ms()
        with contextlib.suppress(ConnectionError):
            while not self._socket.closed:
                await self._clock.sleep(_LOOK_S)
                now_ms = self._clock.monotonic_ms()
                if now_ms - self._came_ms > _SILENT_MS or self._is_stale():
                    break
                if now_ms - pinged_ms >= _PING_MS:
                    pinged_ms = now_ms
                    await self._socket.ping()
        await self.close()

    async def close(self) -> None:
        """Safe to call twice. A peer that does not answer is not waited for."""
        with contextlib.suppress(*_lost()):
            await asyncio.wait_for(self._socket.close(), 2.0)


class _Ended(ConnectionError):
    """The connection has ended."""
