"""For weeks: every closed bar analysed, tactics while a signal is pending, the monitor beside them, several symbols.

One loop does one thing after the other, so that the same market gives the same journal. What one symbol or one answer
lacks does not stop the care of the others; silence of the exchange is waited out.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from trader_cli.core.errors import DataStale, ExchangeUnavailable, OwnershipLost, TraderError
from trader_cli.core.market.gaps import utc_text
from trader_cli.core.market.timeframes import SETTLE_MS
from trader_cli.core.money.plans import Approved, Refused
from trader_cli.core.types import RULE_FAILED, Abstention
from trader_cli.execution.entry_result import EntryResult
from trader_cli.execution.shutdown import leaving
from trader_cli.pipelines.stages.newest_bars import deciding_frame
from trader_cli.pipelines.trading.iterations import Iteration
from trader_cli.storage.ledger import LedgerUnwritable
from trader_cli.storage.ledger_books import anything_open

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.pipelines.trading.iterations import Trader

T = TypeVar("T")
_RETRY_S, _PRESSED_S = 10.0, 1.0
_SHORTEST_S = 0.05
_MOST_RETRIES = 30


@dataclass
class _Series:
    """One symbol under way: the last bar analysed, its pass, and when tactics are due again."""

    symbol: str
    analysed_ms: int = 0
    last: Iteration | None = None
    tactics_ms: int | None = None
    retries: int = 0


class LiveLoop:
    """The loop over symbols of one time frame; they are analysed at its closes, or at those of a fast frame."""

    def __init__(self, trader: Trader, symbols: Sequence[str], timeframe: Timeframe) -> None:
        self._trader = trader
        self._timeframe, self._decides = timeframe, deciding_frame(trader.workspace, timeframe)
        self._series = [_Series(symbol) for symbol in symbols]
        self._interval_ms = round(trader.workspace.settings.position_monitoring_interval * 1000)
        self._cared_ms: int | None = None
        self._is_open = True
        self._stopped = False
        self._is_writable = True
        self._told: dict[str, str] = {}

    def stop(self) -> None:
        """Return after what is under way. Stops stay where they rest."""
        self._stopped = True

    async def run(self, for_s: float | None = None) -> None:
        """Trade until `stop()`, or for `for_s` seconds.

        Raises `LedgerUnwritable`, and in sim `DataStale` at the end of the tape; stops stay where they rest. Features
        that take too long raise `ConfigurationError` where nothing is held; what is held is cared for all the same.
        """
        trader = self._trader
        if not self._holds_something():
            for frame in {self._timeframe: None, self._decides: None}:
                trader.require_budget(frame)
        ends = None if for_s is None else trader.now_ms() + round(for_s * 1000)
        try:
            await self._go_on(ends)
        finally:
            await trader.monitor.release()

    async def _go_on(self, ends: int | None) -> None:
        trader = self._trader
        while not self._stopped and (ends is None or trader.now_ms() < ends or trader.monitor.is_pressed):
            await self._supervise()
            for series in self._series:
                await self._supervise()
                if not self._must_only_protect():
                    await self._supervised(series.symbol, self._beside_protection(self._tend(series)))
            await leaving().give_way()
            self._is_open = self._is_open or self._holds_something()
            until = self._next_wake() if ends is None else min(self._next_wake(), ends)
            await self._sleep_until(until)

    def _must_only_protect(self) -> bool:
        """While something is bare, or the ledger takes no line, nothing else is begun."""
        return self._trader.monitor.is_pressed or not self._is_writable

    async def _sleep_until(self, until_ms: int) -> None:
        """Sleep, but not on where another process asks for something; a second only while something is bare."""
        if self._trader.monitor.is_pressed or self._trader.monitor.is_closing:
            await self._trader.listener.nap(_PRESSED_S)
            return
        while not self._stopped:
            left_ms = until_ms - self._trader.now_ms()
            await self._trader.listener.nap(max(_SHORTEST_S, min(left_ms, self._interval_ms) / 1000), self._has_lost)
            if left_ms <= self._interval_ms or self._is_called():
                return

    def _has_lost(self) -> bool:
        """Whether an answer that came late has shown that a stop is gone."""
        return bool(self._trader.executor.submitter.lost)

    def _holds_something(self) -> bool:
        return anything_open(self._trader.ledger)

    async def _supervise(self) -> None:
        """The monitor's look, if it is due."""
        now, last = self._trader.now_ms(), self._cared_ms
        due = self._is_open and last is not None and now >= last + self._interval_ms
        if last is None or due or self._is_called():
            self._cared_ms = now
            self._trader.listener.take_news()
            await self._look()

    def _is_called(self) -> bool:
        monitor, listener = self._trader.monitor, self._trader.listener
        called = listener.is_requested() or listener.has_news() or self._has_lost()
        return monitor.is_pressed or monitor.is_closing or called

    async def _look(self) -> None:
        """A look that a ledger without room does not end, while anything is held."""
        step = self._trader.monitor.step(self._trader.executor)
        try:
            self._is_open = await self._supervised("care", step) is not False
            self._is_writable = True
        except LedgerUnwritable as error:
            if not self._holds_something():
                raise
            self._is_open, self._is_writable = True, False
            self._say(f"monitor: {error} It goes on without.")

    def _say(self, line: str) -> None:
        self._trader.sink.say(f"{utc_text(self._trader.now_ms())} {line}")

    def _next_wake(self) -> int:
        now = self._trader.now_ms()
        due = [self._decides.floor(now) + self._decides.ms + SETTLE_MS]
        due += [series.tactics_ms for series in self._series if series.tactics_ms is not None]
        if self._is_open and self._cared_ms is not None:
            due.append(self._cared_ms + self._interval_ms)
        return max(min(due), now)

    async def _tend(self, series: _Series) -> None:
        """What is due on one symbol: a closed bar, or another look at a pending signal."""
        now = self._trader.now_ms()
        closed = self._decides.floor(now - SETTLE_MS)
        if closed > series.analysed_ms:
            await self._analyse(series, closed)
        if series.tactics_ms is not None and now >= series.tactics_ms and series.last is not None:
            series.tactics_ms = None
            await self._try_tactics(series, series.last)

    async def _analyse(self, series: _Series, closed_ms: int) -> None:
        trader, first = self._trader, series.analysed_ms == 0
        series.analysed_ms, series.tactics_ms = closed_ms, None
        try:
            if first:
                await trader.assessor.refresh(series.symbol, self._timeframe)
                await trader.train_beside(series.symbol, self._timeframe)
            analysis = await trader.assessor.assess(series.symbol, self._timeframe.name)
        except DataStale as error:
            self._put_off(series, error)
            return
        except ExchangeUnavailable:
            series.analysed_ms = 0 if first else closed_ms - 1
            raise
        series.retries, series.tactics_ms = 0, trader.now_ms()
        series.last = Iteration(series.symbol, self._timeframe.name, analysis)
        if isinstance(analysis.outcome, Abstention) and analysis.outcome.code == RULE_FAILED:
            self._say(f"{series.symbol}: {analysis.outcome.sentence}")

    def _put_off(self, series: _Series, error: DataStale) -> None:
        """A bar that is late is asked for again; one that does not come, as at the end of a tape, ends the run."""
        series.retries += 1
        if self._trader.workspace.mode == "sim" or series.retries > _MOST_RETRIES:
            raise error
        series.analysed_ms -= 1
        series.tactics_ms = None
        self._trader.sink.say(f"{series.symbol}: {error.sentence}")

    async def _try_tactics(self, series: _Series, done: Iteration) -> None:
        """Tactics and entry; what is refused now may be possible at the next interval, while the signal is valid."""
        trader = self._trader
        if trader.ledger.holding(series.symbol).amount != 0:
            return
        trader.monitor.entering.add(series.symbol)
        try:
            await trader.act(done, self._timeframe)
        finally:
            trader.monitor.entering.discard(series.symbol)
        if isinstance(done.entered, EntryResult) and not self._is_open:
            self._is_open, self._cared_ms = True, trader.now_ms()  # looks lie on the entry and every interval after it
        self._tell(done)
        refused = next((x for x in (done.entered, done.outcome) if isinstance(x, Refused)), None)
        if refused is not None and refused.code != "halted":
            series.tactics_ms = trader.now_ms() + round(trader.workspace.settings.tactician.tactics_interval * 1000)

    async def _beside_protection(self, work: Awaitable[None]) -> None:
        """An analysis or an entry; while it takes its time the monitor's looks go on: none waits for the market."""
        task, clock = asyncio.ensure_future(work), self._trader.executor.exchange.clock
        try:
            while not task.done():
                await asyncio.wait({task}, timeout=clock.loop_s(_PRESSED_S))
                if not task.done():
                    await self._supervise()
            await task
        finally:
            task.cancel()

    async def _supervised(self, what: str, work: Awaitable[T]) -> T | None:
        """Only a ledger that takes no line, and the end of a tape, stop the run."""
        try:
            return await work
        except LedgerUnwritable:
            raise
        except OwnershipLost:
            raise
        except TraderError as error:
            if isinstance(error, DataStale) and self._trader.workspace.mode == "sim":
                raise
            self._say(f"{what}: {error}")
            if isinstance(error, ExchangeUnavailable):
                await self._trader.listener.nap(_PRESSED_S if self._trader.monitor.is_pressed else _RETRY_S)
        return None

    def _tell(self, done: Iteration) -> None:
        line = _news(done)
        if line is not None and line != self._told.get(done.symbol):
            self._told[done.symbol] = line
            self._say(f"{done.symbol}: {line}")


def _news(done: Iteration) -> str | None:
    """What an iteration came to, as a person hears it; `None` where there is nothing to tell."""
    if isinstance(done.entered, EntryResult):
        return _of_entry(done.entered)
    if isinstance(done.entered, Refused):
        return f"not entered: {done.entered.sentence}"
    if done.outcome is None or isinstance(done.outcome, (Approved, Abstention)):
        return None
    return f"{done.outcome.sentence} ({done.outcome.code})"


def _of_entry(entered: EntryResult) -> str | None:
    if entered.closed is not None and not entered.fresh:
        return None  # a plan that was carried out and left before: told then
    if entered.quantity == 0:
        return f"the entry {entered.plan.client_id('entry')} did not fill"
    line = f"entered {entered.filled}, stop {entered.plan.stop_price:f}"
    return line if entered.closed is None else f"{line}; it was left again: {entered.closed}"
