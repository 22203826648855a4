"""WebSockets of the simulated exchange: paths to streams, pings, and the life of a connection."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
from typing import TYPE_CHECKING, cast

from aiohttp import WSCloseCode, WSMsgType, web

from trader_cli.core.market.timeframes import DAY_MS, MINUTE_MS
from trader_cli.venue.clocks import sleep_unless
from trader_cli.venue.streams.account_messages import FORCED
from trader_cli.venue.streams.account_streams import AccountStreams
from trader_cli.venue.streams.hub import StreamHub
from trader_cli.venue.streams.stream_connection import GOING_AWAY, POLICY, StreamConnection

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from trader_cli.venue.clocks import ServedClock
    from trader_cli.venue.engine.books import Order
    from trader_cli.venue.engine.engine import Engine
    from trader_cli.venue.server.public_routes import PublicRoutes
    from trader_cli.venue.server.trading_desk import TradingDesk
    from trader_cli.venue.simulated_market.symbol_market import SymbolMarket
    from trader_cli.venue.streams.market_events import Quotes
    from trader_cli.venue.streams.stream_names import Route

PING_MS, PONG_WITHIN_MS, LIFE_MS = 3 * MINUTE_MS, 10 * MINUTE_MS, DAY_MS
_PATH = re.compile(r"/(?:(?P<route>public|market|private)/)?(?P<kind>ws|stream)(?P<spot>/ws)?(?:/(?P<names>.+))?")
_MOST_BYTES = 64 * 1024
_SEND_WITHIN_S = 10.0
"""Of this machine's time: a client that reads nothing for so long is cut off."""


class StreamedQuotes:
    """What streams tell of markets as the public routes do, and what was forced."""

    def __init__(self, routes: PublicRoutes, engines: Callable[[], list[Engine]]) -> None:
        self.day, self.premium, self.listing = routes.day, routes.premium, routes.listing
        self._engines = engines

    def forced(self, symbol: str, since_ms: int, now_ms: int) -> list[Order]:
        """Liquidations of any account of this venue in (since, now], oldest first."""
        found = []
        for engine in self._engines():
            engine.advance(max(now_ms, engine.now_ms))
            late = itertools.takewhile(lambda order: order.time_ms > since_ms, reversed(engine.account.orders.values()))
            found += [o for o in late if o.symbol == symbol and o.client_id.startswith(FORCED) and o.time_ms <= now_ms]
        return sorted(found, key=lambda order: order.time_ms)


class StreamRoutes:
    """The sockets of a venue: `/public`, `/market`, `/private`, and `/ws`, `/stream` for all three; spot: `/stream/ws`.

    A path may name streams (`/ws/NAME`, `/stream?streams=NAME/NAME`) or a listen key.
    """

    def __init__(
        self,
        clock: ServedClock,
        markets: Mapping[str, SymbolMarket],
        quotes: Quotes,
        desk: Callable[[], TradingDesk],
    ) -> None:
        self._clock, self._markets = clock, markets
        self._hub, self._accounts = StreamHub(clock, markets, quotes), AccountStreams(clock, desk)
        self._open: set[web.WebSocketResponse] = set()

    def add_to(self, app: web.Application) -> None:
        """Let the application answer on these paths."""
        for head in ("", "/public", "/market", "/private"):
            for tail in ("/ws", "/ws/{names:.*}", "/stream", "/stream/{names:.*}"):
                app.router.add_get(f"{head}{tail}", self._serve)

    async def close(self) -> None:
        """Close every socket."""
        self._hub.close()
        self._accounts.close()
        for socket in [*self._open]:
            await socket.close(code=WSCloseCode.GOING_AWAY)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(autoping=False, compress=False, max_msg_size=_MOST_BYTES)
        path = _PATH.fullmatch(request.path)
        if path is None or not socket.can_prepare(request):
            return web.Response(status=400, text="A WebSocket is spoken here.")
        await socket.prepare(request)
        connection = self._connection(path, request)
        self._open.add(socket)
        tasks = [asyncio.create_task(work(socket, connection)) for work in (self._send, self._keep)]
        try:
            await self._receive(socket, connection)
        finally:
            self._open.discard(socket)
            connection.left()
            for task in tasks:
                task.cancel()
        return socket

    def _connection(self, path: re.Match[str], request: web.Request) -> StreamConnection:
        """What the path asks for."""
        route = "spot" if path["spot"] and path["kind"] == "stream" else path["route"] or "legacy"
        connection = StreamConnection(self._hub, self._accounts, self._markets, cast("Route", route))
        connection.combined = path["kind"] == "stream" and not path["spot"]
        given = "/".join(filter(None, (path["names"], request.query.get("streams"), request.query.get("listenKey"))))
        connection.choose(request.query.get("events", ""))
        connection.subscribe([name for name in given.split("/") if name and not name.isdigit()])
        return connection

    async def _receive(self, socket: web.WebSocketResponse, connection: StreamConnection) -> None:
        async for message in socket:
            if message.type is WSMsgType.PONG:
                connection.ponged_ms = self._clock.now_ms()
                continue
            connection.count(self._clock.now_ms())
            if message.type is WSMsgType.PING:
                await socket.pong(message.data)
            elif message.type is WSMsgType.TEXT:
                connection.take(message.data)

    async def _send(self, socket: web.WebSocketResponse, connection: StreamConnection) -> None:
        with contextlib.suppress(ConnectionError, TimeoutError):
            while True:
                message = await connection.outgoing.get()
                await asyncio.wait_for(socket.send_frame(message, WSMsgType.TEXT), _SEND_WITHIN_S)
        connection.end(POLICY)

    async def _keep(self, socket: web.WebSocketResponse, connection: StreamConnection) -> None:
        """Ping it, and close it when its time is up, it does not answer, or it has broken the limits."""
        began = connection.ponged_ms = self._clock.now_ms()
        with contextlib.suppress(ConnectionError):
            while not connection.ended.is_set():
                left_ms = began + LIFE_MS - self._clock.now_ms()
                await sleep_unless(self._clock, min(PING_MS, max(left_ms, 0)) / 1000, connection.ended)
                now = self._clock.now_ms()
                if now - began >= LIFE_MS:
                    connection.end(GOING_AWAY)
                elif now - connection.ponged_ms > PONG_WITHIN_MS:
                    connection.end(POLICY)
                elif not connection.ended.is_set():
                    await socket.ping(str(now).encode())
            await socket.close(code=connection.code)
