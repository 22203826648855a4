"""What was tried and asked for positions that are not covered yet, by plan: a later protection loop goes on from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trader_cli.execution.protection_orders import ProtectionOrders
from trader_cli.execution.symbol_queries import SymbolQueries

if TYPE_CHECKING:
    from trader_cli.core.money.plans import TradePlan
    from trader_cli.execution.execution_context import ExecutionContext


@dataclass
class Attempts:
    """Those of one executor, whose tools and flags are in `context`."""

    context: ExecutionContext
    _orders: dict[str, ProtectionOrders] = field(default_factory=dict)
    _queries: dict[str, SymbolQueries] = field(default_factory=dict)

    def protection_orders(self, plan: TradePlan) -> ProtectionOrders:
        """What was tried for a plan, also by earlier loops of this process while it was unprotected."""
        if plan.plan_id not in self._orders:
            self._orders[plan.plan_id] = ProtectionOrders(self.context, plan)
        return self._orders[plan.plan_id]

    def queries(self, plan: TradePlan) -> SymbolQueries:
        """What was asked for a plan: a new loop asks no sooner than the one before it would have."""
        if plan.plan_id not in self._queries:
            self._queries[plan.plan_id] = SymbolQueries(self.context, plan)
        return self._queries[plan.plan_id]

    def settle(self, plan: TradePlan) -> None:
        """A plan is covered, or its position has ended: what comes later begins anew."""
        self._orders.pop(plan.plan_id, None)
        self._queries.pop(plan.plan_id, None)
