"""Clocks: real, scaled, virtual (in one process) and driven (shared by processes that hold leases).

Virtual time moves only while everything sleeps. The virtual event loop asks the operating system for input first, and
only when there is none, and nobody holds the clock, does it jump to the next thing that is due.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from trader_cli.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from trader_cli.core.ports import Clock

T = TypeVar("T")
_HELD_WAIT_S = 0.05
_STALLED = 20
"""Waits in vain after which a holder is taken to wait for a slow answer that another of its requests waits for."""
_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class WallClock:
    """This machine's clock, or one that runs `rate` times as fast from `start_ms` on."""

    def __init__(self, rate: float = 1.0, start_ms: int | None = None) -> None:
        self.rate = rate
        self._began = time.monotonic()
        self._start_ms = start_ms

    def now_ms(self) -> int:
        """UTC milliseconds."""
        if self._start_ms is None:
            return time.time_ns() // 1_000_000
        return self._start_ms + int((time.monotonic() - self._began) * 1000 * self.rate)

    def monotonic_ms(self) -> int:
        """Milliseconds since some moment, time in which the machine slept included."""
        return int(time.clock_gettime_ns(_STEADY) / 1_000_000 * self.rate)

    def loop_s(self, seconds: float) -> float:
        """The event loop's seconds for so many of this clock's."""
        return seconds / self.rate

    async def sleep(self, seconds: float) -> None:
        """Wait `seconds` of this clock's time."""
        await asyncio.sleep(self.loop_s(seconds))

    @contextmanager
    def held(self) -> Iterator[None]:
        """Real time cannot be held."""
        yield


@dataclass(frozen=True)
class FixedClock:
    """A clock that stands at one moment: the one an offline stage speaks of."""

    at_ms: int

    def now_ms(self) -> int:
        """The moment."""
        return self.at_ms

    def monotonic_ms(self) -> int:
        """The moment."""
        return self.at_ms

    def loop_s(self, seconds: float) -> float:
        """Nothing waits by this clock."""
        return seconds

    async def sleep(self, seconds: float) -> None:
        """Nothing to wait for: raises `UsageError`."""
        raise UsageError(f"An offline stage cannot wait {seconds:g} s.")

    @contextmanager
    def held(self) -> Iterator[None]:
        """It stands still anyway."""
        yield


class VirtualClock:
    """Virtual time of one event loop, which must be a `VirtualLoop` of this clock."""

    def __init__(self, start_ms: int) -> None:
        self._start_ms = start_ms
        self.elapsed_s = 0.0
        self.holders = 0
        self._released: list[Callable[[], bool]] = []

    def now_ms(self) -> int:
        """UTC milliseconds of virtual time."""
        return self._start_ms + round(self.elapsed_s * 1000)

    def monotonic_ms(self) -> int:
        """Milliseconds of virtual time since its start."""
        return round(self.elapsed_s * 1000)

    def loop_s(self, seconds: float) -> float:
        """A virtual loop waits in this clock's seconds."""
        return seconds

    async def sleep(self, seconds: float) -> None:
        """Wait in virtual time; takes no real time if nothing else is under way."""
        await asyncio.sleep(seconds)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Virtual time stands still while anyone is inside."""
        self.holders += 1
        try:
            yield
        finally:
            self.holders -= 1

    @contextmanager
    def released(self, alive: Callable[[], bool]) -> Iterator[None]:
        """One holder's hold is void meanwhile: it waits for us, and we sleep on purpose.

        It counts only while `alive()`: a client that has given up holds nothing any more.
        """
        self._released.append(alive)
        try:
            yield
        finally:
            self._released.remove(alive)

    @property
    def is_held(self) -> bool:
        """Whether somebody works, so that time must not move."""
        return self.holders > sum(alive() for alive in self._released)

    @property
    def is_released(self) -> bool:
        """Whether a server makes somebody wait who still does."""
        return any(alive() for alive in self._released)


class _VirtualSelector(selectors.DefaultSelector):
    """A selector that moves virtual time instead of waiting."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._clock = clock
        self._idle = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if timeout is None:
            return super().select(None)
        if self._clock.is_held:
            ready = super().select(min(timeout, _HELD_WAIT_S))
            self._idle = 0 if ready else self._idle + 1
            if ready or self._idle < _STALLED or not self._clock.is_released:
                return ready
        self._idle = 0
        self._clock.elapsed_s += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is the virtual clock's."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(_VirtualSelector(clock))
        self.clock = clock

    def time(self) -> float:
        """Seconds of virtual time since the loop began."""
        return self.clock.elapsed_s


