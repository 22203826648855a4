"""Small guards, each with the case it is for: requests that come too late, artifacts of the future, alarms."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from test_trading_keys import NOW, planned

from trader_cli.analyst.model_terms import refuse_the_future
from trader_cli.core.errors import DataStale
from trader_cli.core.identity.manifests import Manifest
from trader_cli.core.market.timeframes import Timeframe
from trader_cli.core.money.orders import PositionState
from trader_cli.core.money.plans import Request, TradePlan
from trader_cli.execution.symbol_view import View
from trader_cli.tactician.monitor_reports import alarms
from trader_cli.tactician.planning import too_late

QUARTER = Timeframe.parse("15m")


def made() -> TradePlan:
    plan = planned()
    assert isinstance(plan, TradePlan)
    return plan


@pytest.mark.parametrize(
    ("request_", "late"),
    [
        (Request(), False),
        (Request(quantity=Decimal(1000), leverage=50, risk_level="high"), False),
        (Request(quantity=Decimal("0.001")), True),
        (Request(risk_level="low"), True),
    ],
)
def test_a_request_for_less_comes_too_late_once_there_is_a_plan(request_: Request, late: bool) -> None:
    refused = too_late(made(), request_)
    assert (refused is not None) == late
    assert refused is None or refused.code == "plan_exists"


def test_a_lower_leverage_comes_too_late_as_well() -> None:
    assert too_late(replace(made(), leverage=3), Request(leverage=2)) is not None


def test_bars_beyond_the_markets_time_are_refused() -> None:
    bars = Manifest("bars", "p", "s", "ETHUSDT", "15m", "x", last_ms=900_000)
    refuse_the_future(bars, None, QUARTER, 1_800_000)
    with pytest.raises(DataStale, match="beyond the market's time"):
        refuse_the_future(bars, None, QUARTER, 900_000)


def view(*, ours: str, shown: str | None, liquidation: str | None = None) -> View:
    level = None if liquidation is None else Decimal(liquidation)
    position = (
        None
        if shown is None
        else PositionState("ETHUSDT", Decimal(shown), NOW.mark, NOW.mark, level, Decimal(0), Decimal(0), 1)
    )
    foreign = Decimal(shown or 0) - Decimal(ours)
    return View("ETHUSDT", position, Decimal(ours), foreign, (), 0, 0)


def told(seen: View, plan: TradePlan | None) -> set[str]:
    return {report.reason for report in alarms(seen, plan, 1)}


def test_alarms_name_what_a_person_has_to_look_at() -> None:
    plan = made()
    assert told(view(ours="1", shown="1", liquidation="1000"), plan) == set()
    assert told(view(ours="1", shown="3"), plan) == {"foreign"}
    assert told(view(ours="1", shown=None), plan) == {"not_shown"}
    assert told(view(ours="0", shown="2"), None) == {"foreign"}
    assert told(view(ours="1", shown="1"), None) == {"no_plan"}
    assert told(view(ours="1", shown="1", liquidation=str(plan.stop_price + 1)), plan) == {"liquidation"}
