"""What of a ledger makes two sessions the same: decisions, intents and acts, not the names of artifacts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trader_cli.core.identity.digests import digest_value

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trader_cli.storage.ledger_rows import Assessed, Decided, Intent

_PLAN = ("side", "quantity", "leverage", "stop_price", "backstop_price", "take_profit_price", "binding", "code")
_LOOK = ("reason", "mark", "stop", "quantity")


def digest_of(decisions: Iterable[Decided], intents: Iterable[Intent], acts: Iterable[tuple[str, Assessed]]) -> str:
    """A digest of what was decided, intended and done: two sessions with the same one traded the same.

    `acts` come with the symbol they are of. Names and versions of artifacts do not count, nor the last digits of
    probabilities; sides, codes, sizes, levels and times do.
    """
    decided = [[d.symbol, d.decision_ms, d.kind, *(d.body.get(name) for name in _PLAN)] for d in decisions]
    intended = [[i.symbol, i.purpose, i.side, str(i.quantity), str(i.trigger_price), i.reduce_only] for i in intents]
    done = [[symbol, a.action, a.at_ms, *(a.body.get(name) for name in _LOOK)] for symbol, a in acts]
    return digest_value([decided, intended, done])
