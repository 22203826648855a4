"""Where streams are: one table of hosts by profile and of routes by what a stream is of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal
from urllib.parse import urlencode, urlsplit

from trader_cli.core.errors import UsageError

if TYPE_CHECKING:
    from trader_cli.settings.model import BinanceExchangeSettings, Mode

Route = Literal["public", "market", "private"]

REAL_STREAMS = "wss://fstream.binance.com"
DEMO_STREAMS = "wss://fstream.binancefuture.com"
_ROUTES: dict[str, Route] = {
    "depth": "public",
    "trade": "public",
    "bookTicker": "public",
    "kline": "market",
    "aggTrade": "market",
    "markPrice": "market",
    "ticker": "market",
    "miniTicker": "market",
    "forceOrder": "market",
    "contractInfo": "market",
}
"""Of futures, since 2026; each host serves a stream on its own route only."""


def stream_host(mode: Mode, options: BinanceExchangeSettings) -> str:
    """scheme://host[:port] of the streams: those of `base_url`, else of the exchange's demo or of the exchange."""
    if options.base_url is not None:
        base = urlsplit(options.base_url)
        return f"{'wss' if base.scheme == 'https' else 'ws'}://{base.netloc}"
    return DEMO_STREAMS if mode == "demo" or options.use_testnet else REAL_STREAMS


def route_of(name: str) -> Route:
    """The route that serves a market stream, by its name. Raises `UsageError` for what is no stream's name."""
    kind = name.removeprefix("!").partition("@")[0] if name.startswith("!") else name.partition("@")[2]
    word = kind.partition("@")[0].partition("_")[0].rstrip("0123456789")
    if word not in _ROUTES:
        raise UsageError(f"No stream is called {name!r}.")
    return _ROUTES[word]


def market_url(host: str, route: Route) -> str:
    """A socket of market streams, to which one subscribes by messages."""
    return f"{host}/{route}/ws"


def account_url(host: str, listen_key: str) -> str:
    """The socket of an account. It holds a key: never shown, never written."""
    return f"{host}/private/ws?{urlencode({'listenKey': listen_key})}"
