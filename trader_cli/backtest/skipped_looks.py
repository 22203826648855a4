"""Looks at an account that were not made, because nothing could come of them, and what each would have seen."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.core.money.loss_limits import EquityPoint
from trader_cli.venue.simulated_market.many_moments import prices_at

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trader_cli.core.money.equity_levels import EquityLevels
    from trader_cli.venue.engine.engine import Engine
    from trader_cli.venue.simulated_market.tape import Tape

ZERO = Decimal(0)
_ROUNDING = 1e-9


@dataclass(frozen=True)
class SkippedLooks:
    """At `times` (UTC ms), while `wallet` and `positions` (symbol, amount, entry price) stayed as they were.

    `highest` is above every equity that was seen.
    """

    engine: Engine
    tape: Tape
    times: range
    wallet: Decimal
    positions: tuple[tuple[str, Decimal, Decimal], ...]
    highest: Decimal

    def keep_in(self, levels: EquityLevels) -> None:
        """Show each of them that is to be remembered."""
        at, about = 0, self._about() if self.highest > levels.new_high else None
        while True:
            until_ms = levels.kept_until_ms
            wanted = max(at, 0 if until_ms is None else -((self.times.start - until_ms) // self.times.step))
            if about is not None:
                higher = np.flatnonzero(about[at:wanted] > float(levels.new_high) * (1 - _ROUNDING))
                wanted = at + int(higher[0]) if len(higher) else wanted
            if wanted >= len(self.times):
                return
            levels.keep(EquityPoint(self.times[wanted], self.wallet, self._equity(self.times[wanted])))
            at = wanted + 1

    def _about(self) -> NDArray[np.float64]:
        """No less than each equity, by a tick of each position at most and rounding. Shape (n,)."""
        times, total = np.array(self.times, dtype=np.int64), np.full(len(self.times), float(self.wallet))
        for symbol, amount, entry in self.positions:
            tape = self.tape.symbols[symbol]
            total += float(amount) * (prices_at(tape.mark_tape, times) - float(entry)) + float(abs(amount)) * tape.tick
        return total

    def _equity(self, time_ms: int) -> Decimal:
        engine, equity = self.engine, self.wallet
        held = ZERO
        for symbol, amount, entry in self.positions:
            held += amount * (engine.price(symbol, engine.markets[symbol].mark_price(time_ms)) - entry)
        return equity + held
