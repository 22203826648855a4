"""What of a ledger makes two sessions the same: decisions, intents and acts, not the names of artifacts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trader_cli.core.identity.digests import digest_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from trader_cli.storage.ledger_rows import Intent

    Body = Mapping[str, object]

_PLAN = ("side", "quantity", "leverage", "stop_price", "backstop_price", "take_profit_price", "binding", "code")
_LOOK = ("reason", "mark", "stop", "quantity")


def digest_of(
    decisions: Iterable[tuple[str, str, int, str, Body]],
    intents: Iterable[Intent],
    acts: Iterable[tuple[str, str, Body, int]],
) -> str:
    """A digest of what was decided, intended and done: two sessions with the same one traded the same.

    `decisions`: (id, symbol, decision time, kind, body); `acts`: (symbol, action, body, time). Names and versions of
    artifacts do not count, nor the last digits of probabilities; sides, codes, sizes, levels and times do.
    """
    decided = [
        [symbol, decided_ms, kind, *(body.get(name) for name in _PLAN)]
        for _, symbol, decided_ms, kind, body in decisions
    ]
    intended = [[i.symbol, i.purpose, i.side, str(i.quantity), str(i.trigger_price), i.reduce_only] for i in intents]
    done = [[symbol, action, at, *(body.get(name) for name in _LOOK)] for symbol, action, body, at in acts]
    return digest_value([decided, intended, done])
