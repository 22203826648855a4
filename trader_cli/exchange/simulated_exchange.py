"""A tape's market and one account on it, asked and told in the exchange's own words and answered as values. No HTTP.

What the client of the simulated exchange would hear: the same routes, filters and engine, and the client's own readers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trader_cli.core.money.orders import NotPlaced
from trader_cli.exchange.account import account_replies as parse
from trader_cli.exchange.account.broker import order_parameters, stop_parameters
from trader_cli.exchange.market_data import quote_replies
from trader_cli.exchange.market_data.symbol_filters import symbol_rules
from trader_cli.venue.engine.engine import Engine
from trader_cli.venue.engine.queries import VenueRejection
from trader_cli.venue.server.private_routes import COMMANDS, READS
from trader_cli.venue.server.public_routes import PublicRoutes
from trader_cli.venue.server.wallets import fresh_account
from trader_cli.venue.simulated_market.rule_changes import RuleBook

if TYPE_CHECKING:
    from decimal import Decimal
    from typing import Any

    from trader_cli.core.market.quotes import OrderBook, PremiumIndex, Ticker
    from trader_cli.core.money.orders import (
        AccountState,
        LeverageBracket,
        OrderRequest,
        OrderState,
        PositionState,
        StopRequest,
        StopState,
        SymbolRules,
    )
    from trader_cli.exchange.latency import Latency
    from trader_cli.venue.simulated_market.tape import Tape

DEPTH = 50
"""How deep into the book tactics look."""


class SimulatedExchange:
    """The market of `tape` from `start_ms` on, and an account with `balance`. Times go forward only."""

    def __init__(self, tape: Tape, start_ms: int, balance: Decimal) -> None:
        self.latency: Latency | None = None
        recorded = {name: one.funding for name, one in tape.symbols.items() if one.funding is not None}
        self.book = RuleBook(tape.changes, paid=recorded)
        self._routes = PublicRoutes(tape, self.book)
        account = fresh_account(balance, hedge_mode=False, markets=self._routes.markets, at_ms=start_ms)
        self.engine = Engine(self._routes.markets, account, start_ms, book=self.book)

    def charge(self, taker_fee: Decimal, maker_fee: Decimal) -> None:
        """From now on the account pays these rates, shares of the notional."""
        self.engine.account.taker_fee, self.engine.account.maker_fee = taker_fee, maker_fee

    def _travel(self, command: str) -> None:
        """Time goes on while a command is on its way."""
        if self.latency is not None:
            self.advance(self.now_ms + self.latency.of(command))

    @property
    def now_ms(self) -> int:
        """The venue's time."""
        return self.engine.now_ms

    def advance(self, now_ms: int) -> None:
        """Let the market move on."""
        self.engine.advance(now_ms)

    # --- the market ---

    def _shown(self, path: str, **query: object) -> Any:
        return self._routes.table[path]({name: str(value) for name, value in query.items()}, self.now_ms)

    def ticker(self, symbol: str) -> Ticker:
        """The last 24 hours."""
        return quote_replies.ticker(self._shown("/fapi/v1/ticker/24hr", symbol=symbol), symbol)

    def order_book(self, symbol: str) -> OrderBook:
        """The book, `DEPTH` levels a side."""
        return quote_replies.order_book(self._shown("/fapi/v1/depth", symbol=symbol, limit=DEPTH), symbol, DEPTH)

    def premium_index(self, symbol: str) -> PremiumIndex:
        """Mark and index price, and the funding ahead."""
        return quote_replies.premium_index(self._shown("/fapi/v1/premiumIndex", symbol=symbol), symbol)

    def rules(self, symbol: str) -> SymbolRules:
        """The filters of a symbol."""
        rows = self._shown("/fapi/v1/exchangeInfo")["symbols"]
        return symbol_rules(next(row for row in rows if row["symbol"] == symbol))

    # --- the account ---

    def _read(self, path: str, **query: object) -> Any:
        return READS[path](self.engine, {name: str(value) for name, value in query.items()})

    def account(self) -> AccountState:
        """Wallet, available balance and unrealised profit, by asset."""
        return parse.account_state(self._read("/fapi/v3/account"))

    def positions(self) -> list[PositionState]:
        """What is open."""
        return [parse.position_state(row) for row in self._read("/fapi/v3/positionRisk")]

    def brackets(self, symbol: str) -> tuple[LeverageBracket, ...]:
        """Leverage brackets, lowest notional first."""
        return parse.brackets_of(self._read("/fapi/v1/leverageBracket", symbol=symbol), symbol)

    def set_isolated(self, symbol: str, leverage: int) -> None:
        """Isolated margin and this leverage, whatever was before."""
        option = self.engine.account.option(symbol)
        if not option.isolated:
            COMMANDS["POST", "/fapi/v1/marginType"](self.engine, {"symbol": symbol, "marginType": "ISOLATED"})
        if option.leverage != leverage:
            COMMANDS["POST", "/fapi/v1/leverage"](self.engine, {"symbol": symbol, "leverage": str(leverage)})

    def place(self, order: OrderRequest) -> OrderState | NotPlaced:
        """Send an order."""
        self._travel(order.client_id)
        reply = self._sent("POST", "/fapi/v1/order", order_parameters(order))
        return reply if isinstance(reply, NotPlaced) else parse.order_state(reply)

    def place_stop(self, stop: StopRequest) -> StopState | NotPlaced:
        """Let a stop or take-profit rest."""
        self._travel(stop.client_id)
        reply = self._sent("POST", "/fapi/v1/algoOrder", stop_parameters(stop))
        return reply if isinstance(reply, NotPlaced) else parse.stop_state(reply)

    def cancel_stop(self, stop: StopState) -> None:
        """Take a stop or take-profit away; one that has ended stays as it is."""
        self._travel(f"cancel {stop.client_id}")
        self._sent("DELETE", "/fapi/v1/algoOrder", {"symbol": stop.symbol, "clientAlgoId": stop.client_id})

    def open_stops(self, symbol: str) -> list[StopState]:
        """Stops and take-profits that wait."""
        return [parse.stop_state(row) for row in self._read("/fapi/v1/openAlgoOrders", symbol=symbol)]

    def _sent(self, verb: str, path: str, parameters: dict[str, str]) -> Any:
        try:
            return COMMANDS[verb, path](self.engine, parameters)
        except VenueRejection as refused:
            return NotPlaced(refused.code, refused.message)
