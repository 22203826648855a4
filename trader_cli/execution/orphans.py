"""Orders with our ids that this ledger does not know: a lost ledger, or a second trader on the same account."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trader_cli.core import doubts
from trader_cli.core.evidence import strangers
from trader_cli.core.plans import Refused

if TYPE_CHECKING:
    from trader_cli.core.evidence import Look
    from trader_cli.storage.ledger import Ledger

LOST, SECOND = "ledger_lost", "second_trader"


def require_no_orphans(ledger: Ledger, look: Look, at_ms: int) -> Refused | None:
    """Before each entry: nothing is opened while the exchange shows orders of our kind that are not in this ledger.

    Entries are halted then, until a person has looked. A ledger with no order in it is taken to be one that was made
    anew over those of a lost one.
    """
    shown = (*look.resting, *look.past)
    unknown = strangers(shown, {order.client_id for order in shown if ledger.intent(order.client_id) is not None})
    sentence = doubts.second_trader(unknown)
    if sentence is None:
        return None
    code = SECOND if ledger.client_ids() else LOST
    if code == LOST:
        sentence = f"This ledger is new, and {len(unknown)} order(s) with our ids are at the exchange already"
    refused = Refused(code, f"{sentence}. Run `trader ledger rebuild`, then `trader reset`.")
    if ledger.halted() is None:
        ledger.halt(f"{code}: {refused.sentence}", at_ms)
    return refused
