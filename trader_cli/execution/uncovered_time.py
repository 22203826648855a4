"""Since when a position under care is without full cover, and the alarm when that lasts. Times are monotonic."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from decimal import Decimal

    from trader_cli.core.money.plans import TradePlan
    from trader_cli.core.money.protection_step import Standing
    from trader_cli.execution.execution_context import Bench
    from trader_cli.execution.protection_orders import Sends

_ALARM_MS = 8000


class UncoveredTime:
    """That of one guard, which began at `began_ms`."""

    def __init__(self, bench: Bench, plan: TradePlan, sends: Sends) -> None:
        self._bench, self._plan, self._sends = bench, plan, sends
        self.began_ms = self._told_ms = 0
        self._limit_told = self._regained = False

    def since_ms(self, most: Decimal, *, covered: bool, presumed: Decimal) -> int:
        """Since when the limit that closes counts; what was lost and regained is written down."""
        bench, plan, now = self._bench, self._plan, self._bench.now_ms()
        if covered or most == 0:
            if bench.bare.pop(plan.plan_id, None) is not None or not self._regained:
                self._regained = True
                bench.coverage.regained(plan)
            if covered:
                bench.coverage.saw_cover(plan, bench.exchange.server_now_ms())
            return now
        if plan.plan_id not in bench.bare:
            bench.bare[plan.plan_id] = now
            bench.coverage.lost(plan)
        if plan.plan_id in bench.sent_here and not bench.coverage.has_rested(plan):
            bench.bare[plan.plan_id] = self._opened_ms(presumed)
        return bench.bare[plan.plan_id]

    def _opened_ms(self, presumed: Decimal) -> int:
        """When our own entry filled; until anything says that it has, the latest moment at which it surely had not."""
        bench, plan = self._bench, self._plan
        if plan.plan_id in bench.opened:
            return bench.opened[plan.plan_id]
        latest = max(self._sent_ms(), self._sends.sign_ms)
        filled_ms = bench.coverage.filled_ms(plan)
        if filled_ms is None and not presumed:
            return latest
        told = latest if filled_ms is None else bench.steadily(filled_ms)
        bench.opened[plan.plan_id] = max(told, self._sent_ms()) if filled_ms is not None else latest
        return bench.opened[plan.plan_id]

    def _sent_ms(self) -> int:
        entry = self._bench.reconciler.entry_of(self._plan)
        return self.began_ms if entry is None else self._bench.courier.sent_ms(entry)

    def alarm(self, s: Standing, frozen_s: float) -> None:
        """Said at least every ten seconds while something is or may be open, and bare for too long or in a ban."""
        now, bench = self._bench.now_ms(), self._bench
        if s.is_covered or not s.is_open:
            return
        bare_ms = now - s.bare_since_ms
        broken = bare_ms > bench.deadline_ms + bench.courier.budget_s * 1000
        if not (broken or frozen_s) or (self._told_ms and now - self._told_ms < _ALARM_MS):
            return
        self._told_ms = now
        what = f"{s.held:f} is open" if s.held else f"{s.possible:f} may be open"
        wait = f"; the exchange takes no request for {frozen_s:.0f} s" if frozen_s else ""
        bench.say(f"ALARM: {self._plan.symbol}: {what} and no stop covers it since {bare_ms / 1000:.1f} s{wait}.")
        if broken and not self._limit_told:
            self._limit_told = True
            bench.coverage.limit_broken(self._plan, bare_ms)