@dataclass
class _Lease:
    """A client's promise: until it says it sleeps, time may not pass. `until_ms` is None while it works."""

    until_ms: int | None = None
    woken: asyncio.Event = field(default_factory=asyncio.Event)


class DrivenClock:
    """Time shared by several processes: it moves to the earliest wish when every lease holder sleeps.

    Without leases it stands still. `expire_s` real seconds without a word from a working client end its lease, so that
    a client that died cannot stop time for the others.
    """

    def __init__(self, start_ms: int, *, expire_s: float = 60.0) -> None:
        self._now_ms = start_ms
        self._expire_s = expire_s
        self._leases: dict[str, _Lease] = {}
        self._seen: dict[str, float] = {}
        self._count = 0

    def now_ms(self) -> int:
        """UTC milliseconds of shared time."""
        return self._now_ms

    async def sleep(self, seconds: float) -> None:
        """The server's own wait: a lease for just this sleep."""
        lease = self.lease()
        try:
            await self.sleep_until(lease, self._now_ms + round(seconds * 1000))
        finally:
            self.release(lease)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Working lease holders hold driven time already."""
        yield

    def lease(self) -> str:
        """A new lease, working. Time stands still until its holder sleeps or releases it."""
        self._count += 1
        name = f"lease-{self._count}"
        self._leases[name] = _Lease()
        self._seen[name] = time.monotonic()
        return name

    def release(self, name: str) -> None:
        """Give a lease back; unknown or expired ones are ignored."""
        self._leases.pop(name, None)
        self._seen.pop(name, None)
        self._advance()

    async def sleep_until(self, name: str, until_ms: int) -> int:
        """Sleep under a lease until shared time reaches `until_ms`; returns the time. `KeyError` if it has expired."""
        lease = self._leases[name]
        lease.until_ms = max(until_ms, self._now_ms)
        lease.woken.clear()
        self._advance()
        try:
            while lease.until_ms is not None and name in self._leases:
                await self._woken_or_expired(lease)
        finally:
            lease.until_ms = None
            self._seen[name] = time.monotonic()
        return self._now_ms

    async def _woken_or_expired(self, lease: _Lease) -> None:
        try:
            await asyncio.wait_for(lease.woken.wait(), self._expire_s / 4)
        except TimeoutError:
            self._drop_silent()
            self._advance()

    def _drop_silent(self) -> None:
        oldest = time.monotonic() - self._expire_s
        for name, lease in list(self._leases.items()):
            if lease.until_ms is None and self._seen[name] < oldest:
                del self._leases[name], self._seen[name]

    def _advance(self) -> None:
        wishes = [lease.until_ms for lease in self._leases.values()]
        if not wishes or any(wish is None for wish in wishes):
            return
        self._now_ms = max(self._now_ms, min(wish for wish in wishes if wish is not None))
        for lease in self._leases.values():
            if lease.until_ms is not None and lease.until_ms <= self._now_ms:
                lease.until_ms = None
                lease.woken.set()


async def wait_out(clock: ServedClock, seconds: float, alive: Callable[[], bool]) -> None:
    """A server's deliberate wait before it answers a client that waits, and holds time, until `alive()` is over.

    Driven time stands while its clients work: there the wait is in real seconds, as theirs is.
    """
    if isinstance(clock, VirtualClock):
        with clock.released(alive):
            await clock.sleep(seconds)
    elif isinstance(clock, DrivenClock):
        await asyncio.sleep(seconds)
    else:
        await clock.sleep(seconds)


async def sleep_unless(clock: Clock | ServedClock, seconds: float, event: asyncio.Event) -> None:
    """Wait `seconds` of a clock's time, or until an event is set."""
    waits = [asyncio.ensure_future(clock.sleep(seconds)), asyncio.ensure_future(event.wait())]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


def loop_clock() -> WallClock | VirtualClock:
    """The clock of the running event loop: virtual where the loop keeps its own time, else this machine's."""
    loop = asyncio.get_running_loop()
    return loop.clock if isinstance(loop, VirtualLoop) else WallClock()


ServedClock = WallClock | VirtualClock | DrivenClock


def run_virtual(main: Callable[[], Awaitable[T]], clock: VirtualClock) -> T:
    """Run `main()` to its end on a virtual loop of `clock`."""

    async def started() -> T:
        return await main()

    with asyncio.Runner(loop_factory=lambda: VirtualLoop(clock)) as runner:
        return runner.run(started())
