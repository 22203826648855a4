"""Orders of ours that no line of the ledger names: sent to reduce while the disk was full, or by a side journal.

Their ids are digests of the plan, the purpose and a number, so that they are recognised by making the ids again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trader_cli.core.identity import ids
from trader_cli.storage.ledger_rows import Intent

if TYPE_CHECKING:
    from trader_cli.core.identity.ids import Purpose
    from trader_cli.core.money.orders import OrderSide
    from trader_cli.storage.ledger import Ledger

_PURPOSES: tuple[Purpose, ...] = ("exit", "stop", "backstop", "take_profit")
_PLANS, _GENERATIONS = 3, 200  # digests tried: of the last plans, and more attempts than a day of trouble makes


def intent_of(client_id: str, ledger: Ledger, symbol: str, now_ms: int) -> Intent | None:
    """The intent behind an id, if it is one of the last plans' of this symbol; `None` if it is not ours."""
    purpose = ids.purpose_of(client_id)
    if purpose not in _PURPOSES:
        return None
    for decision in ledger.entries(symbol)[-_PLANS:]:
        known = sum(i.purpose == purpose for i in ledger.intents_of(decision))
        for generation in range(known + _GENERATIONS):
            if ids.client_id(decision, purpose, generation) == client_id:
                decided = ledger.decision(decision)
                was_long = decided is not None and decided.body.get("side") == "long"
                side: OrderSide = "SELL" if was_long else "BUY"
                return Intent(client_id, decision, symbol, purpose, side, None, now_ms, reduce_only=True)
    return None
