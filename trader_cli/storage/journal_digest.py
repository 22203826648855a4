"""What of a ledger makes two sessions the same: decisions, intents and acts, not the names of artifacts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trader_cli.core.identity.digests import digest_value

if TYPE_CHECKING:
    from trader_cli.storage.ledger_reading import LedgerReading


def digest_of(ledger: LedgerReading) -> str:
    """A digest of what was decided, intended and done: two sessions with the same one traded the same.

    Names and versions of artifacts do not count, nor the last digits of probabilities; sides, codes, sizes, levels
    and times do.
    """
    plan = ("side", "quantity", "leverage", "stop_price", "backstop_price", "take_profit_price", "binding", "code")
    look = ("reason", "mark", "stop", "quantity")
    decided = [
        [symbol, decided_ms, kind, *(body.get(name) for name in plan)]
        for _, symbol, decided_ms, kind, body in ledger.decisions()
    ]
    intended = [
        [i.symbol, i.purpose, i.side, str(i.quantity), str(i.trigger_price), i.reduce_only] for i in ledger.intents()
    ]
    done = [
        [symbol, action, at, *(body.get(name) for name in look)]
        for symbol in ledger.symbols()
        for action, body, at in ledger.assessments(symbol)
    ]
    return digest_value([decided, intended, done])
