"""What is looked for once is what is found at every step; what is read without text is what the routes say."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.backtest.two_speeds import BEGAN_MS, account_on, fast, odd_market, odd_tape

from trader_cli.core.market.timeframes import HOUR_MS
from trader_cli.exchange.account import account_replies as parse
from trader_cli.exchange.market_data import quote_replies
from trader_cli.exchange.market_data.symbol_filters import symbol_rules
from trader_cli.exchange.shown_values import DEPTH
from trader_cli.exchange.simulated_exchange import SimulatedExchange
from trader_cli.venue.engine.books import Account
from trader_cli.venue.engine.engine import Engine
from trader_cli.venue.engine.queries import VenueRejection
from trader_cli.venue.server.private_routes import COMMANDS, READS
from trader_cli.venue.server.public_routes import PublicRoutes
from trader_cli.venue.simulated_market.symbol_market import SymbolMarket
from trader_cli.venue.simulated_market.tape import Tape

NAMES = ("AAAUSDT", "BBBUSDT")


def engine_on(tapes: dict[str, Any], rates: float, *, ahead: bool) -> Engine:
    markets: dict[str, Any] = {name: SymbolMarket(tape) for name, tape in tapes.items()}
    for market in markets.values():
        market.knows_ahead = ahead
        market.funding_rate = lambda time_ms: round(rates * (1 if time_ms % (16 * HOUR_MS) else -1.7), 8)
    return Engine(markets, Account(Decimal(10_000)), BEGAN_MS + HOUR_MS)


def command(dice: np.random.Generator, engine: Engine) -> tuple[str, str, dict[str, str]]:
    """An order, a stop, a target, a cancellation or a change of terms, as likely as not one that is refused."""
    symbol, side, kind = str(dice.choice(NAMES)), str(dice.choice(["BUY", "SELL"])), int(dice.integers(0, 8))
    mark, tick = engine.mark(symbol), engine.markets[symbol].rules.tick
    level = ((mark * Decimal(repr(1 + float(dice.normal(0, 0.01))))) / tick).to_integral_value() * tick
    common = {"symbol": symbol, "side": side, "quantity": str(int(10 ** dice.uniform(0, 3.6)))}
    if kind == 0:
        return "POST", "/fapi/v1/leverage", {"symbol": symbol, "leverage": str(dice.choice([5, 20, 75]))}
    if kind == 1:
        return (
            "POST",
            "/fapi/v1/marginType",
            {"symbol": symbol, "marginType": str(dice.choice(["ISOLATED", "CROSSED"]))},
        )
    if kind == 2:
        return "POST", "/fapi/v1/order", {**common, "type": "LIMIT", "price": f"{level:f}", "timeInForce": "GTC"}
    if kind in {3, 4}:
        return "POST", "/fapi/v1/order", {**common, "type": "MARKET"}
    waiting = engine.account.open_algos()
    if kind == 5 and waiting:
        return "DELETE", "/fapi/v1/algoOrder", {"symbol": symbol, "clientAlgoId": waiting[0].client_id}
    conditional = {"type": str(dice.choice(["STOP_MARKET", "TAKE_PROFIT_MARKET"])), "algoType": "CONDITIONAL"}
    body = {**common, **conditional, "triggerPrice": f"{level:f}", "reduceOnly": "true", "workingType": "MARK_PRICE"}
    return "POST", "/fapi/v1/algoOrder", body


def sent(engine: Engine, what: tuple[str, str, dict[str, str]]) -> object:
    try:
        return COMMANDS[what[0], what[1]](engine, what[2])
    except VenueRejection as refused:
        return refused.code


@pytest.mark.parametrize("seed", range(12))
def test_an_engine_that_looks_ahead_does_what_one_that_looks_at_each_step_does(seed: int) -> None:
    """Isolated and cross, resting orders, stops, and funding that moves where positions are liquidated."""
    dice = np.random.default_rng(seed)
    tapes = {name: odd_tape(dice, name, 30 * 60) for name in NAMES}
    rates = float(dice.choice([1e-4, 0.004, 0.03]))
    one, other = (engine_on(tapes, rates, ahead=ahead) for ahead in (True, False))
    now = one.now_ms
    terms = [("leverage", {"symbol": name, "leverage": "75"}) for name in NAMES]
    terms.append(("marginType", {"symbol": NAMES[seed % 2], "marginType": "ISOLATED"}))
    first = [("POST", f"/fapi/v1/{path}", body) for path, body in terms]
    for number in range(120):
        what = first[number] if number < len(first) else command(dice, one)
        assert sent(one, what) == sent(other, what)
        now += int(dice.choice([1_000, 60_000, 1_800_000]))
        one.advance(now)
        for step in np.linspace(other.now_ms, now, 4).astype(np.int64).tolist():
            other.advance(step)
        assert one.account == other.account
        assert one.counters() == other.counters()
    assert len(one.account.fills) > 5


def test_funding_alone_can_liquidate() -> None:
    """The level was never reached before the stamp: it came to the price."""
    dice = np.random.default_rng(5)
    tape = odd_tape(dice, "AAAUSDT", 30 * 60)
    engine = engine_on({"AAAUSDT": tape}, 0.06, ahead=True)
    sent(engine, ("POST", "/fapi/v1/marginType", {"symbol": "AAAUSDT", "marginType": "ISOLATED"}))
    sent(engine, ("POST", "/fapi/v1/leverage", {"symbol": "AAAUSDT", "leverage": "20"}))
    sent(engine, ("POST", "/fapi/v1/order", {"symbol": "AAAUSDT", "side": "BUY", "quantity": "5", "type": "MARKET"}))
    stamp = engine.next_funding_ms
    engine.advance(stamp + 60_000)
    forced = [order for order in engine.account.orders.values() if order.client_id.startswith("autoclose-")]
    assert [order.time_ms >= stamp for order in forced] == [True]


@pytest.mark.parametrize("seed", [0, 3, 5])
def test_what_is_read_directly_is_what_the_routes_say(tmp_path: Path, seed: int) -> None:
    market, checked = odd_market(seed, symbols=2, hours=14), 0
    account = account_on(market, tmp_path)
    venue = account.venue
    routes = PublicRoutes(market.tape, venue.book)

    def compare(engine: Engine) -> None:
        nonlocal checked
        now = engine.now_ms
        for symbol in market.symbols:
            shown = routes.table["/fapi/v1/depth"]({"symbol": symbol, "limit": str(DEPTH)}, now)
            assert venue.order_book(symbol) == quote_replies.order_book(shown, symbol, DEPTH)  # type: ignore[arg-type]
            day: Any = routes.table["/fapi/v1/ticker/24hr"]({"symbol": symbol}, now)
            assert venue.ticker(symbol) == quote_replies.ticker(day, symbol)
            assert venue.day_quote_volume(symbol) == venue.ticker(symbol).quote_volume
            rows: Any = READS["/fapi/v1/openAlgoOrders"](engine, {"symbol": symbol})
            assert venue.open_stops(symbol) == [parse.stop_state(row) for row in rows]
            listed: Any = routes.table["/fapi/v1/exchangeInfo"]({}, now)
            row = next(one for one in listed["symbols"] if one["symbol"] == symbol)
            assert venue.rules(symbol) == symbol_rules(row)
            brackets = READS["/fapi/v1/leverageBracket"](engine, {"symbol": symbol})
            assert venue.brackets(symbol) == parse.brackets_of(brackets, symbol)
            checked += len(rows)
        held: Any = READS["/fapi/v3/positionRisk"](engine, {})
        assert venue.positions() == [parse.position_state(row) for row in held]
        told: Any = READS["/fapi/v3/account"](engine, {})
        assert venue.account() == parse.account_state(told)

    venue.engine.on_change.append(compare)
    fast(market, tmp_path, account)
    assert checked > 10


def test_a_moment_is_shown_alike_however_often_it_is_asked() -> None:
    dice = np.random.default_rng(1)
    tape = Tape("t", "t", {"AAAUSDT": odd_tape(dice, "AAAUSDT", 600)})
    asked = SimulatedExchange(tape, BEGAN_MS + 2 * HOUR_MS, Decimal(100))
    for step in range(20):
        now = BEGAN_MS + 2 * HOUR_MS + step * 37_000
        asked.advance(now)
        once = asked.ticker("AAAUSDT"), asked.order_book("AAAUSDT"), asked.premium_index("AAAUSDT")
        assert once == (asked.ticker("AAAUSDT"), asked.order_book("AAAUSDT"), asked.premium_index("AAAUSDT"))
        alone = SimulatedExchange(tape, now, Decimal(100))
        assert once == (alone.ticker("AAAUSDT"), alone.order_book("AAAUSDT"), alone.premium_index("AAAUSDT"))
