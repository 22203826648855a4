"""What happened to our positions, told once: entries with their whole quantity, and ends with what they came to."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Literal

from trader_cli.core.money.assets import amounts_text, by_asset
from trader_cli.execution.exit_reasons import exit_reason
from trader_cli.execution.plan_lookup import entry_id
from trader_cli.tactician.monitor_reports import Report, discard_report

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from trader_cli.core.json_values import JsonObject
    from trader_cli.core.money.orders import PositionState
    from trader_cli.core.money.plans import TradePlan
    from trader_cli.execution.executor import Executor


@dataclass
class Named:
    """A position that somebody has given a name: what he said of it, and what has become of it since."""

    given: Mapping[str, object]
    symbol: str
    state: Literal["added", "open", "closed", "not_at_exchange"] = "added"


class TradeEvents:
    """Tells reports on, and keeps the last ones of each symbol. `most` is how many."""

    def __init__(self, report: Callable[[Report], None] = discard_report, most: int = 100) -> None:
        self._report, self._most = report, most
        self._history: dict[str, deque[Report]] = {}
        self.named: dict[str, Named] = {}

    def say(self, report: Report) -> None:
        """Tell it on."""
        self._history.setdefault(report.symbol, deque(maxlen=self._most)).append(report)
        self._report(report)

    def looks(self, symbol: str) -> list[JsonObject]:
        """The last reports of a symbol."""
        return [vars(report) for report in self._history.get(symbol, ())]

    def status_of(self, name: str) -> JsonObject:
        """What is known of a named position, and its last reports."""
        named = self.named.get(name)
        if named is None:
            return {"state": "unknown"}
        return {**named.given, "state": named.state, "assessments": self.looks(named.symbol)}

    def entered(self, executor: Executor, plan: TradePlan) -> None:
        """An entry that whoever sent it could not tell of, at the time it filled: its whole quantity, and its stop."""
        if executor.notifications.has(plan, "entered"):
            return
        fills = executor.ledger.fills(client_id=entry_id(executor.ledger, plan))
        quantity = sum((fill.quantity for fill in fills), Decimal(0))
        if quantity:
            executor.notifications.note(plan, "entered")
            at_ms, stop = fills[-1].time_ms, f"{plan.stop_price:f}"
            self.say(Report(plan.symbol, at_ms, "entered", plan.side, f"{quantity:f}", stop=stop))

    def gone(self, executor: Executor, symbol: str) -> bool:
        """Every end of our positions on a symbol that was not told yet, also of one that ended between two looks."""
        told = [self._ended(executor, plan) for plan in executor.notifications.unreported_ends(symbol)]
        return any(told)

    def _ended(self, executor: Executor, plan: TradePlan) -> bool:
        """An end, told at the time of its last fill: it may have been long ago."""
        fills = executor.ledger.fills(decision_id=plan.plan_id)
        if not fills:
            return False
        self.entered(executor, plan)
        executor.notifications.note(plan, "ended")
        net = by_asset(flow for fill in fills for flow in fill.flows if flow.amount)
        profit = f"{next(iter(net.values())):f}" if len(net) == 1 else amounts_text(net)
        reason = exit_reason(executor.ledger, plan.symbol, plan.plan_id)
        self.say(Report(plan.symbol, fills[-1].time_ms, "flat", reason, profit=profit, sentence="fees included"))
        return True

    def settle_names(self, positions: Mapping[str, PositionState]) -> None:
        """What became of the positions that were given a name."""
        for name, named in self.named.items():
            there = named.symbol in positions
            if not there and named.state == "added":
                sentence = f"Position {name} of {named.symbol} is not at the exchange; none is made up for it."
                self.say(Report(named.symbol, 0, "report", "not_at_exchange", sentence=sentence))
            named.state = "open" if there else "closed" if named.state == "open" else "not_at_exchange"
