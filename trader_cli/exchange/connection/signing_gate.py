"""Where bytes leave: a signed request goes to the one host that this mode trades at, and to no other.

Nothing is sent to a host that has told us to wait. Redirects are not followed, and there are no proxies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from trader_cli.core.errors import ConfigurationError, RateLimited
from trader_cli.settings.workspace import SIM_KEYS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    import aiohttp
    from yarl import URL

    from trader_cli.settings.model import BinanceExchangeSettings, Mode

Origin = tuple[str, str, int]
"""Scheme, host, port."""

REAL_HOSTS = ("https://fapi.binance.com", "https://api.binance.com")
DEMO_HOSTS = ("https://demo-fapi.binance.com", "https://demo-api.binance.com")
_LOOPBACK = frozenset({"127.0.0.1", "::1"})
_PORTS = {"http": 80, "https": 443}
_KEY_HEADER = "X-MBX-APIKEY"
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
"""What the HTTP client would follow."""


class SigningRefused(ConfigurationError):
    """A signed request was about to leave for a host at which this mode does not trade. Nothing was sent."""


def origin_of(url: str) -> Origin:
    """Scheme, host and port of a URL."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)


def origin_of_request(url: URL) -> Origin:
    """The same of a URL that has been taken apart."""
    return url.scheme, url.raw_host or "", url.port or 0


def signing_origins(mode: Mode, options: BinanceExchangeSettings, venue_url: str | None = None) -> frozenset[Origin]:
    """Where signed requests may go. Paper: nowhere. Sim: to the venue that was opened, on loopback. Else the host set.

    `venue_url` is the simulated venue's own.
    """
    if mode == "paper":
        return frozenset()
    if mode == "sim":
        origin = origin_of(venue_url or "")
        return frozenset({origin} if origin[1] in _LOOPBACK else ())
    if options.base_url is not None:
        return frozenset({origin_of(options.base_url)})
    demo = mode == "demo" or options.use_testnet
    return frozenset(map(origin_of, DEMO_HOSTS if demo else REAL_HOSTS))


def tells_key_rights(mode: Mode, options: BinanceExchangeSettings) -> bool:
    """Whether this is a host that tells what a key may do, and whose answer counts before anything is opened."""
    if mode not in {"live", "demo"}:
        return False
    at = signing_origins(mode, options)
    return not at <= frozenset(map(origin_of, DEMO_HOSTS))


def options_to_sign_with(
    mode: Mode, options: BinanceExchangeSettings, signs_at: frozenset[Origin]
) -> BinanceExchangeSettings:
    """How the exchange is spoken to; without keys where nothing may be signed, or where they are not the venue's."""
    from pydantic import SecretStr

    known = mode != "sim" or options.api_key.get_secret_value() in SIM_KEYS
    if signs_at and known:
        return options
    return options.model_copy(update={"api_key": SecretStr(""), "api_secret": SecretStr("")})


@dataclass(frozen=True)
class SigningGate:
    """What may leave. `wait_s` tells for how long no request may go to a path, asked directly before it goes."""

    signs_at: frozenset[Origin]
    wait_s: Callable[[str, str], float]

    def check(self, method: str, url: URL, *, signed: bool) -> None:
        """Raises `SigningRefused` or `RateLimited`."""
        origin = origin_of_request(url)
        if signed and origin not in self.signs_at:
            allowed = ", ".join(sorted(f"{s}://{h}:{p}" for s, h, p in self.signs_at)) or "nowhere"
            raise SigningRefused(
                f"A signed request to {origin[0]}://{origin[1]}:{origin[2]} was stopped; in this mode they go to"
                f" {allowed}.",
                hint="Check mode, profile and binance_exchange.base_url.",
            )
        wait_s = self.wait_s(method, url.raw_path)
        if wait_s > 0:
            raise RateLimited(f"The exchange takes no request for {wait_s:.1f} s.", retry_after_s=wait_s, hint="Wait.")


def guarded_request(gate: SigningGate) -> type[aiohttp.ClientRequest]:
    """A request that asks the gate when it is made, and again when a connection is there for it."""
    import aiohttp

    class GuardedRequest(aiohttp.ClientRequest):
        def __init__(self, method: str, url: Any, *, data: Any = None, proxy: Any = None, **rest: Any) -> None:
            if proxy is not None:
                raise SigningRefused("Requests to the exchange go through no proxy.", hint="Unset it.")
            super().__init__(method, url, data=data, **rest)
            self._is_signed = is_signed_request(self.headers, self.url, data)
            self._ask_the_gate()

        def _ask_the_gate(self) -> None:
            gate.check(self.method, self.url, signed=self._is_signed)

        async def send(self, conn: Any) -> aiohttp.ClientResponse:
            self._ask_the_gate()
            return await super().send(conn)

    return GuardedRequest


def is_signed_request(headers: Mapping[str, str], url: URL, body: Any) -> bool:
    """Whether a request carries a key or a signature, wherever."""
    text = body.encode() if isinstance(body, str) else body
    in_body = isinstance(text, (bytes, bytearray)) and b"signature=" in text
    return _KEY_HEADER in headers or "signature" in url.query or in_body


async def sent_once(
    request: aiohttp.ClientRequest, handler: Callable[[aiohttp.ClientRequest], Awaitable[aiohttp.ClientResponse]]
) -> aiohttp.ClientResponse:
    """Ends a request that is answered by a redirect; and a PUT whose connection died, which may have amended an order.

    The HTTP client sends GET, PUT and DELETE again by itself then. A GET asks once more; the second copy of a cancel
    finds its order gone (-2011), as a lost reply to it is looked after anyway.
    """
    import aiohttp

    try:
        response = await handler(request)
    except aiohttp.ClientConnectorError:
        raise  # nothing was sent, and nothing is sent again
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        if request.method != "PUT":
            raise
        raise aiohttp.ClientError("The connection ended before an answer to PUT; it is not sent again.") from error
    if response.status in _REDIRECTS:
        response.close()
        raise aiohttp.ClientError("The host answered with a redirect, which is not followed.")
    return response
