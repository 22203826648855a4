"""Sending, from journalled intents only, and finding out what became of what was sent.

What can open and has no note was never sent; what can only reduce may be noted a moment after it was. A budget ends the
waiting for a reply, not the request: a late reply is still written down. What was not answered is looked up by its
client id; an entry is never sent a second time.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.core.errors import ExchangeUnavailable, OwnershipLost, TraderError
from trader_cli.core.money.orders import UNREADABLE, NotPlaced, OrderState, Placed, StopState
from trader_cli.execution.bounded_queries import BoundedQueries
from trader_cli.execution.intent_requests import order_request, resting_stop, stop_request
from trader_cli.execution.stop_doubts import Doubts
from trader_cli.storage.ledger import LedgerUnwritable
from trader_cli.storage.ledger_reading import SETTLED
from trader_cli.storage.ledger_rows import Note

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trader_cli.core.money.orders import Sent, SymbolRules
    from trader_cli.core.ports import Broker, Clock
    from trader_cli.storage.ledger import Ledger
    from trader_cli.storage.ledger_rows import Intent

_NEVER_ARRIVED = frozenset({UNREADABLE, -1021, -1015, -1008})
"""Refused before it was looked at: by a limit (−1015 orders, −1008 load), or for the time it was signed at (−1021). It
may be tried under a new id."""
_AT_ONCE_S = 0.1
"""A leaving process gives an order that is being sent so long: the round trip of one."""
_LAGGING_MS = 5000
"""How long a query is taken to lag behind what the exchange itself has acknowledged."""
ABSENT = NotPlaced(0, "The exchange never had it.")

State = OrderState | StopState


@dataclass
class OrderSubmitter:
    """One account's sends, on the care lane.

    `filled` names symbols with fills that are not booked yet, `lost` those where a stop was found to be gone since they
    were last looked at; `unwritten` holds the first line the ledger would not
    take after something had been sent; `unjournalled` what was sent all the same, because it can only reduce.
    """

    broker: Broker
    ledger: Ledger
    clock: Clock
    now_ms: Callable[[], int]
    rules: Callable[[str], SymbolRules]
    budget_s: float
    absence_ms: int
    filled: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)
    unwritten: LedgerUnwritable | None = None
    unjournalled: dict[str, Intent] = field(default_factory=dict)
    queries: BoundedQueries = field(init=False)
    _under_way: dict[str, asyncio.Task[State | NotPlaced | None]] = field(default_factory=dict)
    changed_ms: dict[str, int] = field(default_factory=dict)
    filled_ms: dict[str, int] = field(default_factory=dict)
    averages: dict[str, Decimal] = field(default_factory=dict)
    _doubts: Doubts = field(default_factory=Doubts)
    _steady: dict[tuple[str, str], int] = field(default_factory=dict)
    _shown_ms: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.queries = BoundedQueries(self.clock, self.budget_s)

    # --- sending ---

    async def deliver(self, intent: Intent) -> State | NotPlaced | None:
        """See that an intent is sent, once: what the exchange has, that it said no, or `None` where that is unknown.

        One that is not in the ledger is written down first. Waits for the reply no longer than the budget; what was
        sent before is looked up.
        """
        task = self._under_way.get(intent.client_id)
        if task is None:
            last = self._last(intent)
            if last is not None and last[0] == "refused":
                return NotPlaced(int(last[1] or 0), last[2])
            if last is not None and last[0] == "absent":
                return ABSENT
            if last is not None:
                return await self.glance(intent)
            task = self.begin(intent)
        try:
            await asyncio.wait({task}, timeout=self.clock.loop_s(self.budget_s))
        except asyncio.CancelledError:
            task.cancel()  # this process is cut short: whoever comes after it looks everything up by its id
            raise
        return task.result() if task.done() else None

    def begin(self, intent: Intent) -> asyncio.Task[State | NotPlaced | None]:
        """Journal and send; the task ends with the reply, however late it comes.

        Raises `LedgerUnwritable` where what opens cannot be journalled; the task raises `OwnershipLost`, and sends
        nothing, where another process has taken the ledger over.
        """
        self._journal(intent)
        task = asyncio.ensure_future(self._sent(intent))
        self._under_way[intent.client_id] = task
        return task

    def require_ownership(self) -> None:
        """Directly before the bytes go: whoever has been stopped meanwhile may have been replaced."""
        if not self.ledger.is_owner():
            raise OwnershipLost("Another process has taken over this ledger; this one sends no more.")

    def _journal(self, intent: Intent) -> None:
        """The intent and that it is being sent: on disk before a byte leaves, where it can open.

        What can only reduce and is written down already is not kept waiting for the disk: see `_answered`.
        """
        opens = not intent.reduce_only
        if not opens and self.ledger.intent(intent.client_id) is not None:
            return
        try:
            with self.ledger.together():
                if self.ledger.intent(intent.client_id) is None:
                    self.ledger.intend(intent)
                self.ledger.note(intent.client_id, "sending", self.now_ms())
        except LedgerUnwritable as error:
            if opens:
                raise
            self.unwritten = self.unwritten or error
            self.unjournalled[intent.client_id] = intent

    async def _sent(self, intent: Intent) -> State | NotPlaced | None:
        try:
            self.require_ownership()
            sent = await self._answered(intent)
            if not self.ledger.is_open:
                return None  # whoever owned the ledger has ended: the next one looks it up by its id
            if isinstance(sent, Placed):
                return self.seen(intent, sent.state)
            if isinstance(sent, NotPlaced) and sent.code == UNREADABLE and not intent.reduce_only:
                self.note(intent, "unknown", note=sent.sentence)  # no refusal of the exchange's own: it is looked for
                return None
            if isinstance(sent, NotPlaced) and sent.code in _NEVER_ARRIVED and intent.reduce_only:
                self.note(intent, "absent", note=sent.sentence)
                return sent
            if isinstance(sent, NotPlaced):
                self.note(intent, "refused", str(sent.code), sent.sentence)
                return sent
            self._note_sending(intent)
            if self.status(intent) == "sending":
                self.note(intent, "unknown", note=sent.sentence)
            return None
        finally:
            self._under_way.pop(intent.client_id, None)

    async def _answered(self, intent: Intent) -> Sent:
        """The reply; that it was sent is written down at the latest when it has not come at once."""
        sending = asyncio.ensure_future(self._submit(intent))
        try:
            await asyncio.wait({sending}, timeout=self.clock.loop_s(_AT_ONCE_S))
            if not sending.done() and self.ledger.is_open:
                self._note_sending(intent)
            return await sending
        except asyncio.CancelledError:
            sending.cancel()
            raise

    def _note_sending(self, intent: Intent) -> None:
        """That it was sent, unless a line says so already: without one it would count as never sent."""
        if self.status(intent) is None:
            self.note(intent, "sending")

    def _submit(self, intent: Intent) -> Awaitable[Sent]:
        if intent.purpose in {"entry", "exit"}:
            return self.broker.place(order_request(intent))
        return self.broker.place_stop(stop_request(intent))

    async def end(self) -> None:
        """Let replies under way go: whoever comes after looks everything up by its id."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.queries.end()

    # --- what became of it ---

    def intent(self, client_id: str) -> Intent | None:
        """An intent of ours, journalled or sent while the disk was full."""
        return self.ledger.intent(client_id) or self.unjournalled.get(client_id)

    def intents_of(self, decision_id: str) -> list[Intent]:
        """Every intent of a decision, oldest first, also those sent while the disk was full."""
        others = [i for i in self.unjournalled.values() if i.decision_id == decision_id]
        return [*self.ledger.intents_of(decision_id), *others]

    def unsettled(self, symbol: str) -> list[Intent]:
        """Intents of a symbol that were sent, and of which more can come."""
        others, last = self.unjournalled, self.ledger.last_note
        noted = [i for i in self.ledger.unsettled(symbol) if last(i.client_id) is not None or i.client_id in others]
        return noted + [i for i in others.values() if i.symbol == symbol and self.status(i) not in SETTLED]

    def tick(self, symbol: str) -> Decimal | None:
        """The price step in force; `None` where the exchange's rules are not known: the level stays as it is then."""
        try:
            return self.rules(symbol).tick
        except TraderError:
            return None

    def _last(self, intent: Intent) -> tuple[str, str | None, str] | None:
        note = self.ledger.last_note(intent.client_id)
        return None if note is None else (note.status, note.exchange_id, note.note)

    def status(self, intent: Intent) -> str | None:
        """The last thing known of an intent."""
        known = self.ledger.status(intent.client_id)
        return known or ("unknown" if intent.client_id in self.unjournalled else None)

    def is_waiting(self, intent: Intent) -> bool:
        """Whether it was sent and nobody knows yet what became of it."""
        return self.status(intent) in {"sending", "unknown"}

    def sent_ms(self, intent: Intent) -> int:
        """When it was sent, on the monotonic clock."""
        return self._steadily(intent, "sending", self.ledger.latest_note, intent.at_ms)

    def _steadily(self, intent: Intent, status: str, read: Callable[[str, str], Note | None], unwritten_ms: int) -> int:
        """The time of a line on the monotonic clock, fixed when it is first asked for: nobody sets that one."""
        key = (intent.client_id, status)
        if key not in self._steady:
            note = read(*key)
            at_ms = unwritten_ms if note is None else note.at_ms
            self._steady[key] = self.clock.monotonic_ms() - max(0, self.now_ms() - at_ms)
        return self._steady[key]

    async def glance(self, intent: Intent) -> State | None:
        """One look at an intent by its client id; `None` while the exchange shows nothing, or does not answer.

        A stop the exchange had acknowledged is gone only once this says so: see `_doubt`. An answer that comes after
        the waiting has ended is read all the same.
        """
        try:
            state, requested_ms = await self.queries.ask(
                ("by id", intent.client_id),
                lambda: self._look(intent),
                hear=lambda state, requested_ms: self.shown(intent, state, requested_ms),
            )
        except ExchangeUnavailable:
            return None
        if requested_ms < self._shown_ms.get(intent.client_id, requested_ms):
            return None
        self.shown(intent, state, requested_ms)
        return None if state is None else await self._seen(intent, state)

    def shown(self, intent: Intent, state: State | None, requested_ms: int) -> None:
        """Read what a query said of an intent (`None`: it knows no such order); an older word undoes no newer one."""
        if not self.ledger.is_open or requested_ms < self._shown_ms.get(intent.client_id, requested_ms):
            return
        self._shown_ms[intent.client_id], rested = requested_ms, self._rests(intent)
        if state is None:
            self._not_shown(intent, requested_ms)
        elif not isinstance(state, StopState) or state.actual_order_id is None:
            self.seen(intent, state)
        if rested and not self._rests(intent):
            self.lost.add(intent.symbol)

    def _not_shown(self, intent: Intent, requested_ms: int) -> None:
        """The exchange knows no such order: of a stop that can mean that it is gone, or that it never arrived."""
        if intent.trigger_price is None:
            return
        if self.resting(intent) is not None:
            self._doubt(intent, requested_ms)
        elif self.is_waiting(intent) and requested_ms - self.sent_ms(intent) >= self.absence_ms:
            self.note(intent, "absent")

    async def _look(self, intent: Intent) -> State | None:
        if intent.purpose in {"entry", "exit"}:
            return await self.broker.order(intent.symbol, intent.client_id)
        return await self.broker.stop(intent.symbol, intent.client_id)

    def _doubt(self, intent: Intent, requested_ms: int) -> None:
        """A stop that was acknowledged and is not known any more: another is tried at once, in time it is gone.

        A query may lag behind the exchange; what rests after all is trusted again as soon as anything shows it.
        """
        known_ms = requested_ms - self._steadily(intent, "open", self.ledger.first_note, self.now_ms())
        if known_ms >= self.absence_ms:
            self._doubts.drop(intent.symbol, intent.client_id)
            self.note(intent, "done", note="GONE")
        elif known_ms >= _LAGGING_MS:
            self._doubts.add(intent)

    def resting(self, intent: Intent) -> StopState | None:
        """A stop the exchange has acknowledged and no look has shown to be gone."""
        return None if intent.trigger_price is None else resting_stop(intent, self.ledger.last_note(intent.client_id))

    def _rests(self, intent: Intent) -> bool:
        """Whether a stop counts as cover."""
        return self.resting(intent) is not None and not self._doubts.has(intent.symbol, intent.client_id)

    def stops(self, symbol: str) -> list[StopState]:
        """Every stop and take-profit of ours that is known to rest, and not doubted."""
        return [stop for stop in self.every_stop(symbol) if not self._doubts.has(symbol, stop.client_id)]

    def every_stop(self, symbol: str) -> list[StopState]:
        """Those that are doubted, too."""
        found = (self.resting(intent) for intent in self.unsettled(symbol))
        return [stop for stop in found if stop is not None]

    def trust_backstop(self, symbol: str) -> None:
        """The exchange says that a close-position stop rests (−4130): one of ours that is doubted is there still."""
        for stop in self.every_stop(symbol):
            if stop.close_position and stop.kind == "stop":
                self._doubts.drop(symbol, stop.client_id)

    def seen(self, intent: Intent, state: State) -> State:
        """Write down what the exchange shows, if it is news."""
        self._doubts.drop(intent.symbol, intent.client_id)
        status = "open" if state.is_open else "done"
        exchange_id = state.order_id if isinstance(state, OrderState) else (state.actual_order_id or state.stop_id)
        filled = state.filled if isinstance(state, OrderState) else Decimal(0)
        if filled < self.ledger.filled(intent.client_id):
            return state  # an older word than the one that is written down
        if filled > self.ledger.filled(intent.client_id):
            self._has_filled(intent.symbol, state.update_ms)
        if isinstance(state, OrderState) and state.average_price is not None:
            self.averages[intent.client_id] = state.average_price
        words = f"{state.status} {filled:f}" if filled else state.status
        last = self.ledger.last_note(intent.client_id)
        if last is None or (last.status, last.exchange_id, last.note) != (status, exchange_id, words):
            if last is not None and last.status == "done" and status == "open" and last.note != "GONE":
                return state
            self.note(intent, status, exchange_id, words, at_ms=state.update_ms)
        return state

    async def _seen(self, intent: Intent, state: State) -> State:
        """`seen`, and for a stop that was triggered how much of it has filled."""
        if not isinstance(state, StopState) or state.actual_order_id is None:
            return self.seen(intent, state)
        number = state.actual_order_id
        try:
            order, _ = await self.queries.ask(
                ("order", number), lambda: self.broker.order_by_id(intent.symbol, number), share_ms=1000
            )
        except ExchangeUnavailable:
            return state  # what it became is asked again: until then it counts as it did
        if order is None or order.filled == 0:
            return self.seen(intent, state)
        if order.filled > self.ledger.filled(intent.client_id):
            self._has_filled(intent.symbol, order.update_ms)
        words, last = f"{state.status} {order.filled:f}", self.ledger.last_note(intent.client_id)
        if last is None or last.note != words:
            status = "open" if order.is_open else "done"
            self.note(intent, status, order.order_id, words, at_ms=order.update_ms)
        return state

    def _has_filled(self, symbol: str, at_ms: int) -> None:
        """Something of ours has moved the position, at a time of the exchange: what was seen before is old."""
        self.filled.add(symbol)
        self.changed_ms[symbol] = self.clock.monotonic_ms()
        self.filled_ms[symbol] = self.changed_ms[symbol] - max(0, self.now_ms() - at_ms)

    def note(
        self, intent: Intent, status: str, exchange_id: str | None = None, note: str = "", *, at_ms: int | None = None
    ) -> None:
        """A line about an intent that was sent. A full disk must not stop what reduces risk."""
        when = self.now_ms() if at_ms is None else at_ms
        try:
            with self.ledger.together(synced=False):
                self.ledger.intend(intent)
                self.ledger.note(intent.client_id, status, when, exchange_id=exchange_id, note=note)
            self.unjournalled.pop(intent.client_id, None)
        except LedgerUnwritable as error:
            self.unwritten = self.unwritten or error
            self.ledger.remember(intent, Note(status, exchange_id, note, when))
