"""Trades and income booked: ours by the orders they belong to, others' as far as they made our position smaller."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.core.identity import ids
from trader_cli.execution.income import book_income
from trader_cli.execution.unlisted_orders import intent_of
from trader_cli.storage.ledger_rows import Intent

if TYPE_CHECKING:
    from trader_cli.core.money.orders import IncomeState, OrderState, TradeState
    from trader_cli.execution.order_submitter import OrderSubmitter

ZERO = Decimal(0)
_FUNDING_MS = 3_600_000
"""The shortest interval between funding payments there is: a symbol's own may change at any time."""
_SETTLED_MS = 60_000  # rows of the wallet come up to a minute after what they are about
_DAY_MS = 86_400_000
"""How far back trades are looked at on a symbol this ledger never traded, for those of another trader of our kind."""
_WEEK_MS = 7 * _DAY_MS  # the longest span of one query ("Account Trade List")
_TRADES_PAGE = 500  # the default of the same page
_INCOME_AGAIN_MS = 10_000
"""After an answer that failed: other symbols must not wait for the same one each."""
_CODES = {"liquidation": "liquidation", "auto-deleveraging": "adl", "settlement": "settlement"}
FORCED = frozenset(_CODES.values())
"""What the exchange itself closes positions for: the codes under which that is written down."""


