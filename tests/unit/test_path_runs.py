"""What the simulated market shows from a path kept in runs is what each bar alone shows; orders kept apart are open."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from trader_cli.core.market.timeframes import Timeframe
from trader_cli.venue.engine.books import Account, AlgoOrder, Order
from trader_cli.venue.engine.margin import ZERO
from trader_cli.venue.simulated_market.intrabar_path import expand
from trader_cli.venue.simulated_market.symbol_market import SymbolMarket
from trader_cli.venue.simulated_market.tape import SymbolTape, TapeBars

BASE = Timeframe.parse("1m")
START_MS = 1_700_000_040_000 // BASE.ms * BASE.ms
BARS = 200
DRAWS = 60


def random_tape(seed: int) -> SymbolTape:
    """A walk in whole ticks, with bars missing and some that traded next to nothing."""
    dice = np.random.default_rng(seed)
    ticks = 10_000 + np.cumsum(dice.integers(-30, 31, BARS + 1))
    first, last = ticks[:-1], ticks[1:]
    high, low = (
        np.maximum(first, last) + dice.integers(0, 20, BARS),
        np.minimum(first, last) - dice.integers(0, 20, BARS),
    )
    opened = START_MS + BASE.ms * np.arange(BARS, dtype=np.int64)
    kept = dice.random(BARS) > 0.1
    prices = [values[kept] * 0.01 for values in (first, high, low, last)]
    volume = np.round(dice.choice([2.0, 90.0], BARS) * dice.random(BARS), 3)[kept]
    return SymbolTape.of("ETHUSDT", BASE, seed, 0.01, 0.001, TapeBars(opened[kept], *prices, volume))


def bar_at(tape: SymbolTape, now_ms: int) -> int:
    """The bar that holds a time, or the first after it."""
    return int(np.searchsorted(tape.open_ms, now_ms - BASE.ms, side="right"))


def points_by(tape: SymbolTape, now_ms: int) -> list[tuple[int, float, float, bool]]:
    """The points of the bar under way that are past, from its path alone: time, price, quantity, whether takers buy."""
    index = bar_at(tape, now_ms)
    path = expand(tape, index, index + 1)
    columns = (path.time_ms, path.price, path.quantity, path.taker_buys)
    rows = zip(*(column.ravel().tolist() for column in columns), strict=True)
    return [row for row in rows if row[0] <= now_ms]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_prices_marks_and_forming_bars_are_those_of_each_bar_alone(seed: int) -> None:
    tape = random_tape(seed)
    market, dice = SymbolMarket(tape), np.random.default_rng(seed)
    for now in (START_MS + dice.integers(-BASE.ms, (BARS + 2) * BASE.ms, DRAWS)).tolist():
        past, before = points_by(tape, now), bar_at(tape, now)
        last = past[-1][1] if past else float(tape.close[before - 1] if before else tape.open[0])
        assert market.last_price(now) == market.mark_price(now) == last
        forming = market.klines(BASE, now, BASE.floor(now), now, 1)
        assert [(k.close, k.volume, k.quote_volume, k.trades, k.taker_buy_base) for k in forming] == (
            [
                (
                    last,
                    sum(q for _, _, q, _ in past),
                    sum(p * q for _, p, q, _ in past),
                    sum(q > 0 for _, _, q, _ in past),
                    sum(q for _, _, q, buys in past if buys),
                )
            ]
            if past
            else []
        )


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_trades_and_levels_reached_are_those_of_each_bar_alone(seed: int) -> None:
    tape = random_tape(seed)
    market, dice = SymbolMarket(tape), np.random.default_rng(seed)
    paths = [expand(tape, index, index + 1) for index in range(len(tape.open_ms))]
    times, prices, quantities = (
        np.concatenate([getattr(path, name)[0] for path in paths]) for name in ("time_ms", "price", "quantity")
    )
    for now in (START_MS + dice.integers(0, BARS * BASE.ms, DRAWS)).tolist():
        market.last_price(now)
        shown = [(t.time_ms, t.price, t.quantity) for t in market.trades(now, None, None, None, 20)]
        past = (times <= now) & (quantities > 0)
        assert shown == list(zip(*(c[past][-20:].tolist() for c in (times, prices, quantities)), strict=True))
        below, upto = market.last_price(now) - 0.2, now + 20 * BASE.ms
        hit = market.first_beyond(now, upto, below, np.inf)
        reached = np.flatnonzero((times > now) & (times <= upto) & (prices <= below))
        expected = (int(times[reached[0]]), float(prices[reached[0]])) if reached.size else None
        assert (hit and (hit.time_ms, hit.price)) == expected


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_what_was_looked_for_before_changes_no_answer(seed: int) -> None:
    """Bounds that lie in, on and outside those before, asked on from where the last price was found, or before it."""
    tape = random_tape(seed)
    market, dice = SymbolMarket(tape), np.random.default_rng(seed)
    now, below, above = START_MS, 0.0, np.inf
    for _ in range(DRAWS):
        hit = market.first_beyond(now, now + int(dice.integers(1, 40 * BASE.ms)), below, above)
        now = hit.time_ms if hit and dice.random() < 0.5 else now + int(dice.integers(0, 2 * BASE.ms))
        upto, price = now + int(dice.integers(0, 40 * BASE.ms)), market.last_price(now)
        if dice.random() < 0.4:
            below, above = price - 0.01 * int(dice.integers(-2, 90)), price + 0.01 * int(dice.integers(-2, 90))
        else:
            below, above = below - 0.01 * int(dice.integers(-1, 20)), above + 0.01 * int(dice.integers(-1, 20))
        assert market.first_beyond(now, upto, below, above) == SymbolMarket(tape).first_beyond(now, upto, below, above)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_where_it_is_still_no_price_comes_and_a_short_wait_mostly_is(seed: int) -> None:
    tape = random_tape(seed)
    market, dice = SymbolMarket(tape), np.random.default_rng(seed)
    times = np.concatenate([expand(tape, index, index + 1).time_ms[0] for index in range(len(tape.open_ms))])
    short = 0
    for now in (START_MS + dice.integers(-BASE.ms, (BARS + 2) * BASE.ms, DRAWS)).tolist():
        for wait in (0, 100, 4_000, 3 * BASE.ms):
            if now + wait < market.still_until(now):
                assert not ((times > now) & (times <= now + wait)).any()
                short += wait == 100
    assert short > DRAWS / 2


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_a_tape_without_its_beginning_shows_the_same_from_then_on(seed: int) -> None:
    whole, begin = random_tape(seed), START_MS + 110 * BASE.ms
    cut = whole.since(begin)
    assert len(cut.open_ms) < len(whole.open_ms)
    assert (cut.tick, cut.step, cut.end_ms) == (whole.tick, whole.step, whole.end_ms)
    for now in (begin + np.random.default_rng(seed).integers(0, 70 * BASE.ms, 20)).tolist():
        one, other = SymbolMarket(whole), SymbolMarket(cut)
        assert (one.last_price(now), one.book(now, 20)) == (other.last_price(now), other.book(now, 20))
        assert one.first_beyond(now, now + 9 * BASE.ms, 0.0, one.last_price(now) + 0.1) == other.first_beyond(
            now, now + 9 * BASE.ms, 0.0, one.last_price(now) + 0.1
        )


def order(number: int, symbol: str) -> Order:
    return Order(number, f"o{number}", symbol, "BUY", "LIMIT", ZERO, number)


def algo(number: int, symbol: str) -> AlgoOrder:
    return AlgoOrder(number, f"a{number}", symbol, "SELL", "STOP_MARKET", ZERO, number)


@given(steps=st.lists(st.tuples(st.sampled_from(("order", "algo", "end", "show")), st.integers(0, 40)), max_size=80))
def test_open_orders_are_those_of_all_that_wait(steps: list[tuple[str, int]]) -> None:
    books = Account(ZERO)
    for number, (what, at) in enumerate(steps):
        symbol = ("ETHUSDT", "BTCUSDT")[at % 2]
        if what == "order":
            books.orders[number] = order(number, symbol)
        elif what == "algo":
            books.algos[number] = algo(number, symbol)
        elif what == "end":
            known: list[Order | AlgoOrder] = [*books.orders.values(), *books.algos.values()]
            if known:
                known[at % len(known)].status = "CANCELED"
        else:
            for wanted in (None, "ETHUSDT", "BTCUSDT"):
                orders = [o for o in books.orders.values() if o.is_open and wanted in {None, o.symbol}]
                algos = [a for a in books.algos.values() if a.is_open and wanted in {None, a.symbol}]
                assert (books.open_orders(wanted), books.open_algos(wanted)) == (orders, algos)
