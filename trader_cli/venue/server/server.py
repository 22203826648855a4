"""The HTTP server around the market: loopback only, loud about what it does not know.

It answers for three hosts of the exchange at once: USDⓈ-M futures, spot (public routes), and the bulk archive. Besides
their routes it offers its clock: `GET /venue/clock`, and for driven time `POST /venue/lease`,
`POST /venue/lease/{id}/sleep`, `DELETE /venue/lease/{id}`; and what `control_routes` tells and takes. It answers to its
own name only, and no foreign web page (`host_check`).
"""

from __future__ import annotations

import asyncio
import logging
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING

import orjson
from aiohttp import web

from trader_cli.core.market.timeframes import MINUTE_MS
from trader_cli.venue.clocks import DrivenClock, VirtualClock, wait_out
from trader_cli.venue.request_weights import request_weight
from trader_cli.venue.server.authentication import known_key
from trader_cli.venue.server.control_routes import Control
from trader_cli.venue.server.failure_kinds import failure_of
from trader_cli.venue.server.faults import FaultPlan, FaultRun
from trader_cli.venue.server.host_check import answering_its_own
from trader_cli.venue.server.public_routes import PublicRoutes, VenueRejection
from trader_cli.venue.server.request_limits import ORDER_PATHS, RequestLimits, banned_until
from trader_cli.venue.server.request_log import LoggedRequest, RequestLog
from trader_cli.venue.server.trading_desk import Request, TradingDesk, is_private
from trader_cli.venue.simulated_market.rule_changes import RuleBook

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from pathlib import Path

    from aiohttp.typedefs import Handler

    from trader_cli.venue.clocks import ServedClock
    from trader_cli.venue.engine.engine import Watcher
    from trader_cli.venue.engine.queries import Body
    from trader_cli.venue.engine.switches import Switches
    from trader_cli.venue.server.archive_routes import BulkArchive
    from trader_cli.venue.server.failure_kinds import Failure
    from trader_cli.venue.server.faults import Endpoint, Meeting
    from trader_cli.venue.server.request_limits import Refusal
    from trader_cli.venue.simulated_market.rule_changes import PriceShift, RuleChange
    from trader_cli.venue.simulated_market.tape import Tape

LOG = logging.getLogger("trader.venue")
_NOT_FOUND = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>NoSuchKey</Code>'
    "<Message>The specified key does not exist.</Message></Error>"
)
ARCHIVE = "/data/"
OPENING_BALANCE = Decimal(10_000)
_BAN_MS = 120_000


