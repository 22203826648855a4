"""The levels that loss limits count from, told on the way: what `loss_limits.breaches` finds, without looking back.

For an account that nobody pays into or out of, whose looks and bookings come in order of time.
"""

from __future__ import annotations

from bisect import bisect_right
from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.core.money.loss_limits import KEPT_MS, EquityPoint

if TYPE_CHECKING:
    from collections.abc import Iterable

_BESIDE_MS = 3_600_000
"""As `loss_limits` has it: how far from the beginning of a day a look may be to say what the equity was then."""
_FINEST = Decimal("1.0005")
ZERO = Decimal(0)


class EquityLevels:
    """What looks have seen of an account's equity, and what was booked between them."""

    def __init__(self) -> None:
        self._points: list[EquityPoint] = []
        self._point_ms: list[int] = []
        self._flow_ms: list[int] = []
        self._sums = [ZERO]
        self._settled, self._highest_booked = 0, ZERO
        self._highest_seen = ZERO

    def book(self, flows: Iterable[tuple[int, Decimal]]) -> None:
        """Changes of the wallet since the last time: (UTC ms, amount), oldest first."""
        for at, amount in flows:
            self._flow_ms.append(at)
            self._sums.append(self._sums[-1] + amount)

    @property
    def kept_until_ms(self) -> int | None:
        """Until when a look is not kept unless it sees more than any before; None before the first."""
        return self._point_ms[-1] + 1 + KEPT_MS if self._points else None

    @property
    def new_high(self) -> Decimal:
        """The equity above which a look is always kept."""
        return self._highest_seen * _FINEST

    def keep(self, look: EquityPoint) -> None:
        """Remember a look, if it is to be (`loss_limits.worth_keeping`): the first, one a while, each clear high."""
        kept_until_ms = self.kept_until_ms
        if kept_until_ms is not None and look.time_ms < kept_until_ms and look.equity <= self.new_high:
            return
        self._points.append(look)
        self._point_ms.append(look.time_ms - 1)  # what was booked in the same moment came after it
        self._highest_seen = max(self._highest_seen, look.equity)
        self._settle(look)

    def opened(self, begun_ms: int, now: EquityPoint) -> Decimal:
        """The level at the beginning of a day; see `loss_limits`."""
        place = bisect_right(self._point_ms, begun_ms - 1)
        if place and self._point_ms[place - 1] >= begun_ms - _BESIDE_MS:
            return self._points[place - 1].equity
        first, first_ms = self._point(place, now)
        beside = first_ms < begun_ms + _BESIDE_MS
        level = max(first.wallet, first.equity) if beside else first.wallet
        return level - self._booked(begun_ms - 1, first_ms)

    def peak(self, now: EquityPoint) -> Decimal:
        """The highest level: as seen, and as booked between looks."""
        pending = (self._wallet(at, now) for at in self._flow_ms[self._settled :])
        return max(self._highest_booked, self._highest_seen, now.equity, self._wallet(-1, now), *pending)

    def _point(self, place: int, now: EquityPoint) -> tuple[EquityPoint, int]:
        """A look that was kept and its time, or the one that is made now."""
        if place < len(self._points):
            return self._points[place], self._point_ms[place]
        return now, max(now.time_ms, *self._flow_ms[-1:], 0)

    def _booked(self, after_ms: int, until_ms: int) -> Decimal:
        first, last = (bisect_right(self._flow_ms, at) for at in (after_ms, until_ms))
        return self._sums[last] - self._sums[first]

    def _wallet(self, at_ms: int, now: EquityPoint) -> Decimal:
        """The wallet at a time: of the last look before it and what was booked since, or back from the first."""
        place = bisect_right(self._point_ms, at_ms)
        if place == len(self._points) and self._point(place, now)[1] <= at_ms:
            place += 1
        point, point_ms = self._point(max(place - 1, 0), now)
        return point.wallet + self._booked(point_ms, at_ms)

    def _settle(self, now: EquityPoint) -> None:
        """What was booked before the last look that was kept is told by looks up to it: no later one says otherwise."""
        while self._settled < len(self._flow_ms) and self._flow_ms[self._settled] < self._point_ms[-1]:
            self._highest_booked = max(self._highest_booked, self._wallet(self._flow_ms[self._settled], now))
            self._settled += 1
