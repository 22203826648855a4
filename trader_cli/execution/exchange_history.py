"""What the exchange remembers of a symbol: orders, stops and trades, asked for in its windows, as far as they go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from trader_cli.core.errors import ExchangeRejected
from trader_cli.core.market.timeframes import DAY_MS
from trader_cli.core.money.orders import INCOME_PAGE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Iterator

    from trader_cli.core.money.orders import OrderState, StopState, TradeState
    from trader_cli.core.ports import Broker

T = TypeVar("T")
WINDOW_MS = 7 * DAY_MS
"""The longest span of one question."""
REMEMBERED_MS = 90 * DAY_MS
"""How far back the exchange goes."""
_AHEAD_MS = 60_000
_TOO_FAR_BACK = -4166  # the window begins before what the exchange remembers
_ORDERS_PAGE, _TRADES_PAGE = 1000, 500  # the most a page holds ("All Orders"), and its default ("Account Trade List")
_SHORTEST_MS = 3_600_000
"""A span this short is not halved any more, however many rows it has."""


@dataclass(frozen=True)
class ExchangeHistory:
    """A symbol's past, each kind once and oldest first."""

    symbol: str
    orders: tuple[OrderState, ...]
    stops: tuple[StopState, ...]
    trades: tuple[TradeState, ...]


async def remembered(broker: Broker, symbol: str, now_ms: int) -> ExchangeHistory:
    """Everything of a symbol that the exchange still tells, `now_ms` being its time."""

    async def orders(start_ms: int, end_ms: int) -> list[OrderState]:
        return await broker.past_orders(symbol, start_ms=start_ms, end_ms=end_ms)

    async def stops(start_ms: int, end_ms: int) -> list[StopState]:
        return await broker.past_stops(symbol, start_ms=start_ms, end_ms=end_ms)

    async def trades(start_ms: int, end_ms: int) -> list[TradeState]:
        return await broker.trades(symbol, start_ms=start_ms, end_ms=end_ms)

    found = await _all(orders, now_ms, _ORDERS_PAGE, lambda order: order.order_id)
    waiting = await _all(stops, now_ms, _ORDERS_PAGE, lambda stop: stop.stop_id)
    paid = await _all(trades, now_ms, _TRADES_PAGE, lambda trade: trade.trade_id)
    return ExchangeHistory(
        symbol,
        tuple(sorted(found, key=lambda order: int(order.order_id))),
        tuple(sorted(waiting, key=lambda stop: (stop.create_ms, int(stop.stop_id)))),
        tuple(sorted(paid, key=lambda trade: (trade.time_ms, trade.trade_id))),
    )


async def traded_symbols(broker: Broker, now_ms: int) -> set[str]:
    """The symbols that have moved the wallet as far back as the exchange tells, whoever traded them."""
    found: set[str] = set()
    cursor = now_ms - REMEMBERED_MS + _AHEAD_MS
    while True:
        page = await broker.income(cursor)
        found |= {row.symbol for row in page if row.symbol}
        if len(page) < INCOME_PAGE or page[-1].time_ms <= cursor:
            return found
        cursor = page[-1].time_ms


def windows(now_ms: int) -> Iterator[tuple[int, int]]:
    """(first, last millisecond) of each question, the newest first, no longer and no older than the exchange takes."""
    oldest, end = now_ms - REMEMBERED_MS + _AHEAD_MS, now_ms + _AHEAD_MS
    while end > oldest:
        start = max(oldest, end - WINDOW_MS + 1)
        yield start, end
        end = start - 1


async def _all(
    ask: Callable[[int, int], Awaitable[list[T]]], now_ms: int, page: int, name: Callable[[T], Hashable]
) -> list[T]:
    """The rows of all windows, each once."""
    found: dict[Hashable, T] = {}
    try:
        for start, end in windows(now_ms):
            found |= {name(row): row for row in await _within(ask, start, end, page)}
    except ExchangeRejected as error:
        if error.code != _TOO_FAR_BACK:
            raise
    return list(found.values())


async def _within(ask: Callable[[int, int], Awaitable[list[T]]], start: int, end: int, page: int) -> list[T]:
    """The rows of a span; a full page is asked for again in halves."""
    rows = await ask(start, end)
    if len(rows) < page or end - start < _SHORTEST_MS:
        return rows
    middle = (start + end) // 2
    return [*await _within(ask, start, middle, page), *await _within(ask, middle + 1, end, page)]
