"""How long positions were without full cover, and sentences about what is open and what protects it."""

from __future__ import annotations

from asyncio import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trader_cli.core.errors import ExchangeRejected, ExchangeUnavailable, Terminated
from trader_cli.core.proofs import assurance
from trader_cli.core.proofs.doubts import is_open
from trader_cli.core.proofs.evidence import AccountSnapshot
from trader_cli.execution.plan_lookup import entry_id
from trader_cli.storage.ledger import LedgerUnwritable
from trader_cli.storage.ledger_books import books_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from trader_cli.core.errors import TraderError
    from trader_cli.core.money.plans import TradePlan
    from trader_cli.execution.reconciliation import View
    from trader_cli.storage.ledger import Ledger
    from trader_cli.storage.ledger_reading import LedgerReading

LOST, REGAINED, BROKEN = "uncovered", "covered", "limit_broken"
_LOOKS = ("stay", "tighten", "scale_down")


@dataclass(frozen=True)
class Coverage:
    """Read from the ledger; times are the exchange's where it told them. `covered` remembers the last looks."""

    ledger: Ledger
    now_ms: Callable[[], int]
    covered: dict[str, int] = field(default_factory=dict)

    def lost(self, plan: TradePlan) -> None:
        """The loss of a stop that rested is written down: from the last look that saw cover."""
        if not self.has_rested(plan):
            return
        lines = self._lines(plan)
        if lines and lines[-1][0] == LOST:
            return
        last = self.ledger.last_assessment(plan.symbol, _LOOKS)
        since = self.covered.get(plan.plan_id) or (last.at_ms if last is not None else self.now_ms())
        self._say(plan, LOST, {}, since)

    def regained(self, plan: TradePlan) -> None:
        """The position is covered again: written down if its loss was."""
        lines = self._lines(plan)
        if lines and lines[-1][0] == LOST:
            self._say(plan, REGAINED, {}, self.now_ms())

    def saw_cover(self, plan: TradePlan, now_ms: int) -> None:
        """A look has just seen full cover."""
        self.covered[plan.plan_id] = now_ms

    def limit_broken(self, plan: TradePlan, unprotected_ms: int) -> None:
        """The limit on time without cover is broken: a line of its own."""
        self._say(plan, BROKEN, {"bare_ms": unprotected_ms}, self.now_ms())

    def _say(self, plan: TradePlan, action: str, body: dict[str, int], at_ms: int) -> None:
        with suppress(LedgerUnwritable):  # what protects goes on; the disk is told of elsewhere
            self.ledger.assess(plan.symbol, action, {"plan_id": plan.plan_id, **body}, at_ms)

    def missing_ms(self, plan: TradePlan) -> int:
        """Milliseconds without full cover since the first fill, the time until the first stop included."""
        filled, rested = self.filled_ms(plan), self._first_stop_ms(plan)
        if filled is None:
            return 0
        fills = self.ledger.fills(decision_id=plan.plan_id)
        is_over = bool(fills) and self.ledger.holding(plan.symbol).amount == 0
        ended = fills[-1].time_ms if is_over else self.now_ms()
        total = max(0, (ended if rested is None else min(rested, ended)) - filled)
        since: int | None = None
        for action, at in self._lines(plan):
            if action == LOST:
                since = at
            elif since is not None:
                total, since = total + at - since, None
        return total + (max(0, ended - since) if since is not None else 0)

    def _lines(self, plan: TradePlan) -> list[tuple[str, int]]:
        found = self.ledger.assessments(plan.symbol, plan.created_ms, (LOST, REGAINED))
        return [(line.action, line.at_ms) for line in found if line.is_of(plan)]

    def filled_ms(self, plan: TradePlan) -> int | None:
        """When the entry first filled, by its trades, else by what was said of the order; `None` if unknown."""
        entry = entry_id(self.ledger, plan)
        fills = self.ledger.fills(client_id=entry)
        if fills:
            return fills[0].time_ms
        note = self.ledger.last_note(entry)
        return note.at_ms if note is not None and self.ledger.filled(entry) > 0 else None

    def has_rested(self, plan: TradePlan) -> bool:
        """Whether a stop of this plan has ever rested."""
        return self._first_stop_ms(plan) is not None

    def _first_stop_ms(self, plan: TradePlan) -> int | None:
        """When the first stop rested. The backstop covers everything, and a quantity stop is made for everything."""
        ledger = self.ledger
        sent = [i.client_id for i in ledger.intents_of(plan.plan_id) if i.purpose in {"backstop", "stop"}]
        notes = [ledger.first_note(client_id, "open") for client_id in sent if ledger.status(client_id) is not None]
        return min((note.at_ms for note in notes if note is not None), default=None)


def standing_of(view: View, ledger: LedgerReading) -> str:
    """A sentence from what the exchange shows of a symbol and the ledger knows: what is open and what protects it."""
    positions = () if view.position is None else (view.position,)
    snapshot = AccountSnapshot(view.requested_ms, positions, view.stops, None, symbols=frozenset({view.symbol}))
    books = books_of(ledger)
    held = books.held.get(view.symbol)
    if held and not view.stops:
        return assurance.unprotected(view.symbol, held)
    return assurance.standing(view.symbol, snapshot, books)


def acknowledged(view: View) -> str:
    """What the exchange itself has said of a symbol, where the ledger takes no line that could prove more."""
    levels = ", ".join(f"{s.trigger_price:f}" for s in view.stops if s.kind == "stop") or "no level"
    what = is_open(view.symbol, view.expected) if view.expected else f"{view.symbol}: no fill is known"
    return f"{what}; stops that the exchange has acknowledged: {levels}."


def remembered(ledger: LedgerReading, symbol: str, error: TraderError) -> str:
    """What the ledger knows where the exchange cannot be asked, or did not say it."""
    why = f"The exchange did not show it: {error.sentence}" if error.answered else "The exchange cannot be asked."
    return f"{why} {last_known(ledger, symbol)}"


def last_known(ledger: LedgerReading, symbol: str) -> str:
    """What the ledger last saw of a symbol: what is open, and which stops rest."""
    return assurance.last_known(symbol, books_of(ledger))


@contextmanager
def naming_what_is_left(ledger: LedgerReading, say: Callable[[str], None]) -> Iterator[None]:
    """Whoever is interrupted inside, or not answered any more, says what stays open and which stops stay resting."""
    try:
        yield
    except (CancelledError, KeyboardInterrupt, Terminated):
        _name_what_is_left(ledger, say)
        raise
    except (ExchangeUnavailable, ExchangeRejected):
        if ledger.client_ids():
            _name_what_is_left(ledger, say)
        raise


def _name_what_is_left(ledger: LedgerReading, say: Callable[[str], None]) -> None:
    books = books_of(ledger)
    for symbol in sorted({*books.held, *books.unbooked, *(order.symbol for order in books.moving)}):
        say(f"Left as it is: {assurance.last_known(symbol, books)}")
    if not (books.held or books.unbooked or books.moving):
        say("The ledger holds no position, and no order of unknown end.")
