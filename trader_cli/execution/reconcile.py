"""The ledger brought level with the exchange: fills, funding, what became of orders. Ours is the fold of our fills.

The exchange is the truth about positions. What it holds beyond our fold is foreign: reported, never touched. A query
that fails raises; it is never read as "flat".
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.core import ids
from trader_cli.core.errors import ExchangeRejected, ExchangeUnavailable
from trader_cli.exchange.private import INCOME_PAGE
from trader_cli.storage.ledger_rows import Intent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trader_cli.core.orders import PositionState, StopState, TradeState
    from trader_cli.execution.courier import Courier

_IN_TRADES = frozenset({"REALIZED_PNL", "COMMISSION", "TRANSFER"})
_FUNDING_MS = 8 * 3_600_000
_SETTLED_MS = 60_000
_LATE_MS = 86_400_000
"""How late the exchange may still show an income: so far back is looked again."""
_WEEK_MS = 7 * 86_400_000
_TRADES_PAGE = 500


@dataclass(frozen=True)
class View:
    """One symbol as reconciled: the exchange's position, our part of it, what is foreign, and our resting stops."""

    symbol: str
    position: PositionState | None
    ours: Decimal
    foreign: Decimal
    stops: tuple[StopState, ...]
    foreign_orders: int
    unknown_orders: int
    unbooked: Decimal = Decimal(0)

    @property
    def expected(self) -> Decimal:
        """What of ours there should be: the fold of our fills, and what has filled and is not booked yet."""
        return self.ours + self.unbooked

    @property
    def held(self) -> Decimal:
        """What of ours the exchange shows: never more than either side says."""
        shown = self.position.amount if self.position else Decimal(0)
        if shown * self.expected <= 0:
            return Decimal(0)
        return min(shown, self.expected, key=abs)

    @property
    def is_flat(self) -> bool:
        """Whether nothing of ours is open. A position that is merely not shown is not flat: trades must explain it."""
        return self.expected == 0


