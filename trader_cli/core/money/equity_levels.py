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
    """What looks have seen of an account's equity, and what was booked between them; it began with `wallet`."""

    def __init__(self, wallet: Decimal) -> None:
        self._began = wallet
        self._points: list[EquityPoint] = []
        self._point_ms: list[int] = []
        self._flow_ms: list[int] = []
        self._wallets = [wallet]
        self._settled, self._highest_booked = 0, wallet
        self._highest_seen = ZERO

    def book(self, flows: Iterable[tuple[int, Decimal]]) -> None:
        """Changes of the wallet since the last time: (UTC ms, amount), oldest first."""
        for at, amount in flows:
            self._flow_ms.append(at)
            self._wallets.append(self._wallets[-1] + amount)

    @property
    def kept_until_ms(self) -> int | None:
        """Until when a look is not kept unless it sees more than any before; None before the first."""
        return self._point_ms[-1] + KEPT_MS if self._points else None

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
        self._point_ms.append(look.time_ms)
        self._highest_seen = max(self._highest_seen, look.equity)

    def opened(self, begun_ms: int, now: EquityPoint) -> Decimal:
        """The level at the beginning of a day; see `loss_limits`."""
        place = bisect_right(self._point_ms, begun_ms)
        if place and self._point_ms[place - 1] > begun_ms - _BESIDE_MS:
            return self._points[place - 1].equity
        first = self._points[place] if place < len(self._points) else now
        profit = max(first.equity - first.wallet, ZERO) if first.time_ms <= begun_ms + _BESIDE_MS else ZERO
        return self._wallets[bisect_right(self._flow_ms, begun_ms - 1)] + profit

    def peak(self, now: EquityPoint) -> Decimal:
        """The highest level: as seen, and as booked between looks. What one moment books counts together."""
        while self._settled < len(self._flow_ms) and self._flow_ms[self._settled] < now.time_ms:
            self._settled = bisect_right(self._flow_ms, self._flow_ms[self._settled])
            self._highest_booked = max(self._highest_booked, self._wallets[self._settled])
        return max(self._highest_booked, self._highest_seen, now.equity, now.wallet)
