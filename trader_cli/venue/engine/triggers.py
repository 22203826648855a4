"""When a waiting order is reached, and at which price what it becomes is carried out. Never better than the market was.

A conditional order goes by the price it names: the mark, or the last price. What it becomes is a market order after the
trigger: from the trigger, or from where a minute opened beyond it, less half the spread and slippage, and then down the
book. Where the order of events within a minute is not known, stops come first.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import TYPE_CHECKING, NamedTuple

from trader_cli.venue.engine.books import ZERO
from trader_cli.venue.engine.margin import liquidation_price

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trader_cli.venue.engine.books import AlgoOrder, Order
    from trader_cli.venue.engine.engine_state import EngineState
    from trader_cli.venue.simulated_market.market_port import Beyond, Level

_EXACT = 1e-12
_NEVER = Decimal("Infinity")
BOOK_LEVELS, FIRST_LEVELS = 50, 5
"""How deep into a book orders reach, and how deep it is looked at first: a deeper look shows the same and more."""

Levels = list[tuple[Decimal, Decimal]]


class Touch(NamedTuple):
    """The prices of a symbol at one moment that reach something waiting; None where that price reaches nothing."""

    time_ms: int
    symbol: str
    last: Beyond | None
    mark: Beyond | None


def first_touch(engine: EngineState, symbol: str, upto_ms: int) -> Touch | None:
    """The first prices in (now, upto] that change something on a symbol."""
    market = engine.markets[symbol]
    if market.mark_is_last:
        hit = market.first_beyond(engine.now_ms, upto_ms, *bounds(engine, symbol))
        return None if hit is None else Touch(hit.time_ms, symbol, hit, hit)
    waiting = engine.account.open_algos(symbol)
    last = market.first_beyond(engine.now_ms, upto_ms, *last_bounds(engine, symbol, waiting))
    mark = market.first_mark_beyond(engine.now_ms, upto_ms, *mark_bounds(engine, symbol, waiting))
    first = min((hit.time_ms for hit in (last, mark) if hit is not None), default=None)
    if first is None:
        return None
    at_first = [hit if hit is not None and hit.time_ms == first else None for hit in (last, mark)]
    return Touch(first, symbol, *at_first)


def bounds(engine: EngineState, symbol: str) -> tuple[float, float]:
    """(highest price at or below which, lowest at or above which something happens), the mark being the last price."""
    waiting = engine.account.open_algos(symbol)
    last, mark = last_bounds(engine, symbol, waiting), mark_bounds(engine, symbol, waiting)
    half = float(engine.markets[symbol].rules.tick) / 2
    return max(last[0], mark[0] + half), min(last[1], mark[1] - half)


def last_bounds(engine: EngineState, symbol: str, waiting: Sequence[AlgoOrder]) -> tuple[float, float]:
    """As `bounds`, of the last price. A resting limit order fills when price trades through it, one tick beyond."""
    tick = engine.markets[symbol].rules.tick
    below, above = _triggers(waiting, by_mark=False)
    for order in engine.account.open_orders(symbol):
        (below if order.sign > 0 else above).append(order.price - order.sign * tick)
    half = float(tick) / 2
    return float(max(below)) + half, float(min(above)) - half


def mark_bounds(engine: EngineState, symbol: str, waiting: Sequence[AlgoOrder]) -> tuple[float, float]:
    """As `bounds`, of the mark price: orders that name it, and the liquidation price."""
    below, above = _triggers(waiting, by_mark=True)
    position = engine.account.position(symbol)
    if position.amount != 0:
        level = liquidation_price(engine.account, position, engine.brackets(symbol))
        if level > 0:
            (below if position.amount > 0 else above).append(level)
    return float(max(below)) * (1 + _EXACT), float(min(above)) * (1 - _EXACT)


def _triggers(waiting: Sequence[AlgoOrder], *, by_mark: bool) -> tuple[list[Decimal], list[Decimal]]:
    """Prices at or below which, and at or above which orders are triggered; 0 and infinity reach nothing."""
    below, above = [ZERO], [_NEVER]
    for algo in waiting:
        if algo.by_mark == by_mark:
            (below if algo.triggers_below else above).append(algo.trigger_price)
    return below, above


def mark_of(engine: EngineState, touch: Touch) -> Decimal | None:
    """The mark price of a touch, exactly; None where it reaches nothing."""
    return None if touch.mark is None else _price(engine, touch.symbol, touch.mark, by_mark=True)


def triggered(engine: EngineState, touch: Touch) -> list[tuple[AlgoOrder, Decimal]]:
    """Conditional orders that a touch triggers, and the price from which each is carried out.

    Those passed on the way come in the order they are passed, those a minute opened beyond by age.

    Beside a target or a reducing limit order, stops that the same unresolved stretch of time reaches come first.
    """
    waiting = engine.account.open_algos(touch.symbol)
    now = [(algo, hit) for algo in waiting if (hit := _touching(algo, touch)) and _reached(engine, algo, hit)]
    stops_first = engine.fills.from_trigger and _favours(engine, touch, [algo for algo, _ in now])
    if stops_first:
        reached = {algo.algo_id for algo, _ in now}
        stops = [algo for algo in waiting if algo.is_stop and algo.algo_id not in reached]
        now = [*((algo, hit) for algo in stops if (hit := _unresolved(engine, algo, touch.time_ms))), *now]
    now.sort(key=lambda found: (stops_first and not found[0].is_stop, _way_to(engine, *found)))
    return [(algo, _reference(engine, algo, hit)) for algo, hit in now]


def _way_to(engine: EngineState, algo: AlgoOrder, hit: Beyond) -> float:
    """How far a price goes within its minute before it passes an order's trigger; 0 where it opened beyond that."""
    if hit.before is None or not engine.fills.in_passing:
        return 0.0
    way = hit.before - float(algo.trigger_price)
    return max(way if algo.triggers_below else -way, 0.0)


