"""Paper never flatters: over real tapes, however rarely one looks, no exit is better than its trigger allowed."""

from __future__ import annotations

import random
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.trading.paper_beside_exchange import HOUR, Account, Paper, Simulated, Watched

from trader_cli.core.market.timeframes import MINUTE_MS
from trader_cli.exchange.account.account_replies import income_state, position_state, trade_state
from trader_cli.venue.engine import books
from trader_cli.venue.engine.engine import Engine
from trader_cli.venue.engine.fill_rules import FILLS
from trader_cli.venue.paper.observations import Observation, SeenBar, SeenBook
from trader_cli.venue.paper.observed_market import ObservedMarket
from trader_cli.venue.server.private_routes import COMMANDS, READS
from trader_cli.venue.server.public_routes import VenueRejection
from trader_cli.venue.simulated_market.synthetic import synthetic_tape

LOOKS = {"10 s": (10_000, 3), "1 min": (MINUTE_MS, 18), "15 min": (15 * MINUTE_MS, 240), "6 h": (6 * HOUR, 1440)}
"""Between two looks, ms; hours watched."""
CLOSE = {"algoType": "CONDITIONAL", "workingType": "MARK_PRICE", "closePosition": "true"}


class Exit(NamedTuple):
    """How a stop or a target ended a position."""

    number: int
    kind: str
    side: str
    trigger: Decimal
    price: Decimal
    time_ms: int
    quantity: Decimal

    @property
    def bias_bps(self) -> float:
        """By how much it was better than its trigger."""
        return float((1 if self.side == "SELL" else -1) * (self.price / self.trigger - 1)) * 1e4


def exits(account: Account, every_ms: int, distance: float) -> list[Exit]:
    """Buy and sell in turn as minutes end, each with a stop and a target at that distance; look now and then."""
    watched, now, turn = account.watched, account.watched.start_ms, 0
    account.send("/fapi/v1/marginType", marginType="ISOLATED")
    account.send("/fapi/v1/leverage", leverage=1)  # stops and targets end positions here, no liquidation
    while now < watched.end_ms:
        if account.engine.account.position(account.symbol).amount == 0 and now % MINUTE_MS == MINUTE_MS - 1:
            turn += 1
            _enter(account, 1 if turn % 2 else -1, distance)
        now = now + every_ms
        account.until(now)
        if any(account.engine.account.orders[a.actual_order_id].remaining for a in _ended(account)):
            break  # an hour without trades has no book that could take it
    made = []
    for algo in _ended(account):
        fills = [f for f in account.fills if f.order_id == algo.actual_order_id]
        price = sum((f.price * f.quantity for f in fills), Decimal(0)) / sum((f.quantity for f in fills), Decimal(0))
        number = int(algo.client_id.split("-")[1])
        made.append(
            Exit(
                number,
                algo.client_id.split("-")[0],
                algo.side,
                algo.trigger_price,
                price,
                algo.trigger_ms,
                sum((f.quantity for f in fills), Decimal(0)),
            )
        )
    return made


def _ended(account: Account) -> list[Any]:
    return [algo for algo in account.engine.account.algos.values() if algo.status == "FINISHED"]


def _enter(account: Account, sign: int, distance: float) -> None:
    market, number = account.watched.market, account.engine.now_ms // MINUTE_MS
    rules, last = market.rules, Decimal(str(market.last_price(account.engine.now_ms)))
    side, other = ("BUY", "SELL") if sign > 0 else ("SELL", "BUY")
    quantity = max(rules.quantity_down(Decimal(10) / last), rules.min_quantity)
    entry = Decimal(account.send("/fapi/v1/order", side=side, type="MARKET", quantity=quantity)["avgPrice"])
    away = max(entry * Decimal(str(distance)), 3 * rules.tick)
    for name, kind, where in (("stop", "STOP_MARKET", -1), ("target", "TAKE_PROFIT_MARKET", 1)):
        trigger = rules.price_down(entry + where * sign * away)
        ids = {"clientAlgoId": f"{name}-{number}"}
        try:
            account.send("/fapi/v1/algoOrder", side=other, type=kind, triggerPrice=trigger, **CLOSE, **ids)
        except VenueRejection as refused:
            assert refused.code == -2021  # noqa: PT017 - a spread wider than the distance


