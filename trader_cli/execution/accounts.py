"""The exchange a configuration means, and who closes it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from trader_cli.core.errors import ConfigurationError, UsageError
from trader_cli.core.ports import Exchange
from trader_cli.exchange.binance import BinanceExchange
from trader_cli.exchange.market_data.recorder import TapeRecorder
from trader_cli.storage.state import VenueState

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from trader_cli.core.ports import Clock
    from trader_cli.settings.workspace import Workspace
    from trader_cli.venue.server.simulated_venue import SimulatedVenue


class OwnExchange(Exchange, Protocol):
    """An exchange that was made from a configuration, which says whose account it is; closed by who made it."""

    @property
    def workspace(self) -> Workspace:
        """What the configuration means it was made from."""
        ...

    def close(self) -> Awaitable[None]:
        """End the session. Safe to call twice."""
        ...


E = TypeVar("E", bound=OwnExchange)


def exchange_of(
    workspace: Workspace,
    clock: Clock | None = None,
    *,
    venue_url: str | None = None,
    venue: SimulatedVenue | None = None,
) -> BinanceExchange:
    """The exchange, not initialised: in paper with an account that lies in the state directory; recorded if so set.

    `venue_url` is the venue of mode sim, which alone gets signed requests, `venue` itself, where it lives in this
    process. What the exchange lists is remembered in the state directory, by market.
    """
    source, state = workspace.source, VenueState(workspace.state_dir)
    remembered = state.symbols(source)
    if workspace.mode == "paper":
        from trader_cli.exchange.paper_exchange import PaperExchange

        folder = state.accounts(source, "paper")
        exchange: BinanceExchange = PaperExchange(workspace, clock=clock, folder=folder, remembered=remembered)
    else:
        exchange = BinanceExchange(workspace, clock=clock, venue_url=venue_url, venue=venue, remembered=remembered)
    if workspace.settings.record:
        exchange.recorder = TapeRecorder(workspace.cache_dir / "recordings" / source)
    return exchange


async def connected_exchange(workspace: Workspace) -> BinanceExchange:
    """An initialised exchange, for a library caller that passes none.

    Raises `ConfigurationError` in sim, whose market lives inside the command line.
    """
    if workspace.mode == "sim":
        raise ConfigurationError(
            "The sim profile's market lives inside `trader` commands.",
            hint="Pass an exchange, or set mode demo and base_url to a `trader venue serve`.",
        )
    exchange = exchange_of(workspace)
    await exchange.initialize()
    return exchange


class ExchangeLease(Generic[E]):
    """The exchange somebody works with: lent by a caller, who closes it, or one of his own, from `open` to `close`.

    `user` is what he is called, `name` the variable that messages tell to be initialised.
    """

    def __init__(self, workspace: Workspace, lent: E | None, user: str, name: str) -> None:
        self._exchange: E | BinanceExchange | None = lent
        self._build = None if lent is not None else partial(connected_exchange, workspace)
        self._user, self._name = user, name

    @property
    def is_open(self) -> bool:
        """Whether there is an exchange to work with."""
        return self._exchange is not None

    @property
    def exchange(self) -> E | BinanceExchange:
        """The exchange. Raises `UsageError` before `open` where none was lent."""
        if self._exchange is None:
            raise UsageError(
                f"The {self._user} is not initialised.", hint=f"Call `await {self._name}.initialize()` first."
            )
        return self._exchange

    async def open(self) -> None:
        """Connect to the exchange, if none was lent. Raises what connecting raises."""
        if self._exchange is None and self._build is not None:
            self._exchange = await self._build()

    async def close(self) -> None:
        """End what `open` began."""
        if self._build is not None and self._exchange is not None:
            await self._exchange.close()
            self._exchange = None
