"""What the care of every symbol of one executor works with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trader_cli.execution.protection import cover_of
from trader_cli.execution.protection_orders import ProtectionOrders
from trader_cli.execution.symbol_queries import SymbolQueries

if TYPE_CHECKING:
    from collections.abc import Callable
    from decimal import Decimal

    from trader_cli.core.money.plans import TradePlan
    from trader_cli.core.ports import Exchange
    from trader_cli.execution.coverage import Coverage
    from trader_cli.execution.order_submitter import OrderSubmitter
    from trader_cli.execution.protection import Cover, Protector
    from trader_cli.execution.reconciliation import Reconciler
    from trader_cli.settings.model import ExecutionSettings


@dataclass
class ExecutionContext:
    """Tools and memory shared by the protection loops of one executor.

    `say` is told what a person must hear at once, `leaving` says whether a signal has asked this process to end, `tick`
    is called at every turn. `unprotected` remembers since when a plan's position is without cover, `sent_here` whose
    entries this process sent, `opened` when they filled at the latest, `taken` symbols where a close-position stop that
    is not ours keeps ours away, `protection_orders` and `queries` what was tried and asked for positions that are not
    covered yet. Times are monotonic.
    """

    exchange: Exchange
    submitter: OrderSubmitter
    protector: Protector
    reconciler: Reconciler
    coverage: Coverage
    options: ExecutionSettings
    say: Callable[[str], None]
    leaving: Callable[[], bool]
    tick: Callable[[], None] = lambda: None
    sent_here: set[str] = field(default_factory=set)
    unprotected: dict[str, int] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)
    opened: dict[str, int] = field(default_factory=dict)
    protection_orders: dict[str, ProtectionOrders] = field(default_factory=dict)
    queries: dict[str, SymbolQueries] = field(default_factory=dict)
    _warned: set[str] = field(default_factory=set)

    def now_ms(self) -> int:
        """Monotonic time: every deadline, pause and patience counts on it, since nobody can set it."""
        return self.exchange.clock.monotonic_ms()

    def steadily(self, at_ms: int) -> int:
        """A time of the exchange on the monotonic clock, as far as the exchange's time is known now."""
        return self.now_ms() - max(0, self.exchange.server_now_ms() - at_ms)

    def warn_once(self, sentence: str) -> None:
        """Say what a person should know, the first time."""
        if sentence not in self._warned:
            self._warned.add(sentence)
            self.say(sentence)

    def protection_orders_of(self, plan: TradePlan) -> ProtectionOrders:
        """What was tried for a plan, also by earlier guards of this process while it was bare."""
        if plan.plan_id not in self.protection_orders:
            self.protection_orders[plan.plan_id] = ProtectionOrders(self, plan)
        return self.protection_orders[plan.plan_id]

    def queries_of(self, plan: TradePlan) -> SymbolQueries:
        """What was asked for a plan: a new guard asks no sooner than the one before it would have."""
        if plan.plan_id not in self.queries:
            self.queries[plan.plan_id] = SymbolQueries(self, plan)
        return self.queries[plan.plan_id]

    def settle(self, plan: TradePlan) -> None:
        """A plan is covered, or its position has ended: what comes later begins anew."""
        self.protection_orders.pop(plan.plan_id, None)
        self.queries.pop(plan.plan_id, None)

    @property
    def deadline_ms(self) -> int:
        """How long a position may be without cover before it is closed."""
        return round(self.options.protection_deadline * 1000)

    @property
    def patience_ms(self) -> int:
        """How long what is covered is waited for to be known."""
        return round(self.options.persistence * 1000)

    def cover(self, plan: TradePlan, held: Decimal) -> Cover:
        """What is known to rest for so much of a plan's position."""
        return cover_of(plan.side, self.submitter.stops(plan.symbol), held)
