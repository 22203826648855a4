"""What the exchange lists: exchange information cut down to what matters, and the symbols that trade most."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from trader_cli.core.errors import ExchangeUnavailable, UsageError
from trader_cli.exchange.connection import replies
from trader_cli.exchange.connection.reply_fields import number

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from trader_cli.exchange.connection.connection import Connection

_ROUTES = {
    "um": ("fapiPublicGetExchangeInfo", "/fapi/v1/exchangeInfo"),
    "spot": ("publicGetExchangeInfo", "/api/v3/exchangeInfo"),
}


@dataclass(frozen=True)
class ListedSymbol:
    """A symbol as it is listed. `contract` is "" at the spot market; `onboard_ms` None where the exchange does not say.

    `filters` are as the exchange writes them: they are stored, and read elsewhere (`symbol_filters`).
    """

    symbol: str
    status: str
    base: str
    quote: str
    contract: str
    onboard_ms: int | None
    filters: tuple[Mapping[str, Any], ...]

    def as_dict(self) -> dict[str, Any]:
        """The shape of the stored document."""
        return {
            "symbol": self.symbol,
            "status": self.status,
            "base": self.base,
            "quote": self.quote,
            "contract": self.contract,
            "onboard_ms": self.onboard_ms,
            "filters": list(self.filters),
        }


@dataclass(frozen=True)
class ExchangeInfo:
    """What a market ("um" or "spot") lists at a time of the exchange; `rate_limits` as the exchange writes them."""

    market: str
    server_time_ms: int
    rate_limits: tuple[Mapping[str, Any], ...]
    symbols: tuple[ListedSymbol, ...]

    def only(self, symbol: str) -> ExchangeInfo:
        """The same with this symbol alone, or none where it is not listed."""
        return replace(self, symbols=tuple(one for one in self.symbols if one.symbol == symbol))

    def as_dict(self) -> dict[str, Any]:
        """The shape of the stored document."""
        return {
            "market": self.market,
            "server_time_ms": self.server_time_ms,
            "rate_limits": list(self.rate_limits),
            "symbols": [one.as_dict() for one in self.symbols],
        }


async def exchange_info(connection: Connection, market: str = "um") -> ExchangeInfo:
    """What "um" or "spot" lists now. The weight it states per minute is what we keep to from now on."""
    if market not in _ROUTES:
        raise UsageError(f"Unknown market {market!r}.", hint=f"Known: {', '.join(_ROUTES)}.")
    reply = replies.as_mapping(await connection.read(*_ROUTES[market], {}), "exchange information", "symbols")
    connection.learn_limits(reply.get("rateLimits"), spot=market == "spot")
    return replies.parsed("exchange information", reply, lambda r: _information(market, r))


def _information(market: str, reply: Mapping[str, Any]) -> ExchangeInfo:
    symbols = tuple(_symbol(body) for body in reply["symbols"])
    return ExchangeInfo(market, int(reply["serverTime"]), tuple(reply["rateLimits"]), symbols)


def _symbol(body: Mapping[str, Any]) -> ListedSymbol:
    onboard = body.get("onboardDate")
    return ListedSymbol(
        symbol=str(body["symbol"]),
        status=str(body["status"]),
        base=str(body["baseAsset"]),
        quote=str(body["quoteAsset"]),
        contract=str(body.get("contractType") or ""),
        onboard_ms=None if onboard is None else int(onboard),
        filters=tuple(body["filters"]),
    )


async def top_symbols(
    connection: Connection,
    perpetuals: Collection[str],
    count: int,
    say: Callable[[str], None] = lambda _line: None,
) -> list[str]:
    """The `count` of these perpetuals with the largest quote volume of the last 24 hours, largest first, ties by name.

    One whose volume cannot be read is left out, and `say` is told.
    """
    if count < 1:
        raise UsageError(f"The number of symbols must be at least 1; found {count}.")
    reply = replies.as_list(await connection.read("fapiPublicGetTicker24hr", "/fapi/v1/ticker/24hr", {}), "tickers")
    names: dict[str, Any] = replies.parsed("tickers", reply, lambda r: {str(t["symbol"]): t for t in r})
    trading = {name: _volume(row) for name, row in names.items() if name in perpetuals}
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
        return number(row["quoteVolume"], least=0)
    except (KeyError, TypeError, ValueError):
        return None
