"""Which entry is behind a plan, and which plan behind an entry, by the ledger.

An entry's id is made from its plan. A plan that `ledger rebuild` has made from an entry has another id than the one the
entry was sent for: there the ledger alone tells what belongs together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trader_cli.core.money.plans import TradePlan
    from trader_cli.storage.ledger_reading import LedgerReading
    from trader_cli.storage.ledger_rows import Intent


def entry_behind(ledger: LedgerReading, plan: TradePlan) -> Intent | None:
    """The entry of a plan, if it was written down."""
    made = ledger.intent(plan.client_id("entry"))
    if made is not None:
        return made
    return next((intent for intent in ledger.intents_of(plan.plan_id) if intent.purpose == "entry"), None)


def entry_id(ledger: LedgerReading, plan: TradePlan) -> str:
    """The client id of the entry of a plan, whether it was written down or not."""
    entry = entry_behind(ledger, plan)
    return plan.client_id("entry") if entry is None else entry.client_id


def plan_behind(ledger: LedgerReading, entry: Intent) -> TradePlan | None:
    """The plan under which an entry is kept."""
    return ledger.plan(entry.decision_id)
