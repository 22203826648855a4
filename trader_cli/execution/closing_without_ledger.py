"""Closing without a ledger, from what the exchange shows alone.

Ours is what orders with our ids explain: those that filled, else those that rest. That much is closed, reduce-only and
at market, looked at until the exchange shows it; our stops are taken away last. Needs the shown position and the order
endpoint; whatever else does not answer is named. Knows no rules of symbols: what is shown is on their steps already.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import ROUND_UP, Decimal
from typing import TYPE_CHECKING, TypeVar

from trader_cli.core.errors import ExchangeRejected, ExchangeUnavailable, TraderError
from trader_cli.core.identity import ids
from trader_cli.core.money.exit_forms import NOTHING_TO_REDUCE
from trader_cli.core.money.orders import NotPlaced, OrderRequest, OrderState, Placed, Sent, StopState, Unknown
from trader_cli.execution.attribution import Attribution, explained

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trader_cli.core.money.orders import OrderSide, PositionState
    from trader_cli.core.ports import Broker, Clock
    from trader_cli.storage.side_journal import SideJournal

T = TypeVar("T")
_ASK_S = 4.0
"""How long one request is waited for; a late reply of an order is found by its id."""
_TRIES = 3  # reads: one failure is chance, three are an answer
_LOOK_S = 0.25  # between looks: what was sent is answered and shown within tenths of a second
_SHOWN_S = 10.0  # how long the position may take to show a fill
_BACK_OFF_S = (0.0, 1.0, 2.0, 4.0)  # between orders that were refused: sooner the same would be refused again
_TRADES_ASKED = 20  # orders behind the last trades, one request each
_TOO_MUCH = -4005  # more than a market order may ask for: in parts, then
_AGAIN = "Run `trader flatten` again."
ZERO = Decimal(0)


@dataclass
class ClosingWithoutLedger:
    """One account's exits without a ledger."""

    broker: Broker
    clock: Clock
    now_ms: Callable[[], int]
    account: str
    journal: SideJournal | None = None
    deadline_s: float = 60.0
    _sent: int = 0
    _late: set[asyncio.Task[Sent]] = field(default_factory=set)

    async def positions(self) -> dict[str, PositionState]:
        """What the exchange shows, by symbol. Raises `ExchangeUnavailable` if it cannot be asked."""
        found = await self._answer_to(self.broker.positions)
        if found is None:
            raise ExchangeUnavailable("The exchange does not show its positions.", hint=_AGAIN)
        return {position.symbol: position for position in found}

    async def explain(self, symbol: str, shown: Decimal, known: Decimal | None = None) -> Attribution:
        """How much of what is shown is ours; `known` is what a ledger that can still be read holds."""
        orders, stops, resting = await asyncio.gather(
            self._answer_to(lambda: self.broker.past_orders(symbol)),
            self._answer_to(lambda: self.broker.past_stops(symbol)),
            self._answer_to(lambda: self.broker.open_stops(symbol)),
        )
        if orders is None:
            orders = await self._traded_orders(symbol)
        return explained(symbol, shown, known, orders, stops, resting)

    async def close(self, symbol: str, shown: Decimal, quantity: Decimal, *, foreign: bool = False) -> Decimal:
        """Close `quantity` of the `shown` amount; what the exchange shows less then.

        `foreign`: a person said that all of it is to go, whoever opened it. Raises `ExchangeRejected` or
        `ExchangeUnavailable` if the exchange still shows more than it should when the deadline has passed.
        """
        with suppress(TraderError):  # what cannot be taken away must not keep the close from going on
            await self._cancel_entries(symbol)
        rest, left, cap, tried = abs(shown) - quantity, abs(shown), quantity, 0
        until, refused, why = self.clock.monotonic_ms() + self.deadline_s * 1000, False, ""
        while left > rest:
            if self.clock.monotonic_ms() > until:
                kind = ExchangeRejected if refused else ExchangeUnavailable
                raise kind(_unfinished(symbol, left, rest, why), hint=_AGAIN)
            order = self._order(symbol, shown, min(left - rest, cap), foreign=foreign)
            patience_ms = _SHOWN_S * 250 if rest == 0 else until - self.clock.monotonic_ms()
            sent = await self._deliver(order, patience_ms / 1000)
            if isinstance(sent, Unknown) and rest > 0:
                raise ExchangeUnavailable(_unfinished(symbol, left, rest, sent.sentence), hint=_AGAIN)
            refused, why = isinstance(sent, NotPlaced), "" if isinstance(sent, Placed) else sent.sentence
            if isinstance(sent, NotPlaced):
                cap = _half(cap, shown) if sent.code == _TOO_MUCH else cap
                if sent.code in NOTHING_TO_REDUCE and tried:
                    with suppress(TraderError):
                        await self._take_away(symbol, "take_profit")
            filled = sent.state.filled if isinstance(sent, Placed) and isinstance(sent.state, OrderState) else ZERO
            left = await self._left(symbol, shown, left, filled)
            if filled == 0 and left > rest:
                await self.clock.sleep(_BACK_OFF_S[min(tried, len(_BACK_OFF_S) - 1)] or _LOOK_S)
                tried += 1
        await self._prove(symbol, shown, rest, until)
        return abs(shown) - left

    async def sweep(self, symbol: str) -> tuple[int, list[str]]:
        """Take our stops and targets away; how many went, and the ids of those that may still rest.

        Raises `ExchangeUnavailable` if the exchange does not show what rests.
        """
        return await self._take_away(symbol, None)

    def _order(self, symbol: str, shown: Decimal, quantity: Decimal, *, foreign: bool) -> OrderRequest:
        self._sent += 1
        name = ids.foreign_exit_id if foreign else ids.exit_id_without_ledger
        side: OrderSide = "SELL" if shown > 0 else "BUY"
        client_id = name(self.account, symbol, self.now_ms(), self._sent)
        return OrderRequest(client_id, symbol, side, quantity, reduce_only=True)

    async def _deliver(self, order: OrderRequest, patience_s: float) -> Sent:
        """Send once, and find out what became of it; not for long where it is a whole exit, which cannot overshoot."""
        self._write("sending", order)
        sent = await self._submitted(order)
        if isinstance(sent, Unknown) or (isinstance(sent, Placed) and sent.state.is_open):
            sent = await self._settled(order, sent, patience_s)
        if isinstance(sent, Unknown):
            self._write("unknown", order, note=sent.sentence)
        elif isinstance(sent, NotPlaced):
            self._write("refused", order, str(sent.code), sent.sentence)
        elif isinstance(sent.state, OrderState):
            status = "open" if sent.state.is_open else "done"
            self._write(status, order, sent.state.order_id, f"{sent.state.status} {sent.state.filled:f}")
        return sent

    def _write(self, status: str, order: OrderRequest, exchange_id: str | None = None, note: str = "") -> None:
        """A line in the side journal, where there is one and the order is one of ours."""
        if self.journal is None or ids.purpose_of(order.client_id) is None:
            return
        if status == "sending":
            self.journal.intend(order, self.now_ms())
        self.journal.note(order.client_id, status, self.now_ms(), exchange_id=exchange_id, note=note)

    async def _submitted(self, order: OrderRequest) -> Sent:
        """The reply to an order, if it comes in time. The request goes on: what it does is found by its id."""
        task = asyncio.ensure_future(self.broker.place(order))
        self._late.add(task)
        done, _ = await asyncio.wait({task}, timeout=self.clock.loop_s(_ASK_S))
        if not done:
            return Unknown(f"The exchange did not answer within {_ASK_S:.0f} s.")
        self._late.discard(task)
        try:
            return task.result()
        except ExchangeUnavailable as error:
            return Unknown(error.sentence)
        except ExchangeRejected as error:
            return NotPlaced(error.code or 0, error.sentence)

    async def _settled(self, order: OrderRequest, sent: Sent, patience_s: float) -> Sent:
        """The order once it can fill no more; as it was last known, when patience ends."""
        until = self.clock.monotonic_ms() + patience_s * 1000
        while self.clock.monotonic_ms() < until:
            try:
                async with asyncio.timeout(self.clock.loop_s(_ASK_S)):
                    state = await self.broker.order(order.symbol, order.client_id)
            except (TraderError, TimeoutError):
                state = None
            if state is not None:
                sent = Placed(state)
                if not state.is_open:
                    break
            await self.clock.sleep(_LOOK_S)
        return sent

    async def _left(self, symbol: str, began: Decimal, before: Decimal, filled: Decimal) -> Decimal:
        """What the exchange shows after an order: a fill is a fact, and the position may be shown late."""
        until = self.clock.monotonic_ms() + (_SHOWN_S * 1000 if filled else 0)
        while True:
            shown = await self._shown(symbol, began)
            if shown <= before - filled or self.clock.monotonic_ms() >= until:
                return min(shown, before - filled)
            await self.clock.sleep(_LOOK_S)

    async def _prove(self, symbol: str, began: Decimal, rest: Decimal, until: float) -> None:
        """Look until the exchange shows no more than the rest."""
        while (shown := await self._shown(symbol, began)) > rest:
            if self.clock.monotonic_ms() > until:
                raise ExchangeUnavailable(_unfinished(symbol, shown, rest, ""), hint=_AGAIN)
            await self.clock.sleep(_LOOK_S)

    async def _shown(self, symbol: str, began: Decimal) -> Decimal:
        """How much is left of a position on the side it began with."""
        position = (await self.positions()).get(symbol)
        same = position is not None and position.amount * began > 0
        return abs(position.amount) if position is not None and same else ZERO

    async def _cancel_entries(self, symbol: str) -> None:
        """Take back what of ours could still open; as far as the exchange shows it."""
        for order in await self._answer_to(lambda: self.broker.open_orders(symbol)) or []:
            if ids.purpose_of(order.client_id) == "entry":
                await self._answer_to(lambda o=order: self.broker.cancel(symbol, o.client_id))  # type: ignore[misc]

    async def _take_away(self, symbol: str, kind: str | None) -> tuple[int, list[str]]:
        """Cancel our stops and targets, or those of one kind."""
        resting = await self._answer_to(lambda: self.broker.open_stops(symbol))
        if resting is None:
            resting = await self._answer_to(lambda: self.broker.past_stops(symbol))
        if resting is None:
            raise ExchangeUnavailable(
                f"The exchange does not show what rests on {symbol}; stops of ours may.",
                hint=_AGAIN,
            )
        ours = [s for s in resting if s.is_open and ids.purpose_of(s.client_id) and kind in {None, s.kind}]
        states = [await self._cancelled(symbol, stop) for stop in ours]
        still = [s.client_id for s, after in zip(ours, states, strict=True) if after is None or after.is_open]
        return len(ours) - len(still), still

    async def _cancelled(self, symbol: str, stop: StopState) -> StopState | None:
        """The stop after it was cancelled; `None` if that could not be found out."""
        return await self._answer_to(lambda: self.broker.cancel_stop(symbol, stop.client_id))

    async def _traded_orders(self, symbol: str) -> list[OrderState] | None:
        """The orders behind the latest trades, where the list of orders does not answer."""
        trades = await self._answer_to(lambda: self.broker.trades(symbol))
        if trades is None:
            return None
        named = list(dict.fromkeys(trade.order_id for trade in reversed(trades)))[:_TRADES_ASKED]
        found = [await self._answer_to(lambda n=n: self.broker.order_by_id(symbol, n)) for n in named]  # type: ignore[misc]
        return [order for order in found if order is not None]

    async def _answer_to(self, question: Callable[[], Awaitable[T]]) -> T | None:
        """The answer, `None` if there is none after a few tries."""
        for number in range(_TRIES):
            try:
                async with asyncio.timeout(self.clock.loop_s(_ASK_S)):
                    return await question()
            except (ExchangeUnavailable, ExchangeRejected, TimeoutError):
                if number + 1 < _TRIES:
                    await self.clock.sleep(_LOOK_S)
        return None


def _half(cap: Decimal, shown: Decimal) -> Decimal:
    """Half as much, with as many decimals as the exchange shows the position with."""
    return (cap / 2).quantize(shown, rounding=ROUND_UP)


def _unfinished(symbol: str, shown: Decimal, rest: Decimal, why: str) -> str:
    """The sentence of a close that did not come to its end."""
    return (
        f"{symbol}: the exchange still shows {shown:f}, of which {shown - rest:f} was to be reduced. {why}".strip()
        + " What of ours rests there was left."
    )
