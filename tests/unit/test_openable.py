"""What may be opened under the exchange's rules of now, at what price at most, on which prices, and when in live."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trader_cli import __version__
from trader_cli.core.money.orders import LeverageBracket, SymbolRules
from trader_cli.core.money.plans import Refused, TradePlan
from trader_cli.core.money.trading_rules import (
    DELISTING_MARGIN_MS,
    RULE_CODES,
    Prices,
    entry_limit,
    openable,
    trading,
    trustworthy,
)
from trader_cli.execution.preflight import check_live
from trader_cli.settings import as_settings
from trader_cli.settings.room_options import ExecutionOptions
from trader_cli.settings.workspace import workspace_of
from trader_cli.storage import demo_verified

EXAMPLES = settings(max_examples=80, deadline=None)
HOUR = 3_600_000
RULES = SymbolRules(
    "ETHUSDT",
    Decimal("0.01"),
    Decimal("0.001"),
    Decimal("0.001"),
    Decimal(10_000),
    Decimal(5),
    delivery_ms=4_133_404_800_000,
    band_up=Decimal("1.05"),
    band_down=Decimal("0.95"),
    min_price=Decimal("0.01"),
    max_price=Decimal(100_000),
    max_stop_orders=100,
)
BRACKETS = (
    LeverageBracket(Decimal(50_000), 125, Decimal("0.004"), Decimal(0)),
    LeverageBracket(Decimal(10_000_000), 10, Decimal("0.01"), Decimal(300)),
)
NOW = 1_700_000_000_000


def plan(side: Any = "long", **changes: Any) -> TradePlan:
    up = 1 if side == "long" else -1
    given: dict[str, Any] = {
        "account": "a",
        "mode": "demo",
        "symbol": "ETHUSDT",
        "timeframe": "15m",
        "side": side,
        "lineage": "m",
        "decision_ms": NOW,
        "created_ms": NOW,
        "expires_ms": NOW + HOUR,
        "exit_by_ms": NOW + 6 * HOUR,
        "price": Decimal("2000.00"),
        "quantity": Decimal("1.500"),
        "leverage": 5,
        "stop_price": 2000 - up * Decimal("20.03"),
        "backstop_price": 2000 - up * Decimal("30.01"),
        "take_profit_price": 2000 + up * Decimal("20.07"),
        "max_drift": Decimal("5.005"),
        "risk_quote": Decimal(30),
        "expected_value_bps": 1.0,
        "liquidation_probability": 0.0,
        "binding": "kelly",
    }
    return TradePlan(**{**given, **changes})


def code(rules: SymbolRules = RULES, made: TradePlan | None = None, resting: int | None = 0) -> str | None:
    refused = openable(rules, BRACKETS, made or plan(), NOW, resting=resting)
    assert refused is None or refused.sentence.endswith(".")
    if refused is not None and refused.code in {"stops_impossible", "leverage_above_bracket"}:
        assert "trader tactics" in refused.sentence
    return None if refused is None else refused.code


@pytest.mark.parametrize("side", ["long", "short"])
def test_a_plan_made_under_the_rules_of_now_is_openable(side: str) -> None:
    assert code(made=plan(side)) is None
    assert code(replace(RULES, delivery_ms=None, max_stop_orders=None, min_price=None, max_price=None)) is None


@pytest.mark.parametrize("side", ["long", "short"])
@pytest.mark.parametrize(
    ("rules", "found"),
    [
        *[({"status": s}, "not_trading") for s in ("SETTLING", "PENDING_TRADING", "CLOSE", "PRE_SETTLE", "HALT", "")],
        ({"contract_type": "PERPETUAL DELIVERING"}, "not_trading"),
        ({"delivery_ms": NOW - HOUR}, "delisting"),
        ({"delivery_ms": NOW + 2 * HOUR}, "delisting"),
        ({"delivery_ms": NOW + 6 * HOUR + DELISTING_MARGIN_MS}, "delisting"),
        ({"delivery_ms": NOW + 6 * HOUR + DELISTING_MARGIN_MS + 1}, None),
        ({"tick": Decimal("0.10")}, "stops_impossible"),
        ({"tick": Decimal("0.001")}, None),
        ({"tick": Decimal(100)}, "stops_impossible"),
        ({"step": Decimal(1)}, "stops_impossible"),
        ({"step": Decimal("0.5")}, None),
        ({"min_quantity": Decimal("1.501")}, "stops_impossible"),
        ({"max_market_quantity": Decimal("1.499")}, "stops_impossible"),
        ({"min_price": Decimal(1999)}, "stops_impossible"),
        ({"max_price": Decimal(2001)}, "stops_impossible"),
        ({"max_stop_orders": 2}, "stops_impossible"),
        ({"max_stop_orders": 3}, None),
    ],
)
def test_rules_that_changed_under_a_plan(side: str, rules: dict[str, Any], found: str | None) -> None:
    assert code(replace(RULES, **rules), plan(side)) == found


def test_slots_for_stops_leverage_and_levels_are_looked_at() -> None:
    assert code(resting=97) is None
    assert code(resting=98) == "stops_impossible"
    assert code(resting=None) is None
    assert code(made=plan(leverage=11)) is None
    assert code(made=plan(leverage=11, quantity=Decimal(30))) == "leverage_above_bracket"
    for name in ("stop_price", "backstop_price", "take_profit_price"):
        assert code(made=plan(**{name: Decimal("1990.005")})) == "stops_impossible"
    assert code(made=plan(backstop_price=Decimal(0))) == "stops_impossible"
    assert trading(RULES) is None


@pytest.mark.parametrize("side", ["long", "short"])
@pytest.mark.parametrize(
    ("level", "value"),
    [("stop_price", 2000), ("stop_price", 2001), ("backstop_price", "1979.97"), ("take_profit_price", 2000)],
)
def test_levels_on_the_wrong_side_of_each_other_name_the_tick(side: str, level: str, value: str) -> None:
    mirrored = Decimal(value) if side == "long" else 4000 - Decimal(value)
    refused = openable(RULES, BRACKETS, plan(side, **{level: mirrored}), NOW)
    assert isinstance(refused, Refused)
    assert refused.code == "stops_impossible"
    assert "the tick is 0.01" in refused.sentence


def test_the_codes_after_which_rules_are_read_again() -> None:
    named = {-1111, -4014, -4023, -4164, -1121, -4131}
    assert named <= RULE_CODES
    assert not RULE_CODES & {-2021, -2022, -4130, -4116, -1003, -1021, -2015}, "these say nothing about rules"


# --- the entry's price ---

prices = st.decimals(Decimal("0.5"), Decimal(50_000), places=4)
ticks = st.sampled_from([Decimal(t) for t in ("0.0001", "0.01", "0.05", "0.10", "1")])


@EXAMPLES
@given(
    st.sampled_from(["long", "short"]), prices, st.decimals(0, 5, places=5), ticks, st.decimals("0.9", "1.1", places=4)
)
def test_an_entry_never_pays_more_than_its_drift_nor_leaves_the_band(
    side: str, price: Decimal, drift: Decimal, tick: Decimal, moved: Decimal
) -> None:
    made, rules, mark = plan(side, price=price, max_drift=drift), replace(RULES, tick=tick), price * moved
    limit = entry_limit(made, rules, mark)
    assert limit % tick == 0
    if side == "long":
        bound = min(price + drift, mark * Decimal("1.05"), Decimal(100_000))
        assert bound - tick < limit <= bound
    else:
        bound = max(price - drift, mark * Decimal("0.95"), Decimal("0.01"))
        assert bound <= limit < bound + tick


def test_an_entry_limit_by_hand() -> None:
    assert entry_limit(plan(), RULES, Decimal(2000)) == Decimal("2005.00")
    assert entry_limit(plan("short"), RULES, Decimal(2000)) == Decimal("1995.00")
    assert entry_limit(plan(max_drift=Decimal(500)), RULES, Decimal(2000)) == Decimal("2100.00")
    assert entry_limit(plan("short", max_drift=Decimal(500)), RULES, Decimal(2000)) == Decimal("1900.00")
    free = replace(RULES, band_up=None, band_down=None, min_price=None, max_price=None)
    assert entry_limit(plan(max_drift=Decimal(500)), free, Decimal(2000)) == Decimal("2500.00")


# --- prices ---

FRESH = Prices(Decimal(2000), Decimal(2001), Decimal(1999), 500, 800)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, None),
        ({"mark_age_ms": 60_001}, "stale_price"),
        ({"last_age_ms": 60_001}, "stale_price"),
        ({"mark_age_ms": 60_000, "last_age_ms": 60_000}, None),
        ({"index": Decimal(2019)}, None),
        ({"index": Decimal(2020)}, "prices_apart"),
        ({"index": Decimal(1979)}, "prices_apart"),
        ({"last": Decimal(2022)}, "prices_apart"),
        ({"last": Decimal(1970)}, "prices_apart"),
        ({"mark": Decimal(2050)}, "prices_apart"),
        ({"last": Decimal(0)}, "prices_apart"),
    ],
)
def test_prices_apart_or_stale_open_nothing(changes: dict[str, Any], found: str | None) -> None:
    most = as_settings(None).execution.max_price_spread
    refused = trustworthy("ETHUSDT", replace(FRESH, **changes), most, 60_000)
    assert (None if refused is None else refused.code) == found
    wider = trustworthy("ETHUSDT", replace(FRESH, **changes), 0.5, 60_000)
    assert wider is None or found == "stale_price" or changes.get("last") == 0


# --- live ---


def live(folder: Path, **execution: Any) -> Callable[[], Refused | None]:
    given = workspace_of(
        {"mode": "live", "state_dir": str(folder), "execution": execution, "tactician": {"capital_cap": 100.0}}
    )
    return lambda: check_live(ExecutionOptions.of(given), plan(mode="live"), live=True)


def test_live_waits_for_verification_on_demo_trading(tmp_path: Path) -> None:
    asked = live(tmp_path)
    refused = asked()
    assert isinstance(refused, Refused)
    assert refused.code == "demo_not_verified"
    assert __version__ in refused.sentence
    assert live(tmp_path, without_demo_verification=True)() is None
    demo_verified.record(tmp_path, "0.0.0", NOW)
    assert asked() is not None, "another version's"
    path = demo_verified.record(tmp_path, __version__, NOW)
    assert asked() is None
    for body in (b"", b"[]", b"{}", path.read_bytes().replace(b"true", b"false"), path.read_bytes()[:-9]):
        path.write_bytes(body)
        assert asked() is not None, body
    demo = workspace_of({"mode": "demo", "state_dir": str(tmp_path / "other")})
    assert check_live(ExecutionOptions.of(demo), plan(), live=False) is None, "demo needs none of it"


@pytest.mark.parametrize(("side", "highest"), [("long", "2020.07"), ("short", "2030.01")])
def test_the_highest_price_that_is_taken_is_itself_taken(side: str, highest: str) -> None:
    made, most = plan(side), Decimal(highest)
    assert code(replace(RULES, max_price=most), made) is None
    assert code(replace(RULES, max_price=most - Decimal("0.01")), made) == "stops_impossible"
