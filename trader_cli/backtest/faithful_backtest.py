"""The faithful backtest: `trader run --forever` in one process, event by event on the venue's engine, without HTTP.

The same moments: a bar is analysed half a second after its close, a refused plan is tried again every
`tactics_interval` while its signal is valid, and what is open is looked at right after the entry that opened the
account and every `position_monitoring_interval` from then on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from trader_cli.backtest.backtest_account import UNFILLED
from trader_cli.core.money.plans import Approved, Refused
from trader_cli.core.ports import silent
from trader_cli.core.types import Abstention
from trader_cli.tactician.assessments import assessment_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trader_cli.backtest.backtest_account import BacktestAccount
    from trader_cli.backtest.position_keeper import ManagedPosition
    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.core.money.exits import Assessment
    from trader_cli.core.ports import Progress
    from trader_cli.core.types import Analysis

SETTLE_MS = 500
"""How long after its close a bar is asked for."""
FIRST_LOOK_MS = 50
"""How long after an entry the loop wakes again: its shortest sleep."""


class Analyses(Protocol):
    """What is thought of a symbol."""

    def of(self, symbol: str) -> Analysis:
        """The analysis of the last bar that has closed by now, as of the moment it is first asked for."""
        ...


@dataclass(frozen=True)
class Schedule:
    """When what is done: at closes of `timeframe`; looks, further tries, and how long a signal is valid, in ms."""

    timeframe: Timeframe
    look_ms: int
    again_ms: int
    validity_ms: int


@dataclass
class _Series:
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
        self._series = [_Series(symbol) for symbol in symbols]
        self._assessments: dict[str, Assessment] = {}
        self._looked_ms = self._opened_ms = account.venue.now_ms
        self._stood_ms = 0
        self._progress = progress

    def run(self, until_ms: int) -> None:
        """Trade until then."""
        venue, began_ms = self._account.venue, self._account.venue.now_ms
        bars = (until_ms - began_ms) // self._schedule.timeframe.ms
        while venue.now_ms < until_ms:
            self._progress("bars traded", (venue.now_ms - began_ms) // self._schedule.timeframe.ms, bars)
            self._look_if_due()
            for series in self._series:
                self._tend(series)
            venue.advance(min(self._next_wake(), until_ms))
        self._account.records.stood(venue.engine)
        self._account.end()

    def _look_if_due(self) -> None:
        now = self._account.venue.now_ms
        if self._account.held and now >= self._next_look_ms:
            self._looked_ms = now
            self._account.look(self._assessment)

    @property
    def _next_look_ms(self) -> int:
        return max(self._looked_ms + self._schedule.look_ms, self._opened_ms + FIRST_LOOK_MS)

    def _next_wake(self) -> int:
        now, timeframe = self._account.venue.now_ms, self._schedule.timeframe
        due = [timeframe.floor(now) + timeframe.ms + SETTLE_MS]
        due += [series.tactics_ms for series in self._series if series.tactics_ms is not None]
        if self._account.held:
            due.append(self._next_look_ms)
        return max(min(due), now + 1)

    def _tend(self, series: _Series) -> None:
        now = self._account.venue.now_ms
        closed = self._schedule.timeframe.floor(now - SETTLE_MS)
        if closed > series.analysed_ms:
            series.analysed_ms, series.tactics_ms, series.approved = closed, now, None
            series.analysis = analysis = self._analyses.of(series.symbol)
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
            self._account.records.stood(self._account.venue.engine)

    def _try_tactics(self, series: _Series) -> None:
        """Tactics and entry; what is refused now may be possible later, while the signal is valid."""
        account, analysis = self._account, series.analysis
        if analysis is None or analysis.signal is None:
            return
        now = account.venue.now_ms
        if series.symbol in account.held:
            account.records.decided(now, analysis, Refused("position_open", "The symbol holds a position of ours."))
            return
        if now >= analysis.decision_time_ms + self._schedule.validity_ms:
            account.records.decided(now, analysis, Abstention("analysis_stale", "The signal is not valid any more."))
            return
        decision = series.approved or account.decide(analysis, analysis.signal)
        refused = decision if isinstance(decision, Refused) else None
        if isinstance(decision, Approved):
            series.approved = decision
            was_flat = not account.held
            refused = account.enter(decision)
            if was_flat and account.held:
                self._opened_ms = account.venue.now_ms
        account.records.decided(now, analysis, refused or decision)
        if refused is not None and refused.code not in {"halted", UNFILLED}:
            series.tactics_ms = now + self._schedule.again_ms

    def _assessment(self, held: ManagedPosition) -> Assessment | None:
        """The model's opinion of the last closed bar since the plan's; where it has none, the one before decays."""
        symbol = held.plan.symbol
        closed = self._schedule.timeframe.floor(self._account.venue.now_ms - SETTLE_MS)
        known = self._assessments.get(held.plan.plan_id)
        if closed > max(held.plan.decision_ms, known.at_ms if known else 0):
            said = assessment_of(held.plan, self._analyses.of(symbol))
            if said is not None:
                self._assessments = {**self._assessments, held.plan.plan_id: said}
                return said
        return known
