"""The questions of one guard: kinds of looks, side by side, each asked again after 0.25 to 2 s while it matters."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trader_cli.core.errors import ConfigurationError, ExchangeRejected, ExchangeUnavailable
from trader_cli.storage.ledger import LedgerUnwritable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trader_cli.core.money.plans import TradePlan
    from trader_cli.execution.execution_context import ExecutionContext
    from trader_cli.storage.ledger_rows import Intent

_BACK_OFF_MS = (250, 250, 500, 1000, 2000)
"""Between two askings of a kind: news comes within tenths of a second, or the exchange is in trouble: weight counts."""
_AT_ONCE = -1
SHARED_MS = 200
"""One answer about positions serves every symbol that asks at about the same time."""
_CROWD_MS = {"orders": 750, "absence": 2000, "stops": 750, "trades": 750}
"""How much longer the pauses get with each further bare symbol, so that many ask no more than the exchange allows."""


@dataclass
class _Query:
    """One kind of question: its request, how often and when it was asked, and when the next is due."""

    task: asyncio.Task[None] | None = None
    requested_ms: int = -1
    next_ms: int = 0
    count: int = 0


class SymbolQueries:
    """Looks for one plan."""

    def __init__(self, context: ExecutionContext, plan: TradePlan) -> None:
        self._context, self._plan = context, plan
        self._queries: dict[str, _Query] = {}

    @property
    def backstop_taken(self) -> bool:
        """Whether a close-position stop that is not ours rests where ours would."""
        return self._plan.symbol in self._context.taken

    # --- kinds ---

    def about_positions(self) -> None:
        """What the exchange holds: one answer, whoever asked for it, serves all symbols for a while."""
        query = self._queries.setdefault("positions", _Query())
        seen_ms = self._context.reconciler.snapshot(self._plan.symbol).requested_ms
        if query.next_ms != _AT_ONCE and self._context.now_ms() < seen_ms + _pause_ms(query.count):
            return
        self._start("positions", lambda: self._context.reconciler.positions(share_ms=SHARED_MS))

    def about_orders(self, waiting: list[Intent]) -> None:
        """What became of entries and exits, and whether they never were."""
        self._start("orders", lambda: self._context.reconciler.look_at_orders(self._plan.symbol))
        self._start("absence", lambda: self._context.reconciler.prove_absent(self._plan.symbol, waiting))

    def about_stops(self) -> None:
        """What rests."""
        self._start("stops", self._look_at_stops)

    def about_trades(self) -> None:
        """What has filled."""
        self._start("trades", lambda: self._context.reconciler.look_at_trades(self._plan.symbol))

    def about_rules(self) -> None:
        """The symbol's rules, after a refusal by them."""
        self._start("rules", self._context.exchange.refresh_rules)

    async def _look_at_stops(self) -> None:
        """What rests; a close-position stop of somebody else keeps ours away, and quantity stops do instead."""
        context, plan = self._context, self._plan
        await context.reconciler.look_at_stops(plan.symbol)
        side = "SELL" if plan.sign > 0 else "BUY"
        others = [s for s in context.reconciler.snapshot(plan.symbol).others if s.close_position and s.side == side]
        taken = any(s.kind == "stop" for s in others)
        taken = taken and not any(stop.close_position for stop in context.submitter.stops(plan.symbol))
        if taken and not self.backstop_taken:
            context.say(
                f"{plan.symbol}: a close-position stop that is not ours rests there, and the exchange allows one;"
                " ours are quantity stops only."
            )
        (context.taken.add if taken else context.taken.discard)(plan.symbol)

    # --- asking ---

    def at_once(self, kind: str) -> None:
        """The next of this kind is due now."""
        self._queries.setdefault(kind, _Query()).next_ms = _AT_ONCE

    def after_exit(self) -> None:
        """A position shown before an exit tells nothing of it; where many are bare, one answer soon tells of all."""
        if len(self._context.unprotected) <= 1:
            self.at_once("positions")

    def was_asked(self, kind: str, since_ms: int) -> bool:
        """Whether a kind was asked since then, whatever was answered, and is not under way."""
        query = self._queries.get(kind)
        return query is not None and query.requested_ms >= since_ms and (query.task is None or query.task.done())

    def under_way(self) -> list[asyncio.Task[None]]:
        """Questions that are waited for."""
        return [query.task for query in self._queries.values() if query.task is not None and not query.task.done()]

    def drop(self) -> None:
        """Nobody waits for an answer any more."""
        for task in self.under_way():
            task.cancel()

    async def _tolerant(self, question: Awaitable[object]) -> None:
        """A question whose failure is no answer, and says nothing; what the disk would not take is told of later."""
        try:
            await question
        except (ExchangeUnavailable, ExchangeRejected, ConfigurationError):
            return
        except LedgerUnwritable as error:
            self._context.submitter.unwritten = self._context.submitter.unwritten or error

    def _start(self, kind: str, question: Callable[[], Awaitable[object]]) -> None:
        query, now = self._queries.setdefault(kind, _Query()), self._context.now_ms()
        if (query.task is not None and not query.task.done()) or now < query.next_ms:
            return
        crowd_ms = _CROWD_MS.get(kind, 0) * max(0, len(self._context.unprotected) - 1)
        query.next_ms = now + max(_pause_ms(query.count), crowd_ms)
        query.count, query.requested_ms = query.count + 1, now
        query.task = asyncio.ensure_future(self._tolerant(question()))


def _pause_ms(count: int) -> int:
    """How long after so many questions of a kind the next one comes."""
    return _BACK_OFF_MS[min(count, len(_BACK_OFF_MS) - 1)]