def never_flatters(watched: Watched, every_ms: int, distance: float = 0.003) -> list[float]:
    """Biases of a paper account's exits, each of them checked, and against the exchange's own account."""
    paper, simulated = (exits(made(watched), every_ms, distance) for made in (Paper, Simulated))
    tick = watched.market.rules.tick
    for one in [*paper, *simulated]:
        sign = 1 if one.side == "SELL" else -1
        minute = one.time_ms - one.time_ms % MINUTE_MS
        (bar,) = watched.bars(minute, minute + MINUTE_MS - 1)
        best = one.trigger - sign * (tick / 2 + one.trigger * FILLS.slippage)
        assert (best - one.price) * sign >= 0, one
        assert one.price < Decimal(str(bar.high)) if sign > 0 else one.price > Decimal(str(bar.low)), (one, bar)
    for one, other in zip(paper, simulated, strict=False):
        seen_ms = watched.start_ms - (watched.start_ms - one.time_ms) // every_ms * every_ms
        if any(_is_thin(watched, at, one.quantity) for at in (one.time_ms, other.time_ms, seen_ms)):
            break  # the book of the look and of the moment are walked differently: from here they differ
        assert one.number == other.number
        assert one.time_ms // MINUTE_MS == other.time_ms // MINUTE_MS
        if one.kind == other.kind:
            (bid, *_), (ask, *_) = _best(watched, seen_ms)  # half a spread is what either takes from its trigger
            (bid_then, *_), (ask_then, *_) = _best(watched, other.time_ms)
            assert abs(one.price - other.price) <= 2 * tick + abs((ask - bid) - (ask_then - bid_then)) / 2
        else:
            assert one.kind == "stop", "what one look cannot tell apart counts as adverse"
    return [one.bias_bps for one in paper]


def _is_thin(watched: Watched, time_ms: int, quantity: Decimal) -> bool:
    return min(size for _, size in _best(watched, time_ms)) < quantity


def _best(watched: Watched, time_ms: int) -> list[tuple[Decimal, ...]]:
    return [tuple(Decimal(str(v)) for v in side[0]) for side in watched.market.book(time_ms, 1)]


def tapes(folder: Path) -> list[Path]:
    return sorted((folder / "klines").rglob("*.parquet"))


def watched_of(file: Path, hours: float) -> list[Watched]:
    return Watched.of(file, random.Random(file.name).uniform(0.05, 0.6), hours)


@pytest.mark.parametrize("looks", LOOKS)
def test_no_exit_is_better_than_its_trigger_however_rarely_one_looks(looks: str, market_data: Path) -> None:
    every_ms, hours = LOOKS[looks]
    biases = []
    for file in ("um/ETHUSDT-1m-2023", "um/SOLUSDT-1m-2025-05", "spot/BTCUSDT-1h", "spot_12col/ADABTC-1m-2021-11-27"):
        (watched,) = watched_of(market_data / "klines" / f"{file}.parquet", hours / 9)
        biases += never_flatters(watched, every_ms, 0.001 if looks == "10 s" else 0.003)
    assert len(biases) > 3
    assert sum(biases) / len(biases) <= 0


@pytest.mark.slow
@pytest.mark.parametrize("looks", LOOKS)
def test_over_every_tape_no_exit_is_better_than_its_trigger(looks: str, market_data: Path) -> None:
    every_ms, hours = LOOKS[looks]
    biases = []
    for file in tapes(market_data):
        for watched in watched_of(file, hours):
            biases += never_flatters(watched, every_ms)
    assert len(biases) > 100
    assert sum(biases) / len(biases) <= 0


# --- one look, by hand ---

RULES = ObservedMarket(Watched(synthetic_tape(("ETHUSDT",), 1, 0.0, 3).symbols["ETHUSDT"], 0, 0).market.rules).rules
START = 1_700_000_040_000 - 1_700_000_040_000 % MINUTE_MS
BOOK = SeenBook(((99.99, 50.0),), ((100.01, 50.0),))


def bar(minute: int, *prices: float) -> SeenBar:
    return SeenBar(START + minute * MINUTE_MS, *prices, 500.0)


