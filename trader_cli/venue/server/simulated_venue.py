"""A simulated exchange as it is asked: a request in, the exchange's reply out, by a clock. No sockets.

It answers for three hosts of the exchange at once: USDⓈ-M futures, spot (public routes), and the bulk archive. It
counts requests against the exchange's limits, checks signatures, and meets the faults that it was told to have.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING

import orjson

from trader_cli.core.market.timeframes import MINUTE_MS
from trader_cli.venue.clocks import wait_out
from trader_cli.venue.request_weights import request_weight
from trader_cli.venue.server.authentication import known_key
from trader_cli.venue.server.failure_kinds import failure_of
from trader_cli.venue.server.faults import FaultPlan, FaultRun
from trader_cli.venue.server.public_routes import PublicRoutes, VenueRejection
from trader_cli.venue.server.request_limits import ORDER_PATHS, RequestLimits, banned_until
from trader_cli.venue.server.request_log import LoggedRequest, RequestLog
from trader_cli.venue.server.trading_desk import Request, TradingDesk, is_private
from trader_cli.venue.simulated_market.rule_changes import RuleBook

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from pathlib import Path

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
    b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>NoSuchKey</Code>'
    b"<Message>The specified key does not exist.</Message></Error>"
)
ARCHIVE = "/data/"
OPENING_BALANCE = Decimal(10_000)
_BAN_MS = 120_000


@dataclass(frozen=True)
class Reply:
    """What the sender of a request gets. `status` 0: nothing, its connection is cut."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = "application/json"


