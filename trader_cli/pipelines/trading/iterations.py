"""One pass over one symbol: stages, tactics, entry. Both kinds of run are made of these."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trader_cli.core.errors import ConfigurationError
from trader_cli.core.market.timeframes import SETTLE_MS
from trader_cli.core.money.plans import Approved, Refused
from trader_cli.core.ports import silent
from trader_cli.execution.executor import Executor
from trader_cli.execution.request_listener import RequestListener
from trader_cli.pipelines.stages.live_budget import require_live_budget
from trader_cli.pipelines.stages.model_stages import train
from trader_cli.pipelines.stages.model_training import has_model
from trader_cli.pipelines.stages.newest_bars import deciding_frame
from trader_cli.pipelines.trading.analyst_assessor import StageAssessor
from trader_cli.settings.room_options import ExecutionOptions
from trader_cli.tactician.position_monitor import PositionMonitor
from trader_cli.tactician.tactician import Tactician

if TYPE_CHECKING:
    from collections.abc import Callable

    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.core.ports import Progress
    from trader_cli.core.types import Analysis
    from trader_cli.execution.entry_result import EntryResult
    from trader_cli.pipelines.market_access import Market
    from trader_cli.settings import Workspace
    from trader_cli.storage.ledger import Ledger
    from trader_cli.tactician.monitor_reports import Report
    from trader_cli.tactician.tactician import Outcome


def discard_event(_what: Report | str) -> None:
    """Nobody listens."""


@dataclass(frozen=True)
class EventSink:
    """Who is told: every look at a position, sentences for a person, how far a long piece of work has come."""

    report: Callable[[Report], None] = discard_event
    say: Callable[[str], None] = discard_event
    progress: Progress = silent


@dataclass
class Iteration:
    """One pass over one symbol: what was thought, decided and done."""

    symbol: str
    timeframe: str
    analysis: Analysis | None = None
    outcome: Outcome | None = None
    entered: EntryResult | Refused | None = None
    notes: list[str] = field(default_factory=list)


class _LeftBehind(Exception):
    """Nobody waits for this training any more."""


class Trader:
    """Everything one account needs for passes, in a connected market and over an open ledger."""

    def __init__(
        self, workspace: Workspace, market: Market, ledger: Ledger, sink: EventSink, *, live: bool = False
    ) -> None:
        self.workspace = workspace
        self.market = market
        self.ledger = ledger
        self.sink = sink
        self.live = live
        self._over_budget: dict[str, ConfigurationError | None] = {}
        self.listener = RequestListener(ledger.path, market.clock, virtual=workspace.mode == "sim")
        self.executor = Executor(market.exchange, ledger, ExecutionOptions.of(workspace), say=sink.say)
        self.assessor = StageAssessor(workspace, market)
        self.tactician = Tactician(workspace, exchange=market.exchange, ledger=ledger)
        self.monitor = PositionMonitor(
            workspace,
            exchange=market.exchange,
            ledger=ledger,
            assessor=self.assessor,
            report=sink.report,
            say=sink.say,
        )

    def now_ms(self) -> int:
        """The exchange's time."""
        return self.market.exchange.server_now_ms()

    def require_budget(self, timeframe: Timeframe) -> None:
        """Refuse to open positions where the features of a new bar take too long; measured the first time only."""
        if timeframe.name not in self._over_budget:
            self._over_budget[timeframe.name] = None
            try:
                require_live_budget(self.workspace.settings, timeframe)
            except ConfigurationError as error:
                self._over_budget[timeframe.name] = error
        refusal = self._over_budget[timeframe.name]
        if refusal is not None:
            raise refusal

    def train_if_needed(self, symbol: str, timeframe: Timeframe) -> None:
        """Train on the stored features where there is no model."""
        if not has_model(self.workspace, symbol, timeframe, self.now_ms()):
            train(self.workspace, symbol, timeframe, self.sink.progress)

    async def train_beside(self, symbol: str, timeframe: Timeframe) -> None:
        """The same where others wait: the loop turns meanwhile, so that care and what other processes ask go on."""
        if not self.market.threads or has_model(self.workspace, symbol, timeframe, self.now_ms()):
            self.train_if_needed(symbol, timeframe)
            return
        left = threading.Event()

        def progress(what: str, done: int, total: int) -> None:
            if left.is_set():
                raise _LeftBehind
            self.sink.progress(what, done, total)

        try:
            await asyncio.to_thread(train, self.workspace, symbol, timeframe, progress)
        finally:
            left.set()

    async def once(
        self, symbol: str, timeframe: Timeframe, *, wait: int = 0, may_train: bool = True, ends_ms: float | None = None
    ) -> Iteration:
        """Bars, features, a model where there is none, an analysis (waiting for a signal), tactics, entry.

        At `ends_ms` of the monotonic clock the waiting ends, and no entry is begun any more.
        """
        self.require_budget(timeframe)
        self.require_budget(deciding_frame(self.workspace, timeframe))
        done = Iteration(symbol, timeframe.name)
        await self.assessor.refresh(symbol, timeframe)
        if may_train:
            self.train_if_needed(symbol, timeframe)
        await self.assessor.ready()
        done.analysis = self.assessor.analysis(symbol, timeframe)
        for waited in range(1, wait + 1):
            if done.analysis.signal is not None:
                break
            self.sink.progress("waiting for a signal", waited, wait)
            await self._until_close(deciding_frame(self.workspace, timeframe), ends_ms)
            if self._is_over(ends_ms):
                done.notes.append("the time given was up before there was a signal")
                return done
            done.analysis = await self.assessor.assess(symbol, timeframe.name)
        await self.act(done, timeframe)
        return done

    def _is_over(self, ends_ms: float | None) -> bool:
        return ends_ms is not None and self.market.clock.monotonic_ms() >= ends_ms

    async def _until_close(self, timeframe: Timeframe, ends_ms: float | None) -> None:
        """Wait for the next bar to close, and do meanwhile what other processes ask for."""
        close = timeframe.floor(self.now_ms()) + timeframe.ms + SETTLE_MS
        interval_ms = self.workspace.settings.position_monitoring_interval * 1000
        while (left_ms := close - self.now_ms()) > 0 and not self._is_over(ends_ms):
            if ends_ms is not None:
                left_ms = min(left_ms, max(1, round(ends_ms - self.market.clock.monotonic_ms())))
            await self.listener.nap(min(left_ms, interval_ms) / 1000)
            if self.listener.is_requested():
                await self.monitor.step(self.executor)

    async def act(self, done: Iteration, timeframe: Timeframe) -> None:
        """Tactics, and the entry where there is a plan."""
        self.require_budget(timeframe)
        done.outcome = await self.tactician.decide(done.symbol, timeframe)
        if isinstance(done.outcome, Approved):
            done.entered = await self.executor.enter(done.outcome, live=self.live)
