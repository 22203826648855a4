"""Sending, from journalled intents only, and finding out what became of what was sent.

An intent without a note was never sent. One that was sent and not answered is looked up by its client id until the
exchange shows it, or until the exchange can no longer accept it and still knows nothing of it: only then is it absent.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.core.errors import ExchangeUnavailable, LedgerLocked
from trader_cli.core.orders import NotPlaced, OrderRequest, OrderState, Placed, StopRequest, StopState
from trader_cli.exchange.client import RECEIVE_WINDOW_MS
from trader_cli.exchange.connection import UNREADABLE
from trader_cli.storage.ledger import LedgerUnwritable
from trader_cli.storage.ledger_reading import SETTLED
from trader_cli.storage.lock import recorded

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trader_cli.core.orders import Sent, SymbolRules
    from trader_cli.core.ports import Clock
    from trader_cli.exchange.private import PrivateSide
    from trader_cli.storage.ledger import Ledger
    from trader_cli.storage.ledger_rows import Intent

_LOOK_S = 0.25
_EARLIER_MS = 2000
_ABSENT_AFTER_MS = RECEIVE_WINDOW_MS + 11_000
"""Until the window has closed an order may arrive, and the exchange has carried orders out ten seconds late."""
_NEVER_ARRIVED = frozenset({UNREADABLE, -1021})
"""Refused before it was looked at: by a limit, or for the time it was signed at. It may be tried again."""
ABSENT = NotPlaced(0, "The exchange never had it.")

State = OrderState | StopState


@dataclass
class Courier:
    """One account's sends.

    `filled` names symbols with fills that are not booked yet; `unwritten` holds the first line the ledger would not
    take after something had been sent.
    """

    private: PrivateSide
    ledger: Ledger
    clock: Clock
    now_ms: Callable[[], int]
    rules: Callable[[str], SymbolRules]
    filled: set[str] = field(default_factory=set)
    unwritten: LedgerUnwritable | None = None

    async def deliver(
        self, intent: Intent, *, patience_s: float | None = None, resend: bool = True
    ) -> State | NotPlaced:
        """See that an intent is at the exchange once; what the exchange has, or that it certainly has nothing.

        An intent that is not in the ledger yet is written down first. `resend` lets one that is proved absent be sent
        once more under its id. Raises `ExchangeUnavailable` if that could not be found out within `patience_s` seconds.
        """
        if self.ledger.intent(intent.client_id) is None:
            self.ledger.intend(intent)
        last = self.ledger.last_note(intent.client_id)
        if last is None:
            return await self._send(intent, patience_s, resend=resend)
        if last.status == "refused":
            return NotPlaced(int(last.exchange_id or 0), last.note)
        if last.status == "absent":
            return await self._send(intent, patience_s, resend=False) if resend else ABSENT
        return await self.settle(intent, patience_s, resend=resend)

    async def _send(self, intent: Intent, patience_s: float | None, *, resend: bool) -> State | NotPlaced:
        self.note(intent, "sending", required=intent.purpose == "entry")
        if not self.ledger.is_owner():
            raise LedgerLocked(str(self.ledger.path), str(recorded(self.ledger.path)))
        sent = await self._submit(intent)
        if isinstance(sent, Placed):
            return self.seen(intent, sent.state)
        if isinstance(sent, NotPlaced) and sent.code in _NEVER_ARRIVED:
            self.note(intent, "absent", note=sent.sentence)
            raise ExchangeUnavailable(sent.sentence)
        if isinstance(sent, NotPlaced):
            self.note(intent, "refused", str(sent.code), sent.sentence)
            return sent
        self.note(intent, "unknown", note=sent.sentence)
        return await self.settle(intent, patience_s, resend=resend)

    def _submit(self, intent: Intent) -> Awaitable[Sent]:
        if intent.purpose in {"entry", "exit"}:
            assert intent.quantity is not None
            order = OrderRequest(
                intent.client_id, intent.symbol, intent.side, intent.quantity, price=intent.price, time_in_force="IOC",
                reduce_only=intent.reduce_only,
            )  # fmt: skip
            return self.private.submit(order)
        return self.private.submit_stop(stop_request(intent))

    async def settle(
        self, intent: Intent, patience_s: float | None = None, *, resend: bool = False
    ) -> State | NotPlaced:
        """What the exchange has of an intent that was sent. Raises `ExchangeUnavailable` when patience ends."""
        began = self.now_ms()
        while True:
            try:
                found = await self.glance(intent)
                if found is ABSENT and resend:
                    return await self._send(intent, patience_s, resend=False)
                if found is not None:
                    return found
            except ExchangeUnavailable:
                if patience_s is None:
                    raise
            if patience_s is not None and self.now_ms() - began > patience_s * 1000:
                raise ExchangeUnavailable(
                    f"It is not known whether the exchange has the {intent.purpose} order {intent.client_id}"
                    f" of {intent.symbol}.",
                    mend="Run `trader monitor`: it finds out before it does anything else.",
                )
            await self.clock.sleep(_LOOK_S)

    async def glance(self, intent: Intent) -> State | NotPlaced | None:
        """One look at an intent that was sent: what the exchange has, `ABSENT` once proved, `None` while unknown."""
        state = await self.look(intent)
        if state is not None:
            return await self._seen(intent, state)
        if self.now_ms() <= self._last_sent_ms(intent) + _ABSENT_AFTER_MS or await self._left_a_trace(intent):
            return None
        self.note(intent, "absent")
        return ABSENT

    async def _left_a_trace(self, intent: Intent) -> bool:
        """Whether an order that the exchange says it does not have rests there, or traded as an order of nobody's."""
        if intent.purpose not in {"entry", "exit"}:
            return False
        resting = await self.private.open_orders(intent.symbol)
        if any(order.client_id == intent.client_id for order in resting):
            return True
        trades = await self.private.trades(intent.symbol, start_ms=self._last_sent_ms(intent) - _EARLIER_MS)
        nobodys = [t for t in trades if self.ledger.owner(t.symbol, t.order_id) is None]
        for order_id in {t.order_id for t in nobodys if t.side == intent.side}:
            order = await self.private.order_by(intent.symbol, order_id)
            if order is None or order.client_id == intent.client_id:
                return True
        return False

    def _last_sent_ms(self, intent: Intent) -> int:
        note = self.ledger.latest_note(intent.client_id, "sending")
        return intent.at_ms if note is None else note.at_ms

    async def look(self, intent: Intent) -> State | None:
        """What the exchange shows under the client id; `None` if it says that there is nothing."""
        if intent.purpose in {"entry", "exit"}:
            return await self.private.find_order(intent.symbol, intent.client_id)
        return await self.private.find_stop(intent.symbol, intent.client_id)

    def seen(self, intent: Intent, state: State) -> State:
        """Write down what the exchange shows, if it is news."""
        status = "open" if state.is_open else "done"
        exchange_id = state.order_id if isinstance(state, OrderState) else (state.actual_order_id or state.algo_id)
        filled = state.filled if isinstance(state, OrderState) else Decimal(0)
        if filled > 0:
            self.filled.add(intent.symbol)
        words = f"{state.status} {filled:f}" if filled else state.status
        last = self.ledger.last_note(intent.client_id)
        if last is None or (last.status, last.exchange_id, last.note) != (status, exchange_id, words):
            self.note(intent, status, exchange_id, words, at_ms=state.update_ms)
        return state

    async def _seen(self, intent: Intent, state: State) -> State:
        """`seen`, and for a stop that was triggered how much of it has filled."""
        if not isinstance(state, StopState) or state.actual_order_id is None:
            return self.seen(intent, state)
        order = await self.private.order_by(intent.symbol, state.actual_order_id)
        if order is None or order.filled == 0:
            return self.seen(intent, state)
        self.filled.add(intent.symbol)
        words, last = f"{state.status} {order.filled:f}", self.ledger.last_note(intent.client_id)
        if last is None or last.note != words:
            status = "open" if order.is_open else "done"
            self.note(intent, status, order.order_id, words, at_ms=order.update_ms)
        return state

    def note(
        self, intent: Intent, status: str, exchange_id: str | None = None, note: str = "", *,
        at_ms: int | None = None, required: bool = False,
    ) -> None:  # fmt: skip
        """A line about an intent. Where it is not `required`, a full disk must not stop what reduces risk."""
        try:
            when = self.now_ms() if at_ms is None else at_ms
            self.ledger.note(intent.client_id, status, when, exchange_id=exchange_id, note=note)
        except LedgerUnwritable as error:
            if required:
                raise
            self.unwritten = self.unwritten or error

    def is_settled(self, intent: Intent) -> bool:
        """Whether nothing more can come of an intent."""
        return self.ledger.status(intent.client_id) in SETTLED


def stop_request(intent: Intent) -> StopRequest:
    """The stop or take-profit an intent stands for; the backstop has no quantity and closes everything."""
    assert intent.trigger_price is not None
    return StopRequest(
        intent.client_id, intent.symbol, intent.side, "take_profit" if intent.purpose == "take_profit" else "stop",
        intent.trigger_price, None if intent.purpose == "backstop" else intent.quantity,
    )  # fmt: skip