class VenueServer:
    """Serves a tape at a clock on 127.0.0.1. Use as an async context manager; `url` is known inside.

    Accounts open with `balance` USDT. `folder` keeps their journal; without one they are forgotten. The journal is
    opened by the first private request: until then several venues may serve the same tape. `faults` bend it;
    `switches` answer what is not known of the exchange; `changes` are its rules changing; every request is in `log`.
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
        self.log = RequestLog()
        self._faults = FaultRun(faults or FaultPlan())
        self._remembers = faults is not None
        self._bends: dict[Endpoint, Callable[[int], FaultPlan]] = {}
        self._watchers: list[Watcher] = []
        self._under_way: set[asyncio.Task[None]] = set()
        self._switches, self._book = switches, RuleBook(changes)
        self._routes = PublicRoutes(tape, self._book)
        self._start_ms = tape.start_ms
        self._balance, self._folder = balance, folder
        self._desk: TradingDesk | None = None
        self._clock = clock
        self._port = port
        self._limits = RequestLimits()
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
        for task in [*self._under_way]:
            task.cancel()
        if self._runner is not None:
            await self._runner.cleanup()
        if self._desk is not None:
            self._desk.close()

    def _application(self) -> web.Application:
        app = web.Application(middlewares=[answering_its_own(lambda: self._port), _as_exchange_errors])
        app.router.add_get("/venue/clock", self._show_clock)
        app.router.add_post("/venue/lease", self._lease)
        app.router.add_post("/venue/lease/{name}/sleep", self._sleep)
        app.router.add_delete("/venue/lease/{name}", self._release)
        Control(self._clock, self.log, self._trading, self.bend, self.bend_when).add_to(app)
        app.router.add_route("*", "/{path:.*}", self._answer)
        return app

    def _trading(self) -> TradingDesk:
        if self._desk is None:
            self._desk = TradingDesk(
                self._routes.markets,
                self._start_ms,
                self._balance,
                self._folder,
                switches=self._switches,
                book=self._book,
            )
            self._desk.watch(*self._watchers)
            if self._remembers:
                self._desk.remember(self._clock.now_ms())
        return self._desk

    def watch_engine(self, watcher: Watcher) -> None:
        """Call `watcher` with the engine of the account `main` after each change of it, its time set to just then."""
        self._watchers.append(watcher)
        if self._desk is not None:
            self._desk.watch(watcher)

    # --- faults ---

    def bend(self, plan: FaultPlan | None) -> None:
        """Let these faults hold from the next request on; none without a plan."""
        self._faults = FaultRun(plan or FaultPlan())
        if self._faults.plan.lags and not self._remembers:
            self._remembers = True
            if self._desk is not None:
                self._desk.remember(self._clock.now_ms())

    def bend_when(self, method: str, path: str, plan_from: Callable[[int], FaultPlan]) -> None:
        """Bend when the next request of a route arrives, by the plan for that moment: it is met by that request too."""
        self._bends[method, path] = plan_from

    def shift(self, *shifts: PriceShift) -> None:
        """Let premiumIndex quote like this; the latest shift that holds for a symbol counts."""
        self._routes.shifts.extend(shifts)

    @property
    def requests_while_banned(self) -> int:
        """Requests that came to a host after it had answered 418, before that ban was over."""
        return self.log.while_banned

    @property
    def requests_while_limited(self) -> int:
        """Requests that came to a host after it had answered 429 with −1003, before it allowed them again."""
        return self.log.while_limited

    async def _answer(self, request: web.Request) -> web.Response:
        body = (await request.read()).decode(errors="replace")
        parsed = Request(request.method, request.path, request.rel_url.raw_query_string, body, request.headers)
        now = self._clock.now_ms()
        entry = self.log.arrived(parsed.method, parsed.path, "&".join(filter(None, (parsed.query, body))), now)
        if entry.route in self._bends:
            self.bend(self._bends.pop(entry.route)(now))
        met = self._faults.meets(parsed.method, parsed.path, entry.symbol, now)
        entry.failure = met.failure
        answer = await self._bent(request, parsed, entry, met)
        entry.replied_ms = self._clock.now_ms()
        entry.status = answer.status if _is_heard(request) else 0
        return answer

    async def _bent(self, request: web.Request, parsed: Request, entry: LoggedRequest, met: Meeting) -> web.Response:
        """The answer, with whatever the request meets on its way there and back."""
        failure = failure_of(met.failure) if met.failure is not None else None
        headers, refusal = self._charge(request, entry.arrived_ms)
        if refusal is not None:
            return self._limited(entry, refusal, headers)
        answer = _json({}, 200, headers)
        if failure is not None and failure.execution == "late":
            refused = self._stamped(parsed, entry.arrived_ms)
            if refused is not None:
                return _rejected(refused, headers)
            self._in_background(self._carry_out_late(request, parsed, entry, met))
        else:
            await self._pause(met.before_s, request)
            if failure is None or failure.execution == "now":
                answer = self._carry_out(request, parsed, entry, headers, lag_ms=round(met.lag_s * 1000))
        await self._pause(met.after_s, request)
        return answer if failure is None else self._failed(request, entry, failure, met, answer)

    async def _pause(self, seconds: float, request: web.Request) -> None:
        if seconds <= 0:
            return
        task = asyncio.current_task()
        if task is not None:
            self._under_way.add(task)
        try:
            await wait_out(self._clock, seconds, lambda: _is_heard(request))
        finally:
            if task is not None:
                self._under_way.discard(task)

    def _in_background(self, work: Coroutine[object, None, None]) -> None:
        task = asyncio.ensure_future(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    def _stamped(self, parsed: Request, now_ms: int) -> VenueRejection | None:
        """The refusal of a private request whose key, signature or time is wrong now."""
        if not is_private(parsed.method, parsed.path):
            return None
        try:
            self._trading().check(parsed, now_ms)
        except VenueRejection as rejection:
            return rejection
        return None

    async def _carry_out_late(self, request: web.Request, parsed: Request, entry: LoggedRequest, met: Meeting) -> None:
        """What was told to be of unknown fate is done after all. Its time was checked when it came."""
        await self._clock.sleep(met.before_s)
        self._carry_out(request, parsed, entry, {}, stamped_ms=entry.arrived_ms)

    def _failed(
        self, request: web.Request, entry: LoggedRequest, failure: Failure, met: Meeting, answer: web.Response
    ) -> web.Response:
        """What the sender sees of a failure."""
        if failure.status == 0:
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=503)
        if failure.limited:
            return self._forbidden(entry, failure, met)
        body = failure.body
        if body is None:
            spoilt = answer.body if isinstance(answer.body, bytes) else b""
            body = spoilt[: max(1, len(spoilt) // 2)]
        return web.Response(body=body, status=failure.status, content_type=failure.content_type)

    def _forbidden(self, entry: LoggedRequest, failure: Failure, met: Meeting) -> web.Response:
        """A limit or ban by a fault: until the fault ends, else a ban of two minutes, or to the end of the minute."""
        now, banned = self._clock.now_ms(), failure.limited == "418"
        until = met.until_ms or (now + _BAN_MS if banned else (now // MINUTE_MS + 1) * MINUTE_MS)
        if banned:
            self._limits.ban(entry.path, until)
            return self._limited(entry, banned_until(until, now), {})
        self.log.told(entry.path, until, now, banned=False)
        headers = {"Retry-After": str(max(1, -(-(until - now) // 1000)))} if failure.status == 429 else {}
        return web.Response(body=failure.body, status=failure.status, headers=headers, content_type="application/json")

    def _limited(self, entry: LoggedRequest, refusal: Refusal, headers: dict[str, str]) -> web.Response:
        now = self._clock.now_ms()
        if refusal.body["code"] == -1003:
            self.log.told(entry.path, now + 1000 * (refusal.retry_after_s - 1), now, banned=refusal.status == 418)
        return _json(refusal.body, refusal.status, {**headers, "Retry-After": str(refusal.retry_after_s)})

    # --- answers ---

    def _carry_out(
        self,
        request: web.Request,
        parsed: Request,
        entry: LoggedRequest,
        headers: dict[str, str],
        *,
        stamped_ms: int | None = None,
        lag_ms: int = 0,
    ) -> web.Response:
        """The true answer, made now."""
        now = entry.executed_ms = self._clock.now_ms()
        if parsed.path.startswith(ARCHIVE) and parsed.method in {"GET", "HEAD"}:
            answer = self._archived(parsed.path)
        else:
            try:
                if is_private(parsed.method, parsed.path):
                    body = self._trading().answer(parsed, now, stamped_ms=stamped_ms, lag_ms=lag_ms)
                else:
                    body = self._public(request, now)
                answer = _json(body, 200, headers)
            except VenueRejection as rejection:
                answer = _rejected(rejection, headers)
        entry.outcome = answer.status
        return answer

    def _public(self, request: web.Request, now: int) -> Body:
        if request.method != "GET" or request.path not in self._routes.table:
            LOG.error("no route for %s %s", request.method, request.path)
            message = f"trader venue: no route for {request.method} {request.path}"
            raise VenueRejection(500, -1000, message)
        return self._routes.table[request.path](request.query, now)

    def _charge(self, request: web.Request, now: int) -> tuple[dict[str, str], Refusal | None]:
        """Count the request. Commands cost 1 whatever the read of the same path costs; the archive is free."""
        if request.path.startswith(ARCHIVE):
            return {}, None
        weight = request_weight(request.path, request.query) if request.method == "GET" else 1
        charge = self._limits.charge(request.path, weight, now)
        if charge.refusal is not None or request.method != "POST" or request.path not in ORDER_PATHS:
            return charge.headers, charge.refusal
        key = known_key(request.headers.get("X-MBX-APIKEY", ""))
        order = self._limits.charge_order(key.account if key else "", now)
        return {**charge.headers, **order.headers}, order.refusal

    @cached_property
    def _archive(self) -> BulkArchive:
        from trader_cli.venue.server.archive_routes import BulkArchive

        return BulkArchive(self._routes.markets)

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


def _is_heard(request: web.Request) -> bool:
    """Whether its sender still waits for the reply."""
    return request.transport is not None and not request.transport.is_closing()


def _json(body: object, status: int, headers: dict[str, str]) -> web.Response:
    return web.Response(body=orjson.dumps(body), status=status, headers=headers, content_type="application/json")


def _rejected(rejection: VenueRejection, headers: dict[str, str]) -> web.Response:
    return _json({"code": rejection.code, "msg": rejection.message}, rejection.status, headers)


@web.middleware
async def _as_exchange_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except VenueRejection as rejection:
        return _rejected(rejection, {})
