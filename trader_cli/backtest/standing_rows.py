"""How an account stood at closes that were passed over, written down once time has gone past them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trader_cli.core.market.timeframes import SETTLE_MS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

    from trader_cli.backtest.backtest_account import BacktestAccount
    from trader_cli.backtest.prepared_analyses import PreparedSymbol
    from trader_cli.venue.engine.engine import Engine


class StandingRows:
    """Of closes that are `due`, in order: each as the account stood when its bar would have been asked for."""

    def __init__(self, account: BacktestAccount, symbols: Mapping[str, PreparedSymbol]) -> None:
        self.due: list[int] = []
        self._records, self._engine, self._symbols = account.records, account.venue.engine, symbols
        self._engine.on_change.append(self._changed)

    def add(self, close_ms: int) -> None:
        """One more, later than those before it; the account stands as it does now until something changes."""
        if not self.due:
            self._note(self._engine)
        self.due.append(close_ms)

    def catch_up(self) -> None:
        """Write down what is due, nothing having changed since."""
        for close_ms in self.due:
            self._write(close_ms)
        self.due.clear()

    def _changed(self, engine: Engine) -> None:
        """What is due before this change stood as it was before it."""
        if not self.due:
            return
        while self.due and self.due[0] + SETTLE_MS < engine.now_ms:
            self._write(self.due.pop(0))
        self._note(engine)

    def _note(self, engine: Engine) -> None:
        self._wallet: Decimal = engine.account.wallet
        self._held = [(p.symbol, p.amount, p.entry) for p in engine.account.positions.values() if p.amount]

    def _write(self, close_ms: int) -> None:
        engine = self._engine
        marks = {s: engine.price(s, self._symbols[s].mark_at(close_ms)) for s, _, _ in self._held}
        self._records.stood_at(close_ms + SETTLE_MS, self._wallet, self._held, marks)
