"""An entry before it is sent: what it asks for, and the lines that are on disk before a byte leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trader_cli.core.money.trading_rules import entry_limit
from trader_cli.storage.ledger_rows import Intent

if TYPE_CHECKING:
    from trader_cli.core.money.orders import OrderSide, SymbolRules
    from trader_cli.core.money.plans import TradePlan
    from trader_cli.execution.execution_context import ExecutionContext


def entry_intent(plan: TradePlan, rules: SymbolRules, at_ms: int) -> Intent:
    """The entry of a plan: immediate or cancelled, at no worse a price than the plan allows."""
    side: OrderSide = "BUY" if plan.side == "long" else "SELL"
    limit = entry_limit(plan, rules, plan.price)
    return Intent(plan.client_id("entry"), plan.plan_id, plan.symbol, "entry", side, plan.quantity, at_ms, price=limit)


def write_down(context: ExecutionContext, plan: TradePlan, entry: Intent) -> None:
    """The decision, its entry and its stops, in one stroke: so that protecting needs no further line."""
    ledger, now_ms = context.submitter.ledger, context.exchange.server_now_ms
    before = context.reconciler.snapshot(plan.symbol).amount
    with ledger.together():
        ledger.decide(plan.plan_id, plan.symbol, plan.decision_ms, "plan", plan.as_dict(), now_ms())
        for intent in (entry, *context.protector.intents(plan, plan.quantity)):
            ledger.intend(intent)
        body = {"plan_id": plan.plan_id, "position": f"{before:f}"}
        ledger.assess(plan.symbol, "before_entry", body, now_ms())
