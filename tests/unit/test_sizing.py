"""Size and leverage: smaller the worse or the less certain things are, zero without an edge, never above a cap."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trader_cli.core.money.orders import LeverageBracket
from trader_cli.core.money.sizing import (
    SizingInputs,
    SizingLimits,
    bracket_of,
    caps,
    highest_leverage,
    kelly_notional,
    liquidation_risk,
    lower_probability,
    needed_leverage,
)

EXAMPLES = settings(max_examples=60, deadline=None)
BRACKETS = tuple(
    LeverageBracket(Decimal(cap), most, Decimal(rate), Decimal(offset))
    for cap, most, rate, offset in ((50_000, 125, "0.004", 0), (250_000, 50, "0.01", 300), (10**6, 10, "0.05", 10_300))
)
LIMITS = SizingLimits(0.25, 0.8, 0.01, 0.4, 2.0, 1.5, 0.25, 0.05, 5, 0.001, 0.5, None)
SETTING = SizingInputs(
    side="long",
    price=2000.0,
    stop_distance=0.02,
    target_distance=0.02,
    cost=0.001,
    probability=0.6,
    trades=500,
    sigma_horizon=0.02,
    sigma_year=0.6,
    equity=10_000.0,
    available=10_000.0,
    others=0.0,
    same_side=0.0,
    book_notional=10**6,
    bar_notional=10**7,
    max_market_notional=10**7,
    brackets=BRACKETS,
)

trades = st.builds(
    replace,
    st.just(SETTING),
    side=st.sampled_from(["long", "short"]),
    stop_distance=st.floats(0.001, 0.2),
    target_distance=st.floats(0.001, 0.2),
    cost=st.floats(0, 0.02),
    probability=st.floats(0, 1),
    trades=st.integers(0, 5000),
    sigma_horizon=st.floats(0.001, 0.2),
    sigma_year=st.floats(0.05, 3),
    equity=st.floats(10, 10**6),
    available=st.floats(0, 10**6),
    others=st.floats(0, 10**5),
    same_side=st.floats(0, 10**5),
    book_notional=st.floats(0, 10**7),
    bar_notional=st.floats(0, 10**8),
)
limits = st.builds(
    replace,
    st.just(LIMITS),
    kelly_fraction=st.floats(0.01, 0.5),
    confidence=st.floats(0.5, 0.99),
    risk_per_trade=st.floats(0.001, 0.1),
    max_leverage=st.integers(1, 125),
    max_liquidation_probability=st.floats(0, 0.2),
    margin_share=st.floats(0.05, 1),
    capital_cap=st.one_of(st.none(), st.floats(1, 10**5)),
)


def size(setting: SizingInputs, rules: SizingLimits = LIMITS) -> float:
    return min(caps(setting, rules, rules.max_leverage, sized_by_edge=True).values())


@EXAMPLES
@given(trades, limits, st.floats(1, 10))
def test_size_never_grows_as_things_get_worse(setting: SizingInputs, rules: SizingLimits, factor: float) -> None:
    slack = size(setting, rules) * (1 + 1e-9)
    wilder = replace(setting, sigma_horizon=setting.sigma_horizon * factor, sigma_year=setting.sigma_year * factor)
    assert size(wilder, rules) <= slack
    assert size(replace(setting, cost=setting.cost * factor), rules) <= slack
    assert size(replace(setting, trades=int(setting.trades / factor)), rules) <= slack
    assert size(replace(setting, others=setting.others * factor), rules) <= slack
    assert size(replace(setting, same_side=setting.same_side * factor), rules) <= slack
    assert size(setting, replace(rules, confidence=min(0.999, rules.confidence * factor))) <= slack
    for lower in ("kelly_fraction", "risk_per_trade"):
        assert size(setting, replace(rules, **{lower: getattr(rules, lower) / factor})) <= slack, lower


@EXAMPLES
@given(trades, limits)
def test_at_or_below_break_even_the_size_is_exactly_zero(setting: SizingInputs, rules: SizingLimits) -> None:
    win, loss = setting.target_distance - setting.cost, setting.stop_distance + setting.cost
    even = loss / (win + loss) if win > 0 else 1.0
    below = replace(setting, probability=min(setting.probability, even * (1 - 1e-12)))
    assert kelly_notional(below, rules) == 0.0
    assert size(below, rules) == 0.0
    if lower_probability(setting.probability, setting.trades, rules.confidence) > even + 1e-9:
        assert kelly_notional(setting, rules) > 0


def test_no_edge_no_trades_no_size() -> None:
    assert size(replace(SETTING, probability=0.525)) == 0.0, "break-even is (0.02 + 0.001) / 0.04"
    assert size(replace(SETTING, trades=0)) == 0.0
    assert size(replace(SETTING, cost=0.02)) == 0.0
    assert size(SETTING) > 0


@EXAMPLES
@given(trades, limits)
def test_twice_the_account_is_twice_the_size(setting: SizingInputs, rules: SizingLimits) -> None:
    """Where nothing of the market binds."""
    open_market = {
        "book_notional": 1e18,
        "bar_notional": 1e18,
        "max_market_notional": 1e18,
        "brackets": (LeverageBracket(Decimal(10**15), 125, Decimal("0.004"), Decimal(0)),),
    }
    alone = replace(setting, others=0.0, same_side=0.0, **open_market)  # type: ignore[arg-type]
    doubled = replace(alone, equity=2 * alone.equity, available=2 * alone.available)
    uncapped = replace(rules, capital_cap=None)
    assert size(doubled, uncapped) == pytest.approx(2 * size(alone, uncapped), rel=1e-9)


@EXAMPLES
@given(trades, limits)
def test_every_cap_is_kept(setting: SizingInputs, rules: SizingLimits) -> None:
    notional = size(setting, rules)
    assert notional >= 0
    assert notional * (setting.stop_distance + setting.cost) <= setting.equity * rules.risk_per_trade * (1 + 1e-9)
    assert notional <= max(0.0, setting.equity * rules.max_exposure - setting.others)
    assert notional <= max(0.0, setting.equity * rules.max_same_side - setting.same_side)
    assert notional * setting.sigma_year <= setting.equity * rules.target_volatility * (1 + 1e-9)
    assert notional <= setting.book_notional * rules.max_book_share
    assert notional <= setting.bar_notional * rules.max_volume_share
    assert rules.capital_cap is None or notional <= max(0.0, rules.capital_cap - setting.others)


@EXAMPLES
@given(trades, limits)
def test_the_leverage_a_size_needs_keeps_liquidation_unlikely(setting: SizingInputs, rules: SizingLimits) -> None:
    notional = size(setting, rules) * (1 - 1e-9)
    if notional <= 0:
        return
    needed = needed_leverage(setting, rules, notional)
    assert 1 <= needed.value <= rules.max_leverage
    assert needed.value <= bracket_of(setting.brackets, notional).max_leverage
    assert needed.probability <= rules.max_liquidation_probability
    assert notional <= setting.available * rules.margin_share * needed.value


@EXAMPLES
@given(trades, limits, st.floats(1, 10**6), st.integers(1, 125))
def test_the_highest_leverage_is_allowed_and_the_next_is_not(
    setting: SizingInputs, rules: SizingLimits, notional: float, most: int
) -> None:
    found = highest_leverage(setting, rules, notional, most)
    if found:
        assert liquidation_risk(setting, found, notional) <= rules.max_liquidation_probability
    if found < most and found + 1 <= bracket_of(setting.brackets, notional).max_leverage:
        assert liquidation_risk(setting, found + 1, notional) > rules.max_liquidation_probability


@EXAMPLES
@given(trades, st.floats(1, 10**6), st.integers(1, 60))
def test_more_leverage_is_never_safer(setting: SizingInputs, notional: float, leverage: int) -> None:
    risks = [liquidation_risk(setting, value, notional) for value in (leverage, leverage + 1)]
    assert risks[0] <= risks[1] + 1e-12


@EXAMPLES
@example(1e-12, 0.0, 119, 0.8342509226689916)
@given(st.floats(0, 1), st.floats(0, 1), st.integers(1, 5000), st.floats(0.5, 0.99))
def test_the_lower_bound_is_below_and_grows(one: float, other: float, trades: int, confidence: float) -> None:
    low, high = (lower_probability(p, trades, confidence) for p in sorted((one, other)))
    assert 0 <= low <= high + 1e-12
    assert low <= min(one, other)
    assert lower_probability(one, trades, confidence) <= lower_probability(one, trades + 1, confidence)


@EXAMPLES
@given(trades, limits)
def test_long_and_short_are_sized_alike_but_for_liquidation(setting: SizingInputs, rules: SizingLimits) -> None:
    sizes = [
        {
            k: v
            for k, v in caps(replace(setting, side=side), rules, rules.max_leverage, sized_by_edge=True).items()
            if k != "liquidation_probability"
        }
        for side in ("long", "short")
    ]  # type: ignore[arg-type]
    assert sizes[0] == sizes[1]


@EXAMPLES
@given(st.floats(1, 10**5), st.floats(0.05, 1))
def test_leverage_is_the_lowest_whole_one_that_funds_the_size(notional: float, share: float) -> None:
    rules = replace(LIMITS, margin_share=share)
    needed, margin = needed_leverage(SETTING, rules, notional).value, SETTING.available * share
    assert notional <= needed * margin * (1 + 1e-12)
    assert needed == 1 or notional > (needed - 1) * margin


@EXAMPLES
@given(trades, limits)
def test_the_risk_cap_loses_its_share_of_equity_at_the_stop_costs_included(
    setting: SizingInputs, rules: SizingLimits
) -> None:
    notional = caps(setting, rules, rules.max_leverage, sized_by_edge=True)["risk_per_trade"]
    assert notional * (setting.stop_distance + setting.cost) == pytest.approx(setting.equity * rules.risk_per_trade)


@EXAMPLES
@given(trades, limits, st.floats(1, 10**4))
def test_what_is_held_already_leaves_so_much_less(setting: SizingInputs, rules: SizingLimits, more: float) -> None:
    roomy = replace(setting, equity=10**6, others=100.0, same_side=100.0)
    before, after = (
        caps(one, replace(rules, capital_cap=10**6), 5, sized_by_edge=True)
        for one in (roomy, replace(roomy, others=100.0 + more, same_side=100.0 + more))
    )
    for name in ("exposure", "correlation", "capital_cap"):
        assert before[name] - after[name] == pytest.approx(more), name


def test_the_same_win_rate_over_more_trades_is_worth_more() -> None:
    sizes = [kelly_notional(replace(SETTING, probability=0.65, trades=n), LIMITS) for n in (60, 600, 6000)]
    assert 0 < sizes[0] < sizes[1] < sizes[2]
