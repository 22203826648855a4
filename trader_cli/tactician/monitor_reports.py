"""What the monitor tells: one look at one symbol, and the alarms a person has to look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trader_cli.core.money.plans import TradePlan
    from trader_cli.execution.reconciliation import View


@dataclass(frozen=True)
class Report:
    """One look at one symbol, for people and programs."""

    symbol: str
    at_ms: int
    action: str
    reason: str
    quantity: str = "0"
    mark: str | None = None
    stop: str | None = None
    profit: str | None = None
    sentence: str = ""


def discard_report(_report: Report) -> None:
    """Nobody listens."""


def alarms(view: View, plan: TradePlan | None, now_ms: int) -> list[Report]:
    """Foreign things, a position that is not shown, one without a plan, liquidation before the stop."""
    found = []
    if (view.foreign != 0 and not view.is_missing) or view.foreign_orders:  # ours not shown is nobody else's
        what = f"{view.foreign:f} and {view.foreign_orders} order(s) there are not ours; they are left alone."
        found.append(("foreign", what))
    if not view.is_flat and view.held == 0:
        found.append(("not_shown", f"{view.expected:f} should be open; none is shown, and no trade says why."))
    if not view.is_flat and plan is None:
        found.append(("no_plan", f"{view.expected:f} is open without a plan; run `trader flatten`."))
    level = view.position.liquidation_price if view.position else None
    if plan is not None and level is not None and (level - plan.stop_price) * plan.sign >= 0:
        found.append(("liquidation", f"liquidation at {level:f} comes before the stop at {plan.stop_price:f}."))
    return [Report(view.symbol, now_ms, "alarm", why, sentence=f"{view.symbol}: {what}") for why, what in found]
