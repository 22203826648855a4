"""One lane to the exchange: a ccxt client on connections of its own. It asks once, and says in our words what came.

It does not retry, and does not wait for a budget.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trader_cli.core.errors import ExchangeUnavailable, RateLimited, UsageError
from trader_cli.exchange.connection import replies
from trader_cli.exchange.connection.ccxt_binance import ccxt_binance
from trader_cli.exchange.connection.client import REPLY, ReplyHead, make_client
from trader_cli.exchange.connection.error_table import translate
from trader_cli.exchange.connection.exchange_time import RoundTrip
from trader_cli.exchange.connection.signing_gate import SigningRefused

if TYPE_CHECKING:
    import aiohttp

    from trader_cli.core.ports import Clock
    from trader_cli.exchange.connection.exchange_time import ExchangeTime
    from trader_cli.exchange.connection.request_signing import Signer
    from trader_cli.exchange.connection.venue_session import VenueSession
    from trader_cli.exchange.connection.weight_budget import RequestBudget
    from trader_cli.settings.model import BinanceExchangeSettings

TIME = "/fapi/v1/time"
LONG_WINDOW_MS = 60_000
"""The longest the exchange allows: for what cannot open anything, where its time is not known."""
_SIGNED_EARLY_MS = 28_000
"""Half of that: so signed, a clock that is half a minute ahead or behind is good enough."""
_PROXIES = (
    "proxyUrl",
    "httpProxy",
    "httpsProxy",
    "socksProxy",
    "aiohttp_proxy",
    "proxy_url",
    "http_proxy",
    "https_proxy",
    "socks_proxy",
    "proxyUrlCallback",
    "httpProxyCallback",
    "httpsProxyCallback",
    "socksProxyCallback",
    "proxy_url_callback",
    "http_proxy_callback",
    "https_proxy_callback",
    "socks_proxy_callback",
)


class RequestLane:
    """Opened by being made, closed by `close`; used by one event loop."""

    def __init__(
        self,
        options: BinanceExchangeSettings,
        clock: Clock,
        time: ExchangeTime,
        budget: RequestBudget,
        session: aiohttp.ClientSession | VenueSession,
        signer: Signer,
    ) -> None:
        """`session` is ended with the lane."""
        self._options = options
        self._clock = clock
        self._time = time
        self._budget = budget
        self._session = session
        self._client = make_client(options, session, signer)
        self._client.milliseconds = time.now_ms

    async def ask(self, method: str, path: str, query: dict[str, Any]) -> Any:
        """One request, once. An empty or garbled 200 is an error, too. Raises `TraderError`s."""
        import aiohttp

        _, ccxt = ccxt_binance()
        self._refuse_proxies()
        sent_ms, heard = self._time.earliest_ms(), ReplyHead()
        REPLY.set(heard)
        try:
            with self._clock.held():
                reply = await getattr(self._client, method)(query)
        except (ccxt.BaseError, aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise self._translated(error, path, heard) from None  # its words hold the whole URL
        finally:
            self._budget.observe(path, heard.headers, sent_ms)
        if not isinstance(reply, (dict, list)) or reply == {}:
            raise ExchangeUnavailable(
                f"The exchange answered {replies.shown(reply)}.",
                hint="Check binance_exchange.base_url and the network.",
            )
        return reply

    def _translated(self, error: Exception, path: str, heard: ReplyHead) -> Exception:
        options = self._options
        secrets = (options.api_key.get_secret_value(), options.api_secret.get_secret_value())
        meant = translate(error, heard.headers, status=heard.status, now_ms=self._time.now_ms(), secrets=secrets)
        if isinstance(meant, RateLimited):
            self._budget.freeze(meant.retry_after_s, path, banned=meant.banned)
        return meant

    def _refuse_proxies(self) -> None:
        for name in _PROXIES:
            if getattr(self._client, name, None) is not None:
                raise SigningRefused(f"Requests to the exchange go through no proxy; found {name}.", hint="Unset it.")

    async def time(self) -> RoundTrip:
        """Ask the exchange for its time, and take it over."""
        before_ms = self._clock.monotonic_ms()
        reply = replies.as_mapping(await self.ask("fapiPublicGetTime", TIME, {}), "the server's time", "serverTime")
        server_ms: int = replies.parsed("the server's time", reply, lambda r: int(r["serverTime"]))
        trip = RoundTrip(server_ms, before_ms, self._clock.monotonic_ms())
        self._time.learn(trip)
        return trip

    def signed_late(self, query: dict[str, Any]) -> dict[str, Any]:
        """What cannot open anything, signed so that it is accepted late, or although the time is not known."""
        if self._time.is_trusted:
            return query
        early_ms = 0 if self._time.is_known else _SIGNED_EARLY_MS
        return {**query, "timestamp": self._time.now_ms() - early_ms, "recvWindow": LONG_WINDOW_MS}

    async def close(self) -> None:
        """End the session."""
        await self._session.close()
        await self._client.close()


def only_reduces(method: str, parameters: dict[str, Any]) -> bool:
    """Whether a signed request can open nothing: a read, a cancel, or an order that says so itself."""
    if "Get" in method or "Delete" in method:
        return True
    return "true" in {parameters.get("reduceOnly"), parameters.get("closePosition")}


def is_signed(method: str) -> bool:
    """Whether a client's method sends a signature: `fapiPrivatePostOrder`, `sapiGetAccountApiRestrictions`."""
    return "Private" in method or method.startswith("sapi")


def require_open(lane: RequestLane | None) -> RequestLane:
    """The lane. Raises `UsageError` where there is none."""
    if lane is None:
        raise UsageError("The exchange is closed.", hint="Call `await exchange.initialize()` first.")
    return lane
