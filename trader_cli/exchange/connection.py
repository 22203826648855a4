"""One connection to the exchange: a ccxt client, a clock, a request budget; and reading is not sending.

A read is retried while the exchange is unavailable. A command is sent once: what comes back is an answer, a refusal
that certainly had no effect, or "nobody knows".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trader_cli.core.errors import (
    ClockSkewed,
    ConfigurationError,
    ExchangeRejected,
    ExchangeUnavailable,
    RateLimited,
    TraderError,
    UsageError,
)
from trader_cli.core.orders import NotPlaced, Unknown
from trader_cli.exchange import replies
from trader_cli.exchange.budget import RequestBudget
from trader_cli.exchange.client import REPLY_HEADERS, make_client, make_session
from trader_cli.exchange.errors import translate

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trader_cli.core.ports import Clock
    from trader_cli.settings.model import BinanceExchangeSettings

_NO_CLOCK_IS_SO_WRONG_S = 86_400
_TIME = "/fapi/v1/time"
_WRONG_TIME = -1021
UNREADABLE = -1
"""The code of a refusal by HTTP alone: a firewall or a limit, before the matching engine."""


class Connection:
    """Opened by `open`, closed by `close`; used by one event loop."""

    def __init__(self, options: BinanceExchangeSettings, clock: Clock | None) -> None:
        self.options = options
        self.offset_ms = 0
        self.uncertainty_ms = 0
        self.last_error: str | None = None
        self._clock = clock
        self._client: Any = None
        self._budget: RequestBudget | None = None

    async def open(self) -> None:
        """Connect, and learn the exchange's time. Raises `ClockSkewed` if our clock is off by too much."""
        from trader_cli.exchange.venue_clock import clock_of

        self._clock = self._clock or await clock_of(self.options)
        self._budget = RequestBudget(self._clock, self.options.weight_fraction, self.server_now_ms)
        self._client = make_client(self.options, make_session())
        self._client.milliseconds = self._clock.now_ms
        await self._synchronise()

    async def _synchronise(self, *, refuse_skew: bool = True) -> None:
        """Learn the exchange's time. What is open must be cared for also where our clock has jumped."""
        before = self.clock.now_ms()
        reply = replies.as_mapping(await self.read("fapiPublicGetTime", _TIME, {}), "the server's time", "serverTime")
        server = replies.parsed("the server's time", reply, lambda r: int(r["serverTime"]))
        after = self.clock.now_ms()
        self.offset_ms = server - (before + after) // 2
        self.uncertainty_ms = (after - before + 1) // 2
        skew_s = (abs(self.offset_ms) - (after - before) / 2) / 1000
        if skew_s > self.options.max_clock_skew and refuse_skew:
            side = "behind" if self.offset_ms > 0 else "ahead of"
            raise ClockSkewed(
                f"This machine's clock is {skew_s:.1f} s {side} the exchange's;"
                f" {self.options.max_clock_skew:g} s are allowed.",
                mend="Set the clock (for example by NTP) and try again."
                if skew_s < _NO_CLOCK_IS_SO_WRONG_S
                else "If this is a trader venue that keeps its own time, set TRADER_BINANCE_EXCHANGE__CLOCK=venue.",
            )
        self._client.options["timeDifference"] = -self.offset_ms

    @property
    def is_open(self) -> bool:
        """Whether requests can be sent."""
        return self._client is not None

    @property
    def clock(self) -> Clock:
        """The clock in use. Raises `UsageError` before `open`."""
        if self._clock is None:
            raise UsageError("The exchange is not initialised.", mend="Call `await exchange.initialize()` first.")
        return self._clock

    @property
    def used_weight(self) -> int:
        """Request weight used in this minute, as far as we know."""
        return self._budget.used if self._budget else 0

    def learn_limits(self, rate_limits: Any, *, spot: bool = False) -> None:
        """Take over the weight per minute from exchange information."""
        if self._budget is not None:
            self._budget.learn(rate_limits, spot=spot)

    def server_now_ms(self) -> int:
        """The earliest the exchange's time can be, as far as we know: a bar is closed only if it surely is."""
        return self.clock.now_ms() + self.offset_ms - self.uncertainty_ms

    def require_keys(self) -> None:
        """Raises `ConfigurationError` where there is no key to sign with."""
        if not self.options.api_key.get_secret_value() or not self.options.api_secret.get_secret_value():
            raise ConfigurationError(
                "This needs an API key and its secret.",
                mend="Set TRADER_BINANCE_EXCHANGE__API_KEY and TRADER_BINANCE_EXCHANGE__API_SECRET.",
            )

    async def close(self) -> None:
        """End the session. Safe to call twice."""
        client, self._client = self._client, None
        if client is not None:
            await client.session.close()
            await client.close()
        leave: Callable[[], Awaitable[None]] | None = getattr(self._clock, "close", None)
        if leave is not None:
            await leave()

    async def read(self, method: str, path: str, query: dict[str, Any]) -> Any:
        """One read, retried while the exchange is unavailable. An empty or garbled 200 is unavailable, too."""
        from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_exponential

        retrying = AsyncRetrying(
            retry=retry_if_exception_type(ExchangeUnavailable),
            stop=stop_after_attempt(self.options.max_retries + 1),
            wait=wait_exponential(multiplier=0.5, max=8),
            sleep=self.clock.sleep,
            reraise=True,
        )
        return await retrying(self._attempt, method, path, query)

    async def send(self, method: str, path: str, parameters: dict[str, Any]) -> dict[str, Any] | NotPlaced | Unknown:
        """One command, sent once and never again. Only a refusal the exchange itself signed counts as not executed."""
        try:
            reply = await self._attempt(method, path, parameters, urgent=True)
        except UsageError:
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
        if self._client is None or self._budget is None:
            raise UsageError("The exchange is closed.", mend="Call `await exchange.initialize()` first.")
        await self._budget.spend(path, query, urgent=urgent)
        try:
            with self.clock.held():
                return await self._ask(method, path, query)
        except (ExchangeUnavailable, ExchangeRejected) as error:
            self.last_error = error.sentence
            if isinstance(error, ExchangeRejected) and error.code == _WRONG_TIME and path != _TIME:
                await self._synchronise(refuse_skew=False)
                if not urgent:
                    raise ExchangeUnavailable(f"{error.sentence} The clock was set again.") from error
            if isinstance(error, RateLimited):
                self._budget.freeze(error.retry_after_s)
            raise

    async def _ask(self, method: str, path: str, query: dict[str, Any]) -> Any:
        import aiohttp
        import ccxt

        sent_ms = self.server_now_ms()
        REPLY_HEADERS.set(None)
        try:
            reply = await getattr(self._client, method)(query)
        except (ccxt.BaseError, aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise translate(error, REPLY_HEADERS.get()) from error
        finally:
            if self._budget is not None:
                self._budget.observe(path, REPLY_HEADERS.get(), sent_ms)
        if not isinstance(reply, (dict, list)) or reply == {}:
            raise ExchangeUnavailable(
                f"The exchange answered {replies.shown(reply)}.",
                mend="Check binance_exchange.base_url and the network.",
            )
        return reply
