"""Tries of plans that stay refused: while an account is flat, only prices decide of them, and those are known ahead."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trader_cli.core.money.plans import Refused

if TYPE_CHECKING:
    from collections.abc import Sequence
    from decimal import Decimal

    from trader_cli.backtest.backtest_account import BacktestAccount
    from trader_cli.backtest.faithful_backtest import Series
    from trader_cli.backtest.schedule import Schedule
    from trader_cli.core.types import Analysis
    from trader_cli.tactician.planning_inputs import AccountInputs


@dataclass(frozen=True)
class _Ahead:
    """What tries of one analysis are told up to a time, by theirs, while the flat account holds `wallet`."""

    analysis: Analysis
    wallet: Decimal
    until_ms: int
    now: AccountInputs
    told: dict[int, Refused] = field(default_factory=dict)

    def holds(self, analysis: Analysis, wallet: Decimal, now_ms: int) -> bool:
        """Whether it still tells of this analysis."""
        return self.analysis is analysis and self.wallet == wallet and now_ms < self.until_ms


class StandingRefusals:
    """Of one account."""

    def __init__(self, account: BacktestAccount, schedule: Schedule) -> None:
        self._account, self._schedule = account, schedule
        self._ahead: dict[str, _Ahead] = {}
        self._standing: dict[str, _Ahead | None] = {}

    def next_try(self, series: Series, until_ms: int) -> int | None:
        """When tactics are tried next and may be told anything but a refusal that is known, at most `until_ms`.

        None where no try is due.
        """
        at = series.tactics_ms
        ahead = self._standing[series.symbol] = self._ahead_of(series)
        if at is None or ahead is None or ahead.analysis.signal is None:
            return at
        signal, schedule = ahead.analysis.signal, self._schedule
        ends = signal.valid_until_ms(ahead.analysis.decision_time_ms, schedule.validity_bars, schedule.bar_ms)
        ends = min(until_ms, ends, ahead.until_ms)
        while at < ends:
            if at not in ahead.told:
                refused = self._account.refused_at(ahead.analysis, signal, ahead.now, at)
                if refused is None:
                    break
                ahead.told[at] = refused
            at += schedule.again_ms
        return at

    def pass_over(self, series: Sequence[Series], wake_ms: int) -> None:
        """Write down what tries before `wake_ms` are told, none of which comes to anything."""
        rows = []
        for number, one in enumerate(series):
            ahead = self._standing.get(one.symbol)
            while ahead is not None and one.tactics_ms in ahead.told and one.tactics_ms < wake_ms:
                rows.append((one.tactics_ms, number, ahead))
                one.tactics_ms += self._schedule.again_ms
        for at, _, ahead in sorted(rows, key=lambda row: row[:2]):
            self._account.records.decided(at, ahead.analysis, ahead.told.pop(at))

    def _ahead_of(self, series: Series) -> _Ahead | None:
        """What is known of a series; None where more than prices may decide."""
        account, analysis, known = self._account, series.analysis, self._ahead.get(series.symbol)
        engine = account.venue.engine
        if account.held or account.halted or series.approved or analysis is None:
            return None
        wallet = engine.account.wallet
        if known is None or not known.holds(analysis, wallet, engine.now_ms):
            now = account.inputs(series.symbol)
            if isinstance(now, Refused):
                return None
            known = self._ahead[series.symbol] = _Ahead(analysis, wallet, engine.rules_known_until_ms, now)
        return known
