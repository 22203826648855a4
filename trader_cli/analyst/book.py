"""The book that is traded: one position at a time, entered at a close, held to its barrier or its horizon, after costs.

Its gains per bar are what a claim is judged by. Without an edge they are a martingale difference, whatever the overlap
of the labels. Source: shared method notes §1.19.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trader_cli.analyst.decision import Costs

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Trades:
    """Trades in time order that do not overlap: rows of entry and end, side, gain before costs, each (k,)."""

    start: Ints
    end: Ints
    side: NDArray[np.int8]
    gain: Floats

    def __len__(self) -> int:
        return len(self.start)


@dataclass(frozen=True)
class Book:
    """Per bar, each (b,): gains after costs as a fraction of notional, the position held, the market's return."""

    gains: Floats
    exposure: Floats
    market: Floats
    trades: int

    @classmethod
    def empty(cls) -> Book:
        """Of no bars."""
        return cls(np.empty(0), np.empty(0), np.empty(0), 0)


def one_at_a_time(start: Ints, end: Ints, wanted: NDArray[np.bool_]) -> Ints:
    """Which of the wanted rows (n,), in time order, are entered: each first one at or after the end of the one before.

    `start` and `end` (n,) are the bars of entry and exit; a bar that ends a trade may begin the next.
    """
    rows, free = np.flatnonzero(wanted), 0
    begins = start[rows]
    taken: list[int] = []
    while True:
        at = int(np.searchsorted(begins, free))
        if at == len(rows):
            return np.array(taken, dtype=np.int64)
        taken.append(int(rows[at]))
        free = max(int(end[rows[at]]), int(begins[at]) + 1)


def traded_book(trades: Trades, close: Floats, span: tuple[int, int], costs: Costs) -> Book:
    """The book of trades over bars first … last of `span`, of closing prices (n,); notional 1 at each entry."""
    n, side = len(close), trades.side.astype(np.float64)
    change, turned = np.zeros(n + 1), np.zeros(n)
    np.add.at(change, trades.start + 1, side)
    np.add.at(change, trades.end + 1, -side)
    exposure = np.round(np.cumsum(change)[:n])
    np.add.at(turned, trades.start + 1, 1.0)
    np.add.at(turned, trades.end, 1.0)
    moves = np.diff(close, prepend=close[0])
    entry = np.ones(n)
    lengths = trades.end - trades.start
    held = np.repeat(trades.start + 1, lengths) + _counted_up(lengths)
    entry[held] = np.repeat(close[trades.start], lengths)
    gains = exposure * moves / entry
    gains[trades.end] += trades.gain - side * (close[trades.end] / close[trades.start] - 1.0)
    gains -= turned * costs.per_side + costs.of_holding(exposure)
    market = np.append(0.0, moves[1:] / close[:-1])
    kept = slice(span[0], span[1] + 1)
    return Book(gains[kept], exposure[kept], market[kept], len(trades))


def _counted_up(lengths: Ints) -> Ints:
    """0 … k−1 for each length k, one after the other."""
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - lengths, lengths)
