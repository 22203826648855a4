"""What the exchange lists: exchange information cut down to what matters, and the symbols that trade most."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trader_cli.core.errors import ExchangeUnavailable, UsageError
from trader_cli.exchange.connection import replies

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from trader_cli.exchange.connection.connection import Connection

_ROUTES = {
    "um": ("fapiPublicGetExchangeInfo", "/fapi/v1/exchangeInfo"),
    "spot": ("publicGetExchangeInfo", "/api/v3/exchangeInfo"),
}
_PERPETUALS = frozenset({"PERPETUAL", "TRADIFI_PERPETUAL"})


async def exchange_info(connection: Connection, market: str = "um") -> dict[str, Any]:
    """`{market, server_time_ms, rate_limits, symbols}` of "um" or "spot".

    Each symbol: symbol, status, base, quote, contract ("" at the spot market), onboard_ms (None where the exchange does
    not say), filters as the exchange writes them. The weight it states per minute is what we keep to from now on.
    """
    if market not in _ROUTES:
        raise UsageError(f"Unknown market {market!r}.", hint=f"Known: {', '.join(_ROUTES)}.")
    reply = replies.as_mapping(await connection.read(*_ROUTES[market], {}), "exchange information", "symbols")
    connection.learn_limits(reply.get("rateLimits"), spot=market == "spot")
    return dict(replies.parsed("exchange information", reply, lambda r: _document(market, r)))


def _document(market: str, reply: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "market": market,
        "server_time_ms": int(reply["serverTime"]),
        "rate_limits": list(reply["rateLimits"]),
        "symbols": [_symbol(body) for body in reply["symbols"]],
    }


def _symbol(body: Mapping[str, Any]) -> dict[str, Any]:
    onboard = body.get("onboardDate")
    return {
        "symbol": str(body["symbol"]),
        "status": str(body["status"]),
        "base": str(body["baseAsset"]),
        "quote": str(body["quoteAsset"]),
        "contract": str(body.get("contractType") or ""),
        "onboard_ms": None if onboard is None else int(onboard),
        "filters": list(body["filters"]),
    }


async def top_symbols(
    connection: Connection,
    symbols: Mapping[str, Mapping[str, Any]],
    count: int,
    say: Callable[[str], None] = lambda _line: None,
) -> list[str]:
    """The `count` perpetuals quoted in USDT with the largest quote volume of the last 24 hours, largest first.

    Those of gold, stocks and the like (TradFi) are perpetuals, too.
    `symbols` are the exchange's own descriptions by name; only those that trade count. Ties: by name. One whose volume
    cannot be read is left out, and `say` is told.
    """
    if count < 1:
        raise UsageError(f"The number of symbols must be at least 1; found {count}.")
    reply = replies.as_list(await connection.read("fapiPublicGetTicker24hr", "/fapi/v1/ticker/24hr", {}), "tickers")
    names: dict[str, Any] = replies.parsed("tickers", reply, lambda r: {str(t["symbol"]): t for t in r})
    trading = {name: _volume(row) for name, row in names.items() if _is_perpetual(symbols.get(name, {}))}
    unknown = sorted(name for name, volume in trading.items() if volume is None)
    if trading and len(unknown) == len(trading):
        raise ExchangeUnavailable("The exchange shows no symbol's volume of the last day.", hint="Try again later.")
    if unknown:
        say(f"Left out, for the exchange shows no volume of the last day: {', '.join(unknown)}.")
    volumes = {name: volume for name, volume in trading.items() if volume is not None}
    return sorted(volumes, key=lambda name: (-volumes[name], name))[:count]


def _volume(row: Mapping[str, Any]) -> float | None:
    """Quote volume of a day; `None` where it cannot be read, as of a symbol that has not traded yet."""
    try:
        return replies.number(row["quoteVolume"], least=0)
    except (KeyError, TypeError, ValueError):
        return None


def _is_perpetual(body: Mapping[str, Any]) -> bool:
    found = body.get("quoteAsset"), body.get("status")
    return body.get("contractType") in _PERPETUALS and found == ("USDT", "TRADING")
