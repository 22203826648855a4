"""`LiveTradingPipeline`: the stages in a row, in memory: fetch, features, train, analyze, tactics, enter, monitor.

One pass, or for weeks: every closed bar analysed, tactics while a signal is pending, the monitor beside them, several
symbols. One loop does one thing after the other, so that the same market gives the same journal.
"""

from __future__ import annotations

from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from trader_cli.core.answers import Answer
from trader_cli.core.errors import DataError, DataMissing, DataStale, ExchangeUnavailable, UsageError
from trader_cli.core.plans import Approved, Refused
from trader_cli.core.ports import silent
from trader_cli.core.timeframes import Timeframe
from trader_cli.core.types import Abstention, Analysis
from trader_cli.execution.accounts import connected_exchange
from trader_cli.execution.executor import Entered, Executor
from trader_cli.pipelines.assessor import StageAssessor
from trader_cli.pipelines.market import Market
from trader_cli.pipelines.stages import has_model, train
from trader_cli.settings import as_settings
from trader_cli.storage.ledger import Ledger, LedgerUnwritable
from trader_cli.storage.markets import ledger_path, market_source
from trader_cli.tactician.position_monitor import PositionMonitor, Report
from trader_cli.tactician.tactician import Tactician, document_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from trader_cli.core.ports import Progress
    from trader_cli.exchange.binance import BinanceExchange
    from trader_cli.settings import Settings
    from trader_cli.tactician.tactician import Outcome

_SETTLE_MS = 500
_RETRY_S = 10.0
_MOST_RETRIES = 30


def unheard(_what: Report | str) -> None:
    """Nobody listens."""


@dataclass(frozen=True)
class Audience:
    """Who is told: every look at a position, sentences for a person, how far a long piece of work has come."""

    report: Callable[[Report], None] = unheard
    say: Callable[[str], None] = unheard
    progress: Progress = silent


@dataclass
class Pass:
    """One pass over one symbol: what was thought, decided and done."""

    symbol: str
    timeframe: str
    analysis: Analysis | None = None
    outcome: Outcome | None = None
    entered: Entered | Refused | None = None
    trained: bool = False
    notes: list[str] = field(default_factory=list)


@dataclass
class _Series:
    """One symbol under way: the last bar analysed, its pass, and when tactics are due again."""

    symbol: str
    analysed_ms: int = 0
    last: Pass | None = None
    tactics_ms: int | None = None
    retries: int = 0


