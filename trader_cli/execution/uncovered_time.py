"""Since when a position under care is without full cover, and the alarm when that lasts. Times are monotonic."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from decimal import Decimal

    from trader_cli.core.money.plans import TradePlan
    from trader_cli.core.money.protection_step import ProtectionState
    from trader_cli.execution.execution_context import ExecutionContext
    from trader_cli.execution.protection_orders import ProtectionOrders

_ALARM_MS = 8000
"""An alarm is repeated so often while it holds: often enough to be seen, seldom enough to be read."""


class UncoveredTime:
    """That of one protection loop, which began at `began_ms`."""

    def __init__(self, context: ExecutionContext, plan: TradePlan, protection_orders: ProtectionOrders) -> None:
        self._context, self._plan, self._orders = context, plan, protection_orders
        self.began_ms = self._told_ms = 0
        self._limit_told = self._regained = False

    def since_ms(self, most: Decimal, *, covered: bool, presumed: Decimal) -> int:
        """Since when the limit that closes counts; what was lost and regained is written down."""
        context, plan, now = self._context, self._plan, self._context.now_ms()
        if covered or most == 0:
            if context.unprotected.pop(plan.plan_id, None) is not None or not self._regained:
                self._regained = True
                context.coverage.regained(plan)
            if covered:
                context.coverage.saw_cover(plan, context.exchange.server_now_ms())
            return now
        if plan.plan_id not in context.unprotected:
            context.unprotected[plan.plan_id] = now
            context.coverage.lost(plan)
        if plan.plan_id in context.sent_here and not context.coverage.has_rested(plan):
            context.unprotected[plan.plan_id] = self._opened_ms(presumed)
        return context.unprotected[plan.plan_id]

    def _opened_ms(self, presumed: Decimal) -> int:
        """When our own entry filled; until anything says that it has, the latest moment at which it surely had not."""
        context, plan = self._context, self._plan
        if plan.plan_id in context.opened:
            return context.opened[plan.plan_id]
        latest = max(self._sent_ms(), self._orders.sign_ms)
        filled_ms = context.coverage.filled_ms(plan)
        if filled_ms is None and not presumed:
            return latest
        told = latest if filled_ms is None else context.steadily(filled_ms)
        context.opened[plan.plan_id] = max(told, self._sent_ms()) if filled_ms is not None else latest
        return context.opened[plan.plan_id]

    def _sent_ms(self) -> int:
        entry = self._context.reconciler.entry_of(self._plan)
        return self.began_ms if entry is None else self._context.submitter.sent_ms(entry)

    def alarm(self, s: ProtectionState, frozen_s: float) -> None:
        """Said at least every ten seconds while something is or may be open, and bare for too long or in a ban."""
        now, context = self._context.now_ms(), self._context
        if s.is_covered or not s.is_open:
            return
        unprotected_ms = now - s.unprotected_since_ms
        broken = unprotected_ms > context.deadline_ms + context.submitter.budget_s * 1000
        if not (broken or frozen_s) or (self._told_ms and now - self._told_ms < _ALARM_MS):
            return
        self._told_ms = now
        what = f"{s.held:f} is open" if s.held else f"{s.possible:f} may be open"
        wait = f"; the exchange takes no request for {frozen_s:.0f} s" if frozen_s else ""
        context.say(
            f"ALARM: {self._plan.symbol}: {what} and no stop covers it since {unprotected_ms / 1000:.1f} s{wait}."
        )
        if broken and not self._limit_told:
            self._limit_told = True
            context.coverage.limit_broken(self._plan, unprotected_ms)
