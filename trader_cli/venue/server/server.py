"""The HTTP server around a simulated exchange: loopback only, loud about what it does not know.

Besides the exchange's routes it offers its clock: `GET /venue/clock`, and for driven time `POST /venue/lease`,
`POST /venue/lease/{id}/sleep`, `DELETE /venue/lease/{id}`; and what `control_routes` tells and takes. It answers to its
own name only, and no foreign web page (`host_check`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from trader_cli.venue.clocks import DrivenClock, VirtualClock
from trader_cli.venue.server.control_routes import Control
from trader_cli.venue.server.host_check import answering_its_own
from trader_cli.venue.server.public_routes import VenueRejection
from trader_cli.venue.server.simulated_venue import OPENING_BALANCE, SimulatedVenue, rejected
from trader_cli.venue.server.stream_routes import StreamedQuotes, StreamRoutes
from trader_cli.venue.server.trading_desk import Request

if TYPE_CHECKING:
    from collections.abc import Sequence
    from decimal import Decimal
    from pathlib import Path

    from aiohttp.typedefs import Handler

    from trader_cli.venue.clocks import ServedClock
    from trader_cli.venue.engine.switches import Switches
    from trader_cli.venue.server.faults import FaultPlan
    from trader_cli.venue.server.simulated_venue import Reply
    from trader_cli.venue.simulated_market.rule_changes import RuleChange
    from trader_cli.venue.simulated_market.tape import Tape


class VenueServer(SimulatedVenue):
    """Serves a tape at a clock on 127.0.0.1. Use as an async context manager; `url` is known inside.

    All but `port` is as `SimulatedVenue` takes it.
    """

    def __init__(
        self,
        tape: Tape,
        clock: ServedClock,
        *,
        port: int = 0,
        balance: Decimal = OPENING_BALANCE,
        folder: Path | None = None,
        faults: FaultPlan | None = None,
        switches: Switches | None = None,
        changes: Sequence[RuleChange] = (),
    ) -> None:
        super().__init__(tape, clock, balance=balance, folder=folder, faults=faults, switches=switches, changes=changes)
        self._port = port
        quotes = StreamedQuotes(self._routes, lambda: [] if self._desk is None else self._desk.engines())
        self._streams = StreamRoutes(clock, self._routes.markets, quotes, self._trading)
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def __aenter__(self) -> VenueServer:
        runner = web.AppRunner(self._application(), access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self._port)
        await site.start()
        self._runner = runner
        host, self._port = runner.addresses[0][:2]
        self.url = f"http://{host}:{self._port}"
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self.end_waits()
        await self._streams.close()
        if self._runner is not None:
            await self._runner.cleanup()
        self.close()

    def _application(self) -> web.Application:
        app = web.Application(middlewares=[answering_its_own(lambda: self._port), _as_exchange_errors])
        app.router.add_get("/venue/clock", self._show_clock)
        app.router.add_post("/venue/lease", self._lease)
        app.router.add_post("/venue/lease/{name}/sleep", self._sleep)
        app.router.add_delete("/venue/lease/{name}", self._release)
        Control(self._clock, self.log, self._trading, self.bend, self.bend_when).add_to(app)
        self._streams.add_to(app)
        app.router.add_route("*", "/{path:.*}", self._answer)
        return app

    async def _answer(self, request: web.Request) -> web.Response:
        body = (await request.read()).decode(errors="replace")
        url = request.rel_url
        made = Request(request.method, request.path, url.raw_query_string, body, request.headers, request.query)
        reply = await self.answer(made, lambda: _is_heard(request))
        if reply.status == 0 and request.transport is not None:
            request.transport.abort()
        return _response(reply)

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


def _is_heard(request: web.Request) -> bool:
    """Whether its sender still waits for the reply."""
    return request.transport is not None and not request.transport.is_closing()


def _response(reply: Reply) -> web.Response:
    """As HTTP says it; one of status 0 is for nobody."""
    return web.Response(
        body=reply.body, status=reply.status or 503, headers=reply.headers, content_type=reply.content_type
    )


@web.middleware
async def _as_exchange_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except VenueRejection as rejection:
        return _response(rejected(rejection, {}))
