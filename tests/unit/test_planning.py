"""The plan of a signal: rounded down, within every limit; requests only lower it; refusals have their codes."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.trading.planning_inputs import Shown

from trader_cli.core.money.orders import LeverageBracket, SymbolRules
from trader_cli.core.money.plans import Approved, Refused, Request, TradePlan
from trader_cli.core.types import Analysis, Claim, Signal
from trader_cli.execution.preflight import check_shape
from trader_cli.settings import Settings, as_settings
from trader_cli.settings.room_options import PlanningOptions
from trader_cli.tactician.planning import plan

EXAMPLES = settings(max_examples=60, deadline=None)
MARK = 2000.0
RULES = SymbolRules("ETHUSDT", Decimal("0.01"), Decimal("0.001"), Decimal("0.001"), Decimal(10_000), Decimal(5))
BRACKETS = (
    LeverageBracket(Decimal(50_000), 125, Decimal("0.004"), Decimal(0)),
    LeverageBracket(Decimal(10**7), 20, Decimal("0.02"), Decimal(800)),
)
CLAIM = Claim(True, "test", 0.99, 0.99, 0.1, 0.05, 1, 5000, 500, 0.1)
NOW = Shown(
    now_ms=1_000_000,
    account="a",
    equity=Decimal(10_000),
    available=Decimal(10_000),
    long_notional=Decimal(0),
    short_notional=Decimal(0),
    mark=Decimal(2000),
    asks=1e6,
    bids=1e6,
    day_volume=1e9,
    rules=RULES,
    brackets=BRACKETS,
)


@cache
def defaults() -> Settings:
    """The settings as shipped, read once."""
    return as_settings({})


def signal(side: Any = "long", probability: float = 0.65, width: float = 0.02, **changes: Any) -> Signal:
    up = 1 if side == "long" else -1
    cost = 0.001
    levels = MARK * (1 + up * width), MARK * (1 - up * width)
    return Signal(side, probability, (width + cost) / (2 * width), 10.0, *levels, 24, **changes)


def analysis(made: Signal) -> Analysis:
    return Analysis("ETHUSDT", "15m", 900_000, MARK, made, claim=CLAIM, digests={"model": "m"})


def planned(
    made: Signal, now: Shown = NOW, settings: Settings | None = None, request: Request | None = None
) -> Approved | Refused:
    return plan(analysis(made), made, now, now.depth, PlanningOptions.of(settings or defaults()), request or Request())


def approved(*given: Any, **named: Any) -> TradePlan:
    outcome = planned(*given, **named)
    assert isinstance(outcome, Approved), outcome
    return outcome.plan


signals = st.builds(signal, st.sampled_from(["long", "short"]), st.floats(0.3, 0.95), st.floats(0.003, 0.08))
nows = st.builds(
    replace,
    st.just(NOW),
    equity=st.integers(50, 10**6).map(Decimal),
    available=st.integers(0, 10**6).map(Decimal),
    long_notional=st.integers(0, 30_000).map(Decimal),
    asks=st.floats(0, 1e7),
    bids=st.floats(0, 1e7),
    day_volume=st.floats(0, 1e10),
    mark=st.integers(1_999_000, 2_001_000).map(lambda m: Decimal(m) / 1000),
)
requests = st.builds(
    Request,
    st.one_of(st.none(), st.integers(1, 10**6).map(lambda q: Decimal(q) / 1000)),
    st.one_of(st.none(), st.integers(1, 200)),
    st.sampled_from([None, "low", "medium", "high"]),
)


@EXAMPLES
@given(
    st.builds(signal, st.sampled_from(["long", "short"]), st.floats(0.7, 0.95), st.floats(0.003, 0.2)),
    st.sampled_from(["0.01", "1", "7", "30", "90", "300", "1500", "4000"]).map(Decimal),
)
def test_on_a_coarse_tick_a_plan_keeps_its_sense_or_the_tick_is_named(made: Signal, tick: Decimal) -> None:
    outcome = planned(made, replace(NOW, rules=replace(RULES, tick=tick)))
    if isinstance(outcome, Refused):
        if outcome.code == "stops_impossible":
            assert f"{tick:f}" in outcome.sentence or "the lowest price" in outcome.sentence
        return
    plan, risk = outcome.plan, NOW.equity * Decimal(str(defaults().tactician.risk_per_trade))
    stop, backstop = (plan.price - plan.stop_price) * plan.sign, (plan.price - plan.backstop_price) * plan.sign
    assert 0 < stop < backstop
    assert (plan.take_profit_price - plan.price) * plan.sign > 0
    assert plan.quantity * stop <= risk
    assert check_shape(plan, replace(RULES, tick=tick)) is None


@EXAMPLES
@given(signals, nows, requests)
def test_a_plan_keeps_every_limit_and_is_rounded_down(made: Signal, now: Shown, request: Request) -> None:
    outcome, options = planned(made, now, request=request), defaults().tactician
    if isinstance(outcome, Refused):
        assert outcome.code and outcome.sentence.endswith(".")
        return
    p = outcome.plan
    notional = p.quantity * now.mark
    assert p.quantity % RULES.step == 0
    assert RULES.min_notional <= notional <= Decimal(repr(min(p.caps.values()))) * Decimal("1.000000001")
    assert p.caps[p.binding] == min(p.caps.values())
    assert p.leverage <= options.max_leverage
    assert notional / p.leverage <= now.available * Decimal(str(options.margin_share)) * Decimal("1.000000001")
    assert p.liquidation_probability <= options.max_liquidation_probability
    levels = (p.backstop_price, p.stop_price, now.mark, p.take_profit_price)
    assert list(levels) == sorted(levels, reverse=p.side == "short"), "backstop, stop, price, target"
    assert len(set(levels)) == 4
    assert all(level % RULES.tick == 0 for level in (p.backstop_price, p.stop_price, p.take_profit_price))
    assert p.exit_by_ms > p.expires_ms > p.decision_ms
    assert TradePlan.from_dict({k: v for k, v in p.as_dict().items() if k != "plan_id"}) == p


@EXAMPLES
@given(signals, nows, requests)
def test_requests_only_ever_lower(made: Signal, now: Shown, request: Request) -> None:
    free, asked = planned(made, now), planned(made, now, request=request)
    if isinstance(free, Refused):
        assert isinstance(asked, Refused)
    elif isinstance(asked, Approved):
        assert asked.plan.quantity <= free.plan.quantity
        assert request.quantity is None or asked.plan.quantity <= request.quantity
        assert asked.plan.leverage <= min(request.leverage or 200, defaults().tactician.max_leverage)


@EXAMPLES
@given(st.floats(0.4, 0.9), st.floats(0.005, 0.05))
def test_long_and_short_are_mirrors(probability: float, width: float) -> None:
    long, short = (planned(signal(side, probability, width)) for side in ("long", "short"))
    if isinstance(long, Refused) or isinstance(short, Refused):
        assert isinstance(long, Refused) and isinstance(short, Refused) and long.code == short.code
        return
    assert long.plan.quantity == short.plan.quantity
    for name in ("stop_price", "backstop_price", "take_profit_price"):
        assert getattr(long.plan, name) + getattr(short.plan, name) == pytest.approx(Decimal(4000), abs=Decimal("0.03"))


_DOLLARS = 2**15
"""What one of the other margin asset is worth; a power of two leaves the digits of floats as they are."""


def _in_another_asset(now: Shown) -> Shown:
    """The same account and market, every amount of it counted in an asset that is worth so many dollars."""
    rules, unit = now.rules, Decimal(_DOLLARS)
    less = replace(
        rules, symbol="ETHBTC", tick=rules.tick / unit, min_notional=rules.min_notional / unit, margin_asset="BTC"
    )
    brackets = [replace(b, notional_cap=b.notional_cap / unit, offset=b.offset / unit) for b in now.brackets]
    money = ("equity", "available", "long_notional", "short_notional", "mark")
    floats = {name: getattr(now, name) / _DOLLARS for name in ("asks", "bids", "day_volume")}
    return replace(
        now,
        rules=less,
        brackets=brackets,
        dollar_price=unit,
        **floats,
        **{name: getattr(now, name) / unit for name in money},
    )


@EXAMPLES
@given(signals, nows, requests, st.integers(0, 20_000).map(Decimal), st.sampled_from([None, 500.0, 4000.0, 60_000.0]))
def test_a_plan_in_another_margin_asset_is_the_one_in_dollars(
    made: Signal, now: Shown, request: Request, elsewhere: Decimal, cap: float | None
) -> None:
    """Shares of equity need no price; the capital cap and what is held elsewhere are dollars, and go by it."""
    settings = as_settings({"tactician": {"capital_cap": cap}})
    now = replace(now, elsewhere=elsewhere)
    other = replace(made, stop_price=made.stop_price / _DOLLARS, take_profit_price=made.take_profit_price / _DOLLARS)
    bar = replace(analysis(other), symbol="ETHBTC", price=MARK / _DOLLARS)
    options = PlanningOptions.of(settings)
    beside = _in_another_asset(now)
    one, another = planned(made, now, settings, request), plan(bar, other, beside, beside.depth, options, request)
    if isinstance(one, Refused) or isinstance(another, Refused):
        assert isinstance(one, Refused) and isinstance(another, Refused) and one.code == another.code
        return
    assert abs(one.plan.quantity - another.plan.quantity) <= RULES.step
    assert (one.plan.leverage, one.plan.binding) == (another.plan.leverage, another.plan.binding)
    assert (one.plan.dollar_price, another.plan.dollar_price) == (None, _DOLLARS)
    assert TradePlan.from_dict(another.plan.as_dict()) == another.plan
    assert "dollar_price" not in one.plan.as_dict()


def test_a_plan_says_what_it_was_promised_and_one_that_does_not_is_read() -> None:
    made = signal()
    done = planned(made, NOW, as_settings({}), Request())
    assert isinstance(done, Approved)
    body = done.plan.as_dict()
    assert body["probability"] == done.plan.probability == made.probability_act
    del body["probability"]
    before = TradePlan.from_dict(body)
    assert (before.probability, before.plan_id) == (None, done.plan.plan_id)
    assert before.as_dict() == body


LIVE_LIKE = {"capital_cap": 1000.0}


@pytest.mark.parametrize(
    ("made", "now", "options", "request_", "code"),
    [
        (signal(probability=0.52), NOW, {}, None, "no_room_kelly"),
        (signal(), replace(NOW, long_notional=Decimal(20_000)), {}, None, "no_room_exposure"),
        (signal(), replace(NOW, long_notional=Decimal(15_000)), {}, None, "no_room_correlation"),
        (signal(), replace(NOW, long_notional=Decimal(1000)), LIVE_LIKE, None, "no_room_capital_cap"),
        (signal(), replace(NOW, elsewhere=Decimal(1000)), LIVE_LIKE, None, "no_room_capital_cap"),
        (signal(), replace(NOW, asks=0.0), {}, None, "no_room_liquidity"),
        (signal(), replace(NOW, available=Decimal(0)), {}, None, "no_room_liquidation_probability"),
        (signal("short"), NOW, {"max_liquidation_probability": 0.0}, None, "no_room_liquidation_probability"),
        (signal(), replace(NOW, equity=Decimal(10)), {}, None, "below_minimum"),
        (signal(), NOW, {}, Request(quantity=Decimal("0.001")), "below_minimum"),
        (signal(), replace(NOW, mark=Decimal(2015)), {}, None, "price_moved"),
        (signal(), NOW, {}, Request(price=Decimal(1980)), "price_moved"),
        (signal(), NOW, {}, Request(quantity=Decimal(0)), "bad_request"),
        (signal(), NOW, {}, Request(leverage=-1), "bad_request"),
        (signal(), NOW, {}, Request(risk_level="all"), "bad_request"),
    ],
)
def test_refusals_have_their_codes(
    made: Signal, now: Shown, options: dict[str, Any], request_: Request | None, code: str
) -> None:
    outcome = planned(made, now, as_settings({"tactician": options}), request_)
    assert isinstance(outcome, Refused), outcome
    assert outcome.code == code


def test_the_binding_limit_is_named() -> None:
    assert approved(signal(), replace(NOW, asks=2000.0)).binding == "liquidity"
    assert approved(signal(), NOW, as_settings({"tactician": LIVE_LIKE})).binding == "capital_cap"
    assert approved(signal(), NOW, request=Request(quantity=Decimal("0.01"))).quantity == Decimal("0.01")


def test_what_is_permitted_is_never_exceeded_in_size_nor_in_time() -> None:
    free, tight = approved(signal()), approved(replace(signal(), budget=0.01, until_ms=NOW.now_ms + 1000))
    assert tight.binding == "permission"
    assert tight.caps["permission"] == pytest.approx(0.01 * float(NOW.equity))
    assert tight.quantity * tight.price <= Decimal("0.01") * NOW.equity
    assert tight.expires_ms == NOW.now_ms + 1000 < free.expires_ms
    assert approved(replace(signal(), budget=1e6)).quantity == free.quantity
    nothing = planned(replace(signal(), budget=0.0), NOW, as_settings({}), None)
    assert isinstance(nothing, Refused)
    assert nothing.code == "no_room_permission"


def test_the_less_is_known_of_volatility_the_smaller_the_position_that_may_be_liquidated() -> None:
    tight = as_settings({"tactician": {"max_leverage": 50, "max_liquidation_probability": 1e-4}})
    sizes = [approved(signal(width=0.01, sigma_uncertainty=u), NOW, tight).caps for u in (0.2, 0.6, 0.9)]
    allowed = [caps["liquidation_probability"] for caps in sizes]
    assert allowed[0] > allowed[1] > allowed[2]
    assert approved(signal(width=0.01), NOW, tight).caps == sizes[1]


def test_an_unproven_plan_is_the_smallest_and_says_so() -> None:
    p = approved(signal(probability=0.4, unproven=True))
    assert (p.unproven, p.binding) == (True, "unproven")
    assert p.quantity * p.price <= Decimal(51)


def test_switches_lower_the_size_or_the_leverage() -> None:
    sizing_off = as_settings({"tactician": {"enable_position_sizing": False}})
    assert approved(signal(), NOW, sizing_off).quantity * 2000 <= 6
    leverage_off = as_settings({"tactician": {"enable_leverage_optimization": False}})
    assert approved(signal(width=0.004), NOW, leverage_off).leverage == 1


def test_the_same_decision_has_the_same_id_and_ids() -> None:
    one, other = approved(signal()), approved(signal(), replace(NOW, now_ms=2_000_000, equity=Decimal(5000)))
    assert one.plan_id == other.plan_id
    assert one.client_id("entry") == other.client_id("entry")
    assert len({one.client_id(p, g) for p in ("entry", "stop", "backstop") for g in range(3)}) == 9  # type: ignore[arg-type]
    assert approved(signal("short")).plan_id != one.plan_id


def test_limits_are_of_the_frame_that_is_traded() -> None:
    """The same signal in bars sixteen times as long: a sixteenth of the volatility a year, squared; 16 times a bar."""
    made, now = signal(), replace(NOW, asks=1e12, day_volume=1e6)
    wide = PlanningOptions.of(as_settings({"tactician": {"max_volume_share": 1.0}}))
    short, long = (
        plan(replace(analysis(made), timeframe=frame), made, now, now.depth, wide, Request()) for frame in ("15m", "4h")
    )
    assert isinstance(short, Approved)
    assert isinstance(long, Approved)
    for name, factor in (("volatility_target", 4), ("liquidity", 16), ("risk_per_trade", 1)):
        assert long.plan.caps[name] == pytest.approx(factor * short.plan.caps[name]), name


@EXAMPLES
@given(signals, st.sampled_from(["0.01", "0.05", "0.25", "1", "5"]))
def test_on_ticks_no_level_is_further_away_than_the_signal_says(made: Signal, tick: str) -> None:
    outcome = planned(made, replace(NOW, rules=replace(RULES, tick=Decimal(tick))))
    if isinstance(outcome, Approved):
        p = outcome.plan
        assert (p.stop_price - Decimal(made.stop_price)) * p.sign >= 0
        assert (Decimal(made.take_profit_price) - p.take_profit_price) * p.sign >= 0
        assert abs(p.stop_price - Decimal(made.stop_price)) < Decimal(tick)
        assert (p.stop_price - p.backstop_price) * p.sign >= 0


@pytest.mark.parametrize(("level", "share"), [("low", 0.25), ("medium", 0.5), ("high", 1.0)])
def test_a_lower_risk_is_that_share_of_what_may_be_lost(level: str, share: float) -> None:
    free, asked = approved(signal()), approved(signal(), request=Request(risk_level=level))
    for name in ("kelly", "risk_per_trade"):
        assert asked.caps[name] == pytest.approx(share * free.caps[name]), name


@pytest.mark.parametrize("asked", [None, 2, 5, 125])
def test_a_request_never_raises_the_leverage_that_a_size_needs(asked: int | None) -> None:
    poor, wide = replace(NOW, available=Decimal(4000)), as_settings({"tactician": {"max_liquidation_probability": 0.5}})
    free, made = (approved(signal(), poor, wide, Request(leverage=value)) for value in (None, asked))
    assert 1 < free.leverage < wide.tactician.max_leverage
    assert made.leverage <= free.leverage


@pytest.mark.parametrize(("side", "up"), [("long", 1), ("short", -1)])
def test_a_far_target_beside_a_near_stop_changes_nothing_of_what_may_be_lost(side: str, up: int) -> None:
    made = replace(
        signal(side), take_profit_price=MARK + up * 60, stop_price=MARK - up * 20, break_even_probability=0.275
    )
    assert approved(made).caps["risk_per_trade"] == pytest.approx(10_000 * 0.01 / (0.01 + 0.001))
