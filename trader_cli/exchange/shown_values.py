"""What the client would read from the simulated exchange's answers, made from its market and engine without text."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.core.errors import DataInvalid
from trader_cli.core.market.quotes import OrderBook, PremiumIndex, Ticker
from trader_cli.core.market.symbols import delivery_ms_of
from trader_cli.core.money.orders import AccountState, PositionState, StopState
from trader_cli.core.money.trading_rules import Prices
from trader_cli.exchange.connection.reply_fields import number
from trader_cli.exchange.market_data import quote_replies
from trader_cli.venue.engine.books import ZERO
from trader_cli.venue.engine.margin import available, backing, liquidation_price, of_asset, unrealized
from trader_cli.venue.simulated_market.derived_series import FUNDING_INTERVAL_MS
from trader_cli.venue.simulated_market.many_moments import as_written
from trader_cli.venue.simulated_market.number_format import DERIVED_PLACES, as_read, decimal_text, decimals

if TYPE_CHECKING:
    from trader_cli.venue.engine.books import Account, AlgoOrder, Position
    from trader_cli.venue.engine.engine import Engine
    from trader_cli.venue.simulated_market.rule_changes import RuleBook
    from trader_cli.venue.simulated_market.symbol_market import SymbolMarket

DEPTH = 50
"""How deep into the book tactics look."""


def ticker_shown(market: SymbolMarket, now_ms: int) -> Ticker:
    """The last 24 hours as the client reads them from the exchange's answer (`quote_replies.ticker`)."""
    day, price, quantity = market.day(now_ms, counted=False), decimals(market.tape.tick), decimals(market.tape.step)
    return Ticker(
        symbol=market.tape.symbol,
        time_ms=now_ms,
        last_price=_last_shown(market, day.last),
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


def prices_shown(market: SymbolMarket, now_ms: int) -> Prices:
    """The prices of `premium_shown` and `ticker_shown`."""
    price = decimals(market.tape.tick)
    mark, last = as_read(market.mark_price(now_ms), price), _last_shown(market, market.last_price(now_ms))
    index = as_read(market.index_price(now_ms), DERIVED_PLACES)
    return Prices(Decimal(str(number(mark, above=0))), Decimal(str(number(index, above=0))), Decimal(str(last)), 0, 0)


def _last_shown(market: SymbolMarket, last: float) -> float:
    shown = as_read(last, decimals(market.tape.tick))
    if not shown > 0:
        raise DataInvalid(f"The ticker of {market.tape.symbol} has a last price of {last}.")
    return shown


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
    wallet, free, unrealised = (Decimal(decimal_text(value)) for value in shown)
    return AccountState(wallet, free, unrealised, asset)


def position_shown(engine: Engine, p: Position) -> PositionState:
    """A position as the client reads it from the exchange's answer (`account_replies.position_state`)."""
    books, mark = engine.account, engine.mark(p.symbol)
    level = liquidation_price(books, p, engine.brackets(p.symbol))
    wallet = backing(books, p) if books.option(p.symbol).isolated else ZERO
    shown = (p.amount, p.entry, mark, level, unrealized(p, mark), wallet)
    amount, entry, mark, level, profit, wallet = (Decimal(decimal_text(value)) for value in shown)
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
