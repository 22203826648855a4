"""Keys of tactics, execution and care: changing one changes what is planned or done."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from support.trading.planning_inputs import Shown

from trader_cli.core.money.exits import Assessment, ExitRules, OpenPosition, assess
from trader_cli.core.money.loss_limits import LossLimits, breach
from trader_cli.core.money.orders import LeverageBracket, SymbolRules
from trader_cli.core.money.plans import Approved, Refused, Request, TradePlan
from trader_cli.core.types import Analysis, Claim, Signal
from trader_cli.settings import as_settings
from trader_cli.settings.room_options import PlanningOptions
from trader_cli.tactician.planning import plan
from trader_cli.tactician.position_monitor import PositionMonitor

CLAIM = Claim(True, "", 1.0, 1.0, 0.1, 0.1, 3, 5000, 900, 0.0)
SIGNAL = Signal("long", 0.6, 0.53, 40.0, 2040.0, 1960.0, 24)
ANALYSIS = Analysis("ETHUSDT", "15m", 1_700_000_000_000, 2000.0, SIGNAL, claim=CLAIM, digests={"model": "m"})
RULES = SymbolRules("ETHUSDT", Decimal("0.01"), Decimal("0.001"), Decimal("0.001"), Decimal(100_000), Decimal(20))
BRACKETS = (
    LeverageBracket(Decimal(50_000), 125, Decimal("0.004"), Decimal(0)),
    LeverageBracket(Decimal(10_000_000), 50, Decimal("0.01"), Decimal(300)),
)
NOW = Shown(
    now_ms=1_700_000_001_000,
    account="account",
    equity=Decimal(10_000),
    available=Decimal(10_000),
    long_notional=Decimal(0),
    short_notional=Decimal(0),
    mark=Decimal(2000),
    asks=1e6,
    bids=1e6,
    day_volume=2e9,
    rules=RULES,
    brackets=BRACKETS,
)


def planned(now: Shown = NOW, request: Request | None = None, **tactician: Any) -> TradePlan | Refused:
    options = PlanningOptions.of(as_settings({"mode": "sim", "tactician": tactician}))
    made = plan(ANALYSIS, SIGNAL, now, now.depth, options, request or Request())
    return made.plan if isinstance(made, Approved) else made


WIDE: dict[str, Any] = {
    "kelly_fraction": 0.5,
    "risk_per_trade": 0.1,
    "target_volatility": 9.0,
    "max_exposure": 9.0,
    "max_same_side": 9.0,
    "max_book_share": 1.0,
    "max_volume_share": 1.0,
    "margin_share": 1.0,
    "max_leverage": 20,
    "max_liquidation_probability": 1.0,
}


@pytest.mark.parametrize(
    ("key", "value", "binding", "now"),
    [
        ("kelly_fraction", 0.05, "kelly", {}),
        ("confidence", 0.99, "kelly", {}),
        ("risk_per_trade", 0.001, "risk_per_trade", {}),
        ("target_volatility", 0.01, "volatility_target", {}),
        ("max_exposure", 0.1, "exposure", {}),
        ("max_same_side", 0.1, "correlation", {}),
        ("max_book_share", 0.001, "liquidity", {}),
        ("max_volume_share", 0.00001, "liquidity", {}),
        ("margin_share", 0.01, "liquidation_probability", {}),
        ("max_leverage", 1, "liquidation_probability", {"available": Decimal(500)}),
        ("max_liquidation_probability", 1e-9, "liquidation_probability", {"available": Decimal(2000)}),
        ("capital_cap", 100.0, "capital_cap", {}),
        ("enable_position_sizing", False, "sizing_off", {}),
    ],
)
def test_each_limit_binds_when_it_is_the_smallest(key: str, value: Any, binding: str, now: dict[str, Any]) -> None:
    at = replace(NOW, **now)
    before, after = planned(at, **WIDE), planned(at, **{**WIDE, key: value})
    assert isinstance(before, TradePlan)
    assert isinstance(after, TradePlan), after
    assert after.binding == binding
    assert after.quantity < before.quantity


def test_validity_drift_and_backstop_are_as_set() -> None:
    made, other = planned(), planned(plan_validity=3, backstop_distance=2.0)
    assert isinstance(made, TradePlan)
    assert isinstance(other, TradePlan)
    assert other.expires_ms - made.expires_ms == 2 * 900_000
    assert other.backstop_price == Decimal(1920)
    assert made.backstop_price == Decimal(1940)
    moved = replace(NOW, mark=Decimal(1997))
    assert isinstance(planned(moved), TradePlan)
    refused = planned(moved, max_price_drift=0.01)
    assert isinstance(refused, Refused)
    assert refused.code == "price_moved"


def test_without_leverage_optimisation_leverage_is_one() -> None:
    poor = replace(NOW, available=Decimal(1000))
    assert planned(poor, **WIDE).leverage > 1  # type: ignore[union-attr]
    assert planned(poor, **WIDE, enable_leverage_optimization=False).leverage == 1  # type: ignore[union-attr]


def test_without_risk_management_only_the_hard_limits_are_left() -> None:
    tight = {**WIDE, "max_exposure": 0.1, "max_same_side": 0.1, "target_volatility": 0.01}
    bound, free = planned(**tight), planned(**tight, enable_risk_management=False)
    assert isinstance(bound, TradePlan)
    assert isinstance(free, TradePlan)
    assert free.quantity > bound.quantity
    assert {"exposure", "correlation", "volatility_target"} & free.caps.keys() == set()


def test_loss_limits_halt_at_their_share() -> None:
    flows = [(1_700_000_000_000, Decimal(-400))]
    day = 1_700_000_100_000
    assert breach(flows, Decimal(9600), Decimal(0), LossLimits(0.05, 0.5), day) is None
    assert "UTC day" in str(breach(flows, Decimal(9600), Decimal(0), LossLimits(0.03, 0.5), day))
    assert "highest" in str(breach(flows, Decimal(9600), Decimal(0), LossLimits(0.5, 0.03), day))


HELD = OpenPosition(
    "long",
    Decimal(1),
    Decimal(2000),
    Decimal(1960),
    Decimal(1960),
    Decimal(2040),
    Decimal(2021),
    10**13,
    0,
    0,
    scaled_down=False,
)


def rules(**settings: Any) -> ExitRules:
    made = planned()
    assert isinstance(made, TradePlan)
    return PositionMonitor({"mode": "demo", **settings})._manager.rules(made)


def test_the_trail_follows_at_its_distance_and_in_its_steps() -> None:
    mark = Decimal(2020)
    assert assess(HELD, mark, None, rules(), 1).price == Decimal(1980)
    assert assess(HELD, mark, None, rules(monitor={"trail_step": 0.4}), 1).price == Decimal(1976)
    assert assess(HELD, mark, None, rules(monitor={"trail_distance": 2.0}), 1).kind == "stay"


def test_risk_thresholds_decide_what_an_opinion_does() -> None:
    mark, assessment = Decimal(2001), Assessment(0.7, 10_000_000)
    held, now = replace(HELD, best_price=Decimal(2001)), 10_000_000
    assert assess(held, mark, assessment, rules(), now).kind == "scale_down"
    assert assess(held, mark, assessment, rules(high_risk_threshold=0.65), now).kind == "close"
    assert assess(held, mark, assessment, rules(medium_risk_threshold=0.75), now).kind == "stay"
    lows = {
        PositionMonitor({"mode": "demo", "low_risk_threshold": low})._manager.band(Assessment(0.4, 0), planned(), 0)  # type: ignore[arg-type]
        for low in (0.3, 0.5)
    }
    assert lows == {"low", "minimal"}


def test_confidence_decays_and_acts_keep_their_distance() -> None:
    held, mark = replace(HELD, best_price=Decimal(2001), last_act_ms=9_500_000), Decimal(2001)
    assessment, now = Assessment(0.9, 10_000_000), 10_000_000
    assert assess(held, mark, assessment, rules(), now).kind == "stay"
    assert assess(held, mark, assessment, rules(monitor={"min_dwell": 0}), now).kind == "close"
    later = 10_000_000 + 4 * 900_000
    assert assess(held, mark, assessment, rules(), later).kind == "scale_down"
    assert assess(held, mark, assessment, rules(monitor={"confidence_half_life": 100}), later).kind == "close"


def test_a_lifted_halt_starts_the_count_anew() -> None:
    flows = [(1_700_000_000_000, Decimal(500)), (1_700_000_001_000, Decimal(-900))]
    limits, now = LossLimits(0.03, 0.05), 1_700_000_100_000
    assert breach(flows, Decimal(9600), Decimal(0), limits, now) is not None
    assert breach(flows, Decimal(9600), Decimal(0), limits, now, since_ms=1_700_000_050_000) is None
    assert breach(flows, Decimal(9600), Decimal(-490), limits, now, since_ms=1_700_000_050_000) is not None
