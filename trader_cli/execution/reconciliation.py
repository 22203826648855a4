"""The ledger brought level with the exchange: fills, funding, what became of orders. Ours is the fold of our fills.

The exchange is the truth about positions. What it holds beyond our fold is foreign: reported, never touched. A query
that fails, or has not answered, is never read as "flat"; what was seen last stays known with its time.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.core.errors import ConfigurationError, ExchangeRejected, ExchangeUnavailable, RateLimited
from trader_cli.execution.fill_booking import FillBooker, known_intent
from trader_cli.execution.plan_lookup import entry_behind

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from trader_cli.core.money.orders import PositionState, StopState, TradeState
    from trader_cli.core.money.plans import TradePlan
    from trader_cli.execution.order_submitter import OrderSubmitter
    from trader_cli.storage.ledger_rows import Intent

ZERO = Decimal(0)
_EARLIER_MS = 2000  # before an intent: our clock and the exchange's may differ by as much as is allowed
_STALE_MS = 5000  # an older answer says nothing of now; within a look of the monitor everything is asked once
_SEEK_MS = 60_000  # orders of ours nobody knows are sought once a minute: it costs a query of all orders a symbol
_AGAIN_MS = 4000  # one order is asked for so often while it rests; its list is asked for in between
_MOST_PROVED = 3
"""So many exits of unknown fate are asked for at once, the oldest: each new one is as good as they are."""
_MOST_SETTLED, _SETTLED_AT_ONCE = 3, 20
"""So many symbols, and exits of each, where nothing is to be closed any more: each exit costs a request."""


@dataclass
class PositionSnapshot:
    """What was last seen of a symbol: its position (`None`: flat), what of it is foreign, and stops that are not ours.

    `requested_ms` is when the position was asked for, on the monotonic clock; −1: never answered.
    """

    position: PositionState | None = None
    requested_ms: int = -1
    foreign: Decimal = ZERO
    others: tuple[StopState, ...] = ()

    @property
    def amount(self) -> Decimal:
        """The signed amount the exchange showed."""
        return self.position.amount if self.position else ZERO


@dataclass(frozen=True)
class View:
    """One symbol as reconciled: the exchange's position, our part of it, what is foreign, and our resting stops.

    `presumed` is what the position shows of an entry whose order and trades do not say so yet; `is_booked` whether the
    trades of everything that has filled are in the ledger.
    """

    symbol: str
    position: PositionState | None
    ours: Decimal
    foreign: Decimal
    stops: tuple[StopState, ...]
    foreign_orders: int
    unknown_orders: int
    unbooked: Decimal = ZERO
    presumed: Decimal = ZERO
    requested_ms: int = -1
    is_booked: bool = True

    @property
    def expected(self) -> Decimal:
        """What of ours there should be: the fold of our fills, what has filled and is not booked, what is presumed."""
        return self.ours + self.unbooked + self.presumed

    @property
    def held(self) -> Decimal:
        """What of ours the exchange shows: never more than either side says."""
        shown = self.position.amount if self.position else ZERO
        if shown * self.expected <= 0:
            return ZERO
        return min(shown, self.expected, key=abs)

    @property
    def is_flat(self) -> bool:
        """Whether nothing of ours is open. A position that is merely not shown is not flat: trades must explain it."""
        return self.expected == 0

    @property
    def is_missing(self) -> bool:
        """Whether less than ours is shown, and nothing else: what is not shown yet is nobody else's."""
        return self.foreign * self.expected < 0 and abs(self.foreign) <= abs(self.expected)


