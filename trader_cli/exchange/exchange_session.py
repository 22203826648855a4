"""A session with the exchange: its connection and time, what it lists, and who may sign. No market data here."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from trader_cli.core.errors import UsageError
from trader_cli.exchange.account.bracket_memory import BRACKETS_FILE, BracketMemory
from trader_cli.exchange.account.broker import BinanceBroker
from trader_cli.exchange.account.entry_permission import EntryPermission
from trader_cli.exchange.connection.connection import PROTECTION_WAIT_S, Connection
from trader_cli.exchange.connection.signing_gate import options_to_sign_with, signing_origins, tells_key_rights
from trader_cli.exchange.market_data.symbol_book import SymbolBook
from trader_cli.exchange.streams.stream_ages import StreamAges
from trader_cli.settings.workspace import workspace_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Mapping
    from pathlib import Path

    from trader_cli.core.money.orders import SymbolRules
    from trader_cli.core.ports import Clock
    from trader_cli.exchange.account.bracket_memory import KnownBrackets
    from trader_cli.settings import Settings
    from trader_cli.settings.model import BinanceExchangeSettings, Mode
    from trader_cli.settings.workspace import Workspace
    from trader_cli.venue.server.simulated_venue import SimulatedVenue

_ROUTES = {
    "time": ("fapiPublicGetTime", "/fapi/v1/time"),
    "exchangeInfo": ("fapiPublicGetExchangeInfo", "/fapi/v1/exchangeInfo"),
    "ticker": ("fapiPublicGetTicker24hr", "/fapi/v1/ticker/24hr"),
    "depth": ("fapiPublicGetDepth", "/fapi/v1/depth"),
    "aggTrades": ("fapiPublicGetAggTrades", "/fapi/v1/aggTrades"),
    "premiumIndex": ("fapiPublicGetPremiumIndex", "/fapi/v1/premiumIndex"),
    "fundingRate": ("fapiPublicGetFundingRate", "/fapi/v1/fundingRate"),
    "openInterest": ("fapiPublicGetOpenInterest", "/fapi/v1/openInterest"),
}


class ExchangeSession:
    """`await initialize()` first, `await close()` last. `private` is the account, `protection` the same account.

    What `protection` asks and sends goes once, at once, on connections of its own: by it positions are protected.
    """

    def __init__(
        self,
        config: Workspace | Settings | Mapping[str, object] | None = None,
        *,
        clock: Clock | None = None,
        venue_url: str | None = None,
        venue: SimulatedVenue | None = None,
        remembered: Path | None = None,
    ) -> None:
        """`venue_url`: the simulated venue of mode sim, to which alone it signs; `venue`: itself, in this process.

        `remembered`: a file for symbols; leverage brackets lie beside it.
        """
        self.workspace = workspace_of(config)
        self.settings = self.workspace.settings
        self._connection = _connection(self.settings.mode, self.settings.binance_exchange, clock, venue_url, venue)
        self._book, self.stream_ages = SymbolBook(remembered), StreamAges()
        is_kept = remembered is not None and self.settings.mode != "sim"
        self._brackets = BracketMemory(remembered.with_name(BRACKETS_FILE) if remembered and is_kept else None)
        self.private, self.protection = self._brokers()

    def _brokers(self) -> tuple[BinanceBroker, BinanceBroker]:
        """(the account, and the same for what protects it: asked once, at once, on connections of its own)."""
        options = self.settings.binance_exchange
        opening = EntryPermission(self._connection, tells_rights=tells_key_rights(self.settings.mode, options))
        return (
            BinanceBroker(self._connection, opening, self._hear_brackets),
            BinanceBroker(self._connection.protection, opening),
        )

    def _hear_brackets(self, symbol: str, reply: object) -> None:
        self._brackets.hear(symbol, reply, self.server_now_ms())

    def remembered_brackets(self, symbol: str) -> KnownBrackets | None:
        """Leverage brackets of a symbol as an account was last told them; None where none was."""
        return self._brackets.known(symbol)

    async def initialize(self, *, protection: bool = False) -> bool:
        """Connect: learn the exchange's time and symbols. Raises `ClockSkewed` if our clock is off by too much.

        With `protection` it is for what reduces: the exchange's time and symbols are asked for side by side, each is
        waited for two seconds at most, and what has not come is taken from this machine's clock and from memory.
        """
        try:
            if protection:
                await self._connect_for_protection()
            else:
                await self._connection.open()
                self._learn_symbols(await self._read("exchangeInfo", {}))
        except BaseException:
            await self.close()
            raise
        return True

    async def _connect_for_protection(self) -> None:
        connection = self._connection
        await connection.prepare()
        lane = connection.protection_lane

        async def symbols() -> None:
            self._learn_symbols(await lane.ask(*_ROUTES["exchangeInfo"], {}))

        await connection.at_most(PROTECTION_WAIT_S, lane.time(), symbols())
        self._book.recall()

    def _learn_symbols(self, reply: Any) -> bool:
        changed = self._book.learn(reply, self.server_now_ms())
        self._connection.learn_limits(reply.get("rateLimits"))
        return changed

    async def refresh_rules(self, *, older_than_s: float | None = None) -> bool:
        """Read the symbols again, where they are older than that; whether anything of any symbol has changed."""
        self._require_open()
        if older_than_s is not None and self.rules_age_s() <= older_than_s:
            return False
        return self._learn_symbols(await self._read("exchangeInfo", {}))

    @property
    def symbols(self) -> Collection[str]:
        """The names of the exchange's symbols, as last read; none where no list was to be had."""
        return self._book.names

    def is_listed(self, symbol: str) -> bool:
        """Whether the exchange listed a symbol when it was last read."""
        return symbol in self._book.names

    def symbol_status(self, symbol: str) -> str | None:
        """What the exchange says of a symbol: TRADING, SETTLING, …; `None` where it does not list it."""
        return self._book.status(symbol)

    def every_rules(self) -> Mapping[str, SymbolRules]:
        """The filters of every symbol that can be read, as last read from the exchange."""
        return self._book.every_rules()

    def rules_age_s(self) -> float:
        """Seconds since the symbols were read from the exchange; infinite if they never were."""
        return self._book.age_s(self.server_now_ms())

    @property
    def clock(self) -> Clock:
        """The clock in use. Raises `UsageError` before `initialize`."""
        return self._connection.clock

    def server_now_ms(self) -> int:
        """The exchange's time, or a little earlier: never later than it is. No one who sets our clock moves it."""
        return self._connection.server_now_ms()

    @asynccontextmanager
    async def account_news(self, news: Callable[[], None]) -> AsyncIterator[None]:
        """While entered, the account's stream calls `news`, where `binance_exchange.streams` says so."""
        options, mode = self.settings.binance_exchange, self.settings.mode
        if not options.streams or mode not in {"demo", "live"}:
            yield
            return
        from trader_cli.exchange.connection.client import is_plain, make_session
        from trader_cli.exchange.streams.account_stream import AccountStream
        from trader_cli.exchange.streams.stream_hosts import stream_host

        async with make_session(plain=is_plain(options)) as session:
            host = stream_host(mode, options)
            task = asyncio.create_task(AccountStream(self._connection, session, host, self.stream_ages, news).run())
            try:
                yield
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    def frozen_s(self) -> float:
        """Seconds until the futures host takes requests again; until then none is sent to it."""
        return self._connection.frozen_s()

    def orders_held_s(self) -> float:
        """Seconds until the exchange takes orders that open again; reads and what reduces go on."""
        return self._connection.orders_held_s()

    def symbol_rules(self, symbol: str) -> SymbolRules:
        """The exchange's filters of a symbol. Raises `UsageError` for one that is not known."""
        rules = self.rules_or_none(symbol)
        if rules is None:
            raise self._book.unknown(symbol)
        return rules

    def rules_or_none(self, symbol: str) -> SymbolRules | None:
        """The exchange's filters of a symbol; None for one that is not known."""
        self._require_open()
        return self._book.rules(symbol)

    async def close(self) -> None:
        """End the session. Safe to call twice."""
        await self._connection.close()

    def _require_open(self) -> None:
        if not self._connection.is_open:
            raise UsageError("The exchange is not initialised.", hint="Call `await exchange.initialize()` first.")

    def require_listed(self, *symbols: str) -> None:
        """Raises `UsageError` for the first that is not listed; where no list was to be had, the exchange says it."""
        for symbol in symbols:
            self._require(symbol)

    def _require(self, symbol: str) -> None:
        """Refuse what is not listed. Where no list was to be had, the exchange says it."""
        self._require_open()
        self._book.require(symbol)

    async def _read(self, route: str, query: dict[str, Any]) -> Any:
        """One public read."""
        return await self._connection.read(*_ROUTES[route], query)


def _connection(
    mode: Mode,
    options: BinanceExchangeSettings,
    clock: Clock | None,
    venue_url: str | None,
    venue: SimulatedVenue | None,
) -> Connection:
    signs_at = signing_origins(mode, options, venue_url)
    return Connection(options_to_sign_with(mode, options, signs_at), clock, signs_at, venue)
