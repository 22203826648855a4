"""The ccxt client as we use it: URLs pointed where the settings say, one pooled session, no retries of its own."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from trader_cli.exchange.connection.request_signing import Signer, sign_with

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping

    import aiohttp

    from trader_cli.exchange.connection.signing_gate import SigningGate
    from trader_cli.exchange.connection.venue_session import VenueSession
    from trader_cli.settings.model import BinanceExchangeSettings

RECEIVE_WINDOW_MS = 5000
"""How late the exchange may still accept what was sent: the shorter, the sooner a lost order is known to be absent."""


@dataclass
class ReplyHead:
    """Status and headers of the reply to one request, as soon as it is there."""

    status: int | None = None
    headers: Mapping[str, str] | None = None


REPLY: ContextVar[ReplyHead | None] = ContextVar("REPLY", default=None)
"""Where this task's request wants its reply noted. What ccxt remembers itself is shared by all under way."""


def make_client(
    settings: BinanceExchangeSettings, session: aiohttp.ClientSession | VenueSession, signer: Signer | None = None
) -> Any:
    """An unmodified `ccxt.async_support.binanceusdm`, configured; it signs by `signer`, or by one of the settings'."""
    from trader_cli.exchange.connection.ccxt_binance import ccxt_binance

    binanceusdm, _ = ccxt_binance()
    client = binanceusdm(
        {
            "apiKey": settings.api_key.get_secret_value(),
            "timeout": int(settings.timeout * 1000),
            "enableRateLimit": False,  # our own budget keeps the clock of the mode; ccxt's would spin in virtual time
            "session": session,
            "options": {
                "fetchCurrencies": False,
                "fetchMargins": False,
                "maxRetriesOnFailure": 0,
                "recvWindow": RECEIVE_WINDOW_MS,
            },
        }
    )
    sign_with(client, signer or Signer(settings.api_secret))
    client.ssl_context = _trust(plain=is_plain(settings))  # else it reads the certificates anew, at its first request
    client.logger = _without_requests()
    client.on_rest_response = _remembering_headers(client.on_rest_response)
    if settings.use_testnet and settings.base_url is None:
        client.enable_demo_trading(enable=True)
    if settings.base_url is not None:
        point_at(client, settings.base_url)
    return client


def _without_requests() -> logging.Logger:
    """A logger for ccxt that drops its debug lines: those hold the API key and signatures of every request."""
    logger = logging.getLogger("trader.exchange.ccxt")
    logger.setLevel(logging.INFO)
    return logger


def _remembering_headers(hook: Callable[..., str]) -> Callable[..., str]:
    """ccxt's hook on every reply, which also keeps the headers for the task that asked."""

    def heard(code: int, reason: str, url: str, method: str, headers: Mapping[str, str], *rest: Any) -> str:
        noted = REPLY.get()
        if noted is not None:
            noted.status, noted.headers = code, headers
        return hook(code, reason, url, method, headers, *rest)

    return heard


def point_at(client: Any, base_url: str) -> None:
    """Rewrite every URL of the client to `base_url` (scheme://host[:port]), keeping paths."""
    base = urlsplit(base_url)
    client.urls["api"] = _moved(client.urls["api"], base.scheme, base.netloc)
    exceptions = client.exceptions
    if "linear" in exceptions:
        exceptions["exact"].update(exceptions["linear"]["exact"])


def _moved(value: Any, scheme: str, netloc: str) -> Any:
    if isinstance(value, dict):
        return {key: _moved(part, scheme, netloc) for key, part in value.items()}
    url = urlsplit(value)
    secure = "s" if scheme == "https" else ""
    return url._replace(scheme=f"ws{secure}" if url.scheme.startswith("ws") else scheme, netloc=netloc).geturl()


def is_plain(settings: BinanceExchangeSettings) -> bool:
    """Whether the host is spoken to without TLS, as a venue on this machine is."""
    return urlsplit(settings.base_url or "").scheme == "http"


def make_session(pool: int = 16, gate: SigningGate | None = None, *, plain: bool = False) -> aiohttp.ClientSession:
    """One session with pooled, kept-alive connections; no proxies. Behind a gate, redirects end the request.

    `plain`: for a host without TLS; any other is refused.
    """
    import aiohttp

    from trader_cli.exchange.connection.signing_gate import guarded_request, sent_once

    connector = aiohttp.TCPConnector(limit=pool, ssl=_trust(plain=plain), enable_cleanup_closed=not plain)
    if gate is None:
        return aiohttp.ClientSession(connector=connector)
    return aiohttp.ClientSession(
        connector=connector,
        trust_env=False,
        request_class=guarded_request(gate),
        middlewares=(sent_once,),
    )


@cache
def _trust(*, plain: bool) -> ssl.SSLContext:
    """The certificates we trust; reading them takes longer than all else about a session. None where none is needed."""
    import ssl

    if plain:
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    import certifi

    return ssl.create_default_context(cafile=certifi.where())
