"""Loss limits of a backtest's account: what looks have seen of its equity, and whether a limit is broken."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.core.money.assets import QUOTE
from trader_cli.core.money.loss_limits import (
    KEPT_MS,
    EquityHistory,
    EquityPoint,
    LossLimits,
    breaches,
    worth_keeping,
)

if TYPE_CHECKING:
    from trader_cli.settings.model import TacticianSettings
    from trader_cli.venue.engine.engine import Engine

ZERO = Decimal(0)


class LossRecord:
    """The account's equity as looks have seen it, and whether a loss limit is broken."""

    def __init__(self, limits: TacticianSettings) -> None:
        self._limits = LossLimits(limits.max_daily_loss, limits.max_drawdown)
        self._is_on = limits.enable_risk_management
        self._seen: list[EquityPoint] = []
        self._highest = self._best = ZERO
        self._counted, self._told = 0, set[str]()

    def broken(self, engine: Engine) -> str | None:
        """The sentence of a limit newly broken."""
        wallet, equity = engine.account.wallet, engine.equity()
        self._note(engine, max(wallet, equity))
        point, history = EquityPoint(engine.now_ms, wallet, equity), EquityHistory(self._seen)
        near = equity < self._highest * Decimal(str(1 - min(self._limits.daily, self._limits.drawdown)))
        found = {}
        if near and self._is_on:
            flows = [(income.time_ms, income.amount) for income in engine.account.income if income.asset == QUOTE]
            found = breaches(flows, wallet, equity - wallet, self._limits, engine.now_ms, history=history)
        is_soon = self._seen and point.time_ms - self._seen[-1].time_ms < KEPT_MS
        if not (is_soon and equity <= self._best) and worth_keeping(history, point):
            self._seen.append(point)
            self._best = max(self._best, equity)
        fresh = {name: why for name, why in found.items() if name not in self._told}
        self._told |= fresh.keys()
        return next(iter(fresh.values()), None)

    def _note(self, engine: Engine, level: Decimal) -> None:
        """The highest level that a limit may count from: of looks, and of the wallet between them."""
        wallet = engine.account.wallet
        for income in reversed(engine.account.income[self._counted :]):
            level, wallet = max(level, wallet), wallet - income.amount
        self._counted = len(engine.account.income)
        self._highest = max(self._highest, level, wallet)
