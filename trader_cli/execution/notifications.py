"""What somebody was told of our positions: that one was entered, that it has ended. Once, whichever process did it.

Whoever shows it to a person notes it here; what nobody has noted is told by the next monitor.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from trader_cli.storage.ledger import LedgerUnwritable

if TYPE_CHECKING:
    from collections.abc import Callable

    from trader_cli.core.money.plans import TradePlan
    from trader_cli.storage.ledger import Ledger

What = Literal["entered", "ended"]
_LAST = 3
"""So many of the last entries of a symbol are looked at for an end that nobody has told."""


@dataclass
class Notifications:
    """What was told, by the ledger, and by this process where the disk took no line."""

    ledger: Ledger
    now_ms: Callable[[], int]
    _here: set[tuple[str, What]] = field(default_factory=set)

    def has(self, plan: TradePlan, what: What) -> bool:
        """Whether somebody was told."""
        lines = self.ledger.assessments(plan.symbol, plan.created_ms, (f"told_{what}",))
        return (plan.plan_id, what) in self._here or any(line.is_of(plan) for line in lines)

    def note(self, plan: TradePlan, *what: What) -> None:
        """Remember that it has been told."""
        for each in what:
            self._here.add((plan.plan_id, each))
            with suppress(LedgerUnwritable):
                self.ledger.assess(plan.symbol, f"told_{each}", {"plan_id": plan.plan_id}, self.now_ms())

    def note_end(self, symbol: str) -> None:
        """Remember that the end of the last position of a symbol, if it has ended, has been told with its quantity."""
        for plan in self._plans(self._ended(symbol)[-1:]):
            self.note(plan, "entered", "ended")

    def note_past(self, symbol: str) -> None:
        """Remember that everything that is booked of a symbol is no news."""
        ended = self._ended(symbol)
        for plan in self._plans(self.ledger.entries(symbol)):
            self.note(plan, "entered")
            if plan.plan_id in ended:
                self.note(plan, "ended")

    def unreported_ends(self, symbol: str) -> list[TradePlan]:
        """The last positions of a symbol that have ended without anybody having been told, oldest first."""
        return [plan for plan in self._plans(self._ended(symbol)[-_LAST:]) if not self.has(plan, "ended")]

    def _ended(self, symbol: str) -> list[str]:
        entries = self.ledger.entries(symbol)
        return entries if self.ledger.holding(symbol).amount == 0 else entries[:-1]

    def _plans(self, decisions: list[str]) -> list[TradePlan]:
        return [plan for plan in map(self.ledger.plan, decisions) if plan is not None]
