"""A desk in a hostile world: seeded faults, switches and rule changes of the exchange, a client whose clock jumps or stops.

`hostile(work, path, faults=…)` runs `work(desk)` in virtual time. `desk.unprotected_spans(symbol)` is the measure of issue 10:
when the exchange's own books showed a position not wholly behind stops.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from support.trading.desk import BALANCE, ORDER, STOP, SYMBOL, BentVenue, Desk

from trader_cli.exchange.binance import BinanceExchange
from trader_cli.settings import as_settings
from trader_cli.venue.clocks import VirtualClock, VirtualLoop
from trader_cli.venue.engine import forced_orders
from trader_cli.venue.engine.books import Account
from trader_cli.venue.engine.cover_audit import CoverAudit, Span
from trader_cli.venue.engine.switches import Switches
from trader_cli.venue.server.faults import Fault, FaultPlan
from trader_cli.venue.server.request_log import LoggedRequest
from trader_cli.venue.simulated_market.rule_changes import RuleChange
from trader_cli.venue.simulated_market.synthetic import synthetic_tape
from trader_cli.venue.simulated_market.tape import Tape

_OF_CLIENT: ContextVar[bool] = ContextVar("_OF_CLIENT", default=False)
Plan = FaultPlan | Sequence[Fault] | Callable[[int], FaultPlan]
"""Faults, or a function from the exchange's time at the start of the work to a plan."""
Changes = Sequence[RuleChange] | Callable[[int], Sequence[RuleChange]]
"""Changes of the rules, or a function from the exchange's time at the start to them."""


class PausableClock(VirtualClock):
    """Virtual time in which a paused client holds nothing."""

    paused = False

    @property
    def is_held(self) -> bool:
        """Whether somebody works, so that time must not move."""
        return not self.paused and super().is_held


class PausableLoop(VirtualLoop):
    """A loop on which the client's tasks can be given no turn while the venue goes on."""

    clock: PausableClock

    def __init__(self, clock: PausableClock) -> None:
        super().__init__(clock)
        self._kept: deque[asyncio.Handle] = deque()

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> asyncio.Handle:
        """As the base loop; what is the client's waits for the end of a pause."""
        if self.clock.paused:
            context = context if context is not None else copy_context()
            if context.get(_OF_CLIENT, False):
                handle = asyncio.Handle(callback, args, self, context)
                self._kept.append(handle)
                return handle
        return super().call_soon(callback, *args, context=context)

    def pause(self) -> None:
        """From the loop's next turn on the client gets none."""
        self.clock.paused = True

    def resume(self) -> None:
        """The client goes on, with everything that has come meanwhile."""
        self.clock.paused = False
        self._ready.extend(self._kept)  # type: ignore[attr-defined]
        self._kept.clear()


class SteppedClock:
    """The client's clock: its wall time can be set, its monotonic time goes on."""

    def __init__(self, inner: VirtualClock) -> None:
        self.inner, self.offset_ms = inner, 0

    def now_ms(self) -> int:
        return self.inner.now_ms() + self.offset_ms

    def monotonic_ms(self) -> int:
        return self.inner.monotonic_ms()

    def loop_s(self, seconds: float) -> float:
        return self.inner.loop_s(seconds)

    async def sleep(self, seconds: float) -> None:
        await self.inner.sleep(seconds)

    @contextmanager
    def held(self) -> Iterator[None]:
        with self.inner.held():
            yield

    def step(self, seconds: float) -> None:
        """Set the wall clock forward, or back."""
        self.offset_ms += round(seconds * 1000)


