"""The exchange a configuration means."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from trader_cli.core.errors import ConfigurationError
from trader_cli.exchange.account.paper_exchange import PaperExchange
from trader_cli.exchange.binance import BinanceExchange
from trader_cli.exchange.market_data.recorder import TapeRecorder
from trader_cli.settings.workspace import workspace_of
from trader_cli.storage.state import VenueState

if TYPE_CHECKING:
    from trader_cli.core.ports import Clock
    from trader_cli.settings import Settings


def exchange_of(
    settings: Settings, clock: Clock | None = None, source: str | None = None, *, venue_url: str | None = None
) -> BinanceExchange:
    """The exchange, not initialised: in paper with an account that lies in the state directory; recorded if so set.

    `source` names the market where the settings' own name is not it; `venue_url` is the venue of mode sim, which alone
    gets signed requests. What the exchange lists is remembered in the state directory, by market.
    """
    source = source or workspace_of(settings).source
    remembered = VenueState(workspace_of(settings).state_dir).symbols(source)
    if settings.mode == "paper":
        folder = VenueState(workspace_of(settings).state_dir).accounts(source, "paper")
        exchange: BinanceExchange = PaperExchange(settings, clock=clock, folder=folder, remembered=remembered)
    else:
        exchange = BinanceExchange(settings, clock=clock, venue_url=venue_url, remembered=remembered)
    if settings.record:
        exchange.recorder = TapeRecorder(Path(settings.cache_dir).expanduser() / "recordings" / source)
    return exchange


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
