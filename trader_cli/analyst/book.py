"""The book that is traded: one position at a time, after costs. Its gains per bar are what a claim is judged by.

Who trades is handed in (`BookMaker`): the rules of plan and exit that live has. Where nobody is, trades are those of
the labels: from a close to barrier or horizon. Without an edge gains are a martingale difference either way, whatever
the overlap of the labels. Source: shared method notes §1.19.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trader_cli.analyst.decision import Costs
    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.features.bar_arrays import BarSeries

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Flags = NDArray[np.bool_]

_NOTHING_HELD = 1e-9


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


@dataclass(frozen=True)
class Forecasts:
    """What was said at rows (m,) of bars, ascending, and what is to be traded by it.

    probabilities (m, 3) of up, down and flat, NaN where nothing was said; side (m,), and whether it is `wanted`; log
    distance of stop and target from the close (m,); bars until the time exit.
    """

    rows: Ints
    probabilities: Floats
    side: NDArray[np.int8]
    wanted: Flags
    barrier: Floats
    horizon_bars: int


@dataclass(frozen=True)
class FilledTrades:
    """Trades as they were filled, in time order, one at a time.

    start (k,): the row at whose close each was decided; it was entered behind that, in the bar after. `price` of the
    entry and side (k,). Fills that reduced it, in time order: `of` which trade, at which row, at what price, what share
    of the entry's quantity, and whether at the open of that row's bar, each (f,). What no fill has closed is open.
    """

    start: Ints
    side: NDArray[np.int8]
    price: Floats
    of: Ints
    exit_row: Ints
    exit_price: Floats
    share: Floats
    at_open: Flags

    def __len__(self) -> int:
        return len(self.start)


class BookMaker(Protocol):
    """Trades forecasts by the plan and exit rules that live has, at a fixed notional, in bars."""

    def __call__(self, bars: BarSeries, timeframe: Timeframe, said: Forecasts) -> FilledTrades:
        """What would have been traded."""
        ...


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


def filled_book(trades: FilledTrades, close: Floats, span: tuple[int, int], costs: Costs) -> Book:
    """The book of filled trades over bars first … last of `span`, of closing prices (n,); notional 1 at each entry.

    A bar gains what its fills brought and what is held has moved. Costs are of each fill's own notional. Funding is
    owed by what is held at a bar's end; exposure is what is held behind its open.
    """
    n, side, of = len(close), trades.side.astype(np.float64), trades.of
    quantity, into = side / trades.price, trades.start + 1
    left, brought, turned = np.zeros(n), np.zeros(n), np.zeros(n)
    np.add.at(left, into, quantity)
    np.add.at(left, trades.exit_row, -trades.share * quantity[of])
    np.add.at(brought, into, -side)
    np.add.at(brought, trades.exit_row, trades.share * quantity[of] * trades.exit_price)
    np.add.at(turned, into, 1.0)
    np.add.at(turned, trades.exit_row, trades.share * trades.exit_price / trades.price[of])
    exposure, held = _shares(trades, into, side, n)
    worth = np.where(held == 0.0, 0.0, np.cumsum(left)) * close
    paid = turned * costs.per_side + costs.of_holding(held)
    gains = brought + worth - np.append(0.0, worth[:-1]) - paid
    market = np.append(0.0, close[1:] / close[:-1] - 1.0)
    kept = slice(span[0], span[1] + 1)
    entered = int(((into >= span[0]) & (into <= span[1])).sum())
    return Book(gains[kept], exposure[kept], market[kept], entered)


def _shares(trades: FilledTrades, into: Ints, side: Floats, n: int) -> tuple[Floats, Floats]:
    """(What is held behind each bar's open, what at its end), shares of the entry's notional, signed, each (n,)."""
    closed, behind = trades.share * side[trades.of], np.where(trades.at_open, trades.exit_row, trades.exit_row + 1)
    found = []
    for rows in (behind, trades.exit_row):
        change = np.zeros(n + 1)
        np.add.at(change, into, side)
        np.add.at(change, rows, -closed)
        shares = np.cumsum(change)[:n]
        found.append(np.where(np.abs(shares) < _NOTHING_HELD, 0.0, shares))
    return found[0], found[1]
