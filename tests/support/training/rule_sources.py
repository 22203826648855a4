"""Sources of rules, as a user writes them into a file."""

from __future__ import annotations

LEAD = '''
from dataclasses import dataclass
import numpy as np
from trader_cli.features.rule import BarSignals, Rule, parameter

@dataclass(frozen=True)
class Lead(Rule):
    """Follows the rises of the last bars: there is a lead planted in this market."""

    bars: int = parameter(3, least=1, most=50, unit="bars")
    stop: float = parameter(0.01, least=0.001, most=0.5, unit="share of the entry price")
    finite = True

    @property
    def warmup(self):
        return self.bars

    def signals(self, bars):
        close, side = bars["close"], np.zeros(len(bars))
        side[self.bars :] = close[self.bars :] > close[: -self.bars]
        return BarSignals.of(side, self.stop)
'''