@dataclass
class HostileDesk(Desk):
    """A desk whose exchange is watched and whose client can be disturbed. `clock` is the exchange's true time."""

    cover: CoverAudit = field(default_factory=CoverAudit)
    client_clock: SteppedClock = field(default_factory=lambda: SteppedClock(VirtualClock(0)))
    start_ms: int = 0
    outside: Context = field(default_factory=Context)
    failed: list[Exception] = field(default_factory=list)

    @property
    def books(self) -> Account:
        """The exchange's own account, as of now."""
        return self.engine.account

    def unprotected_spans(self, symbol: str = SYMBOL, *, ours_only: bool = False) -> list[Span]:
        """When the exchange's books showed a position, or our part of one, not wholly behind stops."""
        self.engine  # noqa: B018 (advances to now)
        return self.cover.unprotected_spans(symbol, self.clock.now_ms(), ours_only=ours_only)

    def unprotected_s(self, symbol: str = SYMBOL, *, ours_only: bool = False) -> float:
        """The longest such span in seconds, 0 if there was none."""
        return (
            max((end - start for start, end in self.unprotected_spans(symbol, ours_only=ours_only)), default=0) / 1000
        )

    def requests(self, route: tuple[str, str] | None = None, since_ms: int = 0) -> list[LoggedRequest]:
        """What arrived at the exchange, oldest first."""
        return [r for r in self.venue.log.requests if route in {None, r.route} and r.arrived_ms >= since_ms]

    def helped(self, span: Span, budget_s: float = 2.0) -> bool:
        """Whether an order or stop that came within a span was carried out within one budget."""
        return any(
            r.outcome == 200 and r.executed_ms is not None and r.executed_ms - r.arrived_ms <= budget_s * 1000
            for r in self.requests()
            if r.route in {ORDER, STOP} and span[0] <= r.arrived_ms < span[1]
        )

    def pause(self, seconds: float, after_s: float = 0.0) -> None:
        """The client gets no turn for so long, from `after_s` on; the exchange goes on. Both by the true time."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, PausableLoop)
        loop.call_later(after_s, loop.pause, context=self.outside)
        loop.call_later(after_s + seconds, loop.resume, context=self.outside)

    def step_clock(self, seconds: float, after_s: float = 0.0) -> None:
        """Set the client's wall clock forward, or back, from `after_s` on."""
        asyncio.get_running_loop().call_later(after_s, self.client_clock.step, seconds, context=self.outside)

    def liquidate(self, symbol: str = SYMBOL) -> None:
        """The exchange liquidates the position now."""
        forced_orders.liquidate(self.engine, symbol)

    def deleverage(self, symbol: str = SYMBOL, quantity: str | None = None) -> None:
        """The exchange auto-deleverages the position now, or so much of it."""
        forced_orders.deleverage(self.engine, symbol, None if quantity is None else Decimal(quantity))

    def settle(self, symbol: str = SYMBOL, quantity: str | None = None) -> None:
        """The exchange settles the position at delivery now, or so much of it."""
        forced_orders.settle(self.engine, symbol, None if quantity is None else Decimal(quantity))

    def at(self, after_s: float, what: Callable[[], Any]) -> None:
        """Do something at the exchange (by hand, by force) from outside the client, `after_s` from now."""

        def done() -> None:
            try:
                what()
            except Exception as error:  # noqa: BLE001 (raised again by `hostile`)
                self.failed.append(error)

        asyncio.get_running_loop().call_later(after_s, done, context=self.outside)


@cache
def tape_of(symbols: tuple[str, ...]) -> Tape:
    """A market of these symbols."""
    return synthetic_tape(symbols, 12, 0.5, 3)


def hostile(  # noqa: PLR0913 (each names one side of the world)
    work: Callable[[HostileDesk], Awaitable[Any]],
    path: Path,
    *,
    faults: Plan = (),
    switches: Switches | None = None,
    changes: Changes = (),
    when: tuple[str, str] | None = None,
    start: float = 0.2,
    seed: int = 0,
    symbols: tuple[str, ...] = (SYMBOL,),
    **sections: Any,
) -> Any:
    """Run `work` at a hostile desk in virtual time. The faults hold from the moment the client is connected.

    With `when` (such as `ORDER`) they hold from the first request of that route on, which meets them too: what went
    before it went well.
    `seed` is that of the faults' shares; `sections` are settings. What `desk.at` did in vain is raised at the end.
    """
    tape = tape_of(symbols)
    clock = PausableClock(tape.at(start))

    async def main() -> Any:
        outside, cover, client_clock = copy_context(), CoverAudit(), SteppedClock(clock)
        ruled = changes(clock.now_ms()) if callable(changes) else changes
        async with BentVenue(
            tape, clock, balance=BALANCE, faults=FaultPlan(), switches=switches, changes=ruled
        ) as venue:
            venue.watch_engine(cover)

            async def client() -> Any:
                _OF_CLIENT.set(True)
                given = dict(sections)
                keys = {
                    "api_key": "sim-key",
                    "api_secret": "sim-secret",
                    "base_url": venue.url,
                    "max_retries": 1,
                    **given.pop("binance_exchange", {}),
                }
                settings = as_settings({"mode": "demo", "binance_exchange": keys, **given})
                exchange = BinanceExchange(settings, clock=client_clock)
                await exchange.initialize()
                desk = HostileDesk(
                    venue,
                    exchange,
                    clock,
                    settings,
                    path / "ledger.sqlite",
                    cover,
                    client_clock,
                    clock.now_ms(),
                    outside,
                )
                if when is None:
                    venue.bend(as_plan(faults, clock.now_ms(), seed))
                else:
                    venue.bend_when(*when, lambda now_ms: as_plan(faults, now_ms, seed))
                try:
                    done = await work(desk)
                finally:
                    await exchange.close()
                if desk.failed:
                    raise desk.failed[0]
                return done

            return await asyncio.get_running_loop().create_task(client())

    with asyncio.Runner(loop_factory=lambda: PausableLoop(clock)) as runner:
        return runner.run(main())


def as_plan(faults: Plan, now_ms: int, seed: int = 0) -> FaultPlan:
    """The plan that these faults are."""
    if isinstance(faults, FaultPlan):
        return faults
    return faults(now_ms) if callable(faults) else FaultPlan(tuple(faults), seed)