@dataclass
class Reconciler:
    """Reads through the courier's private side and writes to its ledger."""

    submitter: OrderSubmitter
    snapshots: dict[str, PositionSnapshot] = field(default_factory=dict)
    booker: FillBooker = field(init=False)
    _all_requested_ms: int = -1
    _levelled: set[str] = field(default_factory=set)
    _counted: set[str] = field(default_factory=set)
    _glanced: dict[str, int] = field(default_factory=dict)
    _sought: dict[str, int] = field(default_factory=dict)
    _settled_ms: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.booker = FillBooker(self.submitter)

    def snapshot(self, symbol: str) -> PositionSnapshot:
        """What was last seen of a symbol."""
        return self.snapshots.setdefault(symbol, PositionSnapshot(requested_ms=self._all_requested_ms))

    # --- looking ---

    async def positions(self, *, since_ms: int = 0, share_ms: int = 0) -> dict[str, PositionState]:
        """Every position of the account, by symbol; one request for all."""
        submitter = self.submitter
        found, requested_ms = await submitter.queries.ask(
            "positions", submitter.broker.positions, since_ms=since_ms, share_ms=share_ms
        )
        shown = {position.symbol: position for position in found}
        self._all_requested_ms = max(self._all_requested_ms, requested_ms)  # of what is not shown it was asked, too
        for symbol in {*self.snapshots, *shown}:
            snapshot = self.snapshot(symbol)
            if requested_ms >= snapshot.requested_ms:
                snapshot.position, snapshot.requested_ms = shown.get(symbol), requested_ms
        return shown

    async def look_at_stops(self, symbol: str) -> None:
        """What rests, and what became of stops of ours that are not shown: each by its own id.

        A list that does not show a stop proves nothing; one that does not answer keeps nobody from asking by id.
        """
        submitter = self.submitter
        listed: dict[str, StopState] = {}
        trouble: ExchangeUnavailable | None = None
        try:
            found, requested_ms = await submitter.queries.ask(
                ("stops", symbol), lambda: submitter.broker.open_stops(symbol)
            )
            listed = {stop.client_id: stop for stop in found}
            others = (stop for stop in found if known_intent(submitter, stop.client_id, symbol) is None)
            self.snapshot(symbol).others = tuple(others)
        except RateLimited:
            raise
        except ExchangeUnavailable as error:
            trouble = error
        for client_id, stop in listed.items():
            intent = known_intent(submitter, client_id, symbol)
            if intent is not None:
                submitter.shown(_with_levels(intent, stop), stop, requested_ms)
        missing = [i for i in submitter.unsettled(symbol) if i.trigger_price is not None and i.client_id not in listed]
        await self._glance_at(self._to_glance_at(missing, is_listed=trouble is None))
        if trouble is not None:
            raise trouble

    async def look_at_orders(self, symbol: str) -> None:
        """What became of entries and exits of which nobody knows yet.

        A whole exit is repeated all along: each is asked for where the position has moved, or long after.
        """
        moving = [i for i in self.submitter.unsettled(symbol) if i.trigger_price is None]
        entries = [i for i in moving if i.purpose == "entry"]
        exits = [i for i in moving if i.purpose != "entry"]
        told = (
            not self.is_stale(symbol) and self.submitter.ledger.holding(symbol).amount == self.snapshot(symbol).amount
        )
        for intent in entries:
            await self.submitter.glance(intent)
        await self._glance_at(self._to_glance_at(exits, is_listed=told))

    async def _glance_at(self, intents: list[Intent]) -> None:
        """Each is asked for by its id, side by side: none keeps the others waiting."""
        await asyncio.gather(*(self.submitter.glance(intent) for intent in intents))

    def is_stale(self, symbol: str) -> bool:
        """Whether the position was not seen for a while."""
        return self.submitter.clock.monotonic_ms() - self.snapshot(symbol).requested_ms > _STALE_MS

    def _to_glance_at(self, intents: list[Intent], *, is_listed: bool) -> list[Intent]:
        """Which of these to ask about by their ids, so that many of unknown fate cost no more weight than a few.

        Stops that were acknowledged, all of them; of the others the newest, where nothing else tells of them, and the
        oldest once it can be settled; no one of those again for a while.
        """
        submitter, now = self.submitter, self.submitter.clock.monotonic_ms()
        acknowledged = [i for i in intents if submitter.resting(i) is not None]
        others = [
            i for i in intents if submitter.is_waiting(i) and now - self._glanced.get(i.client_id, 0) >= _AGAIN_MS
        ]
        newest = others[-1:] if not is_listed or not self._glanced.get(others[-1].client_id if others else "") else []
        stops = [i for i in others if i.trigger_price is not None]
        settling = [i for i in stops[:1] if now - submitter.sent_ms(i) >= submitter.absence_ms]
        chosen = {i.client_id: i for i in [*acknowledged, *newest, *settling]}
        self._glanced |= dict.fromkeys(chosen, now)
        return list(chosen.values())

    async def look_at_trades(self, symbol: str) -> None:
        """Fills booked, and what is nobody's booked as far as it made our position smaller."""
        ledger = self.submitter.ledger
        unknown = await self.booker.book_ours(symbol)
        self._levelled.add(symbol)
        if unknown and ledger.holding(symbol).amount != 0:
            await self.booker.book_external(symbol)

    async def reconcile(self, symbol: str) -> View:
        """One ordinary look at a symbol whose position has just been asked for; the ledger level with it.

        Trades are asked for only where a quantity changed or something is not booked yet.
        """
        submitter, ledger = self.submitter, self.submitter.ledger
        before = ledger.holding(symbol).amount
        await self.look_at_stops(symbol)
        await self.look_at_orders(symbol)
        if symbol not in self._levelled or symbol in submitter.filled or before != self.snapshot(symbol).amount:
            await self.look_at_trades(symbol)
            if ledger.holding(symbol).amount != self.snapshot(symbol).amount:
                await self.positions(since_ms=submitter.clock.monotonic_ms())
                await self.look_at_stops(symbol)
                await self.look_at_trades(symbol)
        with suppress(ExchangeUnavailable, ExchangeRejected):  # it is asked for again; care must not wait for it
            await self.booker.receive_income(at_once=before != 0 and ledger.holding(symbol).amount == 0)
        return self.view(symbol)

    def view(self, symbol: str) -> View:
        """One symbol as it is known now; asks nothing."""
        submitter, ledger, snapshot = self.submitter, self.submitter.ledger, self.snapshot(symbol)
        held, unbooked, pending = ledger.holding(symbol).amount, ZERO, False
        if symbol in submitter.filled or symbol not in self._counted:
            fills = ledger.unbooked(symbol)
            unbooked, pending = sum(fills, ZERO), bool(fills)
            self._counted.add(symbol)
            (submitter.filled.add if pending else submitter.filled.discard)(symbol)
        presumed = self._presumed(symbol, held + unbooked)
        beyond = snapshot.amount - held - unbooked - presumed
        if snapshot.requested_ms >= 0 and (beyond == 0 or snapshot.requested_ms > submitter.changed_ms.get(symbol, -1)):
            snapshot.foreign = beyond
        return View(
            symbol,
            snapshot.position,
            held,
            snapshot.foreign,
            tuple(submitter.stops(symbol)),
            len(snapshot.others),
            self._unknown(symbol),
            unbooked,
            presumed,
            snapshot.requested_ms,
            not pending and not presumed,
        )

    def _presumed(self, symbol: str, known: Decimal) -> Decimal:
        """What the position shows of an entry whose fate is not known: on its side, up to its quantity."""
        entry, snapshot = self.waiting_entry(symbol), self.snapshot(symbol)
        if entry is None or entry.quantity is None or snapshot.requested_ms < self.submitter.sent_ms(entry):
            return ZERO
        sign = 1 if entry.side == "BUY" else -1
        shown = min(max(snapshot.amount * sign, ZERO), entry.quantity)
        return max(shown - max(known * sign, ZERO), ZERO) * sign

    def waiting_entry(self, symbol: str) -> Intent | None:
        """The entry that was sent and of which more can come."""
        entries = [i for i in self.submitter.unsettled(symbol) if i.purpose == "entry"]
        return entries[-1] if entries else None

    def _unknown(self, symbol: str) -> int:
        """Entries and exits that were sent and of which nobody knows yet what became."""
        moving = [i for i in self.submitter.unsettled(symbol) if i.purpose in {"entry", "exit"}]
        return sum(self.submitter.is_waiting(i) for i in moving)

    def entry_of(self, plan: TradePlan) -> Intent | None:
        """The entry of a plan, if it was written down."""
        return entry_behind(self.submitter.ledger, plan)

    async def look_for_ours(self, positions: Iterable[PositionState]) -> None:
        """Positions on symbols of ours that the ledger does not explain: a fill may belong to an order taken as absent.

        Each symbol is looked at once a minute, until its trades say whose it is.
        """
        ledger, now = self.submitter.ledger, self.submitter.clock.monotonic_ms()
        known = set(ledger.symbols())
        due = [p.symbol for p in positions if p.symbol in known and now >= self._sought.get(p.symbol, 0)]
        due = [s for s in due if ledger.holding(s).amount == 0 and self.view(s).expected == 0]
        self._sought |= dict.fromkeys(due, now + _SEEK_MS)

        async def look(symbol: str) -> None:
            with suppress(ExchangeUnavailable, ExchangeRejected, ConfigurationError):  # it is looked for again
                await self.look_at_trades(symbol)

        await asyncio.gather(*map(look, due))

    # --- absence ---

    async def settle_exits(self, symbols: Iterable[str]) -> None:
        """What became of exits of unknown fate on symbols that are in no hurry: a few at a time, in turns."""
        submitter, now = self.submitter, self.submitter.clock.monotonic_ms()
        waiting = {
            symbol: exits
            for symbol in symbols
            if (exits := [i for i in submitter.unsettled(symbol) if i.purpose == "exit" and submitter.is_waiting(i)])
        }
        due = sorted(waiting, key=lambda symbol: self._settled_ms.get(symbol, -1))[:_MOST_SETTLED]
        self._settled_ms = {s: at for s, at in self._settled_ms.items() if s in waiting} | dict.fromkeys(due, now)
        for symbol in due:
            with suppress(ExchangeUnavailable, ExchangeRejected, ConfigurationError):  # it is asked for again
                await self.look_at_orders(symbol)
                await self.prove_absent(symbol, waiting[symbol], most=_SETTLED_AT_ONCE)

    async def prove_absent(self, symbol: str, intents: Sequence[Intent], *, most: int = _MOST_PROVED) -> None:
        """Note as absent which of these entries and exits of a symbol never reached the exchange.

        The oldest count, sent longer ago than any answer may lag; orders, trades and position must agree, and one
        answer about each serves all of them.
        """
        submitter, now = self.submitter, self.submitter.clock.monotonic_ms()
        absence_ms = submitter.absence_ms
        due = [i for i in intents if submitter.is_waiting(i) and now >= submitter.sent_ms(i) + absence_ms][:most]
        since = max((submitter.sent_ms(intent) + absence_ms for intent in due), default=0)
        due = [intent for intent in due if not await self._is_shown(intent, since)]
        if not due:
            return
        if self.snapshot(symbol).requested_ms < since:
            await self.positions(since_ms=since)
        traces = await self._traces(symbol, due, since)
        for intent in due:
            if not traces.had(intent) and not self._moved(intent):
                submitter.note(intent, "absent")

    async def _is_shown(self, intent: Intent, since_ms: int) -> bool:
        """Whether the exchange shows an order with this id; then it is written down."""
        submitter = self.submitter
        order, _ = await submitter.queries.ask(
            ("by id", intent.client_id),
            lambda: submitter.broker.order(intent.symbol, intent.client_id),
            since_ms=since_ms,
        )
        if order is not None:
            submitter.seen(intent, order)
        return order is not None

    def _moved(self, intent: Intent) -> bool:
        """Whether the position says that it was carried out."""
        view = self.view(intent.symbol)
        if intent.purpose == "entry":
            return view.presumed != 0
        return abs(self.snapshot(intent.symbol).amount) < abs(view.ours + view.unbooked)

    async def _traces(self, symbol: str, intents: Sequence[Intent], since_ms: int) -> _Traces:
        """What rests and what traded of orders that the exchange says it does not have."""
        submitter, start = self.submitter, min(intent.at_ms for intent in intents) - _EARLIER_MS
        resting, _ = await submitter.queries.ask(
            ("orders", symbol), lambda: submitter.broker.open_orders(symbol), since_ms=since_ms
        )
        trades, _ = await submitter.queries.ask(
            ("trades since", symbol, start), lambda: submitter.broker.trades(symbol, start_ms=start), since_ms=since_ms
        )
        found, sides = {order.client_id for order in resting}, {intent.side for intent in intents}
        nobodys = {
            t.order_id: t for t in trades if t.side in sides and submitter.ledger.owner(symbol, t.order_id) is None
        }
        unnamed = []
        for order_id, trade in sorted(nobodys.items()):
            order = await self.booker.order(symbol, order_id)
            unnamed += [trade] if order is None else []
            found |= {order.client_id} if order is not None else set()
        return _Traces(frozenset(found), tuple(unnamed))


@dataclass(frozen=True)
class _Traces:
    """Client ids of orders that rest or have traded, and trades of orders that are not shown."""

    client_ids: frozenset[str]
    unnamed: tuple[TradeState, ...]

    def had(self, intent: Intent) -> bool:
        """Whether anything of an order may be there."""
        since = intent.at_ms - _EARLIER_MS
        unnamed = any(trade.side == intent.side and trade.time_ms >= since for trade in self.unnamed)
        return intent.client_id in self.client_ids or unnamed


def _with_levels(intent: Intent, stop: StopState) -> Intent:
    """An intent that was only recognised by its id, with what the exchange shows of it."""
    if intent.trigger_price is not None:
        return intent
    quantity = None if stop.close_position else stop.quantity
    return replace(intent, trigger_price=stop.trigger_price, quantity=quantity)