def held(side: str, working: str, triggers: dict[str, float], **seen: Any) -> Engine:
    """A position of 1 from 100 with a stop and a target, after one look that began as minute 0 had closed."""
    market, after = ObservedMarket(RULES), START + MINUTE_MS - 1
    first = bar(0, 100.0, 100.0, 100.0, 100.0)
    mark = {"mark_before": first} if "marks" in seen else {}
    market.take(Observation(RULES, after, after, first, book=BOOK, **mark))
    engine = Engine({"ETHUSDT": market}, books.Account(Decimal(10_000)), after)
    text = {"symbol": "ETHUSDT", "quantity": "1", "type": "MARKET", "side": side}
    COMMANDS["POST", "/fapi/v1/order"](engine, text)
    other = "SELL" if side == "BUY" else "BUY"
    for kind, trigger in triggers.items():
        algo = {**CLOSE, "symbol": "ETHUSDT", "side": other, "type": kind, "triggerPrice": str(trigger)}
        COMMANDS["POST", "/fapi/v1/algoOrder"](engine, algo | {"workingType": working})
    last = max(b.open_ms for b in seen["bars"]) + MINUTE_MS - 1
    market.take(Observation(RULES, after, last, first, book=BOOK, **seen, **mark))
    engine.advance(last)
    return engine


def ended(engine: Engine) -> dict[str, str]:
    return {algo.type: algo.status for algo in engine.account.algos.values()}


BOTH = {"STOP_MARKET": 99.0, "TAKE_PROFIT_MARKET": 101.0}


def test_a_target_passed_in_a_minute_is_filled_below_it_and_not_at_the_minutes_high() -> None:
    engine = held("BUY", "MARK_PRICE", {"TAKE_PROFIT_MARKET": 101.0}, bars=(bar(1, 100.0, 104.0, 100.0, 103.0),))
    assert engine.account.fills[-1].price == Decimal("100.97")  # half a spread of 0.02, 1 bp, down to the tick
    assert engine.account.fills[-1].commission == Decimal("100.97") * Decimal("0.0005")


def test_a_stop_passed_by_a_minute_that_opens_beyond_it_is_filled_from_there() -> None:
    engine = held("BUY", "MARK_PRICE", {"STOP_MARKET": 99.0}, bars=(bar(1, 97.0, 98.0, 96.0, 98.0),))
    assert engine.account.fills[-1].price == Decimal("96.98")


def test_a_minute_opens_where_it_is_traded_first_though_it_was_seen_before() -> None:
    """Until then its bar shows the close of the minute before, at which nobody could trade any more."""
    for volume, expected in ((0.0, Decimal("96.98")), (1.0, Decimal("98.98"))):
        market, after = ObservedMarket(RULES), START + MINUTE_MS - 1
        first, seen = bar(0, 100.0, 100.0, 100.0, 100.0), SeenBar(START + MINUTE_MS, *[100.0] * 4, volume)
        market.take(Observation(RULES, after, after, first, book=BOOK))
        engine = Engine({"ETHUSDT": market}, books.Account(Decimal(10_000)), after)
        entry = {"symbol": "ETHUSDT", "quantity": "1", "type": "MARKET", "side": "BUY"}
        COMMANDS["POST", "/fapi/v1/order"](engine, entry)
        algo = {**CLOSE, "symbol": "ETHUSDT", "side": "SELL", "type": "STOP_MARKET", "triggerPrice": "99"}
        COMMANDS["POST", "/fapi/v1/algoOrder"](engine, algo)
        market.take(Observation(RULES, after, after + 10_000, first, (seen,), book=BOOK))
        market.take(
            Observation(RULES, after + 10_000, after + 20_000, seen, (bar(1, 97.0, 98.0, 96.0, 98.0),), book=BOOK)
        )
        engine.advance(after + 20_000)
        assert engine.account.fills[-1].price == expected


def test_a_target_is_not_improved_by_a_minute_that_opens_beyond_it() -> None:
    engine = held("BUY", "MARK_PRICE", {"TAKE_PROFIT_MARKET": 101.0}, bars=(bar(1, 103.0, 104.0, 102.0, 103.0),))
    assert engine.account.fills[-1].price == Decimal("100.97")


@pytest.mark.parametrize("minute", range(1, 9))
def test_stop_and_target_within_one_minute_end_at_the_stop(minute: int) -> None:
    """Whatever came first on the path that the minute's seed draws."""
    quiet = [bar(n, 100.0, 100.1, 99.9, 100.0) for n in range(1, minute)]
    engine = held("BUY", "MARK_PRICE", BOTH, bars=(*quiet, bar(minute, 100.0, 101.5, 98.5, 100.0)))
    assert ended(engine)["STOP_MARKET"] == "FINISHED"
    assert engine.account.fills[-1].price < 99
    assert len(engine.account.fills) == 2


