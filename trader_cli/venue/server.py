"""The HTTP server around the market: loopback only, loud about what it does not know.

Besides the exchange's routes it offers its clock: `GET /venue/clock`, and for driven time `POST /venue/lease`,
`POST /venue/lease/{id}/sleep`, `DELETE /venue/lease/{id}`.
"""

from __future__ import annotations

import logging
from decimal import Decimal
from typing import TYPE_CHECKING

from aiohttp import web

from trader_cli.core.weights import WEIGHT_LIMIT, request_weight
from trader_cli.venue.clocks import DrivenClock, VirtualClock
from trader_cli.venue.routes import PublicRoutes, VenueRejection
from trader_cli.venue.trading import Request, TradingDesk, is_private

if TYPE_CHECKING:
    from pathlib import Path

    from aiohttp.typedefs import Handler

    from trader_cli.venue.clocks import ServedClock
    from trader_cli.venue.tape import Tape

LOG = logging.getLogger("trader.venue")
_MINUTE_MS = 60_000
OPENING_BALANCE = Decimal(10_000)


class VenueServer:
    """Serves a tape at a clock on 127.0.0.1. Use as an async context manager; `url` is known inside.

    Accounts open with `balance` USDT. `folder` keeps their journal; without one they are forgotten. The journal is
    opened by the first private request: until then several venues may serve the same tape.
    """

    def __init__(
        self,
        tape: Tape,
        clock: ServedClock,
        *,
        port: int = 0,
        balance: Decimal = OPENING_BALANCE,
        folder: Path | None = None,
    ) -> None:
        self._routes = PublicRoutes(tape)
        self._start_ms = tape.start_ms
        self._balance, self._folder = balance, folder
        self._desk: TradingDesk | None = None
        self._clock = clock
        self._port = port
        self._weights = _WeightCounter()
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def __aenter__(self) -> VenueServer:
        runner = web.AppRunner(self._application(), access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self._port)
        await site.start()
        self._runner = runner
        host, port = runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_exc: object) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        if self._desk is not None:
            self._desk.close()

    def _application(self) -> web.Application:
        app = web.Application(middlewares=[_as_exchange_errors])
        app.router.add_get("/venue/clock", self._show_clock)
        app.router.add_post("/venue/lease", self._lease)
        app.router.add_post("/venue/lease/{name}/sleep", self._sleep)
        app.router.add_delete("/venue/lease/{name}", self._release)
        app.router.add_route("*", "/{path:.*}", self._answer)
        return app

    def _trading(self) -> TradingDesk:
        if self._desk is None:
            self._desk = TradingDesk(self._routes.markets, self._start_ms, self._balance, self._folder)
        return self._desk

    async def _answer(self, request: web.Request) -> web.Response:
        if is_private(request.method, request.path):
            asked = Request(
                request.method,
                request.path,
                request.rel_url.raw_query_string,
                (await request.read()).decode(),
                request.headers,
            )
            used = self._weights.add(self._clock.now_ms(), 1)
            body = self._trading().answer(asked, self._clock.now_ms())
            return web.json_response(body, headers={"X-MBX-USED-WEIGHT-1M": str(used)})
        handler = self._routes.table.get(request.path)
        if handler is None or request.method != "GET":
            LOG.error("no route for %s %s", request.method, request.path)
            message = f"trader venue: no route for {request.method} {request.path}"
            raise VenueRejection(500, -1000, message)
        now = self._clock.now_ms()
        used = self._weights.add(now, request_weight(request.path, request.query))
        headers = {"X-MBX-USED-WEIGHT-1M": str(used)}
        if used > WEIGHT_LIMIT:
            wait_s = (_MINUTE_MS - now % _MINUTE_MS) // 1000 + 1
            body = {
                "code": -1003,
                "msg": f"Too many requests; current limit is {WEIGHT_LIMIT} request weight per minute.",
            }
            return web.json_response(body, status=429, headers={**headers, "Retry-After": str(wait_s)})
        return web.json_response(handler(request.query, now), headers=headers)

    async def _show_clock(self, _request: web.Request) -> web.Response:
        kind = {DrivenClock: "driven", VirtualClock: "virtual"}.get(type(self._clock), "wall")
        rate = getattr(self._clock, "rate", None)
        return web.json_response({"kind": kind, "rate": rate, "now_ms": self._clock.now_ms()})

    def _driven(self) -> DrivenClock:
        if not isinstance(self._clock, DrivenClock):
            raise VenueRejection(400, -1000, "This venue's clock is not driven; serve it with --clock driven.")
        return self._clock

    async def _lease(self, _request: web.Request) -> web.Response:
        clock = self._driven()
        return web.json_response({"lease": clock.lease(), "now_ms": clock.now_ms()})

    async def _sleep(self, request: web.Request) -> web.Response:
        clock, name = self._driven(), request.match_info["name"]
        body = await request.json()
        try:
            now = await clock.sleep_until(name, int(body["until_ms"]))
        except KeyError:
            raise VenueRejection(410, -1000, f"No such lease, or it has expired: {name}.") from None
        return web.json_response({"now_ms": now})

    async def _release(self, request: web.Request) -> web.Response:
        self._driven().release(request.match_info["name"])
        return web.json_response({})


class _WeightCounter:
    """Request weight used in the current clock minute."""

    def __init__(self) -> None:
        self._minute = -1
        self._used = 0

    def add(self, now_ms: int, weight: int) -> int:
        minute = now_ms // _MINUTE_MS
        if minute != self._minute:
            self._minute, self._used = minute, 0
        self._used += weight
        return self._used


@web.middleware
async def _as_exchange_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except VenueRejection as rejection:
        return web.json_response({"code": rejection.code, "msg": rejection.message}, status=rejection.status)
