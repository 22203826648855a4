"""One connection to the exchange: two lanes, its time, a request budget; and reading is not sending.

A read of the market's lane is retried while the exchange is unavailable, and waits its turn in the budget. The lane of
care asks once and at once, on connections of its own. A command is sent once in either: what comes back is an answer,
a refusal that certainly had no effect, or "nobody knows". A cancel (DELETE) alone may arrive twice: where its
connection dies before the answer, aiohttp sends it again. It never does so with POST, nor for us with PUT.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from trader_cli.core.errors import (
    ClockSkewed,
    ConfigurationError,
    ExchangeRejected,
    ExchangeUnavailable,
    RateLimited,
    TooManyOrders,
    TraderError,
    UsageError,
)
from trader_cli.core.money.orders import UNREADABLE, NotPlaced, Unknown
from trader_cli.exchange.connection import replies
from trader_cli.exchange.connection.client import is_plain, make_session
from trader_cli.exchange.connection.exchange_time import ExchangeTime
from trader_cli.exchange.connection.request_lane import TIME, RequestLane, is_signed, only_reduces, require_open
from trader_cli.exchange.connection.request_signing import Signer
from trader_cli.exchange.connection.signing_gate import SigningGate, SigningRefused
from trader_cli.exchange.connection.weight_budget import RequestBudget

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    import aiohttp

    from trader_cli.core.ports import Clock
    from trader_cli.exchange.connection.exchange_time import RoundTrip
    from trader_cli.exchange.connection.signing_gate import Origin
    from trader_cli.exchange.connection.venue_session import VenueSession
    from trader_cli.settings.model import BinanceExchangeSettings
    from trader_cli.venue.server.simulated_venue import SimulatedVenue

PROTECTION_WAIT_S = 2.0
"""How long care waits for something it can do without. What comes later is still read."""
_NO_CLOCK_IS_SO_WRONG_S = 86_400  # a venue in a time of its own, not a clock that is off
_WRONG_TIME = -1021  # the time stamp lies outside `recvWindow`, or more than a second ahead of the exchange
_TIME_IS_OLD_S = 600.0  # a clock drifts by some ten parts in a million: 30 ms in ten minutes, far within a second
_ASKED_AGAIN_MS = 30_000  # soon enough after a refusal, rare enough when every request is refused
_MARKET_CONNECTIONS = 16  # pages of history on the way at once, and room for a few single questions


class Connection:
    """Opened by `open`, closed by `close`; used by one event loop. `signs_at`: where signed requests may go."""

    def __init__(
        self,
        options: BinanceExchangeSettings,
        clock: Clock | None,
        signs_at: frozenset[Origin] = frozenset(),
        venue: SimulatedVenue | None = None,
    ) -> None:
        """`venue` answers in this process, without sockets."""
        self.options = options
        self._venue = venue
        self.last_error: str | None = None
        self.protection = ProtectionConnection(self)
        self._clock = clock
        self._signs_at = signs_at
        self._signer: Signer | None = None
        self._lane: RequestLane | None = None
        self._protection_lane: RequestLane | None = None
        self._known: tuple[ExchangeTime, RequestBudget] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._time_requested_ms: int | None = None
        self._orders_held_until_ms = 0

    async def prepare(self) -> None:
        """Get ready to send, without sending anything. Raises `ConfigurationError` for a secret that cannot sign."""
        from trader_cli.exchange.connection.venue_clock import clock_of

        self._signer = Signer(self.options.api_secret)
        self._clock = self._clock or await clock_of(self.options)
        time = ExchangeTime(self._clock)
        self._known = time, RequestBudget(self._clock, self.options.weight_fraction, time.earliest_ms)
        self._orders_held_until_ms = self._clock.monotonic_ms()
        self._lane = self._new_lane(SigningGate(self._signs_at, self._market_wait_s), _MARKET_CONNECTIONS)

    async def open(self) -> None:
        """Connect, and learn the exchange's time. Raises `ClockSkewed` if our clock is off by too much."""
        await self.prepare()
        trip = await self._retrying(self._time_in_turn)
        self._refuse_skew(trip)

    def _new_lane(self, gate: SigningGate, connections: int) -> RequestLane:
        signer = self._signer or Signer(self.options.api_secret)
        session: aiohttp.ClientSession | VenueSession
        if self._venue is None:
            session = make_session(connections, gate, plain=is_plain(self.options))
        else:
            from trader_cli.exchange.connection.venue_session import VenueSession

            session = VenueSession(self._venue, gate)
        return RequestLane(self.options, self.clock, self.time, self.budget, session, signer)

    def _protection_wait_s(self, _method: str, path: str) -> float:
        return self.budget.frozen_s(path)

    def _market_wait_s(self, method: str, path: str) -> float:
        return self.budget.frozen_s(path) or (self._settling_s(path) if method == "GET" else 0.0)

    def _settling_s(self, path: str) -> float:
        """After a freeze the market's reads let care go first, where there is any."""
        return self.budget.settling_s(path) if self._protection_lane is not None else 0.0

    def _refuse_skew(self, trip: RoundTrip) -> None:
        offset_ms = trip.ahead_ms - (self.clock.now_ms() - self.clock.monotonic_ms())
        skew_s = (abs(offset_ms) - trip.width_ms / 2) / 1000
        if skew_s <= self.options.max_clock_skew:
            return
        side = "behind" if offset_ms > 0 else "ahead of"
        raise ClockSkewed(
            f"This machine's clock is {skew_s:.1f} s {side} the exchange's;"
            f" {self.options.max_clock_skew:g} s are allowed.",
            hint="Set the clock (for example by NTP) and try again."
            if skew_s < _NO_CLOCK_IS_SO_WRONG_S
            else "If this is a trader venue that keeps its own time, set TRADER_BINANCE_EXCHANGE__CLOCK=venue.",
        )

    @property
    def is_open(self) -> bool:
        """Whether requests can be sent."""
        return self._lane is not None

    @property
    def clock(self) -> Clock:
        """The clock in use. Raises `UsageError` before `prepare`."""
        if self._clock is None:
            raise _not_initialised()
        return self._clock

    @property
    def time(self) -> ExchangeTime:
        """What is known of the exchange's time. Raises `UsageError` before `prepare`."""
        if self._known is None:
            raise _not_initialised()
        return self._known[0]

    @property
    def budget(self) -> RequestBudget:
        """What may be asked. Raises `UsageError` before `prepare`."""
        if self._known is None:
            raise _not_initialised()
        return self._known[1]

    @property
    def protection_lane(self) -> RequestLane:
        """The lane of care, made when it is first used."""
        require_open(self._lane)
        self._protection_lane = self._protection_lane or self._new_lane(
            SigningGate(self._signs_at, self._protection_wait_s), 0
        )
        return self._protection_lane

    @property
    def offset_ms(self) -> int:
        """The exchange's time less this machine's."""
        return self.time.offset_ms if self._known else 0

    @property
    def used_weight(self) -> int:
        """Request weight used in this minute, as far as we know."""
        return self.budget.used if self._known else 0

    def learn_limits(self, rate_limits: Any, *, spot: bool = False) -> None:
        """Take over the weight per minute from exchange information."""
        if self._known:
            self.budget.learn(rate_limits, spot=spot)

    def server_now_ms(self) -> int:
        """The earliest the exchange's time can be, as far as we know: a bar is closed only if it surely is."""
        return self.time.earliest_ms()

    def frozen_s(self) -> float:
        """Seconds until the futures host takes requests again."""
        return self.budget.frozen_s(TIME) if self._known else 0.0

    def orders_held_s(self) -> float:
        """Seconds until orders that open may be sent again. What reduces is not held."""
        return max(0, self._orders_held_until_ms - self.clock.monotonic_ms()) / 1000 if self._known else 0.0

    def require_keys(self) -> None:
        """Raises `ConfigurationError` where there is no key to sign with."""
        if not self.options.api_key.get_secret_value() or not self.options.api_secret.get_secret_value():
            raise ConfigurationError(
                "This needs an API key and its secret.",
                hint="Set TRADER_BINANCE_EXCHANGE__API_KEY and TRADER_BINANCE_EXCHANGE__API_SECRET.",
            )

    async def close(self) -> None:
        """End the sessions, and what still waits for an answer. Safe to call twice."""
        lanes, self._lane, self._protection_lane = (self._lane, self._protection_lane), None, None
        tasks, self._tasks = self._tasks, set()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for lane in lanes:
            if lane is not None:
                await lane.close()
        leave: Callable[[], Awaitable[None]] | None = getattr(self._clock, "close", None)
        if leave is not None:
            await leave()

    def in_background(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Let this go on beside everything else, until it is done or the connection is closed."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._note)
        return task

    def _note(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, TraderError):
            self.last_error = error.sentence
        elif error is not None:
            raise error

    async def at_most(self, seconds: float, *work: Coroutine[Any, Any, Any]) -> None:
        """Wait so long for these, side by side. What is not done then goes on in the background."""
        tasks = [self.in_background(part) for part in work]
        await asyncio.wait(tasks, timeout=self.clock.loop_s(seconds))

    def ask_time_soon(self, *, now: bool = False) -> None:
        """Learn the exchange's time again in the background: `now`, or if that was long ago."""
        wall = self.options.clock == "wall"  # a venue's clock is the exchange's own
        due = now or (wall and self.time.age_s > _TIME_IS_OLD_S)
        at_ms = self.clock.monotonic_ms()
        recently = self._time_requested_ms is not None and at_ms - self._time_requested_ms < _ASKED_AGAIN_MS
        if due and (now or not recently) and self._lane is not None:
            self._time_requested_ms = at_ms
            self.in_background(self.protection_lane.time() if now else self._time_in_turn())

    async def _time_in_turn(self) -> RoundTrip:
        lane = require_open(self._lane)
        await self.budget.spend(TIME, {})
        return await lane.time()

    async def read(self, method: str, path: str, query: dict[str, Any]) -> Any:
        """One read, retried while the exchange is unavailable. An empty or garbled 200 is unavailable, too."""
        return await self._retrying(self._attempt, method, path, query)

    async def _retrying(self, ask: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
        from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_exponential

        require_open(self._lane)
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(ExchangeUnavailable),
            stop=stop_after_attempt(self.options.max_retries + 1),
            wait=wait_exponential(multiplier=0.5, max=8),
            sleep=self.clock.sleep,
            reraise=True,
        )
        return await retrying(ask, *arguments)

    async def send(self, method: str, path: str, parameters: dict[str, Any]) -> dict[str, Any] | NotPlaced | Unknown:
        """One command, sent once and never again (a cancel: see above).

        Only a refusal the exchange itself signed counts as not executed.
        """
        return await self.sent(self._attempt(method, path, parameters, urgent=True))

    async def sent(self, asking: Awaitable[Any]) -> dict[str, Any] | NotPlaced | Unknown:
        """What became of a command."""
        try:
            reply = await asking
        except (UsageError, SigningRefused):
            raise  # nothing was sent
        except ExchangeRejected as error:
            if error.code is None:
                return Unknown(error.sentence)
            return NotPlaced(error.code, error.sentence)
        except RateLimited as error:
            return NotPlaced(UNREADABLE, error.sentence)
        except ConfigurationError as error:
            return NotPlaced(UNREADABLE, str(error))
        except TraderError as error:
            return Unknown(error.sentence)
        return reply if isinstance(reply, dict) else Unknown(f"The exchange answered {replies.shown(reply)}.")

    async def _attempt(self, method: str, path: str, query: dict[str, Any], *, urgent: bool = False) -> Any:
        try:
            return await self._in_turn(method, path, query, urgent=urgent)
        except ExchangeRejected as error:
            if error.code != _WRONG_TIME:
                raise
            await self.at_most(PROTECTION_WAIT_S, self._time_in_turn())
            if urgent:
                raise
        try:
            return await self._in_turn(method, path, query)
        except ExchangeRejected as error:
            if error.code != _WRONG_TIME:
                raise
            raise ExchangeUnavailable(f"{error.sentence} The clock was set again.") from error

    async def _in_turn(self, method: str, path: str, query: dict[str, Any], *, urgent: bool = False) -> Any:
        lane = require_open(self._lane)
        await self.budget.spend(path, query, urgent=urgent)
        if not urgent and (settling_s := self._settling_s(path)):
            await self.clock.sleep(settling_s)
        reply = await self.request(lane, method, path, query)
        self.ask_time_soon()
        return reply

    async def request(self, lane: RequestLane, method: str, path: str, query: dict[str, Any]) -> Any:
        """One request of a lane; what goes wrong is noted."""
        sent_ms = self.clock.monotonic_ms()
        try:
            late = is_signed(method) and only_reduces(method, query)
            return await lane.ask(method, path, lane.signed_late(query) if late else query)
        except (ExchangeUnavailable, ExchangeRejected) as error:
            self.last_error = error.sentence
            if isinstance(error, ExchangeRejected) and error.code == _WRONG_TIME:
                self.time.refused(sent_ms)
            if isinstance(error, TooManyOrders):
                until_ms = self.clock.monotonic_ms() + round(error.retry_after_s * 1000)
                self._orders_held_until_ms = max(self._orders_held_until_ms, until_ms)
            raise


class ProtectionConnection:
    """The lane of what protects a position: everything is asked once, at once, behind nobody."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def require_keys(self) -> None:
        """Raises `ConfigurationError` where there is no key to sign with."""
        self._connection.require_keys()

    def orders_held_s(self) -> float:
        """Seconds until orders that open may be sent again."""
        return self._connection.orders_held_s()

    async def read(self, method: str, path: str, query: dict[str, Any]) -> Any:
        """One read. Raises `RateLimited` at once where the exchange wants no request."""
        try:
            return await self._request(method, path, query)
        except ExchangeRejected as error:
            if error.code != _WRONG_TIME:
                raise
        await self._connection.at_most(PROTECTION_WAIT_S, self._connection.protection_lane.time())
        return await self._request(method, path, query)

    async def send(self, method: str, path: str, parameters: dict[str, Any]) -> dict[str, Any] | NotPlaced | Unknown:
        """One command, sent once (a cancel: see above) and at once."""
        reply = await self._connection.sent(self._request(method, path, parameters, free=True))
        if isinstance(reply, NotPlaced) and reply.code == _WRONG_TIME:
            self._connection.ask_time_soon(now=True)
        return reply

    async def _request(self, method: str, path: str, query: dict[str, Any], *, free: bool = False) -> Any:
        connection = self._connection
        lane = connection.protection_lane
        if (frozen_s := connection.budget.frozen_s(path)) > 0:
            raise RateLimited(
                f"The exchange wants no request for {frozen_s:.0f} s.", retry_after_s=frozen_s, hint="Wait."
            )
        connection.budget.take(path, query, free=free)
        reply = await connection.request(lane, method, path, query)
        connection.ask_time_soon()
        return reply


def _not_initialised() -> UsageError:
    return UsageError("The exchange is not initialised.", hint="Call `await exchange.initialize()` first.")
