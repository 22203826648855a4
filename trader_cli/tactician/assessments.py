"""The model's opinion of an open position: from an analysis, and as it was last written down."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.core.json_values import number_of, whole_of
from trader_cli.core.money.exits import Assessment

if TYPE_CHECKING:
    from trader_cli.core.json_values import JsonObject
    from trader_cli.core.money.plans import TradePlan
    from trader_cli.core.types import Analysis
    from trader_cli.storage.ledger import Ledger

_LOOKS = ("stay", "tighten", "scale_down")


def assessment_of(plan: TradePlan, analysis: Analysis) -> Assessment | None:
    """P(the losing barrier is hit first) for the side that is held; `None` where the analysis has no probabilities.

    A rule of one's own knows no probability: certain loss where it would not hold this side any more, else none.
    """
    if analysis.held is not None:
        return Assessment(float(analysis.held != plan.side), analysis.decision_time_ms)
    if analysis.probabilities is None:
        return None
    loss = analysis.probabilities.down if plan.side == "long" else analysis.probabilities.up
    return Assessment(loss, analysis.decision_time_ms)


def last_stored_assessment(ledger: Ledger, plan: TradePlan) -> Assessment | None:
    """The last opinion written down for this position."""
    look = last_monitor_line(ledger, plan)
    return None if look is None else look.assessment


@dataclass(frozen=True)
class WrittenLook:
    """A look at a position as it is written down. Prices in quote currency, the quantity signed, of the base asset."""

    plan_id: str
    reason: str
    mark_price: Decimal
    quantity: Decimal
    stop_price: Decimal
    best_price: Decimal
    assessment: Assessment | None
    risk_band: str

    def as_dict(self) -> JsonObject:
        """As the ledger holds it: numbers of money as text, an opinion as the probability of loss and its time."""
        return {
            "plan": self.plan_id,
            "reason": self.reason,
            "mark": f"{self.mark_price:f}",
            "quantity": f"{self.quantity:f}",
            "stop": f"{self.stop_price:f}",
            "best": f"{self.best_price:f}",
            "loss": None if self.assessment is None else self.assessment.loss_probability,
            "said_ms": None if self.assessment is None else self.assessment.at_ms,
            "risk": self.risk_band,
        }


@dataclass(frozen=True)
class LastLook:
    """What the next look goes on from: the best price seen since the entry, and the opinion that decays."""

    best_price: Decimal
    assessment: Assessment | None


def last_monitor_line(ledger: Ledger, plan: TradePlan) -> LastLook | None:
    """What was written down at the last look at this position."""
    found = ledger.last_assessment(plan.symbol, _LOOKS)
    if found is None or found.body["plan"] != plan.plan_id:
        return None
    loss = found.body["loss"]
    assessment = None if loss is None else Assessment(float(number_of(loss)), whole_of(found.body["said_ms"]))
    return LastLook(Decimal(str(found.body["best"])), assessment)
