"""A real market is played by what was recorded of it: funding at its stamps, mark prices, filters and brackets."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trader_cli.backtest.skipped_looks import SkippedLooks
from trader_cli.core.errors import DataInvalid
from trader_cli.core.market.snapshot import MarketSnapshot
from trader_cli.core.market.timeframes import HOUR_MS, Timeframe
from trader_cli.core.money.orders import LeverageBracket, NotPlaced, OrderRequest, StopRequest
from trader_cli.exchange.account.bracket_memory import BracketMemory, KnownBrackets, brackets_in
from trader_cli.exchange.simulated_exchange import SimulatedExchange
from trader_cli.pipelines.backtests.stored_tape import filters_of, real_market, whole_record
from trader_cli.pipelines.stages.market_snapshot import store_state
from trader_cli.storage.artifacts import ArtifactStore, stage_key
from trader_cli.venue.simulated_market.symbol_market import SymbolMarket
from trader_cli.venue.simulated_market.synthetic import synthetic_tape
from trader_cli.venue.simulated_market.tape import SymbolTape, Tape, TapeBars

SYMBOL = "ETHUSDT"
MADE = synthetic_tape((SYMBOL,), 5, 0.0, 11)
START = MADE.start_ms + 48 * HOUR_MS
HOURS = 40


def market(funding: dict[int, float] | None, filters: dict[str, Decimal] | None = None) -> Tape:
    tape = replace(MADE.symbols[SYMBOL], funding=funding)
    return real_market("recorded", {SYMBOL: tape}, {} if filters is None else {SYMBOL: filters})


def bought(tape: Tape) -> SimulatedExchange:
    """One bought at the start."""
    venue = SimulatedExchange(tape, START, Decimal(100_000))
    assert not isinstance(venue.place(OrderRequest("a", SYMBOL, "BUY", Decimal(1))), NotPlaced)
    return venue


@settings(max_examples=25)
@given(
    st.lists(
        st.tuples(st.sampled_from((1, 2, 4, 8)), st.floats(-0.01, 0.01).map(lambda x: round(x, 8))),
        min_size=2,
        max_size=12,
    )
)
def test_funding_is_paid_at_recorded_stamps_by_recorded_rates(steps: list[tuple[int, float]]) -> None:
    stamp, rates = START // (8 * HOUR_MS) * 8 * HOUR_MS - 16 * HOUR_MS, {}
    for hours, rate in steps:
        stamp = (stamp // (hours * HOUR_MS) + 1) * hours * HOUR_MS
        rates[stamp] = rate
    venue = bought(market(rates))
    marks = {}
    for hour in range(1, HOURS):
        venue.advance(START + hour * HOUR_MS)
        marks[venue.now_ms] = venue.engine.mark(SYMBOL)
    paid = {row.time_ms: row.amount for row in venue.engine.account.income if row.kind == "FUNDING_FEE"}
    due = {at: -marks[at] * Decimal(str(rate)) for at, rate in rates.items() if at in marks and rate}
    assert paid == {at: pytest.approx(amount, abs=Decimal("1e-8")) for at, amount in due.items()}


@pytest.mark.parametrize("hours", [1, 4, 8])
def test_no_payment_of_a_steady_interval_is_missed(hours: int) -> None:
    stamps = range(START // (8 * HOUR_MS) * 8 * HOUR_MS - 24 * HOUR_MS, START + HOURS * HOUR_MS, hours * HOUR_MS)
    venue = bought(market(dict.fromkeys(stamps, 0.0001)))
    venue.advance(START + HOURS * HOUR_MS)
    paid = [row.time_ms for row in venue.engine.account.income if row.kind == "FUNDING_FEE"]
    assert paid == [at for at in stamps if at > START]


@pytest.mark.parametrize(("first", "last"), [(0, 5), (20, 40), (-30, 10), (90, 95)])
def test_where_nothing_was_recorded_rates_are_derived_as_ever(first: int, last: int) -> None:
    """A record of some hours: a payment each eight hours before, after, and in no other number within."""
    tape = MADE.symbols[SYMBOL]
    begin = (tape.start_ms // (8 * HOUR_MS) + 3) * 8 * HOUR_MS
    paid = {begin + hour * HOUR_MS: 0.005 for hour in range(first, last, 4)}
    whole = whole_record(tape, paid)
    assert {at: whole[at] for at in paid} == paid
    others = sorted(whole.keys() - paid.keys())
    assert all(at % (8 * HOUR_MS) == 0 and abs(whole[at]) < 2e-4 for at in others)
    stamps = sorted(whole)
    assert max(b - a for a, b in pairwise(stamps)) <= 12 * HOUR_MS
    assert stamps[0] <= tape.start_ms + 8 * HOUR_MS
    assert stamps[-1] >= tape.end_ms - 12 * HOUR_MS


def test_what_is_shown_of_funding_was_paid_by_then() -> None:
    stamps = [START + (hour - 16) * HOUR_MS for hour in range(0, 48, 4)]
    rates = {at: (number + 1) * 1e-4 for number, at in enumerate(stamps)}
    venue = SimulatedExchange(market(rates), START, Decimal(1000))
    for minutes in range(0, 20 * 60, 37):
        venue.advance(START + minutes * 60_000)
        shown = venue.premium_index(SYMBOL)
        assert shown.funding_rate == pytest.approx(rates[max(at for at in stamps if at <= venue.now_ms)])
        assert shown.next_funding_ms == min(at for at in stamps if at > venue.now_ms)
        assert venue.engine.next_funding_ms == shown.next_funding_ms


def test_a_hole_in_the_record_pays_nothing_and_what_follows_is_paid() -> None:
    stamps = [START + hour * HOUR_MS for hour in range(-16, HOURS, 4)]
    hole = {START + 4 * HOUR_MS, START + 8 * HOUR_MS, START + 12 * HOUR_MS}
    venue = bought(market({at: 1e-4 for at in stamps if at not in hole}))
    venue.advance(START + HOURS * HOUR_MS)
    paid = {row.time_ms for row in venue.engine.account.income if row.kind == "FUNDING_FEE"}
    assert not paid & hole
    assert paid == {at for at in stamps if at > START and at not in hole}


def test_the_listed_filters_hold_from_the_beginning() -> None:
    filters = {
        "tick": Decimal("0.5"),
        "step": Decimal("0.1"),
        "min_quantity": Decimal("0.3"),
        "min_notional": Decimal(20),
    }
    tape = market(None, filters)
    assert filters_of(tape) == {SYMBOL: filters}
    rules = SimulatedExchange(tape, START, Decimal(1000)).rules(SYMBOL)
    assert (rules.tick, rules.step, rules.min_quantity, rules.min_notional) == tuple(filters.values())
    assert filters_of(market(None)) == {}


def test_without_a_record_rates_are_derived_as_ever() -> None:
    venue = bought(market(None))
    venue.advance(START + HOURS * HOUR_MS)
    plain = bought(MADE)
    plain.advance(START + HOURS * HOUR_MS)
    assert venue.engine.account.income == plain.engine.account.income


def marked(last: list[float], mark: list[float]) -> Tape:
    """Minutes that open where the one before closed, of the last price and of the mark price."""
    opened = {name: np.array([values[0], *values[:-1]]) for name, values in (("last", last), ("mark", mark))}
    closed = {"last": np.array(last), "mark": np.array(mark)}
    shown = {
        name: {
            "open": opened[name],
            "high": np.maximum(opened[name], closed[name]),
            "low": np.minimum(opened[name], closed[name]),
            "close": closed[name],
        }
        for name in opened
    }
    times = START + 60_000 * np.arange(len(last), dtype=np.int64)
    bars = TapeBars(times, volume=np.full(len(last), 5000.0), mark=shown["mark"], **shown["last"])
    return Tape("t", "t", {SYMBOL: SymbolTape.of(SYMBOL, Timeframe.parse("1m"), 7, 0.01, 0.001, bars)})


@pytest.mark.parametrize("leverage", [1, 20])
def test_stops_and_liquidation_go_by_the_mark_price_and_are_filled_by_the_last(leverage: int) -> None:
    """The last price dips and nothing happens; the mark price dips, and the market is sold at its last price."""
    calm = [100.0] * 4
    dip = [100.0, 80.0, 100.0, 100.0]
    held = bought_with_stop(marked([*calm, *dip], [*calm, *calm]), leverage)
    held.advance(START + 8 * 60_000)
    assert held.engine.account.position(SYMBOL).amount == 1
    left = bought_with_stop(marked([*calm, *calm], [*calm, *dip]), leverage)
    left.advance(START + 8 * 60_000)
    assert left.engine.account.position(SYMBOL).amount == 0
    last = left.engine.account.fills[-1]
    is_liquidated = left.engine.account.orders[last.order_id].client_id.startswith("autoclose-")
    assert is_liquidated == (leverage == 20)
    if not is_liquidated:
        assert Decimal(99) < last.price < Decimal(100)
    assert left.engine.mark(SYMBOL) == left.premium_index(SYMBOL).mark_price == Decimal(100)


def bought_with_stop(tape: Tape, leverage: int) -> SimulatedExchange:
    """One bought at the start; its stop lies beyond the liquidation price of a high leverage."""
    venue = SimulatedExchange(tape, START, Decimal(1000))
    venue.set_isolated(SYMBOL, leverage)
    venue.advance(START + 60_000)
    assert not isinstance(venue.place(OrderRequest("a", SYMBOL, "BUY", Decimal(1))), NotPlaced)
    stop = StopRequest("s", SYMBOL, "SELL", "stop", Decimal(90), None)
    assert not isinstance(venue.place_stop(stop), NotPlaced)
    return venue


def test_a_mark_price_shows_nothing_before_its_time() -> None:
    """Cut after any minute, both markets show the same until then."""
    last = [100.0 + minute % 3 for minute in range(60)]
    mark = [100.0 + minute % 5 / 7 for minute in range(60)]
    whole = SymbolMarket(marked(last, mark).symbols[SYMBOL])
    for minutes in (7, 30):
        short = SymbolMarket(marked(last[:minutes], mark[:minutes]).symbols[SYMBOL])
        for now in range(START, START + minutes * 60_000, 7_000):
            assert whole.mark_price(now) == short.mark_price(now)
            assert whole.last_price(now) == short.last_price(now)


def test_brackets_that_an_account_was_told_are_remembered_and_what_is_damaged_is_not(tmp_path: Path) -> None:
    path = tmp_path / "brackets.json"
    tiers = [{"bracket": 1, "initialLeverage": 20, "notionalCap": 9e3, "maintMarginRatio": 0.02, "cum": 0.0, "x": 1}]
    BracketMemory(path).hear(SYMBOL, [{"symbol": SYMBOL, "notionalCoef": 1.5, "brackets": tiers}], START)
    written = path.read_bytes()
    BracketMemory(path).hear(SYMBOL, {"symbol": SYMBOL, "notionalCoef": 1.5, "brackets": tiers}, START + 1)
    assert path.read_bytes() == written, "the same answer is not written again"
    known = BracketMemory(path).known(SYMBOL)
    assert known is not None
    assert known.rows == (LeverageBracket(Decimal(13500), 20, Decimal("0.02"), Decimal(0)),)
    assert KnownBrackets.from_dict(known.as_dict()) == known
    assert "an account" in known.origin
    assert BracketMemory(path).known("BTCUSDT") is None
    for damage in (b"", b"{}", b'{"symbols": {"ETHUSDT": {"brackets": 3}}}'):
        path.write_bytes(damage)
        assert BracketMemory(path).known(SYMBOL) is None
    BracketMemory(None).hear(SYMBOL, {"symbol": SYMBOL, "brackets": tiers}, START)
    assert BracketMemory(None).known(SYMBOL) is None


def test_equity_of_looks_that_were_passed_over_is_by_the_mark_price() -> None:
    dice = np.random.default_rng(3)
    last, mark = (np.round(100 + np.cumsum(dice.normal(0, 0.2, 60)), 4).tolist() for _ in range(2))
    tape = marked([round(price, 2) for price in last], mark)
    venue = bought_with_stop(tape, 1)
    held = tuple((p.symbol, p.amount, p.entry) for p in venue.engine.account.positions.values())
    wallet, times = venue.engine.account.wallet, range(START + 60_000, START + 59 * 60_000, 10_000)
    looks = SkippedLooks(venue.engine, tape, times, wallet, held, Decimal(10**6))
    about = looks._about()
    exact = [float(looks._equity(at)) for at in times]
    assert all(0 <= above - equity <= 0.02 for above, equity in zip(about.tolist(), exact, strict=True))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (None, "there is not one"),
        ({"initialLeverage": 0}, "leverage is 1 to 500"),
        ({"initialLeverage": 1_000_000}, "leverage is 1 to 500"),
        ({"maintMarginRatio": -1}, "a share of the notional"),
        ({"notionalCap": -5}, "a larger notional"),
    ],
)
def test_brackets_that_margin_nothing_are_refused(
    tmp_path: Path, change: dict[str, object] | None, sentence: str
) -> None:
    tier: dict[str, object] = {
        "bracket": 1,
        "initialLeverage": 20,
        "notionalCap": 50_000,
        "notionalFloor": 0,
        "maintMarginRatio": 0.01,
        "cum": 0,
    }
    path = tmp_path / "tiers.json"
    path.write_text(json.dumps([{"symbol": SYMBOL, "brackets": [] if change is None else [{**tier, **change}]}]))
    with pytest.raises(DataInvalid, match=sentence):
        brackets_in(path, [SYMBOL])


class _Told:
    """An exchange of which a market's state is asked."""

    def __init__(self, brackets: Path) -> None:
        self.remembered_brackets = BracketMemory(brackets).known

    def server_now_ms(self) -> int:
        return START

    async def get_open_interest(self, _: str) -> float:
        return 1.0

    async def ticker(self, *_: object) -> _Told:
        return self

    order_book = premium_index = ticker

    def as_dict(self) -> dict[str, object]:
        return {"quote_volume": 1.0, "bids": [], "asks": [], "funding_rate": 0.0}


def test_the_stored_market_tells_the_lowest_bracket_that_an_account_was_told(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path / "cache")
    key = stage_key("live", SYMBOL, Timeframe.parse("1h"), "market")

    def stored() -> MarketSnapshot:
        market = SimpleNamespace(exchange=_Told(tmp_path / "brackets.json"), source="real")
        asyncio.run(store_state(store, market, lambda _: key, SYMBOL))  # type: ignore[arg-type]
        return MarketSnapshot.from_dict(store.get_document(store.pointed(key) or "") or {})

    assert (stored().maintenance_rate, stored().max_leverage) == (None, None)
    tier = {"bracket": 1, "initialLeverage": 20, "notionalCap": 9e3, "maintMarginRatio": 0.02, "cum": 0.0}
    higher = {**tier, "bracket": 2, "initialLeverage": 10, "notionalCap": 2e4, "maintMarginRatio": 0.05, "cum": 270.0}
    row = {"symbol": SYMBOL, "notionalCoef": 1, "brackets": [tier, higher]}
    BracketMemory(tmp_path / "brackets.json").hear(SYMBOL, row, START)
    assert (stored().maintenance_rate, stored().max_leverage) == (0.02, 20)
