"""Care for one symbol of ours until it is covered, closed, or known never to have been opened.

What to send next is decided purely (`core.money.protection_step`). Here it is sent, and the exchange is asked, side by
side: no answer is waited for that the next step does not need. While anything is bare this goes on, whatever is slow or
away.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.core.errors import TraderError
from trader_cli.core.money.breaker import BEYOND_BACKSTOP, UNPROTECTED
from trader_cli.core.money.protection_step import ProtectionState, must_leave, next_steps
from trader_cli.core.money.trading_rules import RULE_CODES
from trader_cli.execution.protection import cover_of
from trader_cli.execution.protection_orders import KINDS
from trader_cli.execution.symbol_queries import SHARED_MS
from trader_cli.execution.uncovered_time import UncoveredTime

if TYPE_CHECKING:
    from trader_cli.core.money.orders import NotPlaced
    from trader_cli.core.money.plans import TradePlan
    from trader_cli.execution.attempts import Attempts
    from trader_cli.execution.protection import Cover
    from trader_cli.execution.symbol_view import View
    from trader_cli.storage.ledger_rows import Intent

ZERO = Decimal(0)
_ANSWERED_MS = 500
"""An answer that comes sooner needs no question beside it."""
_TURN_S = 0.25
"""The longest a turn waits for news: the shortest pause of a question, and a twentieth of the usual limit."""
_BOOKING_MS = 10_000
"""How long trades of a covered position may take to be told before the caller hears of the entry without them."""
_REFUSED_MS = 10_000
"""How long a covered position is tried to be closed against refusals before the caller is told."""
_SHOWN_MS = 2000
"""How long the position may take to show what our trades say."""
_FIRST_MS = 500
"""After a ban questions wait so long, so that an order can be first."""
_PASSED, _TAKEN = -2021, -4130
"""A stop would trigger at once: price is beyond it. A close-position stop rests in this direction: only one may."""
_LOOKED_INTO = frozenset({_PASSED, -2022, -4118})
"""Refusals about which the position itself must be asked: it says where the mark price is, and what is open."""


@dataclass(frozen=True)
class ProtectionResult:
    """The end: "covered", "flat", "reduced", "dust", "absent", "refused", "unprotected", "unknown" with what is known.

    `closed` says why it was closed although nobody asked for it.
    """

    how: str
    view: View
    cover: Cover | None = None
    closed: str | None = None
    refused: NotPlaced | None = None


class ProtectionLoop:
    """One symbol under care. `goal` is what is to be left of the position (`None`: all of it), `reason` why.

    With `must_look` it does not end before the exchange was asked what rests, and what has moved. After `most_s`
    seconds it ends as "unprotected" where it has not otherwise: for a caller that comes again.
    """

    def __init__(
        self,
        attempts: Attempts,
        plan: TradePlan,
        *,
        goal: Decimal | None = None,
        reason: str = "",
        must_look: bool = False,
        most_s: float | None = None,
    ) -> None:
        self._attempts, self._context, self._plan = attempts, attempts.context, plan
        self._goal, self._reason, self._must_look, self._most_s = goal, reason, must_look, most_s
        self._orders, self._queries = attempts.protection_orders(plan), attempts.queries(plan)
        self._uncovered = UncoveredTime(self._context, plan, self._orders)
        self._closed: str | None = None
        self._began_ms = self._quiet_until_ms = 0
        self._settled_ms: int | None = None
        self._flat_ms: int | None = None
        self._leave_ms: int | None = None
        self._view: View = self._context.reconciler.view(plan.symbol)

    def send_entry(self, entry: Intent) -> None:
        """The entry itself, journalled before this returns. Raises `LedgerUnwritable`; then it was not sent."""
        self._orders.entry(entry)

    async def run(self) -> ProtectionResult:
        """Until it has ended; raises `OwnershipLost` where another process has taken over."""
        self._began_ms = self._uncovered.began_ms = self._now()
        try:
            while (ended := self._turn()) is None:
                await self._anything()
                self._context.tick()
        except asyncio.CancelledError:
            self._orders.cancel()
            raise
        finally:
            self._queries.drop()
        if ended.how != "unprotected":
            self._attempts.settle(self._plan)
        return ended

    def _turn(self) -> ProtectionResult | None:
        """Take up what has come, send and ask what is due; how it ended, if it has."""
        for kind, refused in self._orders.take_up():
            self._heard_no(kind, refused.code)
        if self._orders.has_reduced:
            self._orders.has_reduced = False
            self._queries.after_exit()
        self._view = self._context.reconciler.view(self._plan.symbol)
        standing = self._standing()
        ended = self._ended(standing) or self._ended_late(standing)
        if ended is not None:
            return ended
        frozen_s = self._frozen_s()
        if not frozen_s:
            for step in next_steps(standing, self._now(), self._context.deadline_ms):
                if step.kind == "exit":
                    self._leave(standing)
                self._orders.begin(step, standing, self._closed or self._reason)
            if self._now() >= self._quiet_until_ms:
                self._ask(standing)
        self._uncovered.alarm(standing, frozen_s)
        return None

    def _now(self) -> int:
        return self._context.now_ms()

    def _frozen_s(self) -> float:
        """How long the exchange takes no request; after that what covers or closes goes first, alone."""
        frozen_s = self._context.exchange.frozen_s()
        if frozen_s:
            self._quiet_until_ms = self._now() + round(frozen_s * 1000) + _FIRST_MS
        return frozen_s

    def _leave(self, s: ProtectionState) -> None:
        """The first exit that nobody asked for: once it is sent there is no going back."""
        if self._goal is None and s.held and must_leave(s, self._now(), self._context.deadline_ms):
            self._closed, self._goal = (BEYOND_BACKSTOP if s.is_beyond_backstop else UNPROTECTED), ZERO

    def _heard_no(self, kind: str, code: int) -> None:
        if code == _TAKEN and kind == "backstop":
            self._context.submitter.trust_backstop(self._plan.symbol)
            self._queries.at_once("stops")
        if code in _LOOKED_INTO:
            self._queries.at_once("positions")
        if code in RULE_CODES:
            self._queries.about_rules()

    # --- what is known ---

    def _standing(self) -> ProtectionState:
        view = self._view
        held = max(view.expected * self._plan.sign, ZERO)
        cover, possible = cover_of(self._plan.side, view.stops, held), self._possible(held)
        covered = cover.backstop is not None or (cover.stopped >= held and not possible)
        return ProtectionState(
            held=held,
            possible=possible,
            foreign=view.foreign != 0 and not view.is_missing,
            backstop=cover.backstop is not None,
            stopped=cover.stopped,
            targeted=cover.targeted,
            unprotected_since_ms=self._uncovered.since_ms(held + possible, covered=covered, presumed=view.presumed),
            is_beyond_backstop=self._is_beyond(view),
            goal=self._goal,
            tries=self._orders.tries(),
            backstop_taken=self._queries.backstop_taken,
            has_targets=bool(cover.take_profits),
            must_drop_targets=self._orders.must_drop_targets,
            may_be_blind=self._may_be_blind(),
        )

    def _possible(self, held: Decimal) -> Decimal:
        """What may be open besides: an entry of unknown fate, or one that can still fill."""
        entry = self._context.reconciler.waiting_entry(self._plan.symbol)
        if entry is None or entry.quantity is None:
            return ZERO
        return max(entry.quantity - held, ZERO)

    def _may_be_blind(self) -> bool:
        """Whether the entry's reply has been waited for long enough to send without it what can only close."""
        is_young = self._now() - self._began_ms < self._context.submitter.budget_s * 1000
        return not (is_young and self._orders.tried("entry").is_waiting)

    def _is_beyond(self, view: View) -> bool:
        mark = view.position.mark_price if view.position else None
        return mark is not None and (mark - self._plan.backstop_price) * self._plan.sign <= 0

    # --- whether it has ended ---

    def _ended(self, s: ProtectionState) -> ProtectionResult | None:
        view, now = self._view, self._now()
        leaving = self._is_leaving(now)
        if self._must_look and not leaving and not all(map(self._has_looked, self._wanted(s))):
            return None
        if not s.is_open:
            return self._ended_flat(view, now, leaving=leaving)
        if self._goal is not None:
            return self._ended_reducing(s, view, now, leaving=leaving)
        if not s.is_covered:
            return self._ended_unknown(s, view, now, leaving=leaving)
        return self._ended_covered(s, view, now, leaving=leaving)

    def _ended_covered(self, s: ProtectionState, view: View, now: int, *, leaving: bool) -> ProtectionResult | None:
        settled = not s.possible and self._is_complete(s)
        late = s.possible and now - self._began_ms > self._longest_ms
        if (settled and self._is_booked(view, now)) or leaving or late:
            return ProtectionResult("unknown" if s.possible else "covered", view, self._cover(s.held))
        return None

    def _ended_flat(self, view: View, now: int, *, leaving: bool) -> ProtectionResult | None:
        # an exit of unknown fate has nothing left to reduce; it keeps new entries away, and nobody waiting
        self._flat_ms = self._flat_ms or now
        moving = self._context.reconciler.waiting_entry(self._plan.symbol) is not None or bool(self._orders.under_way())
        moving = moving or (self._has_moved(view) and now - self._flat_ms < _SHOWN_MS)
        settled = self._is_booked(view, now) and not moving
        if not settled and not leaving and now - self._flat_ms < self._longest_ms:
            return None
        entry = self._context.reconciler.entry_of(self._plan)
        status = None if entry is None else self._context.submitter.status(entry)
        how = {"absent": "absent", "refused": "refused"}.get(status or "", "flat") if settled else "unknown"
        return ProtectionResult(how, view, closed=self._why_closed(), refused=self._orders.tried("entry").refused)

    def _why_closed(self) -> str | None:
        """Why it was closed without anybody asking; `None` where nothing was."""
        return self._closed if self._orders.has_left() else None

    def _ended_reducing(self, s: ProtectionState, view: View, now: int, *, leaving: bool) -> ProtectionResult | None:
        exit_ = s.tried("exit")
        done = s.held <= (self._goal or ZERO) and not s.possible and not exit_.unknown
        if done and self._is_booked(view, now):
            return ProtectionResult("reduced", view, self._cover(s.held), self._why_closed())
        refused_ms = self._orders.exit_refused_ms
        refused = refused_ms is not None and now - refused_ms > _REFUSED_MS
        late = now - self._began_ms > self._context.patience_ms
        if s.is_covered and (leaving or late or refused or self._orders.is_dust):
            how = "dust" if self._orders.is_dust else "unknown"
            return ProtectionResult(
                how, view, self._cover(s.held), self._why_closed(), self._orders.tried("exit").refused
            )
        return None

    def _ended_unknown(self, s: ProtectionState, view: View, now: int, *, leaving: bool) -> ProtectionResult | None:
        """Nothing says that the entry has filled: that is given up after a while, or when told to leave."""
        if s.held:
            return None
        heard = self._context.reconciler.snapshot(self._plan.symbol).requested_ms > self._began_ms
        late = heard and now - self._began_ms > self._longest_ms
        asked_to = leaving and self._leave_ms is not None and now - self._leave_ms >= self._context.deadline_ms
        return ProtectionResult("unknown", view) if late or asked_to else None

    def _ended_late(self, s: ProtectionState) -> ProtectionResult | None:
        if self._most_s is None or self._now() - self._began_ms < self._most_s * 1000:
            return None
        how = "unprotected" if s.is_open and not s.is_covered else "unknown"
        return ProtectionResult(how, self._view, self._cover(s.held), self._why_closed())

    @property
    def _longest_ms(self) -> int:
        """How long an entry of unknown fate is waited for."""
        return self._context.patience_ms + self._context.submitter.absence_ms

    def _is_leaving(self, now: int) -> bool:
        if not self._context.leaving():
            return False
        self._leave_ms = self._leave_ms or now
        return True

    def _is_booked(self, view: View, now: int) -> bool:
        """Whether the trades of what has filled are booked, or were waited for long enough."""
        self._settled_ms = self._settled_ms or now
        patience = self._context.patience_ms if view.presumed else _BOOKING_MS
        return view.is_booked or now - self._settled_ms > patience

    def _wanted(self, s: ProtectionState) -> list[str]:
        """Kinds of questions that must have been asked once, whatever was answered."""
        moving = ["orders"] if self._moving(s) else []
        return ["positions", "stops", *moving, *(["trades"] if self._has_moved(self._view) else [])]

    def _has_looked(self, kind: str) -> bool:
        snapshot = self._context.reconciler.snapshot(self._plan.symbol)
        if kind == "positions" and snapshot.requested_ms >= max(self._began_ms - SHARED_MS, 0):
            return True
        return self._queries.was_asked(kind, self._began_ms)

    def _has_moved(self, view: View) -> bool:
        """Whether ledger and position differ, or something has filled that is not booked."""
        snapshot = self._context.reconciler.snapshot(self._plan.symbol)
        return not view.is_booked or (snapshot.requested_ms >= 0 and view.ours != snapshot.amount)

    def _is_complete(self, s: ProtectionState) -> bool:
        """Whether each part of the cover rests, or was tried and will not come by waiting for it."""
        beside = s.foreign or s.backstop_taken
        return not self._orders.under_way() and all(
            (
                s.backstop or beside or self._was_tried("backstop", 2),
                s.stopped >= s.held or self._was_tried("stop", 2) or s.tried("stop").unknown > 1,
                s.stopped <= s.held or self._was_tried("fit_stops", 2),
                s.targeted >= s.held or self._was_tried("take_profit", 1) or s.tried("take_profit").unknown,
                s.targeted <= s.held or self._was_tried("fit_targets", 2),
            )
        )

    def _was_tried(self, kind: str, often: int) -> bool:
        tried = self._orders.tried(kind)
        return tried.count >= often

    def _cover(self, held: Decimal) -> Cover:
        return self._context.cover(self._plan, held)

    # --- asking, waiting, telling ---

    def _ask(self, s: ProtectionState) -> None:
        """Questions that can tell something now."""
        view, queries, rec = self._view, self._queries, self._context.reconciler
        if self._orders.are_young(_ANSWERED_MS):
            return
        waiting = self._moving(s)
        if waiting:
            queries.about_orders(waiting)
        if self._wants_stops(s) or (self._must_look and not self._has_looked("stops")):
            queries.about_stops()
        moved = self._has_moved(view) or bool(waiting)
        if self._has_moved(view) or any(i.purpose == "entry" for i in waiting) or rec.is_stale(self._plan.symbol):
            queries.about_trades()
        unsure = self._goal is not None or not s.is_covered
        if moved or unsure or (self._must_look and not self._has_looked("positions")):
            queries.about_positions()

    def _moving(self, s: ProtectionState) -> list[Intent]:
        """Entries and exits of which more can come. Where nothing is to be closed exits are settled by the way."""
        moving = [i for i in self._context.submitter.unsettled(self._plan.symbol) if i.purpose in {"entry", "exit"}]
        is_calm = self._goal is None and (s.is_covered or not s.is_open)
        return [] if is_calm and all(i.purpose == "exit" for i in moving) else moving

    def _wants_stops(self, s: ProtectionState) -> bool:
        """Whether the list of what rests can tell something: stops of unknown fate, or none where there should be."""
        refused = self._orders.tried("backstop").refused
        unknown = any(s.tried(kind).unknown for kind in KINDS if kind != "exit")
        return unknown or (refused is not None and refused.code == _TAKEN)

    async def _anything(self) -> None:
        """Wait for any answer, or until the next thing may be due."""
        if self._orders.has_news():
            return
        clock, frozen_s = self._context.exchange.clock, self._context.exchange.frozen_s()
        under_way = [*self._orders.under_way(), *self._queries.under_way()]
        if under_way and not frozen_s:
            await asyncio.wait(under_way, timeout=clock.loop_s(_TURN_S), return_when=asyncio.FIRST_COMPLETED)
        else:
            await clock.sleep(min(max(frozen_s, 0.05), 1.0) if frozen_s else _TURN_S)


async def guarded_together(guards: list[ProtectionLoop]) -> list[ProtectionResult | TraderError]:
    """Several symbols under care at once: what one lacks does not keep the others waiting."""

    async def one(guard: ProtectionLoop) -> ProtectionResult | TraderError:
        try:
            return await guard.run()
        except TraderError as error:
            return error

    return list(await asyncio.gather(*(one(guard) for guard in guards)))