class LiveTradingPipeline:
    """The whole flow. `config` is a `Settings` or a dict of the guide's keys; what is not passed is built from it."""

    def __init__(
        self,
        config: Settings | Mapping[str, Any] | None = None,
        *,
        exchange: BinanceExchange | None = None,
        ledger: Ledger | None = None,
        source: str | None = None,
        live: bool = False,
        audience: Audience | None = None,
    ) -> None:
        self.settings = as_settings(config)
        self._exchange = exchange
        self._ledger = ledger
        self._source = source
        self._live = live
        self._audience = audience or Audience()
        self._stack = ExitStack()
        self._owns_exchange = exchange is None
        self._stopped = False
        self._stages: StageAssessor | None = None
        self._results: deque[dict[str, Any]] = deque(maxlen=self.settings.tactician.max_history)

    async def initialize(self) -> bool:
        """Connect to the exchange, if none was given."""
        if self._exchange is None:
            self._exchange = await connected_exchange(self.settings)
        return True

    async def close(self) -> None:
        """End what `initialize` began."""
        self._stack.close()
        if self._owns_exchange and self._exchange is not None:
            await self._exchange.close()
            self._exchange = None

    def stop(self) -> None:
        """Let `run_forever` return after what is under way. Stops stay where they rest."""
        self._stopped = True

    # --- the guide's surface ---

    async def execute_trading(self, market_data: Mapping[str, Any]) -> Answer:
        """One pass without the care: analyse, decide, enter. False, with `code` and `sentence`, where nothing is done.

        `market_data` names the symbol and the time it was seen (`timestamp`, ISO or UTC ms; optional `timeframe`):
        data older than one bar abstain as stale. Price, volume and book are taken from the exchange, not from here.
        """
        if "symbol" not in market_data:
            raise UsageError("Market data need a symbol.")
        timeframe = Timeframe.parse(str(market_data.get("timeframe", "1h")))
        age_ms = self._connected().server_now_ms() - _time_of(market_data.get("timestamp"))
        if abs(age_ms) > timeframe.ms:
            sentence = f"The market data are {age_ms / 3_600_000:.1f} h old; at most one {timeframe} bar is allowed."
            return self._answered(
                {"kind": "abstention", "code": "market_data_stale", "sentence": sentence}, given=False
            )
        try:
            with self._opened() as ledger:
                done = await self._pass(str(market_data["symbol"]), timeframe, ledger, train_first=False)
        except DataMissing as error:
            missing = {"kind": "error", "code": type(error).__name__, "sentence": str(error)}
            return self._answered(missing, given=False)
        body = document_of(done.outcome) if done.outcome is not None else {}
        given = isinstance(done.entered, Entered)
        return self._answered({**body, "entered": given}, given=given)

    def _answered(self, body: dict[str, Any], *, given: bool) -> Answer:
        self._results.append(body)
        return Answer(body, given=given)

    def get_trading_status(self) -> dict[str, Any]:
        """What this pipeline knows of itself; asks the exchange nothing."""
        return {
            "initialized": self._exchange is not None,
            "mode": self.settings.mode,
            "market": market_source(self.settings),
            "passes": len(self._results),
            "last": self._results[-1] if self._results else None,
        }

    # --- one pass ---

    async def run_once(self, symbol: str, timeframe: Timeframe, *, wait: int = 0, for_s: float | None = None) -> Pass:
        """Fetch, features, train where there is no model, analyze (waiting up to `wait` bars for a signal), tactics,
        enter, and care until flat or for `for_s` seconds."""
        with self._opened() as ledger:
            executor = self._executor(ledger)
            await executor.reconciler.receive_income()
            if (await executor.view(symbol)).held == 0:
                done = await self._pass(symbol, timeframe, ledger, wait=wait)
            else:
                done = Pass(symbol, timeframe.name, notes=["a position of ours is open already: it is cared for"])
            if ledger.holding(symbol).amount != 0:
                await self._monitor(ledger).start_monitoring(for_s)
            return done

    async def _pass(
        self, symbol: str, timeframe: Timeframe, ledger: Ledger, *, wait: int = 0, train_first: bool = True
    ) -> Pass:
        done = Pass(symbol, timeframe.name)
        assessor = self._assessor()
        await assessor.refresh(symbol, timeframe)
        if train_first and not has_model(self.settings, symbol, timeframe):
            train(self.settings, symbol, timeframe, self._audience.progress)
            done.trained = True
        done.analysis = assessor.analysis(symbol, timeframe)
        for waited in range(1, wait + 1):
            if done.analysis.signal is not None:
                break
            self._audience.progress("waiting for a signal", waited, wait)
            await self._sleep_to_close(timeframe)
            done.analysis = await assessor.assess(symbol, timeframe.name)
        await self._act(done, timeframe, ledger)
        return done

    async def _act(self, done: Pass, timeframe: Timeframe, ledger: Ledger) -> None:
        """Tactics, and the entry where there is a plan."""
        tactician = Tactician(self.settings, exchange=self._connected(), ledger=ledger)
        done.outcome = await tactician.decide(done.symbol, timeframe)
        if isinstance(done.outcome, Approved):
            done.entered = await self._executor(ledger).enter(done.outcome, live=self._live)

    async def _sleep_to_close(self, timeframe: Timeframe) -> None:
        now = self._connected().server_now_ms()
        close = timeframe.floor(now) + timeframe.ms + _SETTLE_MS
        await self._connected().clock.sleep((close - now) / 1000)

    # --- for weeks ---

    async def run_forever(self, symbols: Sequence[str], timeframe: Timeframe, *, for_s: float | None = None) -> None:
        """Trade symbols until `stop()`, or for `for_s` seconds. Silence of the exchange is waited out.

        Raises `DataError` where the ledger cannot be written; stops stay where they rest.
        """
        self._stopped = False
        clock, exchange = self._connected().clock, self._connected()
        under_way = [_Series(symbol) for symbol in symbols]
        ends = None if for_s is None else exchange.server_now_ms() + round(for_s * 1000)
        with self._opened() as ledger:
            monitor, executor = self._monitor(ledger), self._executor(ledger)
            cared_ms, is_open = 0, True
            while not self._stopped and (ends is None or exchange.server_now_ms() < ends):
                now = exchange.server_now_ms()
                if (is_open and now >= cared_ms + self.settings.position_monitoring_interval * 1000) or not cared_ms:
                    is_open = await self._supervised("care", monitor.step(executor)) is not False
                    cared_ms = now
                for series in under_way:
                    await self._supervised(series.symbol, self._tend(series, timeframe, ledger))
                is_open = is_open or any(ledger.holding(symbol).amount != 0 for symbol in ledger.symbols())
                wake = self._next_wake(under_way, timeframe, cared_ms if is_open else None)
                until = wake if ends is None else min(wake, ends)
                await clock.sleep(max(0.05, (until - exchange.server_now_ms()) / 1000))

    def _next_wake(self, under_way: Sequence[_Series], timeframe: Timeframe, cared_ms: int | None) -> int:
        now = self._connected().server_now_ms()
        due = [timeframe.floor(now) + timeframe.ms + _SETTLE_MS]
        due += [series.tactics_ms for series in under_way if series.tactics_ms is not None]
        if cared_ms is not None:
            due.append(cared_ms + round(self.settings.position_monitoring_interval * 1000))
        return max(min(due), now)

    async def _tend(self, series: _Series, timeframe: Timeframe, ledger: Ledger) -> None:
        """What is due on one symbol: a closed bar, or another look at a pending signal."""
        now, exchange = self._connected().server_now_ms(), self._connected()
        closed = timeframe.floor(now - _SETTLE_MS)
        if closed > series.analysed_ms:
            first = series.analysed_ms == 0
            series.analysed_ms = closed
            done = Pass(series.symbol, timeframe.name)
            try:
                if first:
                    await self._assessor().refresh(series.symbol, timeframe)
                    if not has_model(self.settings, series.symbol, timeframe):
                        train(self.settings, series.symbol, timeframe, self._audience.progress)
                done.analysis = await self._assessor().assess(series.symbol, timeframe.name)
                series.retries = 0
            except DataStale as error:
                self._put_off(series, closed, error)
                return
            series.last, series.tactics_ms = done, now
        if series.tactics_ms is None or now < series.tactics_ms or series.last is None:
            return
        series.tactics_ms = None
        if ledger.holding(series.symbol).amount != 0:
            return
        await self._act(series.last, timeframe, ledger)
        self._tell(series.last)
        if isinstance(series.last.outcome, Refused) or isinstance(series.last.entered, Refused):
            series.tactics_ms = exchange.server_now_ms() + round(self.settings.tactician.tactics_interval * 1000)

    def _put_off(self, series: _Series, closed: int, error: DataStale) -> None:
        """A bar that is late is asked for again; one that does not come, as at the end of a tape, ends the run."""
        series.retries += 1
        if self.settings.mode == "sim" or series.retries > _MOST_RETRIES:
            raise error
        series.analysed_ms = closed - 1
        self._line(f"{series.symbol}: {error.sentence}")

    async def _supervised(self, what: str, work: Any) -> Any:
        """What one symbol or one answer lacks must not stop the care of the others."""
        try:
            return await work
        except LedgerUnwritable:
            raise
        except ExchangeUnavailable as error:
            self._line(f"{what}: {error}")
            await self._connected().clock.sleep(_RETRY_S)
        except DataError as error:
            if isinstance(error, DataStale) and self.settings.mode == "sim":
                raise
            self._line(f"{what}: {error}")
        return None

    def _tell(self, done: Pass) -> None:
        outcome = done.outcome
        if isinstance(done.entered, Entered):
            self._line(f"{done.symbol}: entered {done.entered.plan.side} {done.entered.quantity:f}")
        elif isinstance(done.entered, Refused):
            self._line(f"{done.symbol}: not entered: {done.entered.sentence}")
        elif outcome is not None and not isinstance(outcome, Approved):
            self._line(f"{done.symbol}: {outcome.sentence} ({outcome.code})", quiet=isinstance(outcome, Abstention))

    def _line(self, line: str, *, quiet: bool = False) -> None:
        if not quiet:
            self._audience.say(line)

    # --- collaborators ---

    def _connected(self) -> BinanceExchange:
        if self._exchange is None:
            raise UsageError("The pipeline is not initialised.", mend="Call `await pipeline.initialize()` first.")
        return self._exchange

    def _opened(self) -> Any:
        from contextlib import nullcontext

        return nullcontext(self._ledger) if self._ledger is not None else Ledger.opened(ledger_path(self.settings))

    def _executor(self, ledger: Ledger) -> Executor:
        return Executor(self._connected(), ledger, self.settings)

    def _assessor(self) -> StageAssessor:
        if self._stages is None:
            exchange = self._connected()
            source = self._source or market_source(self.settings)
            self._stages = StageAssessor(self.settings, Market(exchange, exchange.clock, source))
        return self._stages

    def _monitor(self, ledger: Ledger) -> PositionMonitor:
        return PositionMonitor(
            self.settings, exchange=self._connected(), ledger=ledger, assessor=self._assessor(),
            report=self._audience.report,
        )  # fmt: skip


def _time_of(stamp: Any) -> int:
    """UTC milliseconds of an ISO text or a number of them. Raises `UsageError`."""
    if isinstance(stamp, int) and not isinstance(stamp, bool):
        return stamp
    try:
        return round(datetime.fromisoformat(str(stamp)).timestamp() * 1000)
    except ValueError as error:
        raise UsageError(f"The timestamp {stamp!r} is neither ISO text nor UTC milliseconds.") from error