@dataclass
class Reconciler:
    """Reads through the courier's private side and writes to its ledger."""

    courier: Courier
    _booked: set[str] = field(default_factory=set)
    _nobodys: set[str] = field(default_factory=set)
    _income_ms: int = 0

    async def positions(self) -> dict[str, PositionState]:
        """Every position of the account, by symbol; one request."""
        return {position.symbol: position for position in await self.courier.private.positions()}

    async def reconcile(self, symbol: str, position: PositionState | None) -> View:
        """Bring the ledger level for one symbol whose position the exchange has just shown.

        Position, stops and trades are three questions: where the answers disagree all are asked again before anybody
        else is taken to have traded.
        """
        ledger = self.courier.ledger
        before = ledger.holding(symbol).amount
        resting = await self._resting(symbol)
        if symbol not in self._booked or symbol in self.courier.filled or before != _amount(position):
            position, resting = await self._levelled(symbol, position, resting)
        held, unbooked = ledger.holding(symbol).amount, Decimal(0)
        if symbol in self.courier.filled or symbol not in self._booked:
            unbooked = ledger.unbooked(symbol)
            self._booked.add(symbol)
            (self.courier.filled.add if unbooked else self.courier.filled.discard)(symbol)
        with suppress(ExchangeUnavailable, ExchangeRejected):  # it is asked for again; care must not wait for it
            await self.receive_income(at_once=before != 0 and held == 0)
        ours = tuple(stop for stop in resting if ledger.intent(stop.client_id) is not None)
        foreign = _amount(position) - held - unbooked
        others = len(resting) - len(ours)
        return View(symbol, position, held, foreign, ours, others, self._unknown(symbol), unbooked)

    async def _levelled(
        self, symbol: str, position: PositionState | None, resting: list[StopState]
    ) -> tuple[PositionState | None, list[StopState]]:
        """The ledger brought level with trades; position and stops as they are after that."""
        ledger = self.courier.ledger
        await self._book_ours(symbol)
        if ledger.holding(symbol).amount != _amount(position):
            position = (await self.positions()).get(symbol)
            resting = await self._resting(symbol)
            for trade in await self._book_ours(symbol):
                self._book_external(trade, _amount(position) - ledger.holding(symbol).amount)
        return position, resting

    async def glimpse(self, symbol: str) -> View:
        """What the exchange shows of one symbol, where the ledger takes no line: all of it is taken to be ours."""
        position = (await self.positions()).get(symbol)
        resting = await self.courier.private.open_stops(symbol)
        ours = [stop for stop in resting if self.courier.ledger.intent(stop.client_id) is not None]
        return View(symbol, position, _amount(position), Decimal(0), tuple(ours), len(resting) - len(ours), 0)

    def _unknown(self, symbol: str) -> int:
        """Entries and exits that were sent and of which nobody knows yet what became."""
        ledger = self.courier.ledger
        moving = [i for i in ledger.unsettled(symbol) if i.purpose in {"entry", "exit"}]
        return sum(ledger.status(i.client_id) in {"sending", "unknown"} for i in moving)

    async def _resting(self, symbol: str) -> list[StopState]:
        """Stops waiting at the exchange, and the ledger told of those that no longer do."""
        resting = await self.courier.private.open_stops(symbol)
        await self._settle(symbol, resting)
        return resting

    async def _settle(self, symbol: str, resting: Sequence[StopState]) -> None:
        """Find out what became of intents that are neither resting nor settled."""
        known = {stop.client_id: stop for stop in resting}
        for intent in self.courier.ledger.unsettled(symbol):
            if intent.client_id in known:
                self.courier.seen(intent, known[intent.client_id])
            elif self.courier.ledger.last_note(intent.client_id) is not None:
                await self.courier.glance(intent)

    async def _book_ours(self, symbol: str) -> list[TradeState]:
        """Book trades of our orders; those of nobody we know are returned."""
        ledger, unknown = self.courier.ledger, []
        for trade in await self._new_trades(symbol):
            owner = ledger.owner(symbol, trade.order_id) or await self._claimed(trade)
            if owner is None:
                unknown.append(trade)
            else:
                ledger.fill(owner, trade)
        return unknown

    async def _claimed(self, trade: TradeState) -> str | None:
        """The intent of an order we did not know the exchange had: it was accepted late, or its answer was lost."""
        if trade.order_id in self._nobodys:
            return None
        order = await self.courier.private.order_by(trade.symbol, trade.order_id)
        intent = None if order is None else self.courier.ledger.intent(order.client_id)
        if order is None or intent is None:
            self._nobodys.add(trade.order_id)
            return None
        self.courier.note(
            intent, "open" if order.is_open else "done", order.order_id, f"{order.status} {order.filled:f}"
        )
        return intent.client_id

    async def _new_trades(self, symbol: str) -> list[TradeState]:
        """Trades after the last one booked; before the first, those since our first intent."""
        private, ledger = self.courier.private, self.courier.ledger
        first = next(iter(ledger.intents(symbol)), None)
        if first is None:
            return []
        last = ledger.last_trade_id(symbol)
        since = max(first.at_ms - _SETTLED_MS, self.courier.now_ms() - _WEEK_MS + _SETTLED_MS)
        page = await (private.trades(symbol, from_id=last + 1) if last else private.trades(symbol, start_ms=since))
        found: list[TradeState] = []
        while page:
            found += page
            if len(page) < _TRADES_PAGE:
                break
            page = await private.trades(symbol, from_id=page[-1].trade_id + 1)
        return found

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
            ledger.note(client_id, "done", trade.time_ms, exchange_id=trade.order_id, note="not by us")
            booked = replace(trade, quantity=part, commission=trade.commission * share)
            ledger.fill(client_id, replace(booked, realized_profit=trade.realized_profit * share))

    async def receive_income(self, *, at_once: bool = False) -> None:
        """Book funding and the like: on start, after each funding time, and `at_once` where a position has ended."""
        ledger, now = self.courier.ledger, self.courier.now_ms()
        since = ledger.first_fill_ms()
        due = not self._income_ms or _boundary(now) != _boundary(self._income_ms)
        if since is None or not (due or at_once):
            return
        traded, cursor = set(ledger.symbols()), max(since, ledger.last_income_ms() - _LATE_MS)
        while True:
            page = await self.courier.private.income(cursor)
            for row in page:
                if row.kind not in _IN_TRADES and row.symbol in traded:
                    ledger.receive(row.income_id, row.kind, row.symbol, row.amount, row.time_ms)
            if len(page) < INCOME_PAGE or page[-1].time_ms <= cursor:
                break
            cursor = page[-1].time_ms
        self._income_ms = now


def _amount(position: PositionState | None) -> Decimal:
    return position.amount if position else Decimal(0)


def _boundary(time_ms: int) -> int:
    """Which funding interval a time is in, counted from when the exchange has surely booked the payment."""
    return (time_ms - _SETTLED_MS) // _FUNDING_MS
