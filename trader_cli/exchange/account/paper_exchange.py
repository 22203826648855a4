"""`PaperExchange`: the real exchange's market data, and an account that is filled here on what they show. No keys.

What it does not do: it does not move the market, knows no queue at a price, and sees within an unfinished minute only
new extremes and the last price. Leverage brackets are the simulated venue's, fees those without any discount.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from trader_cli.core.errors import ConfigurationError, ExchangeRejected, NotListed, TraderError, UsageError
from trader_cli.core.market.gaps import utc_text
from trader_cli.core.money.assets import dollar_pair, margin_asset_of
from trader_cli.core.money.orders import UNREADABLE, NotPlaced, Unknown
from trader_cli.core.money.trading_rules import Prices, trustworthy
from trader_cli.exchange.account.account_replies import symbol_rules
from trader_cli.exchange.binance import BinanceExchange
from trader_cli.settings.workspace import Workspace, settings_of, workspace_of
from trader_cli.venue.server.public_routes import VenueRejection

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from trader_cli.core.money.orders import SymbolRules
    from trader_cli.core.ports import Clock
    from trader_cli.exchange.connection.connection import Connection
    from trader_cli.settings import Settings
    from trader_cli.settings.model import BinanceExchangeSettings
    from trader_cli.settings.room_options import PaperOptions
    from trader_cli.venue.paper.observations import Observation
    from trader_cli.venue.paper.paper_account import PaperAccount

_RESTRICTIONS = "/sapi/v1/account/apiRestrictions"
_PRICELESS = frozenset(
    {
        "/fapi/v1/leverageBracket",
        "/fapi/v1/symbolConfig",
        "/fapi/v1/positionSide/dual",
        "/fapi/v1/commissionRate",
        "/fapi/v1/multiAssetsMargin",
    }
)
"""Reads whose answer no price can change."""
_PRICED = frozenset({"/fapi/v1/order", "/fapi/v1/algoOrder", "/fapi/v1/leverage"})
"""Commands that need the price of the symbol they name."""
_ACCOUNT = "/fapi/v3/account"
_STALE_MS = _WALLETS_AGAIN_MS = 60_000
_WALLET_PRICE_S = 2.0  # what opens a wallet waits no longer for its price: the entry does
_INVALID_SYMBOL = -1121  # the exchange's own number
_MOST_AHEAD_MS = 10_000
"""By how much the exchange may seem to be behind the account: how exactly its time is known. Prices stand so long."""


class PaperExchange(BinanceExchange):
    """The exchange with a paper account behind `private`, whatever the mode. `folder` keeps it; None forgets it."""

    def __init__(
        self,
        config: Workspace | Settings | Mapping[str, object] | None = None,
        *,
        clock: Clock | None = None,
        folder: Path | None = None,
        remembered: Path | None = None,
    ) -> None:
        self._folder = folder
        super().__init__(_in_paper(config), clock=clock, remembered=remembered)

    def _paper_folder(self) -> Path | None:
        return self._folder


def _in_paper(config: Workspace | Settings | Mapping[str, object] | None) -> Workspace:
    """What a configuration means in the mode paper, whatever its own is."""
    if isinstance(config, Workspace) and config.mode == "paper":
        return config
    return workspace_of(settings_of(config).model_copy(update={"mode": "paper"}))


class PaperConnection:
    """What `BinanceBroker` asks of a connection, answered by a paper account. Opened by the first request."""

    def __init__(
        self, exchange: BinanceExchange, public: Connection, folder: Path | None, options: PaperOptions
    ) -> None:
        from trader_cli.exchange.account.paper_poll import PaperPoll

        self._exchange = exchange
        self._public = public
        self._folder = folder
        self._paper = options
        self._poll = PaperPoll(exchange, public)
        self._account: PaperAccount | None = None
        self._rules: dict[str, SymbolRules] = {}
        self._listed: Mapping[str, dict[str, Any]] | None = None
        self._turn = asyncio.Lock()
        self._wallets_again_ms = 0

    @property
    def options(self) -> BinanceExchangeSettings:
        """How the exchange is spoken to."""
        return self._public.options

    @property
    def clock(self) -> Clock:
        """The clock in use."""
        return self._public.clock

    def require_keys(self) -> None:
        """A paper account needs none."""

    async def read(self, method: str, path: str, query: dict[str, Any]) -> Any:  # noqa: ARG002
        """One signed read, after a look at what the account holds. Raises `ExchangeUnavailable` if that fails."""
        from trader_cli.venue.server.trading_desk import restrictions

        if path == _RESTRICTIONS:
            return restrictions(can_trade=True, can_withdraw=False)
        async with self._turn:
            account = self._opened()
            if path == _ACCOUNT:
                await self._open_wallets(account)
            seen, now_ms = ([], account.now_ms) if path in _PRICELESS else await self._look(account)
            try:
                return self._answered(account.read, path, _text(query), seen, now_ms)
            except VenueRejection as refused:
                raise ExchangeRejected(_sentence(refused), code=refused.code) from refused

    async def send(self, method: str, path: str, parameters: dict[str, Any]) -> dict[str, Any] | NotPlaced | Unknown:
        """One command. Where the look before it fails, it was not carried out, and that is certain."""
        verb, text = _verb(method), _text(parameters)
        requested = text.get("symbol") if verb == "POST" and path in _PRICED else None
        async with self._turn:
            try:
                account = self._opened()
                if verb == "POST" and "symbol" in text and not self._listed_now(account, text["symbol"]):
                    return NotPlaced(_INVALID_SYMBOL, f"The exchange does not list the symbol {text['symbol']!r}.")
                seen, now_ms = await self._look(account, requested, with_book=path == "/fapi/v1/order")
            except NotListed as error:
                return NotPlaced(_INVALID_SYMBOL, error.sentence)
            except UsageError:
                raise
            except ExchangeRejected as error:
                return NotPlaced(UNREADABLE if error.code is None else error.code, error.sentence)
            except TraderError as error:
                return NotPlaced(UNREADABLE, error.sentence)
            try:
                return dict(self._answered(account.command, verb, path, text, seen, now_ms))
            except VenueRejection as refused:
                return NotPlaced(refused.code, _sentence(refused))
            except (TraderError, ArithmeticError, ValueError) as error:
                return Unknown(f"The paper account does not answer: {error}")

    def _opened(self) -> PaperAccount:
        from trader_cli.venue.paper.observations import look_ms
        from trader_cli.venue.paper.paper_account import PaperAccount

        if not self._public.is_open:
            raise UsageError("The exchange is closed.", hint="Call `await exchange.initialize()` first.")
        if self._account is None:
            balance = Decimal(str(self._paper.account.balance))
            self._account = PaperAccount(
                self._rules_now(), look_ms(self._public.server_now_ms()), balance, self._folder
            )
        return self._account

    async def _open_wallets(self, account: PaperAccount) -> None:
        """The wallets of `paper.assets` that are not there yet.

        One whose price in dollars cannot be told is asked for again in a minute: nothing is planned in it until then,
        and what is open waits for none.
        """
        now = self.clock.monotonic_ms()
        wanted = [asset for asset in self._paper.account.assets if not account.has_wallet(asset)]
        if not wanted or now < self._wallets_again_ms:
            return
        self._wallets_again_ms = now + _WALLETS_AGAIN_MS
        for asset in wanted:
            with suppress(TraderError, TimeoutError):
                async with asyncio.timeout(self.clock.loop_s(_WALLET_PRICE_S)):
                    price = await self._dollars_for(asset)
                if price is not None:
                    account.open_wallet(asset, Decimal(str(self._paper.account.balance)), price)

    async def _dollars_for(self, asset: str) -> Decimal | None:
        """The mark price of an asset in dollars, if there is one that is fresh and near its index."""
        pair = dollar_pair(asset)
        if pair is None:
            return Decimal(1)
        if not self._exchange.is_listed(pair):
            return None
        premium = await self._exchange.get_premium_index(pair)
        mark, index = (Decimal(str(premium[name])) for name in ("mark_price", "index_price"))
        age_ms = self._public.server_now_ms() - int(premium["timestamp"])
        most_apart = self._paper.max_price_spread
        refused = trustworthy(pair, Prices(mark, index, mark, age_ms, age_ms), most_apart, _STALE_MS)
        return mark if refused is None else None

    def _listed_now(self, account: PaperAccount, symbol: str) -> bool:
        """Whether a command may name the symbol: it is listed, or something of it is still held."""
        rules = self._rules_now()
        account.know(rules)
        return symbol in rules or symbol in account.busy()

    def _rules_now(self) -> Mapping[str, SymbolRules]:
        """The filters of every symbol as the exchange lists them now: they are read again, and new ones come."""
        if self._listed is not self._exchange.symbols:
            self._listed = self._exchange.symbols
            self._rules = _rules_of_all(self._listed)
        return self._rules

    async def _look(
        self, account: PaperAccount, requested: str | None = None, *, with_book: bool = False
    ) -> tuple[list[Observation], int]:
        """(what was seen of every symbol that matters, the moment up to which). Settles what is traded no more.

        Raises what stands in the way where there is no price of the symbol that is asked for.
        """
        from trader_cli.exchange.account.paper_poll import SymbolRequest
        from trader_cli.venue.paper.observations import look_ms
        from trader_cli.venue.paper.paper_account import SETTLE

        server_ms, rules = self._public.server_now_ms(), self._rules_now()
        if account.now_ms > server_ms + _MOST_AHEAD_MS:
            raise ConfigurationError(
                f"The paper account has come to {utc_text(account.now_ms)}; the exchange is at {utc_text(server_ms)}.",
                hint="An account goes on with the exchange it was opened on; choose another state_dir.",
            )
        upto_ms = max(look_ms(server_ms), account.now_ms)
        seen = await self._poll.at(account, rules, SymbolRequest(requested, with_book), upto_ms)
        observations = seen.observations
        for symbol in seen.settled:
            self._answered(account.command, "POST", SETTLE, {"symbol": symbol}, observations, upto_ms)
            observations = []
        if requested in seen.missing:
            raise seen.missing[requested]
        return observations, upto_ms

    def _answered(self, ask: Any, *arguments: Any) -> Any:
        """The desk's answer. A desk that failed for another reason than a refusal is opened anew from its journal."""
        try:
            return ask(*arguments)
        except VenueRejection:
            raise
        except BaseException:
            if self._folder is not None:
                self.close()
            raise

    def close(self) -> None:
        """Give the account back. Safe to call twice."""
        account, self._account = self._account, None
        if account is not None:
            account.close()


def _rules_of_all(bodies: Mapping[str, dict[str, Any]]) -> dict[str, SymbolRules]:
    """Filters of every symbol whose name says in what it is margined."""
    made = {}
    for symbol, body in bodies.items():
        if (body.get("marginAsset") or body.get("quoteAsset")) == margin_asset_of(symbol):
            try:
                made[symbol] = symbol_rules(body)
            except (KeyError, ValueError):
                continue  # one whose filters cannot be read is unknown to the account
    return made


def _verb(method: str) -> str:
    """The HTTP verb in the name of a client's method: `fapiPrivateDeleteOrder` → DELETE."""
    found = re.search(r"(Get|Post|Put|Delete)[A-Z]", method)
    if found is None:
        raise UsageError(f"{method!r} names no request.")
    return found.group(1).upper()


def _text(parameters: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in parameters.items()}


def _sentence(refused: VenueRejection) -> str:
    return f"The paper account refuses the request: {refused.message} ({refused.code})"
