"""The questions of one guard: kinds of looks, side by side, each asked again after 0.25 to 2 s while it matters."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trader_cli.core.errors import ConfigurationError, ExchangeRejected, ExchangeUnavailable
from trader_cli.storage.ledger import LedgerUnwritable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trader_cli.core.money.plans import TradePlan
    from trader_cli.execution.execution_context import Bench
    from trader_cli.storage.ledger_rows import Intent

_BACK_OFF_MS = (250, 250, 500, 1000, 2000)
_AT_ONCE = -1
SHARED_MS = 200
"""One answer about positions serves every symbol that asks at about the same time."""
_CROWD_MS = {"orders": 750, "absence": 2000, "stops": 750, "trades": 750}
"""How much longer the pauses get with each further bare symbol, so that many ask no more than the exchange allows."""


@dataclass
class _Look:
    """One kind of question: its request, how often and when it was asked, and when the next is due."""

    task: asyncio.Task[None] | None = None
    asked_ms: int = -1
    next_ms: int = 0
    count: int = 0


class Questions:
    """Looks for one plan."""

    def __init__(self, bench: Bench, plan: TradePlan) -> None:
        self._bench, self._plan = bench, plan
        self._looks: dict[str, _Look] = {}

    @property
    def backstop_taken(self) -> bool:
        """Whether a close-position stop that is not ours rests where ours would."""
        return self._plan.symbol in self._bench.taken

    # --- kinds ---

    def about_positions(self) -> None:
        """What the exchange holds: one answer, whoever asked for it, serves all symbols for a while."""
        look = self._looks.setdefault("positions", _Look())
        seen_ms = self._bench.reconciler.sight(self._plan.symbol).asked_ms
        if look.next_ms != _AT_ONCE and self._bench.now_ms() < seen_ms + _pause_ms(look.count):
            return
        self._start("positions", lambda: self._bench.reconciler.positions(share_ms=SHARED_MS))

    def about_orders(self, waiting: list[Intent]) -> None:
        """What became of entries and exits, and whether they never were."""
        self._start("orders", lambda: self._bench.reconciler.look_at_orders(self._plan.symbol))
        self._start("absence", lambda: self._bench.reconciler.prove_absent(self._plan.symbol, waiting))

    def about_stops(self) -> None:
        """What rests."""
        self._start("stops", self._look_at_stops)

    def about_trades(self) -> None:
        """What has filled."""
        self._start("trades", lambda: self._bench.reconciler.look_at_trades(self._plan.symbol))

    def about_rules(self) -> None:
        """The symbol's rules, after a refusal by them."""
        self._start("rules", self._bench.exchange.refresh_rules)

    async def _look_at_stops(self) -> None:
        """What rests; a close-position stop of somebody else keeps ours away, and quantity stops do instead."""
        bench, plan = self._bench, self._plan
        await bench.reconciler.look_at_stops(plan.symbol)
        side = "SELL" if plan.sign > 0 else "BUY"
        others = [s for s in bench.reconciler.sight(plan.symbol).others if s.close_position and s.side == side]
        taken = any(s.kind == "stop" for s in others)
        taken = taken and not any(stop.close_position for stop in bench.courier.stops(plan.symbol))
        if taken and not self.backstop_taken:
            bench.say(
                f"{plan.symbol}: a close-position stop that is not ours rests there, and the exchange allows one;"
                " ours are quantity stops only."
            )
        (bench.taken.add if taken else bench.taken.discard)(plan.symbol)

    # --- asking ---

    def at_once(self, kind: str) -> None:
        """The next of this kind is due now."""
        self._looks.setdefault(kind, _Look()).next_ms = _AT_ONCE

    def was_asked(self, kind: str, since_ms: int) -> bool:
        """Whether a kind was asked since then, whatever was answered, and is not under way."""
        look = self._looks.get(kind)
        return look is not None and look.asked_ms >= since_ms and (look.task is None or look.task.done())

    def under_way(self) -> list[asyncio.Task[None]]:
        """Questions that are waited for."""
        return [look.task for look in self._looks.values() if look.task is not None and not look.task.done()]

    def drop(self) -> None:
        """Nobody waits for an answer any more."""
        for task in self.under_way():
            task.cancel()

    async def _tolerant(self, question: Awaitable[Any]) -> None:
        """A question whose failure is no answer, and says nothing; what the disk would not take is told of later."""
        try:
            await question
        except (ExchangeUnavailable, ExchangeRejected, ConfigurationError):
            return
        except LedgerUnwritable as error:
            self._bench.courier.unwritten = self._bench.courier.unwritten or error

    def _start(self, kind: str, question: Callable[[], Awaitable[Any]]) -> None:
        look, now = self._looks.setdefault(kind, _Look()), self._bench.now_ms()
        if (look.task is not None and not look.task.done()) or now < look.next_ms:
            return
        crowd_ms = _CROWD_MS.get(kind, 0) * max(0, len(self._bench.bare) - 1)
        look.next_ms = now + max(_pause_ms(look.count), crowd_ms)
        look.count, look.asked_ms = look.count + 1, now
        look.task = asyncio.ensure_future(self._tolerant(question()))


def _pause_ms(count: int) -> int:
    """How long after so many questions of a kind the next one comes."""
    return _BACK_OFF_MS[min(count, len(_BACK_OFF_MS) - 1)]
