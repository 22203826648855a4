"""Cover for every symbol of ours in a look, and for what is bare while the rest of the look takes its time."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, TypeVar

from trader_cli.core.errors import OwnershipLost, TraderError
from trader_cli.execution.protection_loop import ProtectionLoop, guarded_together
from trader_cli.execution.shutdown import Shield, leaving, shutdown_requested
from trader_cli.storage.ledger import LedgerUnwritable
from trader_cli.tactician.position_management import LOOK_S

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from trader_cli.core.money.plans import TradePlan
    from trader_cli.execution.executor import Executor
    from trader_cli.execution.protection_loop import ProtectionResult

    Found = ProtectionResult | TraderError
    OnProtectionEnd = Callable[[Executor, TradePlan, "Found"], None]

T = TypeVar("T")
ZERO = Decimal(0)
_KEEP_S = 2.0
"""How long one round of care beside other work is."""
_A_MOMENT_S = 0.25
"""What takes no longer needs nothing beside it."""


class ProtectionWatch:
    """Remembers which symbols are known to be bare, and which are to be closed, and why, until they are.

    `tell` hears how care beside other work has ended.
    """

    def __init__(self, tell: OnProtectionEnd) -> None:
        self.unprotected: set[str] = set()
        self.closing: dict[str, str] = {}
        self._tell = tell
        self._shield = Shield()

    @property
    def _pressed(self) -> set[str]:
        """What cannot wait."""
        return self.unprotected | self.closing.keys()

    async def look_at(
        self, executor: Executor, plans: Mapping[str, TradePlan | None], symbols: list[str]
    ) -> dict[str, Found]:
        """One look at each of these at once; a signal waits for the cover of what it finds to be bare."""
        async with leaving().shielded():
            ended = await self._guarded(executor, {s: plan for s, plan in plans.items() if plan is not None})
            while shutdown_requested() and self.unprotected & ended.keys():
                ended |= await self._guarded(executor, {s: p for s, p in plans.items() if p and s in self.unprotected})
            await self._mind_unprotected(symbols)
        return ended

    async def beside(self, executor: Executor, work: Awaitable[T]) -> T:
        """Do this; where it takes longer than a moment what is bare, or to be closed, stays under care meanwhile."""
        if not self._pressed:
            return await work
        task, clock = asyncio.ensure_future(work), executor.exchange.clock
        try:
            await asyncio.wait({task}, timeout=clock.loop_s(_A_MOMENT_S))
            while not task.done() and self._pressed:
                await self._keep(executor)
            return await task
        finally:
            task.cancel()

    async def settle_exits(self, executor: Executor, symbols: list[str]) -> None:
        """What became of exits of unknown fate is found out where none is being tried."""
        await executor.reconciler.settle_exits([symbol for symbol in symbols if symbol not in self._pressed])

    async def _keep(self, executor: Executor) -> None:
        """A short round of care for what cannot wait; how it ended is told."""
        plans = {symbol: plan for symbol in sorted(self._pressed) if (plan := executor.plan_of(symbol)) is not None}
        self.unprotected &= plans.keys()
        self.closing = {symbol: why for symbol, why in self.closing.items() if symbol in plans}
        async with leaving().shielded():
            ended = await self._guarded(executor, plans, _KEEP_S, must_look=False)
        for symbol, found in ended.items():
            if isinstance(found, OwnershipLost):
                raise found
            self._tell(executor, plans[symbol], found)

    async def _guarded(
        self, executor: Executor, plans: dict[str, TradePlan], most_s: float = LOOK_S, *, must_look: bool = True
    ) -> dict[str, Found]:
        """What care for each of these came to, and what that latches."""
        guards = [
            ProtectionLoop(
                executor.attempts,
                plan,
                goal=ZERO if symbol in self.closing else None,
                reason=self.closing.get(symbol, ""),
                must_look=must_look,
                most_s=most_s,
            )
            for symbol, plan in plans.items()
        ]
        ended = dict(zip(plans, await guarded_together(guards), strict=True))
        known = {symbol: found for symbol, found in ended.items() if not isinstance(found, TraderError)}

        async def tidy(symbol: str, found: ProtectionResult) -> None:
            with tolerating_unwritable(executor):
                await executor.tidy(plans[symbol], found)

        for symbol, found in known.items():
            (self.unprotected.add if found.how == "unprotected" else self.unprotected.discard)(symbol)
            if found.how in {"flat", "reduced", "dust", "absent", "refused"}:
                self.closing.pop(symbol, None)
        await asyncio.gather(*(tidy(symbol, found) for symbol, found in known.items()))
        return ended

    async def _mind_unprotected(self, symbols: list[str]) -> None:
        """While anything is known to be bare a first signal waits for its cover, between the looks, too."""
        self.unprotected &= set(symbols)
        await self._shield.hold(up=bool(self.unprotected))

    async def release(self) -> None:
        """However the care ends: no shield is left up that would keep a signal waiting."""
        await self._shield.hold(up=False)


@contextmanager
def tolerating_unwritable(executor: Executor) -> Iterator[None]:
    """A disk that takes no line is told of after the look; it does not keep anything from care."""
    try:
        yield
    except LedgerUnwritable as error:
        executor.submitter.unwritten = executor.submitter.unwritten or error
