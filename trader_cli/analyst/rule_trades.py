"""The trades a rule would have made of each change of its word, one at a time, as they end in the decision path.

In at the close; out at the rule's stop, at the target, at the horizon, or where the word changes again, whichever comes
first. A bar that holds both ends at the stop; a bar that opens beyond the stop ends at its open.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.analyst.book import Trades

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trader_cli.features.bar_arrays import BarSeries, Floats
    from trader_cli.features.rule import BarSignals

    Ints = NDArray[np.int64]


@dataclass(frozen=True)
class RuleTrades(Trades):
    """Of a rule, with the distances of stop and target as fractions of the entry price, each (k,)."""

    stop: Floats
    target: Floats

    @property
    def win_shares(self) -> Floats:
        """How far between stop (0) and target (1) each ended, in [0, 1]."""
        return np.clip((self.gain + self.stop) / (self.target + self.stop), 0.0, 1.0)


def rule_trades(
    bars: BarSeries, said: BarSignals, barrier: Floats, horizon: int, step_ms: int, unfit: NDArray[np.bool_]
) -> RuleTrades:
    """The trades whose end is known, of changes to a side at bars that are fit and whose `barrier` is known.

    `barrier` (n,): log distance of the target where the rule gives none. `unfit` (n,): bars that are not what was
    traded; what begins or ends on one is left out, as is what spans a gap.
    """
    changes = np.flatnonzero(np.diff(said.side, prepend=np.int8(0)))
    until = np.append(changes, len(bars))[1:]
    rows = []
    for row, last in zip(changes.tolist(), until.tolist(), strict=True):
        if said.side[row] == 0 or unfit[row] or not barrier[row] > 0:
            continue
        side, stop = int(said.side[row]), float(said.stop[row])
        own = float(said.target[row])
        target = own if np.isfinite(own) else target_distance(float(barrier[row]), side)
        ended = _ended(bars, row, min(last, row + horizon), side, stop, target)
        if ended is None or unfit[ended[0]] or bars.open_ms[ended[0]] - bars.open_ms[row] != (ended[0] - row) * step_ms:
            continue
        rows.append((row, ended[0], side, ended[1], stop, target))
    start, end, side_, *of_price = (np.array(column) for column in zip(*rows, strict=True)) if rows else _NONE
    whole = (start.astype(np.int64), end.astype(np.int64), side_.astype(np.int8))
    return RuleTrades(*whole, *(column.astype(np.float64) for column in of_price))


_NONE = tuple(np.empty(0) for _ in range(6))


def target_distance(barrier: float, side: int) -> float:
    """The distance, as a fraction of the price, of a barrier given in log price."""
    return float(np.expm1(barrier) if side > 0 else -np.expm1(-barrier))


def _ended(bars: BarSeries, row: int, last: int, side: int, stop: float, target: float) -> tuple[int, float] | None:
    """(row, gain) of a trade's end, or `None` where the bars do not reach so far."""
    price, window = float(bars.close[row]), slice(row + 1, min(last, len(bars) - 1) + 1)
    worst, best = (bars.low, bars.high) if side > 0 else (bars.high, bars.low)
    lost = (worst[window] - price * (1 - side * stop)) * side <= 0
    won = (best[window] - price * (1 + side * target)) * side >= 0
    met = np.flatnonzero(lost | won)
    if len(met):
        first = int(met[0])
        opened = side * (float(bars.open[row + 1 + first]) / price - 1)
        return row + 1 + first, min(-stop, opened) if lost[first] else target
    return (last, side * (float(bars.close[last]) / price - 1)) if last < len(bars) else None
