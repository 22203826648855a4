"""The HTTP server around the market: loopback only, loud about what it does not know.

It answers for three hosts of the exchange at once: USDⓈ-M futures, spot (public routes), and the bulk archive. Besides
their routes it offers its clock: `GET /venue/clock`, and for driven time `POST /venue/lease`,
`POST /venue/lease/{id}/sleep`, `DELETE /venue/lease/{id}`.
"""

from __future__ import annotations

import logging
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from trader_cli.core.weights import request_weight
from trader_cli.venue.archive import ROOT, BulkArchive
from trader_cli.venue.clocks import DrivenClock, VirtualClock
from trader_cli.venue.limits import ORDER_PATHS, RequestLimits
from trader_cli.venue.routes import PublicRoutes, VenueRejection
from trader_cli.venue.signing import KEYS
from trader_cli.venue.trading import Request, TradingDesk, is_private

if TYPE_CHECKING:
    from pathlib import Path

    from aiohttp.typedefs import Handler

    from trader_cli.venue.clocks import ServedClock
    from trader_cli.venue.limits import Refusal
    from trader_cli.venue.tape import Tape

LOG = logging.getLogger("trader.venue")
_NOT_FOUND = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>NoSuchKey</Code>'
    "<Message>The specified key does not exist.</Message></Error>"
)
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
        self._archive = BulkArchive(self._routes.markets)
        self._limits = RequestLimits()
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
        if request.path.startswith(ROOT) and request.method in {"GET", "HEAD"}:
            return self._archived(request.path)
        private = is_private(request.method, request.path)
        if not private and (request.method != "GET" or request.path not in self._routes.table):
            LOG.error("no route for %s %s", request.method, request.path)
            message = f"trader venue: no route for {request.method} {request.path}"
            raise VenueRejection(500, -1000, message)
        sent = (await request.read()).decode() if private else ""
        now = self._clock.now_ms()
        headers, refusal = self._charge(request, now)
        if refusal is not None:
            return _json(refusal.body, refusal.status, {**headers, "Retry-After": str(refusal.retry_after_s)})
        try:
            body = (
                self._private(request, sent, now) if private else self._routes.table[request.path](request.query, now)
            )
        except VenueRejection as rejection:
            return _rejected(rejection, headers)
        return _json(body, 200, headers)

    def _charge(self, request: web.Request, now: int) -> tuple[dict[str, str], Refusal | None]:
        """Count the request. Commands cost 1 whatever the read of the same path costs."""
        weight = request_weight(request.path, request.query) if request.method == "GET" else 1
        charge = self._limits.charge(request.path, weight, now)
        if charge.refusal is not None or request.method != "POST" or request.path not in ORDER_PATHS:
            return charge.headers, charge.refusal
        key = KEYS.get(request.headers.get("X-MBX-APIKEY", ""))
        order = self._limits.charge_order(key.account if key else "", now)
        return {**charge.headers, **order.headers}, order.refusal

    def _private(self, request: web.Request, body: str, now: int) -> Any:
        query = request.rel_url.raw_query_string
        return self._trading().answer(Request(request.method, request.path, query, body, request.headers), now)

    def _archived(self, path: str) -> web.Response:
        """A file of the bulk archive. It costs no weight, and nothing is said about weight."""
        held = self._archive.read(path, self._clock.now_ms())
        if held is None:
            return web.Response(text=_NOT_FOUND, status=404, content_type="application/xml")
        kind = "application/zip" if path.endswith(".zip") else "binary/octet-stream"
        return web.Response(body=held, content_type=kind)

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


def _json(body: Any, status: int, headers: dict[str, str]) -> web.Response:
    return web.Response(body=orjson.dumps(body), status=status, headers=headers, content_type="application/json")


def _rejected(rejection: VenueRejection, headers: dict[str, str]) -> web.Response:
    return _json({"code": rejection.code, "msg": rejection.message}, rejection.status, headers)


@web.middleware
async def _as_exchange_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except VenueRejection as rejection:
        return _rejected(rejection, {})
