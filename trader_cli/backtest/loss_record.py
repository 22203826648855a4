"""Loss limits of a backtest's account: what looks have seen of its equity, and whether a limit is broken.

Looks that were passed over, because nothing could come of them, are made up for only once a limit is near.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.backtest.skipped_looks import SkippedLooks
from trader_cli.core.market.timeframes import DAY_MS
from trader_cli.core.money.assets import QUOTE
from trader_cli.core.money.equity_levels import EquityLevels
from trader_cli.core.money.loss_limits import EquityPoint, LossLimits, limits_broken

if TYPE_CHECKING:
    from trader_cli.settings.model import TacticianSettings
    from trader_cli.venue.engine.engine import Engine

ZERO = Decimal(0)


class LossRecord:
    """The account's equity as looks have seen it, and whether a loss limit is broken."""

    def __init__(self, limits: TacticianSettings, wallet: Decimal) -> None:
        self._limits = LossLimits(limits.max_daily_loss, limits.max_drawdown)
        self._shares = Decimal(str(limits.max_daily_loss)), Decimal(str(limits.max_drawdown))
        self._is_on = limits.enable_risk_management
        self._levels = EquityLevels(wallet)
        self._waiting: list[EquityPoint | SkippedLooks] = []
        self._highest, self._gain = wallet, ZERO
        self._counted, self._told = 0, set[str]()
        self._looks, self._opened = (-1, False), (-1, False, ZERO)

    def broken(self, engine: Engine) -> str | None:
        """The sentence of a limit newly broken."""
        now = _point(engine)
        day = now.time_ms // DAY_MS
        self._looks = day, self._looks[0] == day
        self._note(engine, max(now.wallet, now.equity))
        found = {}
        if self._is_on and now.equity < self._near:
            self._make_up()
            opened, peak = self._levels.opened(day * DAY_MS, now), self._levels.peak(now)
            found = limits_broken(opened, peak, now.equity, self._limits, now.time_ms)
        if self._waiting:
            self._waiting.append(now)
        else:
            self._levels.keep(now)
        fresh = {name: why for name, why in found.items() if name not in self._told}
        self._told |= fresh.keys()
        return next(iter(fresh.values()), None)

    @property
    def _near(self) -> Decimal:
        """The equity below which a limit may be broken at all.

        A day counts from the wallet it began with and what its first look saw unrealised, which no look saw together.
        """
        return (self._highest + self._gain) * (1 - min(self._shares))

    def _note(self, engine: Engine, level: Decimal) -> None:
        """What was booked, and the highest level that a limit may count from: of looks, and of the wallet between."""
        wallet, booked = engine.account.wallet, engine.account.income[self._counted :]
        self._gain = max(self._gain, level - wallet)
        self._levels.book((income.time_ms, income.amount) for income in booked if income.asset == QUOTE)
        for income in reversed(booked):
            level, wallet = max(level, wallet), wallet - income.amount
        self._counted = len(engine.account.income)
        self._highest = max(self._highest, level, wallet)

    def _make_up(self) -> None:
        """Remember what looks that were passed over would have seen."""
        for one in self._waiting:
            if isinstance(one, SkippedLooks):
                one.keep_in(self._levels)
            else:
                self._levels.keep(one)
        self._waiting.clear()

    # --- passing over ---

    def pass_over(self, looks: SkippedLooks) -> None:
        """Looks that are not made: nothing that they see reaches a limit."""
        self._waiting.append(looks)

    def floor(self, engine: Engine, equity: Decimal, highest: Decimal) -> Decimal | None:
        """The equity down to which no limit breaks today while equity stays below `highest`; None: none ever does."""
        if not self._is_on:
            return None
        self._note(engine, highest)
        top, (daily, drawdown) = self._highest, self._shares
        if equity > self._near:
            return self._near
        now = EquityPoint(engine.now_ms, engine.account.wallet, equity)
        peak, day = top, now.time_ms // DAY_MS
        if now.equity <= top * (1 - drawdown):
            self._make_up()
            peak = max(self._levels.peak(now), highest)
        from_day = ZERO if f"day {day}" in self._told else self._day_opened(day, now, highest) * (1 - daily)
        return max(from_day, ZERO if "drawdown" in self._told else peak * (1 - drawdown))

    def _day_opened(self, day: int, now: EquityPoint, highest: Decimal) -> Decimal:
        """No less than the day opened with: two looks in it say it for good, till then one may say more."""
        if self._opened[:2] == (day, True):
            return self._opened[2]
        self._make_up()
        is_told = self._looks == (day, True)
        level = self._levels.opened(day * DAY_MS, now) + (ZERO if is_told else max(highest - now.equity, ZERO))
        self._opened = day, is_told, level
        return level


def _point(engine: Engine) -> EquityPoint:
    return EquityPoint(engine.now_ms, engine.account.wallet, engine.equity())
