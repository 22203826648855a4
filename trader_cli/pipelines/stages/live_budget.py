"""What a new bar may cost before a run opens positions: measured once, over budget is a refusal, nothing is dropped."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from trader_cli.analyst.certificate_store import synthetic_tape
from trader_cli.analyst.feature_engineering_orchestrator import FeatureEngineeringOrchestrator
from trader_cli.core.errors import ConfigurationError
from trader_cli.features.family_costs import FamilyCost, measure, new_bar_ms
from trader_cli.features.inputs import ALL_INPUTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.settings import Settings


def feature_costs(
    settings: Settings, timeframe: Timeframe, clock: Callable[[], int] = time.process_time_ns
) -> list[FamilyCost]:
    """What each family of the settings costs, measured on the synthetic tape. `clock`: nanoseconds of CPU time."""
    spec = FeatureEngineeringOrchestrator(settings).spec(timeframe, ALL_INPUTS)
    return measure(spec, synthetic_tape(spec), clock)


def require_live_budget(
    settings: Settings, timeframe: Timeframe, clock: Callable[[], int] = time.process_time_ns
) -> None:
    """Measure what one new bar costs. Raises `ConfigurationError` naming the dearest family if that is over budget.

    Only what opens positions asks: what reduces risk goes on whatever features cost.
    """
    spec = FeatureEngineeringOrchestrator(settings).spec(timeframe, ALL_INPUTS)
    budget_ms = settings.feature_engineering_orchestrator.live_budget_ms
    costs = new_bar_ms(spec, synthetic_tape(spec), clock)
    total_ms = sum(costs.values())
    if total_ms <= budget_ms:
        return
    dearest = max(costs, key=costs.__getitem__)
    raise ConfigurationError(
        f"The features of one new {timeframe} bar take {total_ms:.1f} ms of CPU time on this machine;"
        f" feature_engineering_orchestrator.live_budget_ms allows {budget_ms:g}."
        f" The dearest family is {dearest} with {costs[dearest]:.1f} ms.",
        hint=f"Switch it off or raise the budget; `trader features --cost --timeframe {timeframe}` lists them all.",
    )