@dataclass
class FillBooker:
    """Reads trades and income through a courier, and writes them to its ledger.

    `orphans` are orders with ids of our kind that this ledger does not know, by symbol.
    """

    submitter: OrderSubmitter
    orphans: dict[str, list[OrderState]] = field(default_factory=dict)
    _forced_orders: dict[str, str] = field(default_factory=dict)
    _forced: list[tuple[str, str, int]] = field(default_factory=list)
    _nobodys: set[str] = field(default_factory=set)
    _income_ms: int = 0
    _income_again_ms: int = 0

    async def order(self, symbol: str, order_id: str) -> OrderState | None:
        """An order by the exchange's id; `None` while it is not shown."""
        submitter = self.submitter
        key = ("order", symbol, order_id)
        return (await submitter.queries.ask(key, lambda: submitter.broker.order_by_id(symbol, order_id)))[0]

    async def book_ours(self, symbol: str) -> list[TradeState]:
        """Book trades of our orders; those of orders that are shown and not ours are returned."""
        ledger, unknown = self.submitter.ledger, []
        for trade in await self._new_trades(symbol):
            owner = ledger.owner(symbol, trade.order_id) or await self._claimed(trade)
            if owner is None and trade.order_id not in self._nobodys:
                break  # its order is not shown yet and may be ours: it and what follows are asked for again
            if owner is None:
                unknown.append(trade)
            elif ledger.fill(owner, trade):
                self.submitter.changed_ms[symbol] = self.submitter.clock.monotonic_ms()
        return unknown

    async def _claimed(self, trade: TradeState) -> str | None:
        """The intent of an order we did not know the exchange had: it was accepted late, or its answer was lost."""
        if trade.order_id in self._nobodys:
            return None
        order = await self.order(trade.symbol, trade.order_id)
        if order is None:
            return None  # the trade is there, the order is not shown yet: it is asked again
        intent = known_intent(self.submitter, order.client_id, trade.symbol)
        if intent is None:
            self._nobodys.add(trade.order_id)
            kind = ids.forced_kind(order.client_id)
            if kind is not None:
                self._forced_orders[trade.order_id] = _CODES[kind]
            if ids.is_ours(order.client_id):
                self.orphans.setdefault(trade.symbol, []).append(order)
            return None
        words = f"{order.status} {order.filled:f}"
        self.submitter.note(intent, "open" if order.is_open else "done", order.order_id, words)
        is_written = self.submitter.ledger.intent(intent.client_id) is not None
        return intent.client_id if is_written else None  # a disk that took no line takes its fill later

    async def _new_trades(self, symbol: str) -> list[TradeState]:
        """Trades after the last one booked; before the first, those since our first intent."""
        ledger = self.submitter.ledger
        first, now = next(iter(ledger.intents(symbol)), None), self.submitter.now_ms()
        last = ledger.last_trade_id(symbol)
        since = max(first.at_ms - _SETTLED_MS, now - _WEEK_MS + _SETTLED_MS) if first else now - _DAY_MS
        since -= since % _SETTLED_MS  # the same question for a while: a late answer is heard
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
        submitter = self.submitter
        trades, _ = await submitter.queries.ask(
            ("trades", symbol, from_id, start_ms),
            lambda: submitter.broker.trades(symbol, from_id=from_id, start_ms=start_ms),
            since_ms=submitter.filled_ms.get(symbol, 0),  # what was asked before the last fill cannot show it
        )
        return trades

    async def book_external(self, symbol: str) -> None:
        """Trades that are not ours, booked as far as they made our position smaller: a person's, or the exchange's.

        They are folded in order since our entry: what others added is theirs, and the first to go when they reduce.
        """
        ledger = self.submitter.ledger
        entry = ledger.fills(decision_id=ledger.entries(symbol)[-1])
        since = entry[0].time_ms if entry else self.submitter.now_ms()
        booked, ours, foreign = {f.trade_id: f for f in ledger.fills() if f.symbol == symbol}, ZERO, ZERO
        for trade in await self._since(symbol, entry[0].trade_id if entry else None, since):
            signed = trade.quantity if trade.side == "BUY" else -trade.quantity
            known = booked.get(trade.trade_id)
            if known is not None and known.purpose != "external":
                ours += signed
                continue
            if known is None and trade.order_id not in self._nobodys:
                return  # whose it is is not shown yet: what follows is asked again
            reduced = (
                min(max(abs(signed) - max(foreign * _sign(ours), ZERO), ZERO), abs(ours)) if signed * ours < 0 else ZERO
            )
            part = -reduced * _sign(ours)
            ours, foreign = ours + part, foreign + signed - part
            if reduced and known is None:
                self._book_part(trade, reduced)

    async def _since(self, symbol: str, from_id: int | None, start_ms: int) -> list[TradeState]:
        """Every trade of a symbol from one on, or from a time on, oldest first; a time reaches a week only."""
        page = await (
            self._trades(symbol, start_ms=start_ms) if from_id is None else self._trades(symbol, from_id=from_id)
        )
        found = list(page)
        while len(page) >= _TRADES_PAGE:
            page = await self._trades(symbol, from_id=page[-1].trade_id + 1)
            found += page
        return found

    def _book_part(self, trade: TradeState, part: Decimal) -> None:
        ledger = self.submitter.ledger
        share = part / trade.quantity
        client_id = ids.client_id(f"{trade.symbol}-{trade.order_id}", "external")
        external = Intent(
            client_id,
            ledger.entries(trade.symbol)[-1],
            trade.symbol,
            "external",
            trade.side,
            trade.quantity,
            trade.time_ms,
            reduce_only=True,
        )
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
        ledger, submitter, now = self.submitter.ledger, self.submitter, self.submitter.now_ms()
        since = ledger.money_since_ms()
        due = not self._income_ms or _boundary(now) != _boundary(self._income_ms)
        is_early = submitter.clock.monotonic_ms() < self._income_again_ms
        if since is None or not (due or at_once) or is_early:
            return
        self._income_again_ms = submitter.clock.monotonic_ms() + _INCOME_AGAIN_MS
        await book_income(ledger, self._income)
        self._income_ms, self._income_again_ms = now, 0

    async def _income(self, start_ms: int) -> list[IncomeState]:
        submitter = self.submitter
        return (await submitter.queries.ask(("income", start_ms), lambda: submitter.broker.income(start_ms)))[0]


def known_intent(submitter: OrderSubmitter, client_id: str, symbol: str) -> Intent | None:
    """An intent of ours by its id, also one that no line names because the disk was full when it was sent."""
    return submitter.intent(client_id) or intent_of(client_id, submitter.ledger, symbol, submitter.now_ms())


def _sign(amount: Decimal) -> int:
    return (amount > 0) - (amount < 0)


def _boundary(time_ms: int) -> int:
    """Which funding interval a time is in, counted from when the exchange has surely booked the payment."""
    return (time_ms - _SETTLED_MS) // _FUNDING_MS
