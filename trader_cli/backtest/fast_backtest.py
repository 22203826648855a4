"""The fast backtest: the faithful one's steps, made only at the moments at which anything can come of them.

Between two of them every look and every close would leave the account as it is: what they would have written down is
written down. So both trade the same, fill for fill.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trader_cli.backtest.faithful_backtest import POSITION_OPEN, FaithfulBacktest
from trader_cli.backtest.next_moment import NextMoment, day_moment
from trader_cli.backtest.skipped_looks import SkippedLooks
from trader_cli.backtest.standing_refusals import StandingRefusals
from trader_cli.backtest.standing_rows import StandingRows
from trader_cli.core.market.timeframes import SETTLE_MS
from trader_cli.core.ports import silent
from trader_cli.core.types import Abstention
from trader_cli.tactician.assessments import assessment_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trader_cli.backtest.backtest_account import BacktestAccount
    from trader_cli.backtest.position_keeper import ManagedPosition
    from trader_cli.backtest.prepared_analyses import PreparedAnalyses
    from trader_cli.backtest.schedule import Schedule
    from trader_cli.core.money.exits import Assessment
    from trader_cli.core.ports import Progress
    from trader_cli.venue.simulated_market.tape import Tape

_EVEN = 0.5
"""Where an opinion without news goes: one above it only ever falls."""


class FastBacktest(FaithfulBacktest):
    """Trades symbols for one account on a tape, from its venue's time on."""

    def __init__(
        self,
        account: BacktestAccount,
        symbols: Sequence[str],
        analyses: PreparedAnalyses,
        schedule: Schedule,
        tape: Tape,
        progress: Progress = silent,
    ) -> None:
        super().__init__(account, symbols, analyses, schedule, progress)
        self._prepared, self._tape = analyses, tape
        self._moment = NextMoment(account)
        self._standing = StandingRows(account, analyses.symbols)
        self._refusals = StandingRefusals(account, schedule)
        self._heard_ms = 0

    def _go_on(self, until_ms: int) -> None:
        if not self._is_at_rest():
            super()._go_on(until_ms)
            return
        wake = min(self._next_event(until_ms), until_ms)
        self._pass_over_looks(wake)
        self._refusals.pass_over(self._series, wake)
        self._pass_over_closes(wake)
        self._account.venue.advance(wake)
        self._standing.catch_up()

    # --- when something may come of it ---

    def _is_at_rest(self) -> bool:
        """Whether every close up to now was looked at, and no look is late."""
        now, closed = self._account.venue.now_ms, self._closed(self._account.venue.now_ms)
        is_asked = all(series.analysed_ms == closed for series in self._series)
        is_late = bool(self._account.held) and self._looks.next_ms <= now
        return is_asked and not is_late

    def _next_event(self, until_ms: int) -> int:
        """The next moment at which something may be done, at most `until_ms`."""
        now = self._account.venue.now_ms
        close_ms = self._schedule.next_close_ms(now)
        tried = [self._refusals.next_try(series, min(until_ms, close_ms)) for series in self._series]
        tries = [at_ms for at_ms in tried if at_ms is not None]
        due = [close_ms, *tries] if tries else self._next_signals(self._closed(now))
        due.append(until_ms)
        if self._account.held:
            due.append(self._looks.at_or_after(self._look_moment(min(due))))
        return max(min(due), now + 1)

    def _next_signals(self, closed_ms: int) -> list[int]:
        """When the next signal of each symbol is heard of which nothing is held."""
        found = []
        for series in self._series:
            if series.symbol not in self._account.held:
                signals = self._prepared.symbols[series.symbol].signals
                at = int(signals.searchsorted(closed_ms, side="right"))
                found += [int(signals[at]) + SETTLE_MS] if at < len(signals) else []
        return found

    def _look_moment(self, until_ms: int) -> int:
        """The first moment from which on a look may do something; the present, where the next one may."""
        account, now = self._account, self._account.venue.now_ms
        if account.has_changed or self._schedule.look_ms > self._schedule.timeframe.ms:
            return now
        moments = [until_ms, account.venue.engine.rules_known_until_ms, day_moment(now, self._schedule.look_ms)]
        moments += [one.plan.exit_by_ms for one in account.held.values()]
        moments += [self._opinion_moment(one, now) for one in account.held.values()]
        first = max(min(moments), now)
        return first if first == now else self._moment.price_moment(first)

    def _opinion_moment(self, held: ManagedPosition, now_ms: int) -> int:
        """When an opinion may first close a position, or a part of it."""
        rules, known = held.rules, self._assessments.get(held.plan.plan_id)
        least = rules.high_risk if held.scaled_down else min(rules.high_risk, rules.medium_risk)
        if least <= _EVEN:
            return now_ms
        rested = max(now_ms, held.last_act_ms + rules.dwell_ms)
        if known is not None and known.decayed(rested, rules.half_life_ms) >= least:
            return rested
        told = self._prepared.symbols[held.plan.symbol].losing(held.plan.sign, least)
        at = int(told.searchsorted(self._unheard_from(held), side="left"))
        return max(rested, int(told[at]) + SETTLE_MS) if at < len(told) else held.plan.exit_by_ms

    def _unheard_from(self, held: ManagedPosition) -> int:
        """The first close whose opinion of a position may not have been heard."""
        known, bar_ms = self._assessments.get(held.plan.plan_id), self._schedule.timeframe.ms
        heard = max(held.plan.decision_ms, known.at_ms if known else 0)
        return max(heard + bar_ms, self._schedule.closed_by(held.opened_ms))

    # --- what is passed over ---

    def _pass_over_looks(self, wake_ms: int) -> None:
        account, looks = self._account, self._looks
        if not account.held or looks.next_ms >= wake_ms:
            return
        times = range(looks.next_ms, wake_ms, looks.every_ms)
        engine = account.venue.engine
        positions = tuple((p.symbol, p.amount, p.entry) for p in engine.account.positions.values() if p.amount)
        skipped = SkippedLooks(engine, self._tape, times, engine.account.wallet, positions, self._moment.highest)
        account.losses.pass_over(skipped)
        looks.looked_ms, self._heard_ms = times[-1], self._schedule.closed_by(times[-1])

    def _pass_over_closes(self, wake_ms: int) -> None:
        """Closes of which nothing comes: each is written down, with its reason."""
        bar_ms = self._schedule.timeframe.ms
        for close_ms in range(self._stood_ms + bar_ms, wake_ms - SETTLE_MS, bar_ms):
            for series in self._series:
                if not self._is_away(series.symbol, close_ms):
                    self._pass_over(series.symbol, close_ms)
                series.analysed_ms, series.approved = close_ms, None
            if self._schedule.stands(close_ms):
                self._standing.add(close_ms)
            self._stood_ms = self._prepared.passed_ms = close_ms

    def _pass_over(self, symbol: str, close_ms: int) -> None:
        closed_ms, outcome = self._prepared.symbols[symbol].outcome(close_ms)
        signal, said = (None, outcome) if isinstance(outcome, Abstention) else (outcome, POSITION_OPEN)
        self._account.records.decided_of(close_ms + SETTLE_MS, symbol, closed_ms, signal, said)

    def _look_if_due(self) -> None:
        now = self._account.venue.now_ms
        super()._look_if_due()
        if self._looks.looked_ms == now:
            self._heard_ms = self._schedule.closed_by(now)

    def _assessment(self, held: ManagedPosition) -> Assessment | None:
        """As ever, once what looks that were passed over have heard is known."""
        symbol, unheard_ms = held.plan.symbol, self._unheard_from(held)
        if self._heard_ms >= unheard_ms:
            close_ms = self._prepared.symbols[symbol].spoken_until(self._heard_ms)
            said = assessment_of(held.plan, self._prepared.at(symbol, close_ms)) if close_ms >= unheard_ms else None
            if said is not None:
                self._assessments[held.plan.plan_id] = said
        return super()._assessment(held)
