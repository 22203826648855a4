"""Where positions on bare bars end: straight to the first bar that reaches one of their levels.

The prices of a bar are met in this order. At its open: funding, liquidation, what was decided at the close before, and
gaps through a level, filled at the open. Then stop or liquidation, whichever is nearer. Then the target. So a bar that
holds both ends at the stop.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.backtest.bar_values import Reason
from trader_cli.core.money.liquidation import liquidation_level

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trader_cli.backtest.bar_values import Bars, Floats, Ints

    Flags = NDArray[np.bool_]

_FIRST_LOOK, _LONGEST_LOOK = 64, 1024
_NEARLY = 1e-9


@dataclass(frozen=True)
class Positions:
    """Positions from the fill at the open of bar `entry` to the bar `until`, whose open carries out their signal's end.

    Columns of shape (k,). `margin` is the isolated margin of a unit; `until` is n where the signal does not end.
    """

    entry: Ints
    until: Ints
    sign: Ints
    price: Floats
    stop: Floats
    target: Floats
    margin: Floats

    def row(self, which: int) -> tuple[int, int, int, float, float, float, float]:
        """One position's fields."""
        return (
            int(self.entry[which]),
            int(self.until[which]),
            int(self.sign[which]),
            float(self.price[which]),
            float(self.stop[which]),
            float(self.target[which]),
            float(self.margin[which]),
        )


@dataclass(frozen=True)
class Exits:
    """Bars and prices of ends, before slippage, why they came, what funding took of a unit till then. Shape (k,)."""

    at: Ints
    price: Floats
    reason: Ints
    paid: Floats


@dataclass(frozen=True)
class Payments:
    """Bars at whose open funding falls due, shape (s,), and what a long pays a unit there."""

    at: Ints
    amount: Floats

    @classmethod
    def of(cls, bars: Bars) -> Payments:
        """Those of the bars."""
        at = np.flatnonzero(bars.funding_rate)
        return cls(at, bars.funding_rate[at] * bars.open[at])

    def within(self, positions: Positions) -> tuple[Ints, Ints]:
        """The payments (first, stop) that each position lives to see if it lives to its end."""
        return (
            np.searchsorted(self.at, positions.entry, side="right"),
            np.searchsorted(self.at, positions.until, side="right"),
        )

    def rows(self, first: int, stop: int) -> list[tuple[int, float]]:
        """The payments [first, stop): bar and amount."""
        return list(zip(self.at[first:stop].tolist(), self.amount[first:stop].tolist(), strict=True))


def exits(bars: Bars, payments: Payments, positions: Positions, maintenance: float) -> Exits:
    """The end of each position."""
    found = _by_signal(bars, payments, positions)
    first, stop = payments.within(positions)
    for which in np.flatnonzero(_may_meet(bars, payments, positions, maintenance)).tolist():
        end = _Walk(bars, *positions.row(which), maintenance).end(payments.rows(first[which], stop[which]))
        if end is not None:
            found.at[which], found.price[which], found.reason[which], found.paid[which] = end
    return found


def _by_signal(bars: Bars, payments: Payments, positions: Positions) -> Exits:
    """As if no level were met."""
    n = len(bars)
    opens = positions.until == n
    price = np.where(opens, bars.close[-1], bars.open[np.minimum(positions.until, n - 1)])
    paid = np.zeros(len(price))
    first, stop = payments.within(positions)
    for which in np.flatnonzero(stop > first).tolist():
        paid[which] = _summed(payments.amount[first[which] : stop[which]], int(positions.sign[which]))
    reason = np.where(opens, Reason.STILL_OPEN, Reason.SIGNAL)
    return Exits(positions.until.copy(), price, reason, paid)


def _summed(amounts: Floats, sign: int) -> float:
    """One payment after the other, as they come: a running sum is not `np.sum`."""
    paid = 0.0
    for amount in amounts.tolist():
        paid += sign * amount
    return paid


