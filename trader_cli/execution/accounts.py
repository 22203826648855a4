"""The exchange of a configuration, for library callers that pass none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trader_cli.core.errors import ConfigurationError
from trader_cli.exchange.binance import BinanceExchange

if TYPE_CHECKING:
    from trader_cli.settings import Settings


async def connected_exchange(settings: Settings) -> BinanceExchange:
    """An initialised exchange. Raises `ConfigurationError` in sim, whose market lives inside the command line."""
    if settings.mode == "sim":
        raise ConfigurationError(
            "The sim profile's market lives inside `trader` commands.",
            mend="Pass an exchange, or set mode demo and base_url to a `trader venue serve`.",
        )
    exchange = BinanceExchange(settings)
    await exchange.initialize()
    return exchange