def test_a_target_of_an_earlier_minute_comes_before_the_stop_of_a_later_one() -> None:
    seen = (bar(1, 100.0, 101.5, 100.0, 100.0), bar(2, 100.0, 100.0, 98.0, 98.0))
    assert ended(held("BUY", "MARK_PRICE", BOTH, bars=seen))["TAKE_PROFIT_MARKET"] == "FINISHED"


@pytest.mark.parametrize(("working", "status"), [("MARK_PRICE", "NEW"), ("CONTRACT_PRICE", "FINISHED")])
def test_a_wick_in_the_last_price_alone_triggers_only_what_names_it(working: str, status: str) -> None:
    wick, calm = (bar(1, 100.0, 100.0, 90.0, 100.0),), (bar(1, 100.0, 100.2, 99.8, 100.0),)
    engine = held("BUY", working, {"STOP_MARKET": 99.0}, bars=wick, marks=calm)
    assert ended(engine)["STOP_MARKET"] == status


def test_a_stop_by_mark_sells_at_the_last_price_where_that_is_lower_never_above_its_trigger() -> None:
    fallen = (bar(1, 100.0, 100.0, 98.0, 98.0),)
    level = held("BUY", "MARK_PRICE", {"STOP_MARKET": 99.0}, bars=(bar(1, 100.0, 101.0, 100.0, 101.0),), marks=fallen)
    lower = held("BUY", "MARK_PRICE", {"STOP_MARKET": 99.0}, bars=(bar(1, 97.0, 97.0, 95.0, 95.0),), marks=fallen)
    assert level.account.fills[-1].price == Decimal("98.98")
    assert lower.account.fills[-1].price < 97
    assert lower.account.fills[-1].price > 94


def test_a_resting_limit_is_filled_at_its_own_price_and_only_when_traded_through() -> None:
    for low, filled in ((99.0, 0), (98.99, 1), (95.0, 1)):
        market, after = ObservedMarket(RULES), START + MINUTE_MS - 1
        first = bar(0, 100.0, 100.0, 100.0, 100.0)
        market.take(Observation(RULES, after, after, first, book=BOOK))
        engine = Engine({"ETHUSDT": market}, books.Account(Decimal(10_000)), after)
        limit = {"type": "LIMIT", "price": "99", "quantity": "1", "timeInForce": "GTC", "side": "BUY"}
        COMMANDS["POST", "/fapi/v1/order"](engine, {"symbol": "ETHUSDT", **limit})
        market.take(Observation(RULES, after, after + MINUTE_MS, first, (bar(1, 100.0, 100.0, low, 100.0),)))
        engine.advance(after + MINUTE_MS)
        assert [f.price for f in engine.account.fills] == [Decimal(99)] * filled


def test_looks_that_cut_a_minute_show_each_stretch_by_itself() -> None:
    """A target seen before the stop was reached has been filled by then."""
    market, moments = ObservedMarket(RULES), [START + MINUTE_MS - 1 + k * 10_000 for k in range(7)]
    for after, upto in pairwise(moments):
        now = bar(1, 100.0, 101.0, 99.0, 100.0)
        market.take(Observation(RULES, after, upto, now if after > START + MINUTE_MS else bar(0, *[100.0] * 4), (now,)))
    inside = START + MINUTE_MS + 15_000
    assert market.unresolved_until(inside) == moments[2]


# --- money, whatever the rates ---

rates = st.integers(-20, 60).map(lambda tenths: Decimal(tenths) / 100_000)


