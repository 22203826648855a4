"""A tape's market and one account on it, asked and told in the exchange's own words and answered as values. No HTTP.

What the client of the simulated exchange would hear: the same routes, filters and engine, and the client's own readers.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, TypeVar, cast

import numpy as np

from trader_cli.core.errors import DataInvalid
from trader_cli.core.market.quotes import OrderBook, PremiumIndex, Ticker
from trader_cli.core.market.symbols import delivery_ms_of
from trader_cli.core.money.assets import QUOTE
from trader_cli.core.money.orders import AccountState, NotPlaced, PositionState, StopState
from trader_cli.exchange.account import account_replies as parse
from trader_cli.exchange.account.broker import KINDS, order_parameters
from trader_cli.exchange.connection.reply_fields import number
from trader_cli.exchange.market_data import quote_replies
from trader_cli.exchange.market_data.symbol_filters import symbol_rules
from trader_cli.venue.engine.books import ZERO
from trader_cli.venue.engine.engine import Engine
from trader_cli.venue.engine.margin import available, backing, liquidation_price, of_asset, unrealized
from trader_cli.venue.engine.order_intake import reducing_algo
from trader_cli.venue.engine.queries import VenueRejection
from trader_cli.venue.server.private_routes import COMMANDS, READS
from trader_cli.venue.server.public_routes import PublicRoutes
from trader_cli.venue.server.wallets import fresh_account, text
from trader_cli.venue.simulated_market.derived_series import FUNDING_INTERVAL_MS
from trader_cli.venue.simulated_market.many_moments import as_written
from trader_cli.venue.simulated_market.number_format import DERIVED_PLACES, as_read, decimals
from trader_cli.venue.simulated_market.rule_changes import RuleBook

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from trader_cli.core.money.orders import (
        LeverageBracket,
        OrderRequest,
        OrderState,
        StopRequest,
        SymbolRules,
    )
    from trader_cli.exchange.latency import Latency
    from trader_cli.venue.engine.books import Account, AlgoOrder, Position
    from trader_cli.venue.simulated_market.rule_changes import Listing
    from trader_cli.venue.simulated_market.symbol_market import SymbolMarket
    from trader_cli.venue.simulated_market.tape import Tape

T = TypeVar("T")

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


def ticker_shown(market: SymbolMarket, now_ms: int) -> Ticker:
    """The last 24 hours as the client reads them from the exchange's answer (`quote_replies.ticker`)."""
    day, price, quantity = market.day(now_ms, counted=False), decimals(market.tape.tick), decimals(market.tape.step)
    if not as_read(day.last, price) > 0:
        raise DataInvalid(f"The ticker of {market.tape.symbol} has a last price of {day.last}.")
    return Ticker(
        symbol=market.tape.symbol,
        time_ms=now_ms,
        last_price=as_read(day.last, price),
        open_price=as_read(day.open, price),
        high_price=as_read(day.high, price),
        low_price=as_read(day.low, price),
        base_volume=as_read(day.volume, quantity),
        quote_volume=as_read(day.quote_volume, price + quantity),
        change_percent=float(f"{100 * (day.last / day.open - 1):.3f}"),
    )


def book_shown(market: SymbolMarket, now_ms: int) -> OrderBook:
    """The book as the client reads it from the exchange's answer (`quote_replies.order_book`)."""
    tape, shown = market.tape, market.book_columns(now_ms, DEPTH)
    price, quantity = decimals(tape.tick), decimals(tape.step)
    (bids, bid_sizes), (asks, ask_sizes) = (
        (as_written(prices, price), as_written(sizes, quantity)) for prices, sizes in shown
    )
    levels = [
        tuple(zip(prices.tolist(), sizes.tolist(), strict=True))
        for prices, sizes in ((bids, bid_sizes), (asks, ask_sizes))
    ]
    ranked = np.concatenate([bids[::-1], asks])
    if len(bids) and ranked[0] > 0 and (ranked[1:] > ranked[:-1]).all() and min(bid_sizes.min(), ask_sizes.min()) >= 0:
        return OrderBook(tape.symbol, now_ms, levels[0], levels[1])
    return quote_replies.checked_book(tape.symbol, now_ms, levels[0], levels[1])


def premium_shown(market: SymbolMarket, book: RuleBook, now_ms: int) -> PremiumIndex:
    """Mark, index and the funding ahead as the client reads them (`quote_replies.premium_index`)."""
    symbol, price = market.tape.symbol, decimals(market.tape.tick)
    following, rate = funding_shown(market, book, now_ms)
    mark, index = as_read(market.mark_price(now_ms), price), as_read(market.index_price(now_ms), DERIVED_PLACES)
    return PremiumIndex(symbol, now_ms, number(mark, above=0), number(index, above=0), rate, following)


def funding_shown(market: SymbolMarket, book: RuleBook, now_ms: int) -> tuple[int, float]:
    """(when funding falls due next, the rate that is shown), 0 for a contract that pays none."""
    symbol = market.tape.symbol
    if delivery_ms_of(symbol) is not None:
        return 0, 0.0
    following = book.next_funding_ms(symbol, now_ms, FUNDING_INTERVAL_MS)
    return following, as_read(market.quoted_funding_rate(now_ms, following), DERIVED_PLACES)


def balances_shown(books: Account, asset: str, marks: dict[str, Decimal]) -> AccountState:
    """The balances of an asset as the client reads them from the answer (`account_replies.account_state`)."""
    profit = sum((unrealized(p, marks[p.symbol]) for p in of_asset(books, asset) if p.amount), ZERO)
    shown = (books.balance(asset), available(books, marks, asset), profit)
    wallet, free, unrealised = (Decimal(text(value)) for value in shown)
    return AccountState(wallet, free, unrealised, asset)


def position_shown(engine: Engine, p: Position) -> PositionState:
    """A position as the client reads it from the exchange's answer (`account_replies.position_state`)."""
    books, mark = engine.account, engine.mark(p.symbol)
    level = liquidation_price(books, p, engine.brackets(p.symbol))
    wallet = backing(books, p) if books.option(p.symbol).isolated else ZERO
    shown = (p.amount, p.entry, mark, level, unrealized(p, mark), wallet)
    amount, entry, mark, level, profit, wallet = (Decimal(text(value)) for value in shown)
    return PositionState(p.symbol, amount, entry, mark, level if level > 0 else None, profit, wallet, p.update_ms)


def stop_shown(algo: AlgoOrder) -> StopState:
    """A conditional order as the client reads it from the exchange's answer (`account_replies.stop_state`)."""
    return StopState(
        stop_id=str(algo.algo_id),
        client_id=algo.client_id,
        symbol=algo.symbol,
        side="BUY" if algo.side == "BUY" else "SELL",
        kind="stop" if algo.is_stop else "take_profit",
        status=algo.status,
        trigger_price=algo.trigger_price,
        quantity=algo.quantity,
        close_position=algo.close_position,
        reduce_only=algo.reduce_only,
        by_mark_price=algo.by_mark,
        actual_order_id=None if algo.actual_order_id is None else str(algo.actual_order_id),
        update_ms=algo.update_ms,
        create_ms=algo.time_ms,
    )
