"""A tape's market and one account on it, asked and told in the exchange's own words and answered as values. No HTTP.

What the client of the simulated exchange would hear: the same routes, filters and engine, and the client's own readers.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar, cast

from trader_cli.core.money.assets import QUOTE
from trader_cli.core.money.orders import AccountState, NotPlaced, PositionState, StopState
from trader_cli.exchange.account import account_replies as parse
from trader_cli.exchange.account.broker import KINDS, order_parameters
from trader_cli.exchange.market_data.symbol_filters import symbol_rules
from trader_cli.exchange.shown_values import (
    balances_shown,
    book_shown,
    funding_shown,
    position_shown,
    premium_shown,
    prices_shown,
    stop_shown,
    ticker_shown,
)
from trader_cli.venue.engine.engine import Engine
from trader_cli.venue.engine.fill_rules import FILLS
from trader_cli.venue.engine.order_intake import reducing_algo
from trader_cli.venue.engine.queries import VenueRejection
from trader_cli.venue.server.private_routes import COMMANDS, READS
from trader_cli.venue.server.public_routes import PublicRoutes
from trader_cli.venue.server.wallets import fresh_account
from trader_cli.venue.simulated_market.number_format import as_read, decimals
from trader_cli.venue.simulated_market.rule_changes import RuleBook

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from decimal import Decimal
    from typing import Any

    from trader_cli.core.market.quotes import OrderBook, PremiumIndex, Ticker
    from trader_cli.core.money.orders import (
        LeverageBracket,
        OrderRequest,
        OrderState,
        StopRequest,
        SymbolRules,
    )
    from trader_cli.core.money.trading_rules import Prices
    from trader_cli.exchange.latency import Latency
    from trader_cli.venue.engine.fill_rules import FillRules
    from trader_cli.venue.simulated_market.rule_changes import Listing
    from trader_cli.venue.simulated_market.symbol_market import SymbolMarket
    from trader_cli.venue.simulated_market.tape import Tape

T = TypeVar("T")


class SimulatedExchange:
    """The market of `tape` from `start_ms` on, and an account with `balance`. Times go forward only.

    `markets` and `fills` are those of a simulated exchange, unless others are given.
    """

    def __init__(
        self,
        tape: Tape,
        start_ms: int,
        balance: Decimal,
        markets: Mapping[str, SymbolMarket] | None = None,
        fills: FillRules = FILLS,
    ) -> None:
        self.latency: Latency | None = None
        recorded = {name: one.funding for name, one in tape.symbols.items() if one.funding is not None}
        self.book = RuleBook(tape.changes, paid=recorded)
        self._routes = PublicRoutes(tape, self.book, markets)
        account = fresh_account(balance, hedge_mode=False, markets=self._routes.markets, at_ms=start_ms)
        self.engine = Engine(self._routes.markets, account, start_ms, book=self.book, fills=fills)
        self._seen: dict[tuple[object, ...], tuple[int, object]] = {}
        self._stops: dict[str, dict[int, StopState]] = {}
        self._rules: dict[str, tuple[Listing, SymbolRules, tuple[LeverageBracket, ...]]] = {}

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

    def _now(self, kind: str, symbol: str, make: Callable[[], T]) -> T:
        """What is shown of a symbol in a moment is read once in it: the market does not answer to orders."""
        known = self._seen.get((kind, symbol))
        if known is None or known[0] != self.now_ms:
            known = self._seen[kind, symbol] = self.now_ms, make()
        return cast("T", known[1])

    def ticker(self, symbol: str) -> Ticker:
        """The last 24 hours."""
        return self._now("ticker", symbol, lambda: ticker_shown(self._routes.markets[symbol], self.now_ms))

    def day_quote_volume(self, symbol: str) -> float:
        """The ticker's turnover of the last 24 hours."""
        market = self._routes.markets[symbol]
        return as_read(market.day_quote_volume(self.now_ms), decimals(market.tape.tick) + decimals(market.tape.step))

    def order_book(self, symbol: str) -> OrderBook:
        """The book, `DEPTH` levels a side."""

        def read() -> OrderBook:
            return book_shown(self._routes.markets[symbol], self.now_ms)

        return self._now("book", symbol, read)

    def premium_index(self, symbol: str) -> PremiumIndex:
        """Mark and index price, and the funding ahead."""
        return self._now("premium", symbol, lambda: premium_shown(self._routes.markets[symbol], self.book, self.now_ms))

    def prices(self, symbol: str) -> Prices:
        """Mark, index and last price, as the premium index and the ticker have them."""
        return self._now("prices", symbol, lambda: self.prices_at(symbol, self.now_ms))

    def prices_at(self, symbol: str, at_ms: int) -> Prices:
        """What `prices` says at a moment, ahead or now."""
        return prices_shown(self._routes.markets[symbol], at_ms)

    def next_funding(self, symbol: str) -> tuple[int, float]:
        """As the premium index has it: when funding falls due next, and the rate."""
        return funding_shown(self._routes.markets[symbol], self.book, self.now_ms)

    def rules(self, symbol: str) -> SymbolRules:
        """The filters of a symbol."""
        return self._terms(symbol)[1]

    def _terms(self, symbol: str) -> tuple[Listing, SymbolRules, tuple[LeverageBracket, ...]]:
        """Filters and brackets, read again where the symbol's listing is another."""
        listing, known = self.engine.listing(symbol), self._rules.get(symbol)
        if known is None or known[0] is not listing:
            rows = self._shown("/fapi/v1/exchangeInfo")["symbols"]
            brackets = parse.brackets_of(self._read("/fapi/v1/leverageBracket", symbol=symbol), symbol)
            found = symbol_rules(next(row for row in rows if row["symbol"] == symbol))
            known = self._rules[symbol] = listing, found, brackets
        return known

    # --- the account ---

    def _read(self, path: str, **query: object) -> Any:
        return READS[path](self.engine, {name: str(value) for name, value in query.items()})

    def account(self) -> AccountState:
        """Wallet, available balance and unrealised profit, by asset."""
        books, marks = self.engine.account, self.engine.marks()
        states = {asset: balances_shown(books, asset, marks) for asset in books.assets()}
        main = states.pop(QUOTE)
        held = tuple(one for one in states.values() if one.wallet or one.unrealized_profit or one.available)
        return replace(main, others=held)

    def positions(self) -> list[PositionState]:
        """What is open."""
        return [position_shown(self.engine, p) for p in self.engine.account.positions.values() if p.amount != 0]

    def brackets(self, symbol: str) -> tuple[LeverageBracket, ...]:
        """Leverage brackets, lowest notional first."""
        return self._terms(symbol)[2]

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
        try:
            terms = stop.symbol, stop.side, KINDS[stop.kind]
            taken = reducing_algo(self.engine, stop.client_id, terms, stop.trigger_price, stop.quantity)
            return stop_shown(self.engine.rest(taken))
        except VenueRejection as refused:
            return NotPlaced(refused.code, refused.message)

    def cancel_stop(self, stop: StopState) -> None:
        """Take a stop or take-profit away; one that has ended stays as it is."""
        self._travel(f"cancel {stop.client_id}")
        algo = self.engine.account.algos_by_id().get(stop.client_id)
        if algo is not None and algo.is_open:
            self.engine.cancel(algo)

    def open_stops(self, symbol: str) -> list[StopState]:
        """Stops and take-profits that wait."""
        waiting, known = self.engine.account.open_algos(symbol), self._stops.get(symbol, {})
        shown = {algo.algo_id: known.get(algo.algo_id) or stop_shown(algo) for algo in waiting}
        self._stops[symbol] = shown
        return list(shown.values())

    def _sent(self, verb: str, path: str, parameters: dict[str, str]) -> Any:
        try:
            return COMMANDS[verb, path](self.engine, parameters)
        except VenueRejection as refused:
            return NotPlaced(refused.code, refused.message)
