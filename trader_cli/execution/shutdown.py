"""Leaving on a signal: Ctrl-C, SIGTERM and SIGHUP end a run softly, and care that has begun is finished first.

The first signal cancels the work, so that every `finally` runs. Inside `shielded` it waits for the end of the block; a
second one cuts the block short. Inside `prompt`, for long computations that do not let the loop turn, it strikes at
once. The end of the time that a run was given (`end_in`) is a first signal, too, after which the run ends well.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, NoReturn, TypeVar

from trader_cli.core.errors import ExchangeUnavailable, HungUp, Terminated

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
    from types import FrameType

T = TypeVar("T")
_ENDS: dict[int, type[BaseException]] = {
    signal.SIGINT: KeyboardInterrupt,
    signal.SIGTERM: Terminated,
    signal.SIGHUP: HungUp,
}
_TIME_UP = signal.SIGALRM


class Shutdown:
    """What signals asked of a run. `requested` names the first one; where no run is installed it stays `None`."""

    def __init__(self) -> None:
        self.requested: str | None = None
        self._task: asyncio.Task[object] | None = None
        self._shields = 0
        self._waiting = False
        self._struck: set[int] = set()

    @asynccontextmanager
    async def shielded(self) -> AsyncIterator[Shutdown]:
        """Here a first signal only sets `requested`, and cancels when the block ends; a second cancels at once."""
        self._shields += 1
        try:
            yield self
        finally:
            self._shields -= 1
        await self.give_way()

    async def give_way(self) -> None:
        """End here if a signal has waited for the end of what was shielded, as after an error that was borne."""
        if self._waiting and self._shields == 0:
            self._cancel()
            await asyncio.sleep(0)

    @contextmanager
    def prompt(self) -> Iterator[None]:
        """In this block, which need not let the loop turn, a signal raises `CancelledError` between two bytecodes."""
        if self._task is None or self._shields or threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in self._numbers()}
        for number in before:
            signal.signal(number, self._strike_here)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
                signal.siginterrupt(number, False)  # noqa: FBT003

    def _strike_here(self, number: int, _frame: FrameType | None) -> NoReturn:
        """The loop will hear of the same signal, too; that must not count as a second one."""
        self._struck.add(number)
        self.requested = self.requested or signal.Signals(number).name
        if self._task is not None and asyncio.current_task() is not self._task:
            self._task.get_loop().call_soon(self._cancel)
        raise asyncio.CancelledError

    def _heard(self, number: int) -> None:
        """A signal, told by the loop."""
        if number in self._struck:
            self._struck.discard(number)
        elif self.requested is None or self._is_time_up:
            self.requested = signal.Signals(number).name
            if self._shields:
                self._waiting = True
            else:
                self._cancel()
        elif (self._shields or self._waiting) and number != _TIME_UP:
            self._cancel()

    def _cancel(self) -> None:
        self._waiting = False
        if self._task is not None:
            self._task.cancel()

    @staticmethod
    def _numbers() -> list[int]:
        """The signals that are heard: not one that was ignored from the start, as `nohup` does."""
        return [number for number in (*_ENDS, _TIME_UP) if signal.getsignal(number) != signal.SIG_IGN]

    # --- the time that a run was given ---

    @property
    def _is_time_up(self) -> bool:
        return self.requested == _TIME_UP.name

    def end_in(self, seconds: float) -> None:
        """Ask this run to end after so many seconds of real time, as a first signal does."""
        if self._task is not None:
            signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.001))

    def forget_time(self) -> None:
        """What is left to do needs no bound."""
        if self._task is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def take_time_up(self) -> bool:
        """Whether it was the end of the time that cancelled; then the run may go on to its end."""
        if not self._is_time_up:
            return False
        self.requested = None
        if self._task is not None:
            self._task.uncancel()
        return True

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Hear signals for the current task; what heard them before does so again at the end."""
        loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        before = {number: signal.getsignal(number) for number in self._numbers()}
        for number in before:
            loop.add_signal_handler(number, self._heard, number)
        token = _CURRENT.set(self)
        try:
            yield
        finally:
            _CURRENT.reset(token)
            self._task = None
            signal.setitimer(signal.ITIMER_REAL, 0)
            for number, handler in before.items():
                loop.remove_signal_handler(number)
                signal.signal(number, handler)

    def reason(self) -> BaseException | None:
        """What the first signal ends the process with; `None` if there was none."""
        if self._is_time_up:
            return ExchangeUnavailable("The time given with --for is up, and the exchange had not answered yet.")
        return None if self.requested is None else _ENDS[signal.Signals[self.requested]]()


class Shield:
    """A `shielded` block that is begun and ended by hand."""

    def __init__(self) -> None:
        self._up: AsyncExitStack | None = None

    async def hold(self, *, up: bool) -> None:
        """Put it up, or let it down; a signal that has waited strikes then."""
        if up and self._up is None:
            self._up = AsyncExitStack()
            await self._up.enter_async_context(leaving().shielded())
        elif not up and self._up is not None:
            was, self._up = self._up, None
            await was.aclose()


_CURRENT: ContextVar[Shutdown] = ContextVar("leaving")


def leaving() -> Shutdown:
    """What was asked of the run this is part of; one that hears nothing where none is."""
    return _CURRENT.get(None) or Shutdown()


@contextmanager
def until_time_is_up() -> Iterator[None]:
    """The end of the time that was given ends the block, and no more; a signal ends the run."""
    try:
        yield
    except asyncio.CancelledError:
        if not leaving().take_time_up():
            raise
    finally:
        leaving().forget_time()


def shutdown_requested() -> bool:
    """Whether a signal, or the end of its time, has asked the run this is part of to end."""
    return leaving().requested is not None


def run_supervised(work: Coroutine[object, object, T], loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> T:
    """Run to the end; SIGINT, SIGTERM and SIGHUP cancel, so that every `finally` runs before the process leaves.

    Raises `KeyboardInterrupt`, `Terminated` or `HungUp` after a signal, unless the work raised something of its own.
    """
    shutdown = Shutdown()

    async def supervised() -> T:
        if threading.current_thread() is not threading.main_thread():
            return await work
        with shutdown.installed():
            return await work

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        try:
            return runner.run(supervised())
        except asyncio.CancelledError:
            reason = shutdown.reason()
            if reason is None:
                raise
            raise reason from None
