"""Leaving on a signal: Ctrl-C, SIGTERM and SIGHUP end a run softly, and care that has begun is finished first.

The first signal cancels the work, so that every `finally` runs. Inside `shielded` it waits for the end of the block; a
second one cuts the block short. Inside `prompt`, for long computations that do not let the loop turn, it strikes at
once.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, NoReturn, TypeVar

from trader_cli.core.errors import HungUp, Terminated

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
    from types import FrameType

T = TypeVar("T")
_ENDS: dict[int, type[BaseException]] = {
    signal.SIGINT: KeyboardInterrupt,
    signal.SIGTERM: Terminated,
    signal.SIGHUP: HungUp,
}


class Leaving:
    """What signals asked of a run. `asked` names the first one; where no run is installed it stays `None`."""

    def __init__(self) -> None:
        self.asked: str | None = None
        self._task: asyncio.Task[object] | None = None
        self._shields = 0
        self._waiting = False
        self._struck: set[int] = set()

    @asynccontextmanager
    async def shielded(self) -> AsyncIterator[Leaving]:
        """In this block a first signal only sets `asked`, and cancels when the block ends; a second cancels at once."""
        self._shields += 1
        try:
            yield self
        finally:
            self._shields -= 1
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
        self.asked = self.asked or signal.Signals(number).name
        if self._task is not None and asyncio.current_task() is not self._task:
            self._task.get_loop().call_soon(self._cancel)
        raise asyncio.CancelledError

    def _heard(self, number: int) -> None:
        """A signal, told by the loop."""
        if number in self._struck:
            self._struck.discard(number)
        elif self.asked is None:
            self.asked = signal.Signals(number).name
            if self._shields:
                self._waiting = True
            else:
                self._cancel()
        elif self._shields or self._waiting:
            self._cancel()

    def _cancel(self) -> None:
        self._waiting = False
        if self._task is not None:
            self._task.cancel()

    @staticmethod
    def _numbers() -> list[int]:
        """The signals that are heard: not one that was ignored from the start, as `nohup` does."""
        return [number for number in _ENDS if signal.getsignal(number) != signal.SIG_IGN]

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
            for number, handler in before.items():
                loop.remove_signal_handler(number)
                signal.signal(number, handler)

    def reason(self) -> BaseException | None:
        """What the first signal ends the process with; `None` if there was none."""
        return None if self.asked is None else _ENDS[signal.Signals[self.asked]]()


_CURRENT: ContextVar[Leaving] = ContextVar("leaving")


def leaving() -> Leaving:
    """What was asked of the run this is part of; one that hears nothing where none is."""
    return _CURRENT.get(None) or Leaving()


def run_supervised(work: Coroutine[object, object, T], loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> T:
    """Run to the end; SIGINT, SIGTERM and SIGHUP cancel, so that every `finally` runs before the process leaves.

    Raises `KeyboardInterrupt`, `Terminated` or `HungUp` after a signal, unless the work raised something of its own.
    """
    asked = Leaving()

    async def supervised() -> T:
        if threading.current_thread() is not threading.main_thread():
            return await work
        with asked.installed():
            return await work

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        try:
            return runner.run(supervised())
        except asyncio.CancelledError:
            reason = asked.reason()
            if reason is None:
                raise
            raise reason from None
