"""The ledger brought level with the exchange: fills, funding, what became of orders. Ours is the fold of our fills.

The exchange is the truth about positions. What it holds beyond our fold is foreign: reported, never touched. A query
that fails, or has not answered, is never read as "flat"; what was seen last stays known with its time.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.core import ids
from trader_cli.core.errors import ExchangeRejected, ExchangeUnavailable, RateLimited
from trader_cli.exchange.private import INCOME_PAGE
from trader_cli.execution.recognising import intent_of
from trader_cli.storage.ledger_rows import Intent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trader_cli.core.orders import OrderState, PositionState, StopState, TradeState
    from trader_cli.core.plans import TradePlan
    from trader_cli.execution.courier import Courier

ZERO = Decimal(0)
_IN_TRADES = frozenset({"REALIZED_PNL", "COMMISSION", "TRANSFER"})
_FUNDING_MS = 8 * 3_600_000
_SETTLED_MS = 60_000
_LATE_MS = 86_400_000
"""How late the exchange may still show an income: so far back is looked again."""
_WEEK_MS = 7 * 86_400_000
_DAY_MS = 86_400_000
"""How far back trades are looked at on a symbol this ledger never traded: for those of another trader of our kind."""
_TRADES_PAGE = 500
_EARLIER_MS = 2000
_FEW = 3
_CODES = {"liquidation": "liquidation", "auto-deleveraging": "adl", "settlement": "settlement"}
FORCED = frozenset(_CODES.values())
"""What the exchange itself closes positions for: the codes under which that is written down."""


@dataclass
class Sight:
    """What was last seen of a symbol: its position (`None`: flat) and our and other stops, and when it was asked.

    `asked_ms` 0 means that it was never answered.
    """

    position: PositionState | None = None
    asked_ms: int = 0
    listed_ms: int = 0
    others: tuple[StopState, ...] = ()

    @property
    def amount(self) -> Decimal:
        """The signed amount the exchange showed."""
        return self.position.amount if self.position else ZERO


@dataclass(frozen=True)
class View:
    """One symbol as reconciled: the exchange's position, our part of it, what is foreign, and our resting stops.

    `presumed` is what the position shows of an entry whose order and trades do not say so yet.
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
    asked_ms: int = 0

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
        """Whether what should be there is not shown, and nothing else is either."""
        return self.expected != 0 and self.foreign == -self.expected