@settings(max_examples=40, deadline=None)
@given(rates, rates, st.sampled_from([1, -1]))
def test_fees_are_the_accounts_own_and_a_rebate_is_received(maker: Decimal, taker: Decimal, sign: int) -> None:
    for is_maker, rate in ((True, maker), (False, taker)):
        market, after = ObservedMarket(RULES), START + MINUTE_MS - 1
        first = bar(0, 100.0, 100.0, 100.0, 100.0)
        market.take(Observation(RULES, after, after, first, book=BOOK))
        account = books.Account(Decimal(10_000), maker_fee=maker, taker_fee=taker)
        engine, side = Engine({"ETHUSDT": market}, account, after), "BUY" if sign > 0 else "SELL"
        kind = {"type": "LIMIT", "price": str(100 - sign), "timeInForce": "GTC"} if is_maker else {"type": "MARKET"}
        COMMANDS["POST", "/fapi/v1/order"](engine, {"symbol": "ETHUSDT", "quantity": "1", "side": side, **kind})
        market.take(Observation(RULES, after, after + MINUTE_MS, first, (bar(1, 100.0, 103.0, 97.0, 100.0),)))
        engine.advance(after + MINUTE_MS)
        (fill,) = account.fills
        assert fill.maker == is_maker
        assert account.wallet - 10_000 == -rate * fill.price * fill.quantity
        assert sum((i.amount for i in account.income), Decimal(0)) == -fill.commission


@pytest.mark.parametrize(("side", "sign"), [("BUY", 1), ("SELL", -1)])
def test_what_the_exchange_writes_of_fills_income_and_positions_is_read_as_it_was(side: str, sign: int) -> None:
    lost = (bar(1, 100.0, 100.0, 95.0, 96.0),) if sign > 0 else (bar(1, 100.0, 105.0, 100.0, 104.0),)
    engine = held(side, "MARK_PRICE", {"STOP_MARKET": 100.0 - 2 * sign}, bars=lost)
    asked = {"symbol": "ETHUSDT"}
    for shown, fill in zip(READS["/fapi/v1/userTrades"](engine, asked), engine.account.fills, strict=True):
        read = trade_state(shown)
        told = (read.side, read.price, read.quantity, read.commission, read.realized_profit, read.maker, read.time_ms)
        assert told == (fill.side, fill.price, fill.quantity, fill.commission, fill.realized, fill.maker, fill.time_ms)
    assert engine.account.fills[-1].realized < 0 < engine.account.fills[-1].commission
    rows = [income_state(row) for row in READS["/fapi/v1/income"](engine, {})]
    assert sorted((r.kind, r.amount) for r in rows) == sorted((i.kind, i.amount) for i in engine.account.income)
    still = held(side, "MARK_PRICE", {"STOP_MARKET": 100.0 - 9 * sign}, bars=(bar(1, 100.0, 100.0, 98.0, 98.0),))
    (position,) = [position_state(row) for row in READS["/fapi/v3/positionRisk"](still, asked)]
    assert position.amount == sign
    assert position.unrealized_profit == sign * (98 - position.entry_price)


@pytest.mark.parametrize(("leverage", "side"), [(10, "BUY"), (20, "BUY"), (10, "SELL"), (50, "SELL")])
def test_a_position_is_liquidated_at_its_liquidation_price_and_a_tick_before_it_is_not(
    leverage: int, side: str
) -> None:
    sign = 1 if side == "BUY" else -1
    for ticks, ended_ in ((0, True), (1, False)):
        market, after = ObservedMarket(RULES), START + MINUTE_MS - 1
        first = bar(0, 100.0, 100.0, 100.0, 100.0)
        market.take(Observation(RULES, after, after, first, book=BOOK))
        engine = Engine({"ETHUSDT": market}, books.Account(Decimal(10_000)), after)
        COMMANDS["POST", "/fapi/v1/marginType"](engine, {"symbol": "ETHUSDT", "marginType": "ISOLATED"})
        COMMANDS["POST", "/fapi/v1/leverage"](engine, {"symbol": "ETHUSDT", "leverage": str(leverage)})
        COMMANDS["POST", "/fapi/v1/order"](
            engine, {"symbol": "ETHUSDT", "quantity": "1", "side": side, "type": "MARKET"}
        )
        level = Decimal(READS["/fapi/v3/positionRisk"](engine, {"symbol": "ETHUSDT"})[0]["liquidationPrice"])
        whole = RULES.price_down(level) if sign > 0 else RULES.price_down(level) + RULES.tick
        worst = float(whole + sign * ticks * RULES.tick)
        seen = bar(1, 100.0, max(100.0, worst), min(100.0, worst), 100.0)
        market.take(Observation(RULES, after, after + MINUTE_MS, first, (seen,)))
        engine.advance(after + MINUTE_MS)
        assert (engine.account.position("ETHUSDT").amount == 0) == ended_
