"""The ccxt client as we use it: URLs pointed where the settings say, one pooled session, no retries of its own."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import aiohttp

    from trader_cli.settings.model import BinanceExchangeSettings

RECEIVE_WINDOW_MS = 5000
"""How late the exchange may still accept what was sent: the shorter, the sooner a lost order is known to be absent."""

REPLY_HEADERS: ContextVar[Mapping[str, str] | None] = ContextVar("REPLY_HEADERS", default=None)
"""The headers of the reply to this task's latest request. What ccxt remembers itself is shared by all under way."""


def make_client(settings: BinanceExchangeSettings, session: aiohttp.ClientSession) -> Any:
    """An unmodified `ccxt.async_support.binanceusdm`, configured."""
    import ccxt.async_support as ccxt

    client = ccxt.binanceusdm(
        {
            "apiKey": settings.api_key.get_secret_value(),
            "secret": settings.api_secret.get_secret_value(),
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
        REPLY_HEADERS.set(headers)
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


def make_session(pool: int = 16) -> aiohttp.ClientSession:
    """One session with pooled, kept-alive connections."""
    import ssl

    import aiohttp
    import certifi

    trust = ssl.create_default_context(cafile=certifi.where())
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=pool, ssl=trust, enable_cleanup_closed=True))