def _touching(algo: AlgoOrder, touch: Touch) -> Beyond | None:
    return touch.mark if algo.by_mark else touch.last


def _price(engine: EngineState, symbol: str, hit: Beyond, *, by_mark: bool) -> Decimal:
    """The price of a hit; a mark price of its own has more decimals than the symbol's tick."""
    if by_mark and not engine.markets[symbol].mark_is_last:
        return Decimal(str(hit.price))
    return engine.price(symbol, hit.price)


def _reached(engine: EngineState, algo: AlgoOrder, hit: Beyond) -> bool:
    price = _price(engine, algo.symbol, hit, by_mark=algo.by_mark)
    return price <= algo.trigger_price if algo.triggers_below else price >= algo.trigger_price


def _favours(engine: EngineState, touch: Touch, reached: list[AlgoOrder]) -> bool:
    """Whether the touch takes profit: by a target, or by a limit order that reduces."""
    if any(not algo.is_stop for algo in reached):
        return True
    if touch.last is None:
        return False
    price = engine.price(touch.symbol, touch.last.price)
    orders = engine.account.open_orders(touch.symbol)
    return any(o.reduce_only and (o.price - price) * o.sign > 0 for o in orders)


def _unresolved(engine: EngineState, algo: AlgoOrder, time_ms: int) -> Beyond | None:
    """Where an order is reached after `time_ms` and yet perhaps before it."""
    market = engine.markets[algo.symbol]
    end_ms = market.unresolved_until(time_ms)
    if end_ms <= time_ms:
        return None
    trigger, half = float(algo.trigger_price), float(market.rules.tick) / 2
    reach = (trigger + half, float("inf")) if algo.triggers_below else (0.0, trigger - half)
    look = market.first_mark_beyond if algo.by_mark and not market.mark_is_last else market.first_beyond
    hit = look(time_ms, end_ms, *reach)
    return hit if hit is not None and _reached(engine, algo, hit) else None


def _reference(engine: EngineState, algo: AlgoOrder, hit: Beyond) -> Decimal:
    """The trigger, or the last price at that moment if it is worse for who trades.

    Within a minute prices pass through all between two points: a trigger that the last price passed was its price.
    Where the mark lies apart and every last price is known, it is the last price, better or worse.
    """
    market, trigger = engine.markets[algo.symbol], float(algo.trigger_price)
    apart = algo.by_mark and not market.mark_is_last
    if apart and market.knows_ahead:
        return engine.price(algo.symbol, market.last_price(hit.time_ms))
    if hit.before is None:
        last = market.last_price(hit.time_ms) if apart else hit.price
    elif apart:
        gone = (hit.before - trigger) / (hit.before - hit.price) if hit.before != hit.price else 1.0
        last = market.price_on_the_way(hit.time_ms, min(max(gone, 0.0), 1.0))
    else:
        last = trigger
    worse = min if algo.side == "SELL" else max
    return worse(algo.trigger_price, engine.price(algo.symbol, last))


def offered_levels(engine: EngineState, order: Order) -> tuple[Levels, list[Level]]:
    """(The best levels of the other side that hold an order's quantity, as far as the book is deep; its own side)."""
    for depth in (FIRST_LEVELS, BOOK_LEVELS):
        bids, asks = engine.markets[order.symbol].book(engine.now_ms, depth)
        other, own = (asks, bids) if order.sign > 0 else (bids, asks)
        levels, offered = Levels(), ZERO
        for price, quantity in other:
            levels.append((engine.price(order.symbol, price), engine.quantity(order.symbol, quantity)))
            offered += levels[-1][1]
            if offered >= order.quantity:  # nobody asks for more
                return levels, own
    return levels, own


def after_trigger(
    engine: EngineState, symbol: str, sign: int, at: Decimal, book: tuple[Levels, Decimal | None]
) -> Levels:
    """The levels that a buy (+1) or sell (−1) takes, moved to begin half the spread and slippage beyond `at`.

    `book`: those levels, and the best price of the side that it would rest on, if there is one.
    """
    levels, own = book
    if not levels:
        return []
    half = (levels[0][0] - own) * sign / 2 if own is not None else ZERO
    tick = engine.rules(symbol).tick
    rounding = ROUND_CEILING if sign > 0 else ROUND_FLOOR
    best = ((at + sign * (half + at * engine.fills.slippage)) / tick).to_integral_value(rounding) * tick
    return [(best + price - levels[0][0], q) for price, q in levels if best + price - levels[0][0] > 0]
