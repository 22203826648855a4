"""A real market is played by what was recorded of it: funding at its own stamps, the filters that are listed."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trader_cli.core.market.timeframes import HOUR_MS
from trader_cli.core.money.orders import NotPlaced, OrderRequest
from trader_cli.exchange.simulated_exchange import SimulatedExchange
from trader_cli.pipelines.backtests.stored_tape import filters_of, real_market, whole_record
from trader_cli.venue.simulated_market.synthetic import synthetic_tape
from trader_cli.venue.simulated_market.tape import Tape

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