class SimulatedVenue:
    """Plays a tape at a clock; closed by `close`.

    Accounts open with `balance` USDT. `folder` keeps their journal; without one they are forgotten. The journal is
    opened by the first private request: until then several venues may serve the same tape. `faults` bend it;
    `switches` answer what is not known of the exchange; `changes` are its rules changing; every request is in `log`.
    """

    def __init__(
        self,
        tape: Tape,
        clock: ServedClock,
        *,
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
        self._limits = RequestLimits()

    def end_waits(self) -> None:
        """Let nobody wait any longer."""
        for task in [*self._under_way]:
            task.cancel()

    def close(self) -> None:
        """End what is under way, and the accounts' journal."""
        self.end_waits()
        if self._desk is not None:
            self._desk.close()

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

    async def answer(self, request: Request, is_heard: Callable[[], bool] = lambda: True) -> Reply:
        """The reply, after whatever waits it meets; `is_heard` tells whether the sender still wants it."""
        now = self._clock.now_ms()
        sent = "&".join(filter(None, (request.query, request.body)))
        entry = self.log.arrived(request.method, request.path, sent, now)
        if entry.route in self._bends:
            self.bend(self._bends.pop(entry.route)(now))
        symbol = entry.symbol if self._faults.plan.faults else None  # to read it out of each request takes a while
        met = self._faults.meets(request.method, request.path, symbol, now)
        entry.failure = met.failure
        reply = await self._bent(request, entry, met, is_heard)
        entry.replied_ms = self._clock.now_ms()
        entry.status = reply.status if is_heard() else 0
        return reply

    async def _bent(self, request: Request, entry: LoggedRequest, met: Meeting, is_heard: Callable[[], bool]) -> Reply:
        """The reply, with whatever the request meets on its way there and back."""
        failure = failure_of(met.failure) if met.failure is not None else None
        headers, refusal = self._charge(request, entry.arrived_ms)
        if refusal is not None:
            return self._limited(entry, refusal, headers)
        reply = _json({}, 200, headers)
        if failure is not None and failure.execution == "late":
            refused = self._stamped(request, entry.arrived_ms)
            if refused is not None:
                return rejected(refused, headers)
            self._in_background(self._carry_out_late(request, entry, met))
        else:
            await self._pause(met.before_s, is_heard)
            if failure is None or failure.execution == "now":
                reply = self._carry_out(request, entry, headers, lag_ms=round(met.lag_s * 1000))
        await self._pause(met.after_s, is_heard)
        return reply if failure is None else self._failed(entry, failure, met, reply)

    async def _pause(self, seconds: float, is_heard: Callable[[], bool]) -> None:
        if seconds <= 0:
            return
        task = asyncio.current_task()
        if task is not None:
            self._under_way.add(task)
        try:
            await wait_out(self._clock, seconds, is_heard)
        finally:
            if task is not None:
                self._under_way.discard(task)

    def _in_background(self, work: Coroutine[object, None, None]) -> None:
        task = asyncio.ensure_future(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    def _stamped(self, request: Request, now_ms: int) -> VenueRejection | None:
        """The refusal of a private request whose key, signature or time is wrong now."""
        if not is_private(request.method, request.path):
            return None
        try:
            self._trading().check(request, now_ms)
        except VenueRejection as rejection:
            return rejection
        return None

    async def _carry_out_late(self, request: Request, entry: LoggedRequest, met: Meeting) -> None:
        """What was told to be of unknown fate is done after all. Its time was checked when it came."""
        await self._clock.sleep(met.before_s)
        self._carry_out(request, entry, {}, stamped_ms=entry.arrived_ms)

    def _failed(self, entry: LoggedRequest, failure: Failure, met: Meeting, reply: Reply) -> Reply:
        """What the sender sees of a failure."""
        if failure.limited:
            return self._forbidden(entry, failure, met)
        body = reply.body[: max(1, len(reply.body) // 2)] if failure.body is None else failure.body
        return Reply(failure.status, body, content_type=failure.content_type)

    def _forbidden(self, entry: LoggedRequest, failure: Failure, met: Meeting) -> Reply:
        """A limit or ban by a fault: until the fault ends, else a ban of two minutes, or to the end of the minute."""
        now, banned = self._clock.now_ms(), failure.limited == "418"
        until = met.until_ms or (now + _BAN_MS if banned else (now // MINUTE_MS + 1) * MINUTE_MS)
        if banned:
            self._limits.ban(entry.path, until)
            return self._limited(entry, banned_until(until, now), {})
        self.log.told(entry.path, until, now, banned=False)
        headers = {"Retry-After": str(max(1, -(-(until - now) // 1000)))} if failure.status == 429 else {}
        return Reply(failure.status, failure.body or b"", headers)

    def _limited(self, entry: LoggedRequest, refusal: Refusal, headers: dict[str, str]) -> Reply:
        now = self._clock.now_ms()
        if refusal.body["code"] == -1003:
            self.log.told(entry.path, now + 1000 * (refusal.retry_after_s - 1), now, banned=refusal.status == 418)
        return _json(refusal.body, refusal.status, {**headers, "Retry-After": str(refusal.retry_after_s)})

    # --- answers ---

    def _carry_out(
        self,
        request: Request,
        entry: LoggedRequest,
        headers: dict[str, str],
        *,
        stamped_ms: int | None = None,
        lag_ms: int = 0,
    ) -> Reply:
        """The true reply, made now."""
        now = entry.executed_ms = self._clock.now_ms()
        if request.path.startswith(ARCHIVE) and request.method in {"GET", "HEAD"}:
            reply = self._archived(request.path)
        else:
            try:
                if is_private(request.method, request.path):
                    body = self._trading().answer(request, now, stamped_ms=stamped_ms, lag_ms=lag_ms)
                else:
                    body = self._public(request, now)
                reply = _json(body, 200, headers)
            except VenueRejection as rejection:
                reply = rejected(rejection, headers)
        entry.outcome = reply.status
        return reply

    def _public(self, request: Request, now: int) -> Body:
        if request.method != "GET" or request.path not in self._routes.table:
            LOG.error("no route for %s %s", request.method, request.path)
            message = f"trader venue: no route for {request.method} {request.path}"
            raise VenueRejection(500, -1000, message)
        return self._routes.table[request.path](request.parameters, now)

    def _charge(self, request: Request, now: int) -> tuple[dict[str, str], Refusal | None]:
        """Count the request. Commands cost 1 whatever the read of the same path costs; the archive is free."""
        if request.path.startswith(ARCHIVE):
            return {}, None
        weight = request_weight(request.path, request.parameters) if request.method == "GET" else 1
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

    def _archived(self, path: str) -> Reply:
        """A file of the bulk archive. It costs no weight, and nothing is said about weight."""
        held = self._archive.read(path, self._clock.now_ms())
        if held is None:
            return Reply(404, _NOT_FOUND, content_type="application/xml")
        return Reply(200, held, content_type="application/zip" if path.endswith(".zip") else "binary/octet-stream")


def _json(body: object, status: int, headers: dict[str, str]) -> Reply:
    return Reply(status, orjson.dumps(body), headers)


def rejected(rejection: VenueRejection, headers: dict[str, str]) -> Reply:
    """How a refusal is told."""
    return _json({"code": rejection.code, "msg": rejection.message}, rejection.status, headers)
