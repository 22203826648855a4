"""What funding costs: at the symbol's own stamps, at its own rates, by side, and never by what comes later."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import test_analyst
from hypothesis import given, settings
from hypothesis import strategies as st
from support.market.bars import random_bars

from trader_cli.analyst.analysis import analyse
from trader_cli.analyst.decision import Costs
from trader_cli.analyst.funding_cost import FundingRates, funding_rates
from trader_cli.analyst.training import TrainingInput
from trader_cli.core.market.schemas import TIME
from trader_cli.core.market.timeframes import HOUR_MS, Timeframe
from trader_cli.core.types import Signal
from trader_cli.settings import as_settings
from trader_cli.settings.room_options import AnalysisOptions

H1 = Timeframe.parse("1h")
EXAMPLES = settings(max_examples=80, deadline=None)
START = 1_704_067_200_000


def payments(hours: list[int], rates: list[float], late_ms: int = 7) -> pl.DataFrame:
    times = pl.Series([START + hour * HOUR_MS + late_ms for hour in hours], dtype=pl.Int64).cast(TIME)
    return pl.DataFrame(
        {"time": times, "funding_rate": rates, "mark_price": pl.Series([None] * len(rates), dtype=pl.Float64)}
    )


def rates_of(paid: pl.DataFrame | None, bars: int = 140, symbol: str = "ETHUSDT") -> FundingRates:
    return funding_rates(symbol, H1, START + HOUR_MS * np.arange(bars, dtype=np.int64), paid)


intervals = st.lists(st.sampled_from([1, 2, 4, 8]), min_size=2, max_size=12)
rates = st.floats(-0.02, 0.02).map(lambda rate: round(rate, 8))


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[int], list[float]]:
    hours = [int(hour) for hour in np.cumsum(draw(intervals))]
    return hours, draw(st.lists(rates, min_size=len(hours), max_size=len(hours)))


@EXAMPLES
@given(histories(), st.integers(0, 15_000))
def test_what_falls_due_is_charged_once_in_the_bar_that_closes_on_its_stamp(
    history: tuple[list[int], list[float]], late_ms: int
) -> None:
    hours, paid = history
    due = rates_of(payments(hours, paid, late_ms), 140).due
    for hour, rate in zip(hours, paid, strict=True):
        assert due[hour - 1] == rate
    assert np.nansum(due) == pytest.approx(sum(paid))
    assert np.isnan(due[: hours[0] - 1]).all()
    assert np.isfinite(due[hours[0] - 1 : hours[-1] - 1]).all()


@EXAMPLES
@given(histories(), st.data())
def test_what_is_expected_never_knows_a_later_payment(
    history: tuple[list[int], list[float]], data: st.DataObject
) -> None:
    hours, paid = history
    cut = data.draw(st.integers(1, len(hours) - 1))
    rows = np.arange(hours[cut] - 1, dtype=np.int64)
    whole = rates_of(payments(hours, paid)).ahead(rows, 24)
    known = rates_of(payments(hours[:cut], paid[:cut])).ahead(rows, 24)
    others = rates_of(payments(hours, paid[:cut] + [rate + 1 for rate in paid[cut:]])).ahead(rows, 24)
    assert np.array_equal(others, whole, equal_nan=True)
    if cut > 1:  # the first payment alone takes its interval from the second
        assert np.array_equal(known[hours[1] :], whole[hours[1] :], equal_nan=True)


@pytest.mark.parametrize("interval", [1, 2, 4, 8])
def test_the_same_rate_per_hour_costs_the_same_at_any_interval(interval: int) -> None:
    hours = list(range(interval, 49, interval))
    found = rates_of(payments(hours, [1e-4 * interval] * len(hours)))
    assert found.ahead(np.array([40]), 24)[0] == pytest.approx(24e-4)
    stamps = 45 // interval - 42 // interval  # from the close of bar 41, three hours long
    assert found.ahead(np.array([41]), 3)[0] == pytest.approx(1e-4 * interval * stamps)


def test_an_interval_that_became_shorter_counts_from_its_first_stamp() -> None:
    found = rates_of(payments([8, 16, 17], [8e-4, 8e-4, 1e-3]))
    before, after = found.ahead(np.array([16, 17]), 8)
    assert before == pytest.approx(8e-4)
    assert after == pytest.approx((1e-4 + 1e-4 + 1e-3) / 3 * 8)


@pytest.mark.parametrize(
    ("next_hour", "at", "bars", "wanted"),
    [(24, 16, 8, -0.01), (24, 16, 7, 0.0), (18, 16, 4, -0.01 + 2e-4), (24, 16, 16, -0.01 + 8e-4), (16, 17, 8, 8e-4)],
    ids=["one", "none", "two hours now", "told, then usual", "told of the past"],
)
def test_the_next_payment_is_what_the_exchange_tells(next_hour: int, at: int, bars: int, wanted: float) -> None:
    """An interval that was changed shows in the next stamp first: told 18:00 after 16:00, it is two hours."""
    paid, premium = (
        payments([8, 16], [8e-4, 8e-4]),
        (START + next_hour * HOUR_MS, -0.01),
    )
    opened = np.array([START + (at - 1) * HOUR_MS], dtype=np.int64)
    found = funding_rates("ETHUSDT", H1, opened, paid, premium).ahead(np.array([0]), bars)[0]
    assert found == pytest.approx(wanted)


def test_without_recent_payments_both_sides_are_assumed_to_pay() -> None:
    of = as_settings({"costs": {"funding_bps": 4, "taker_fee_bps": 0, "slippage_bps": 0}}).costs
    old = rates_of(payments([1, 9], [0.1, 0.1]))
    for found in (rates_of(None), rates_of(payments([], [])), old):
        costs = Costs.of(of, H1, found).of_trades(np.array([50]), 16)
        assert (float(np.asarray(costs.long)[0]), float(np.asarray(costs.short)[0])) == pytest.approx((8e-4, 8e-4))
        held = Costs.of(of, H1, found).of_holding(np.where(np.arange(140) % 2, 1.0, -1.0))
        assert held[50:] == pytest.approx(0.5e-4)


def test_a_delivery_contract_pays_none() -> None:
    of = as_settings({"costs": {"funding_bps": 4, "taker_fee_bps": 0, "slippage_bps": 0}}).costs
    costs = Costs.of(of, H1, rates_of(None, symbol="BTCUSDT_260327"))
    trade = costs.of_trades(np.array([5]), 24)
    assert (np.asarray(trade.long)[0], np.asarray(trade.short)[0]) == (0, 0)
    assert not costs.of_holding(np.ones(140)).any()


@EXAMPLES
@given(histories(), st.floats(1, 3))
def test_a_position_pays_what_its_mirror_receives_and_only_what_is_paid_is_multiplied(
    history: tuple[list[int], list[float]], factor: float
) -> None:
    found = rates_of(payments(*history))
    exposure = np.random.default_rng(len(history[0])).uniform(-1, 1, 140)
    once, mirrored = (Costs(0.0, 0.0, found).of_holding(sign * exposure) for sign in (1, -1))
    assert once == pytest.approx(-mirrored)
    dearer = Costs(0.0, 0.0, found, factor).of_holding(exposure)
    assert dearer == pytest.approx(np.where(once > 0, factor * once, once))


@pytest.mark.parametrize("rate", [0.02, -0.02])
def test_a_plan_is_not_made_against_funding_that_eats_its_gain(rate: float) -> None:
    """8 % of notional in the day ahead, against the side that is likelier: it is not taken at that price."""
    given_input = test_analyst.given_input
    usual = analyse(given_input(), AnalysisOptions.of(as_settings({}))).signal
    assert usual is not None
    times = pl.Series([int(given_input().bars.open_ms[-1]) + M15_MS - k * HOUR_MS for k in range(5, -1, -1)]).cast(TIME)
    paid = pl.DataFrame({"time": times, "funding_rate": [rate] * 6, "mark_price": [None] * 6})
    signal = analyse(given_input(funding=paid), AnalysisOptions.of(as_settings({}))).outcome
    against = (usual.side == "long") == (rate > 0)
    assert not isinstance(signal, Signal) if against else isinstance(signal, Signal) and signal.side == usual.side


M15_MS = Timeframe.parse("15m").ms


def test_training_charges_the_funding_it_is_given() -> None:
    bars = random_bars(200, seed=3)
    first = int(bars["open_time"].to_physical()[0])
    times = pl.Series([first // HOUR_MS * HOUR_MS + k * HOUR_MS for k in range(52)]).cast(TIME)
    paid = pl.DataFrame({"time": times, "funding_rate": [1e-3] * 52, "mark_price": [None] * 52})
    made = TrainingInput("k", "tape", "ETHUSDT", Timeframe.parse("15m"), bars, bars, {}, paid)
    once, twice = made.costs(as_settings({}).costs), made.costs(as_settings({}).costs, 2.0)
    held = np.ones(200)
    assert once.of_holding(held)[8:].sum() == pytest.approx(1e-3 * 48, rel=0.05)
    assert twice.of_holding(held) == pytest.approx(2 * once.of_holding(held))
    assert twice.per_side == 2 * once.per_side
