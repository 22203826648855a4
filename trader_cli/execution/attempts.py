"""What was tried and asked for positions that are not covered yet, by plan: a later guard goes on from there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trader_cli.execution.protection_orders import Sends
from trader_cli.execution.symbol_queries import Questions

if TYPE_CHECKING:
    from trader_cli.core.money.plans import TradePlan
    from trader_cli.execution.execution_context import Bench


@dataclass
class Attempts:
    """Those of one executor, whose tools and flags are in `bench`."""

    bench: Bench
    _sends: dict[str, Sends] = field(default_factory=dict)
    _questions: dict[str, Questions] = field(default_factory=dict)

    def sends(self, plan: TradePlan) -> Sends:
        """What was tried for a plan, also by earlier guards of this process while it was bare."""
        if plan.plan_id not in self._sends:
            self._sends[plan.plan_id] = Sends(self.bench, plan)
        return self._sends[plan.plan_id]

    def questions(self, plan: TradePlan) -> Questions:
        """What was asked for a plan: a new guard asks no sooner than the one before it would have."""
        if plan.plan_id not in self._questions:
            self._questions[plan.plan_id] = Questions(self.bench, plan)
        return self._questions[plan.plan_id]

    def settle(self, plan: TradePlan) -> None:
        """A plan is covered, or its position has ended: what comes later begins anew."""
        self._sends.pop(plan.plan_id, None)
        self._questions.pop(plan.plan_id, None)
