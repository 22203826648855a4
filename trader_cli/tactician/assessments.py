"""The model's opinion of an open position: from an analysis, and as it was last written down."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trader_cli.core.money.exits import Opinion

if TYPE_CHECKING:
    from trader_cli.core.money.plans import TradePlan
    from trader_cli.core.types import Analysis
    from trader_cli.storage.ledger import Ledger

_LOOKS = ("stay", "tighten", "scale_down")


def opinion_of(plan: TradePlan, analysis: Analysis) -> Opinion | None:
    """P(the losing barrier is hit first) for the side that is held; `None` where the analysis has no probabilities."""
    if analysis.probabilities is None:
        return None
    loss = analysis.probabilities.down if plan.side == "long" else analysis.probabilities.up
    return Opinion(loss, analysis.decision_time_ms)


def last_opinion(ledger: Ledger, plan: TradePlan) -> Opinion | None:
    """The last opinion written down for this position."""
    body = last_look(ledger, plan)
    return None if body is None or body["loss"] is None else Opinion(float(body["loss"]), int(body["said_ms"]))


def last_look(ledger: Ledger, plan: TradePlan) -> dict[str, Any] | None:
    """What was written down at the last look at this position."""
    found = ledger.last_assessment(plan.symbol, _LOOKS)
    return found[1] if found is not None and found[1]["plan"] == plan.plan_id else None