def _may_meet(bars: Bars, payments: Payments, positions: Positions, maintenance: float) -> Flags:
    """Whether a level can be met, told by the extremes of the span, as if all that funding takes were taken at once."""
    low, high = _extremes(bars, positions)
    sign, n = positions.sign, len(bars)
    worst, best = np.where(sign > 0, low, high), np.where(sign > 0, high, low)
    first, stop = payments.within(positions)
    taken = [np.concatenate([[0.0], np.cumsum(np.maximum(way * payments.amount, 0.0))]) for way in (1, -1)]
    paid = np.where(sign > 0, taken[0][stop] - taken[0][first], taken[1][stop] - taken[1][first])
    liquidation = (positions.margin - paid - sign * positions.price) / (maintenance - sign) * (1 + sign * _NEARLY)
    last = np.where(positions.until < n, bars.open[np.minimum(positions.until, n - 1)], np.inf * sign)
    nearest = np.where(sign > 0, np.maximum(positions.stop, liquidation), np.minimum(positions.stop, liquidation))
    lost = ((worst - nearest) * sign <= 0) | ((last - liquidation) * sign <= 0)
    may: Flags = lost | ((best - positions.target) * sign >= 0)
    return may


def _extremes(bars: Bars, positions: Positions) -> tuple[Floats, Floats]:
    """Lowest and highest price of each span [entry, until)."""
    bounds = np.empty(2 * len(positions.entry), dtype=np.int64)
    bounds[0::2], bounds[1::2] = positions.entry, positions.until
    if len(bounds) and bounds[-1] == len(bars):
        bounds = bounds[:-1]
    return np.minimum.reduceat(bars.low, bounds)[0::2], np.maximum.reduceat(bars.high, bounds)[0::2]


End = tuple[int, float, Reason, float]
"""Bar, price, why, and what funding took of a unit till then."""


@dataclass
class _Walk:
    """A position on its way from one funding payment to the next: each moves the level of liquidation."""

    bars: Bars
    entry: int
    until: int
    sign: int
    price: float
    stop: float
    target: float
    margin: float
    maintenance: float
    paid: float = 0.0

    def end(self, due: list[tuple[int, float]]) -> End | None:
        """Where a level is met; None where the signal ends it. `due` are the payments ahead (bar, what a long pays)."""
        began = self.entry
        for bar, amount in due:
            met = self._met(began, bar)
            if met is not None:
                return met
            self.paid += self.sign * amount
            began = bar
        return self._met(began, self.until) or self._at_last_open()

    @property
    def _liquidation(self) -> float:
        return liquidation_level(self.price, self.margin - self.paid, self.sign, self.maintenance)

    def _lost(self, price: float, level: float) -> bool:
        """Whether a price is at a level or beyond it, on the losing side."""
        return (price - level) * self.sign <= 0

    def _met(self, first: int, stop: int) -> End | None:
        """The first bar of [first, stop) that reaches a level, and how."""
        width = _FIRST_LOOK
        while first < stop:
            upto = min(first + width, stop)
            reached = np.flatnonzero(self._reaching(first, upto))
            if len(reached):
                return self._in_bar(first + int(reached[0]))
            first, width = upto, min(4 * width, _LONGEST_LOOK)
        return None

    def _reaching(self, first: int, stop: int) -> Flags:
        low, high, level = self.bars.low[first:stop], self.bars.high[first:stop], self._liquidation
        if self.sign > 0:
            return (low <= max(self.stop, level)) | (high >= self.target)
        return (high >= min(self.stop, level)) | (low <= self.target)

    def _in_bar(self, at: int) -> End:
        level, opened = self._liquidation, float(self.bars.open[at])
        if at > self.entry:
            if self._lost(opened, level):
                return self._liquidated(at)
            if self._lost(opened, self.stop):
                return at, opened, Reason.STOP, self.paid
            if (opened - self.target) * self.sign >= 0:
                return at, opened, Reason.TARGET, self.paid
        worst = float(self.bars.low[at] if self.sign > 0 else self.bars.high[at])
        stop_is_nearer = (self.stop - level) * self.sign > 0
        if stop_is_nearer and self._lost(worst, self.stop):
            return at, self.stop, Reason.STOP, self.paid
        if not stop_is_nearer and self._lost(worst, level):
            return self._liquidated(at)
        return at, self.target, Reason.TARGET, self.paid

    def _at_last_open(self) -> End | None:
        """Liquidation at the very open that would have ended it."""
        if self.until < len(self.bars) and self._lost(float(self.bars.open[self.until]), self._liquidation):
            return self._liquidated(self.until)
        return None

    def _liquidated(self, at: int) -> End:
        """All of the margin is lost: the price that means it."""
        return at, self.price - self.sign * (self.margin - self.paid), Reason.LIQUIDATION, self.paid
