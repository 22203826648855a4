"""The exchange a configuration means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trader_cli.core.errors import ConfigurationError
from trader_cli.exchange.binance import BinanceExchange
from trader_cli.exchange.paper import PaperExchange
from trader_cli.storage.markets import market_source
from trader_cli.storage.state import VenueState, state_root

if TYPE_CHECKING:
    from trader_cli.core.ports import Clock
    from trader_cli.settings import Settings


def exchange_of(settings: Settings, clock: Clock | None = None) -> BinanceExchange:
    """The exchange, not initialised: in paper with an account that lies in the state directory."""
    if settings.mode != "paper":
        return BinanceExchange(settings, clock=clock)
    folder = VenueState(state_root(settings)).accounts(market_source(settings), "paper")
    return PaperExchange(settings, clock=clock, folder=folder)


async def connected_exchange(settings: Settings) -> BinanceExchange:
    """An initialised exchange, for a library caller that passes none.

    Raises `ConfigurationError` in sim, whose market lives inside the command line.
    """
    if settings.mode == "sim":
        raise ConfigurationError(
            "The sim profile's market lives inside `trader` commands.",
            mend="Pass an exchange, or set mode demo and base_url to a `trader venue serve`.",
        )
    exchange = exchange_of(settings)
    await exchange.initialize()
    return exchange
