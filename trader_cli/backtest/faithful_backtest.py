"""The faithful backtest: `trader run --forever` in one process, event by event on the venue's engine, without HTTP.

The same moments: a bar is analysed half a second after its close, a refused plan is tried again every
`tactics_interval` while its signal is valid, and what is open is looked at every `position_monitoring_interval`
after the entry that opened the account.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from trader_cli.backtest.backtest_account import UNFILLED
from trader_cli.backtest.schedule import LookGrid
from trader_cli.core.market.timeframes import SETTLE_MS
from trader_cli.core.money.plans import Approved, Refused
from trader_cli.core.ports import silent
from trader_cli.core.types import Abstention
from trader_cli.tactician.assessments import assessment_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trader_cli.backtest.backtest_account import BacktestAccount
    from trader_cli.backtest.position_keeper import ManagedPosition
    from trader_cli.backtest.schedule import Schedule
    from trader_cli.core.money.exits import Assessment
    from trader_cli.core.ports import Progress
    from trader_cli.core.types import Analysis


POSITION_OPEN = Refused("position_open", "The symbol holds a position of ours.")


class Analyses(Protocol):
    """What is thought of a symbol."""

    def of(self, symbol: str, close_ms: int) -> Analysis:
        """The analysis of the bar that closed then, as of the moment it is first asked for: half a second later."""
        ...


@dataclass
class Series:
    """One symbol on its way: the close it was analysed at last, when tactics are due, and what they are tried on."""

    symbol: str
    analysed_ms: int = 0
    tactics_ms: int | None = None
    analysis: Analysis | None = None
    approved: Approved | None = None


class FaithfulBacktest:
    """Trades symbols for one account, from its venue's time on."""

    def __init__(
        self,
        account: BacktestAccount,
        symbols: Sequence[str],
        analyses: Analyses,
        schedule: Schedule,
        progress: Progress = silent,
    ) -> None:
        self._account, self._analyses, self._schedule = account, analyses, schedule
        self._series = [Series(symbol) for symbol in symbols]
        self._assessments: dict[str, Assessment] = {}
        self._began_ms = now = account.venue.now_ms
        self._looks = LookGrid(schedule.look_ms, now)
        self._stood_ms = 0
        self._ends = account.venue.book.ends
        self._progress = progress

    def run(self, until_ms: int) -> None:
        """Trade until then."""
        venue, bar_ms = self._account.venue, self._schedule.timeframe.ms
        bars = (until_ms - self._began_ms) // bar_ms
        while venue.now_ms < until_ms:
            self._progress("bars traded", (venue.now_ms - self._began_ms) // bar_ms, bars)
            self._look_if_due()
            for series in self._series:
                self._tend(series)
            self._go_on(until_ms)
        self._account.records.stood(venue.engine)
        self._account.end()

    def _go_on(self, until_ms: int) -> None:
        """Let time go on until something is to be done."""
        self._account.venue.advance(min(self._next_wake(), until_ms))

    def _look_if_due(self) -> None:
        now = self._account.venue.now_ms
        if self._account.held and now >= self._looks.next_ms:
            self._looks.looked_ms = now
            self._account.look(self._assessment)

    def _next_wake(self) -> int:
        now = self._account.venue.now_ms
        due = [self._schedule.next_close_ms(now)]
        due += [series.tactics_ms for series in self._series if series.tactics_ms is not None]
        if self._account.held:
            due.append(self._looks.next_ms)
        return max(min(due), now + 1)

    def _closed(self, now_ms: int) -> int:
        """The last close that is looked at; the beginning is one, if bars close then."""
        return self._schedule.timeframe.floor(max(now_ms - SETTLE_MS, self._began_ms))

    def _is_away(self, symbol: str, close_ms: int) -> bool:
        """Whether nothing is thought of a symbol at a close: it is delisted by then, or not there yet."""
        begins = self._schedule.begins.get(symbol, close_ms)
        return close_ms < begins or close_ms >= self._ends.get(symbol, close_ms + 1)

    def _tend(self, series: Series) -> None:
        now = self._account.venue.now_ms
        closed = self._closed(now)
        if self._is_away(series.symbol, closed):
            series.analysed_ms, series.tactics_ms = closed, None
            self._stood(closed)
        elif closed > series.analysed_ms:
            series.analysed_ms, series.tactics_ms, series.approved = closed, now, None
            series.analysis = analysis = self._analyses.of(series.symbol, closed)
            if isinstance(analysis.outcome, Abstention):
                self._account.records.decided(now, analysis, analysis.outcome)
            self._stood(closed)
        if series.tactics_ms is not None and now >= series.tactics_ms:
            series.tactics_ms = None
            self._try_tactics(series)

    def _stood(self, closed_ms: int) -> None:
        """How the account stands, once a bar."""
        if closed_ms != self._stood_ms:
            self._stood_ms = closed_ms
            if self._schedule.stands(closed_ms):
                self._account.records.stood(self._account.venue.engine)

    def _try_tactics(self, series: Series) -> None:
        """Tactics and entry; what is refused now may be possible later, while the signal is valid."""
        account, analysis = self._account, series.analysis
        if analysis is None or analysis.signal is None:
            return
        now = account.venue.now_ms
        if series.symbol in account.held:
            account.records.decided(now, analysis, POSITION_OPEN)
            return
        schedule = self._schedule
        validity, bar_ms = schedule.validity_bars, schedule.bar_ms
        if now >= analysis.signal.valid_until_ms(analysis.decision_time_ms, validity, bar_ms):
            account.records.decided(now, analysis, Abstention("analysis_stale", "The signal is not valid any more."))
            return
        decision = series.approved or account.decide(analysis, analysis.signal)
        refused = decision if isinstance(decision, Refused) else None
        if isinstance(decision, Approved):
            series.approved = decision
            was_flat = not account.held
            refused = account.enter(decision)
            if was_flat and account.held:
                self._looks.looked_ms = account.venue.now_ms
        account.records.decided(now, analysis, refused or decision)
        if refused is not None and refused.code not in {"halted", UNFILLED}:
            series.tactics_ms = now + self._schedule.again_ms

    def _assessment(self, held: ManagedPosition) -> Assessment | None:
        """The model's opinion of the last closed bar since the plan's; where it has none, the one before decays."""
        symbol = held.plan.symbol
        closed = self._schedule.closed_by(self._account.venue.now_ms)
        known = self._assessments.get(held.plan.plan_id)
        if closed > max(held.plan.decision_ms, known.at_ms if known else 0):
            said = assessment_of(held.plan, self._analyses.of(symbol, closed))
            if said is not None:
                self._assessments[held.plan.plan_id] = said
                return said
        return known
