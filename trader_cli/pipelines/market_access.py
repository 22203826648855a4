"""Which market the settings mean: its source name, its time, and a connected exchange. Sim runs its venue inside."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydantic import SecretStr

from trader_cli.core.errors import DataMissing, ExchangeUnavailable
from trader_cli.execution.shutdown import leaving, run_supervised
from trader_cli.settings.workspace import account_key
from trader_cli.storage.state import VenueState

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from trader_cli.core.ports import Clock
    from trader_cli.exchange.archive.download import Archive
    from trader_cli.exchange.binance import BinanceExchange
    from trader_cli.settings import Workspace
    from trader_cli.venue.clocks import VirtualClock
    from trader_cli.venue.server.simulated_venue import SimulatedVenue
    from trader_cli.venue.simulated_market.tape import Tape

T = TypeVar("T")
ARCHIVE_URL = "https://data.binance.vision"


@dataclass(frozen=True)
class Market:
    """A connected market: its exchange, its clock and its source name.

    `threads`: whether work may be done in threads while the loop goes on; not where time is virtual. `turn` is for
    work that holds a whole series in memory: one at a time. `venue`: the simulated exchange in this process, if any.
    """

    exchange: BinanceExchange
    clock: Clock
    source: str
    threads: bool = False
    archive: Archive | None = None
    turn: asyncio.Lock = field(default_factory=asyncio.Lock, compare=False)
    venue: SimulatedVenue | None = None

    @asynccontextmanager
    async def with_archive(self) -> AsyncIterator[Market]:
        """This market with its bulk archive, where it has one; a market that has it open already is itself."""
        from trader_cli.exchange.archive.download import Archive

        options = self.exchange.settings.binance_exchange
        url = options.archive_url or options.base_url or (None if options.use_testnet else ARCHIVE_URL)
        if url is None or self.archive is not None:
            yield self
            return
        archive = Archive(url, self.clock, timeout_s=options.timeout, threads=self.threads, venue=self.venue)
        async with archive:
            yield replace(self, archive=archive)


def sim_tape(workspace: Workspace) -> Tape:
    """The tape of the `sim` settings."""
    sim = workspace.settings.sim
    if sim.tape is not None:
        from trader_cli.venue.simulated_market.tape_loading import load_tape

        return load_tape(Path(sim.tape).expanduser(), workspace.settings.seed)
    from trader_cli.venue.simulated_market.synthetic import synthetic_tape

    return synthetic_tape(sim.symbols, sim.days, sim.planted_lead, workspace.settings.seed)


def run_in_market(
    workspace: Workspace,
    work: Callable[[Market], Awaitable[T]],
    *,
    protection: bool = False,
    for_s: float | None = None,
) -> T:
    """Connect, run `work`, disconnect. In sim on virtual time, which is remembered for the next command.

    `protection`: for what reduces, which connects without what it does not need. After `for_s` seconds of the market's
    clock the work is asked to end as by a signal, wherever it is; in virtual time it has to look itself.
    """
    from trader_cli.venue.clocks import VirtualClock, VirtualLoop

    if workspace.mode != "sim":
        return run_supervised(
            _with_exchange(workspace, work, protection=protection, for_s=for_s), asyncio.new_event_loop
        )
    tape = sim_tape(workspace)
    remembered = VenueState(workspace.state_dir)
    now = remembered.time(tape.source)
    clock = VirtualClock(tape.at(workspace.settings.sim.start) if now is None else now)

    async def timed(market: Market) -> T:
        try:
            return await work(market)
        finally:
            remembered.save_time(tape.source, clock.now_ms())

    return run_supervised(_with_venue(workspace, tape, clock, timed), lambda: VirtualLoop(clock))


async def _with_exchange(
    workspace: Workspace, work: Callable[[Market], Awaitable[T]], *, protection: bool, for_s: float | None
) -> T:
    wall = workspace.settings.binance_exchange.clock == "wall"
    if for_s is not None and wall:
        leaving().end_in(for_s)
    try:
        async with connected(workspace, None, protection=protection) as exchange:
            if for_s is not None and not wall:
                leaving().end_in(exchange.clock.loop_s(for_s))
            return await work(Market(exchange, exchange.clock, workspace.source, threads=wall))
    except ExchangeUnavailable as error:
        if workspace.mode != "paper" or workspace.settings.binance_exchange.base_url is not None:
            raise
        raise ExchangeUnavailable(error.sentence, hint="Without a network, try `--profile sim`.") from error


async def _with_venue(
    workspace: Workspace, tape: Tape, clock: VirtualClock, work: Callable[[Market], Awaitable[T]]
) -> T:
    from trader_cli.exchange.connection.venue_session import ADDRESS
    from trader_cli.venue.server.authentication import KEYS
    from trader_cli.venue.server.simulated_venue import SimulatedVenue

    folder = VenueState(workspace.state_dir).accounts(tape.source, "virtual")
    balance = Decimal(str(workspace.settings.sim.balance))
    with closing(SimulatedVenue(tape, clock, balance=balance, folder=folder)) as venue:
        key = KEYS[account_key(workspace.settings)]
        keys = {"api_key": SecretStr(key.key), "api_secret": SecretStr(key.secret)}
        options = workspace.settings.binance_exchange.model_copy(update={"base_url": ADDRESS, **keys})
        inside = replace(workspace, settings=workspace.settings.model_copy(update={"binance_exchange": options}))
        async with connected(inside, clock, venue_url=ADDRESS, venue=venue) as exchange:
            return await work(Market(exchange, clock, tape.source, venue=venue))


@asynccontextmanager
async def connected(
    workspace: Workspace,
    clock: Clock | None,
    *,
    venue_url: str | None = None,
    venue: SimulatedVenue | None = None,
    protection: bool = False,
) -> AsyncIterator[BinanceExchange]:
    """An initialised exchange that is closed at the end. `venue_url`, `venue`: as `exchange_of` takes them."""
    from trader_cli.execution.accounts import exchange_of

    exchange = exchange_of(workspace, clock, venue_url=venue_url, venue=venue)
    try:
        await exchange.initialize(protection=protection)
        yield exchange
    finally:
        await exchange.close()


def market_now_ms(workspace: Workspace) -> int:
    """The market's time without connecting to it. Raises `DataMissing` if a sim has not begun."""
    from trader_cli.exchange.connection.venue_clock import attach
    from trader_cli.venue.clocks import WallClock

    if workspace.mode == "sim":
        now = VenueState(workspace.state_dir).time(workspace.source)
        if now is None:
            raise DataMissing("This tape has not been played yet.", hint="Run `trader fetch` first.")
        return now
    options = workspace.settings.binance_exchange
    if options.clock == "venue" and options.base_url is not None:
        return run_supervised(_venue_now(attach(options.base_url)), asyncio.new_event_loop)
    return WallClock().now_ms()


async def _venue_now(attaching: Awaitable[Clock]) -> int:
    clock = await attaching
    now = clock.now_ms()
    leave: Callable[[], Awaitable[None]] | None = getattr(clock, "close", None)
    if leave is not None:
        await leave()
    return now