@dataclass
class Reconciler:
    """Reads through the courier's private side and writes to its ledger."""

    courier: Courier
    sights: dict[str, Sight] = field(default_factory=dict)
    _forced_orders: dict[str, str] = field(default_factory=dict)
    _forced: list[tuple[str, str, int]] = field(default_factory=list)
    strangers: dict[str, set[str]] = field(default_factory=dict)
    _levelled: set[str] = field(default_factory=set)
    _counted: set[str] = field(default_factory=set)
    _glanced: dict[str, int] = field(default_factory=dict)
    _nobodys: set[str] = field(default_factory=set)
    _income_ms: int = 0

    def sight(self, symbol: str) -> Sight:
        """What was last seen of a symbol."""
        return self.sights.setdefault(symbol, Sight())

    # --- looking ---

    async def positions(self, *, since_ms: int = 0, share_ms: int = 0) -> dict[str, PositionState]:
        """Every position of the account, by symbol; one request for all."""
        courier = self.courier
        found, asked_ms = await courier.looks.ask(
            "positions", courier.private.positions, since_ms=since_ms, share_ms=share_ms
        )
        shown = {position.symbol: position for position in found}
        for symbol in {*self.sights, *shown}:
            sight = self.sight(symbol)
            if asked_ms >= sight.asked_ms:
                sight.position, sight.asked_ms = shown.get(symbol), asked_ms
        return shown

    async def look_at_stops(self, symbol: str) -> None:
        """What rests, and what became of stops of ours that are not shown: each by its own id.

        A list that does not show a stop proves nothing; one that does not answer keeps nobody from asking by id.
        """
        courier = self.courier
        listed: dict[str, StopState] = {}
        trouble: ExchangeUnavailable | None = None
        try:
            found, asked_ms = await courier.looks.ask(("stops", symbol), lambda: courier.private.open_stops(symbol))
            listed = {stop.client_id: stop for stop in found}
            sight = self.sight(symbol)
            sight.listed_ms = asked_ms
            sight.others = tuple(stop for stop in found if self._intent_of(stop.client_id, symbol) is None)
        except RateLimited:
            raise
        except ExchangeUnavailable as error:
            trouble = error
        for client_id, stop in listed.items():
            intent = self._intent_of(client_id, symbol)
            if intent is not None:
                courier.seen(_with_levels(intent, stop), stop)
        missing = [i for i in courier.unsettled(symbol) if i.trigger_price is not None and i.client_id not in listed]
        for intent in self._next_few(missing):
            await courier.glance(intent)
        if trouble is not None:
            raise trouble

    def _intent_of(self, client_id: str, symbol: str) -> Intent | None:
        return self.courier.intent(client_id) or intent_of(
            client_id, self.courier.ledger, symbol, self.courier.now_ms()
        )

    async def look_at_orders(self, symbol: str) -> None:
        """What became of entries and exits of which nobody knows yet."""
        moving = [i for i in self.courier.unsettled(symbol) if i.trigger_price is None]
        for intent in self._next_few(moving):
            await self.courier.glance(intent)

    def _next_few(self, intents: list[Intent]) -> list[Intent]:
        """The few of these that were asked about longest ago, entries first: many of unknown fate cost no more weight."""
        chosen = sorted(intents, key=lambda i: (i.purpose != "entry", self._glanced.get(i.client_id, 0)))[:_FEW]
        self._glanced |= {intent.client_id: self.courier.now_ms() for intent in chosen}
        return chosen

    async def look_at_trades(self, symbol: str) -> None:
        """Fills booked, and what is nobody's booked as far as it made our position smaller."""
        ledger = self.courier.ledger
        unknown = await self._book_ours(symbol)
        self._levelled.add(symbol)
        if ledger.holding(symbol).amount == self.sight(symbol).amount or not unknown:
            return
        await self.positions(since_ms=self.courier.now_ms())
        for trade in await self._book_ours(symbol):
            self._book_external(trade, self.sight(symbol).amount - ledger.holding(symbol).amount)

    async def reconcile(self, symbol: str, position: PositionState | None = None) -> View:  # noqa: ARG002
        """One ordinary look at a symbol whose position has just been asked for; the ledger level with it.

        Trades are asked for only where a quantity changed or something is not booked yet.
        """
        courier, ledger = self.courier, self.courier.ledger
        before = ledger.holding(symbol).amount
        await self.look_at_stops(symbol)
        await self.look_at_orders(symbol)
        if symbol not in self._levelled or symbol in courier.filled or before != self.sight(symbol).amount:
            await self.look_at_trades(symbol)
            if ledger.holding(symbol).amount != self.sight(symbol).amount:
                await self.positions(since_ms=courier.now_ms())
                await self.look_at_stops(symbol)
                await self.look_at_trades(symbol)
        with suppress(ExchangeUnavailable, ExchangeRejected):  # it is asked for again; care must not wait for it
            await self.receive_income(at_once=before != 0 and ledger.holding(symbol).amount == 0)
        return self.view(symbol)

    def view(self, symbol: str) -> View:
        """One symbol as it is known now; asks nothing."""
        courier, ledger, sight = self.courier, self.courier.ledger, self.sight(symbol)
        held, unbooked = ledger.holding(symbol).amount, ZERO
        if symbol in courier.filled or symbol not in self._counted:
            unbooked = ledger.unbooked(symbol)
            self._counted.add(symbol)
            (courier.filled.add if unbooked else courier.filled.discard)(symbol)
        presumed = self._presumed(symbol, held + unbooked)
        foreign = sight.amount - held - unbooked - presumed if sight.asked_ms else ZERO
        return View(
            symbol, sight.position, held, foreign, tuple(courier.stops(symbol)), len(sight.others),
            self._unknown(symbol), unbooked, presumed, sight.asked_ms,
        )  # fmt: skip

    def _presumed(self, symbol: str, known: Decimal) -> Decimal:
        """What the position shows of an entry whose fate is not known: on its side, up to its quantity."""
        entry, sight = self.waiting_entry(symbol), self.sight(symbol)
        if entry is None or entry.quantity is None or sight.asked_ms < self.courier.sent_ms(entry):
            return ZERO
        sign = 1 if entry.side == "BUY" else -1
        shown = min(max(sight.amount * sign, ZERO), entry.quantity)
        return max(shown - max(known * sign, ZERO), ZERO) * sign

    def waiting_entry(self, symbol: str) -> Intent | None:
        """The entry that was sent and of which more can come."""
        entries = [i for i in self.courier.unsettled(symbol) if i.purpose == "entry"]
        return entries[-1] if entries else None

    def _unknown(self, symbol: str) -> int:
        """Entries and exits that were sent and of which nobody knows yet what became."""
        moving = [i for i in self.courier.unsettled(symbol) if i.purpose in {"entry", "exit"}]
        return sum(self.courier.is_waiting(i) for i in moving)

    def entry_of(self, plan: TradePlan) -> Intent | None:
        """The entry of a plan, if it was written down."""
        return self.courier.ledger.intent(plan.client_id("entry"))

    # --- absence ---

    async def prove_absent(self, intent: Intent) -> bool:
        """Whether an entry or exit never reached the exchange: order, trades and position agree on it.

        Asked only once it was sent longer ago than any of them may lag. Noted as absent then.
        """
        courier, sent_ms = self.courier, self.courier.sent_ms(intent)
        since = sent_ms + courier.absence_ms
        if courier.now_ms() < since or not courier.is_waiting(intent):
            return False
        symbol = intent.symbol
        order, _ = await courier.looks.ask(
            ("by id", intent.client_id), lambda: courier.private.find_order(symbol, intent.client_id), since_ms=since
        )
        if order is not None:
            courier.seen(intent, order)
            return False
        await self.positions(since_ms=since)
        if await self._left_a_trace(intent, since) or self._moved(intent):
            return False
        courier.note(intent, "absent")
        return True

    def _moved(self, intent: Intent) -> bool:
        """Whether the position says that it was carried out."""
        view = self.view(intent.symbol)
        if intent.purpose == "entry":
            return view.presumed != 0
        return abs(self.sight(intent.symbol).amount) < abs(view.ours + view.unbooked)

    async def _left_a_trace(self, intent: Intent, since_ms: int) -> bool:
        """Whether an order that the exchange says it does not have rests there, or traded as an order of nobody's."""
        courier, symbol = self.courier, intent.symbol
        resting, _ = await courier.looks.ask(
            ("orders", symbol), lambda: courier.private.open_orders(symbol), since_ms=since_ms
        )
        if any(order.client_id == intent.client_id for order in resting):
            return True
        start = courier.sent_ms(intent) - _EARLIER_MS
        trades, _ = await courier.looks.ask(
            ("trades since", symbol, start), lambda: courier.private.trades(symbol, start_ms=start), since_ms=since_ms
        )
        nobodys = [t for t in trades if courier.ledger.owner(t.symbol, t.order_id) is None]
        for order_id in sorted({t.order_id for t in nobodys if t.side == intent.side}):
            order = await self._order(symbol, order_id)
            if order is None or order.client_id == intent.client_id:
                return True
        return False

    # --- booking ---

    async def _order(self, symbol: str, order_id: str) -> OrderState | None:
        courier = self.courier
        key = ("order", symbol, order_id)
        return (await courier.looks.ask(key, lambda: courier.private.order_by(symbol, order_id)))[0]

    async def _book_ours(self, symbol: str) -> list[TradeState]:
        """Book trades of our orders; those of orders that are shown and not ours are returned."""
        ledger, unknown = self.courier.ledger, []
        for trade in await self._new_trades(symbol):
            owner = ledger.owner(symbol, trade.order_id) or await self._claimed(trade)
            if owner is not None:
                ledger.fill(owner, trade)
            elif trade.order_id in self._nobodys:
                unknown.append(trade)  # one whose order is not shown yet may be ours: it is asked again
        return unknown

    async def _claimed(self, trade: TradeState) -> str | None:
        """The intent of an order we did not know the exchange had: it was accepted late, or its answer was lost."""
        if trade.order_id in self._nobodys:
            return None
        order = await self._order(trade.symbol, trade.order_id)
        if order is None:
            return None  # the trade is there, the order is not shown yet: it is asked again
        intent = self._intent_of(order.client_id, trade.symbol)
        if intent is None:
            self._nobodys.add(trade.order_id)
            kind = ids.forced_kind(order.client_id)
            if kind is not None:
                self._forced_orders[trade.order_id] = _CODES[kind]
            if ids.is_ours(order.client_id):
                self.strangers.setdefault(trade.symbol, set()).add(order.client_id)
            return None
        words = f"{order.status} {order.filled:f}"
        self.courier.note(intent, "open" if order.is_open else "done", order.order_id, words)
        return intent.client_id

    async def _new_trades(self, symbol: str) -> list[TradeState]:
        """Trades after the last one booked; before the first, those since our first intent."""
        ledger = self.courier.ledger
        first, now = next(iter(ledger.intents(symbol)), None), self.courier.now_ms()
        last = ledger.last_trade_id(symbol)
        since = max(first.at_ms - _SETTLED_MS, now - _WEEK_MS + _SETTLED_MS) if first else now - _DAY_MS
        page = await (self._trades(symbol, from_id=last + 1) if last else self._trades(symbol, start_ms=since))
        found: list[TradeState] = []
        while page:
            found += page
            if len(page) < _TRADES_PAGE:
                break
            page = await self._trades(symbol, from_id=page[-1].trade_id + 1)
        return found

    async def _trades(
        self, symbol: str, *, from_id: int | None = None, start_ms: int | None = None
    ) -> list[TradeState]:
        courier = self.courier
        key = ("trades", symbol, from_id, start_ms)
        asked = courier.looks.ask(key, lambda: courier.private.trades(symbol, from_id=from_id, start_ms=start_ms))
        return (await asked)[0]

    def _book_external(self, trade: TradeState, excess: Decimal) -> None:
        """A trade that is not ours, booked as far as it made our position smaller: a person's, or a liquidation."""
        ledger = self.courier.ledger
        held = ledger.holding(trade.symbol).amount
        signed = trade.quantity if trade.side == "BUY" else -trade.quantity
        if held == 0 or signed * held > 0 or excess * held >= 0:
            return
        part = min(trade.quantity, abs(held), abs(excess))
        share = part / trade.quantity
        client_id = ids.client_id(f"{trade.symbol}-{trade.order_id}", "external")
        external = Intent(
            client_id, ledger.entries(trade.symbol)[-1], trade.symbol, "external", trade.side, trade.quantity,
            trade.time_ms, reduce_only=True,
        )  # fmt: skip
        with ledger.together():
            ledger.intend(external)
            code = self._forced_orders.get(trade.order_id)
            ledger.note(client_id, "done", trade.time_ms, exchange_id=trade.order_id, note=code or "not by us")
            if code is not None:
                self._forced.append((trade.symbol, code, trade.time_ms))
            booked = replace(trade, quantity=part, commission=trade.commission * share)
            ledger.fill(client_id, replace(booked, realized_profit=trade.realized_profit * share))

    def take_forced(self) -> list[tuple[str, str, int]]:
        """(symbol, code, time) of what the exchange closed by force, as booked since this was last asked."""
        taken, self._forced = self._forced, []
        return taken

    async def receive_income(self, *, at_once: bool = False) -> None:
        """Book funding and the like: on start, after each funding time, and `at_once` where a position has ended."""
        ledger, courier, now = self.courier.ledger, self.courier, self.courier.now_ms()
        since = ledger.first_fill_ms()
        due = not self._income_ms or _boundary(now) != _boundary(self._income_ms)
        if since is None or not (due or at_once):
            return
        traded, cursor = set(ledger.symbols()), max(since, ledger.last_income_ms() - _LATE_MS)
        while True:
            start = cursor
            page, _ = await courier.looks.ask(("income", start), lambda: courier.private.income(start))  # noqa: B023
            for row in page:
                if row.kind not in _IN_TRADES and row.symbol in traded:
                    ledger.receive(row.income_id, row.kind, row.symbol, row.amount, row.time_ms)
            if len(page) < INCOME_PAGE or page[-1].time_ms <= cursor:
                break
            cursor = page[-1].time_ms
        self._income_ms = now


def _with_levels(intent: Intent, stop: StopState) -> Intent:
    """An intent that was only recognised by its id, with what the exchange shows of it."""
    if intent.trigger_price is not None:
        return intent
    quantity = None if stop.close_position else stop.quantity
    return replace(intent, trigger_price=stop.trigger_price, quantity=quantity)


def amounts(positions: Iterable[PositionState]) -> dict[str, Decimal]:
    """Signed amounts by symbol."""
    return {position.symbol: position.amount for position in positions}


def _boundary(time_ms: int) -> int:
    """Which funding interval a time is in, counted from when the exchange has surely booked the payment."""
    return (time_ms - _SETTLED_MS) // _FUNDING_MS
