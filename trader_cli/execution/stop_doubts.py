"""Stops that the exchange had acknowledged and a later query did not know: no cover until they are shown again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trader_cli.storage.ledger_rows import Intent

_MOST_DOUBTED = 6
"""So many of a symbol are doubted at once before that is taken for a query that lags."""


@dataclass
class Doubts:
    """Client ids of doubted stops, by symbol."""

    _doubted: dict[str, set[str]] = field(default_factory=dict)

    def has(self, symbol: str, client_id: str) -> bool:
        """Whether a stop is doubted."""
        return client_id in self._doubted.get(symbol, ())

    def add(self, intent: Intent) -> None:
        """Doubt a stop, unless so many are that the query is not to be trusted."""
        doubted = self._doubted.setdefault(intent.symbol, set())
        if len(doubted) < _MOST_DOUBTED:
            doubted.add(intent.client_id)

    def drop(self, symbol: str, client_id: str) -> None:
        """Trust a stop again, or know that it is gone."""
        self._doubted.get(symbol, set()).discard(client_id)
