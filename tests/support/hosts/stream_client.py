"""A socket of a test: what it is told, in virtual time, and what it says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
from support.hosts.signed_client import Caller

from trader_cli.venue.clocks import VirtualClock, run_virtual
from trader_cli.venue.server.server import VenueServer
from trader_cli.venue.simulated_market.tape import Tape

Work = Callable[["Place"], Awaitable[Any]]


class Socket:
    """Everything that comes is kept: `told` are the messages, `code` is how it was closed."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, *, ponging: bool = True) -> None:
        self.socket, self.told, self.pings, self.code = socket, list[Any](), list[int](), 0
        self._ponging = ponging
        self._task = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        async for message in self.socket:
            if message.type is aiohttp.WSMsgType.PING:
                self.pings.append(int(message.data))
                if self._ponging:
                    await self.socket.pong(message.data)
            elif message.type is aiohttp.WSMsgType.TEXT:
                self.told.append(json.loads(message.data))
        self.code = self.socket.close_code or 0

    async def say(self, method: str, *params: Any, number: int = 1) -> None:
        await self.socket.send_json({"method": method, "params": list(params), "id": number})

    def events(self, *kinds: str) -> list[dict[str, Any]]:
        return [m for m in self.told if isinstance(m, dict) and m.get("e") in kinds]

    async def close(self) -> None:
        await self.socket.close()
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task


class Place:
    """A venue in virtual time, a client that signs, and sockets."""

    def __init__(self, venue: VenueServer, session: aiohttp.ClientSession, clock: VirtualClock) -> None:
        self.venue, self.session, self.clock = venue, session, clock
        self.caller = Caller(session, venue.url, clock)

    async def connect(self, path: str, *, ponging: bool = True) -> Socket:
        url = self.venue.url.replace("http", "ws") + path
        return Socket(await self.session.ws_connect(url, autoping=False), ponging=ponging)

    async def listen_key(self) -> str:
        _, told = await self.caller.ask("POST", "/fapi/v1/listenKey")
        return str(told["listenKey"])


def on_streams(tape: Tape, work: Work, *, share: float = 0.6, folder: Path | None = None, **options: Any) -> Any:
    """Run `work` at a venue in virtual time and return what it returns."""
    clock = VirtualClock(tape.at(share))

    async def main() -> Any:
        async with VenueServer(tape, clock, folder=folder, **options) as venue, aiohttp.ClientSession() as session:
            return await work(Place(venue, session, clock))

    return run_virtual(main, clock)
