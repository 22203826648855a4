"""What of an account ends by itself at a time: orders that were good till then, and countdowns that nobody put off."""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trader_cli.venue.engine.books import Account


class Lapses:
    """The moments at which something of one account is due, UTC ms."""

    def __init__(self) -> None:
        self._due: list[int] = []

    @property
    def next_ms(self) -> int | None:
        """When something may lapse next."""
        return self._due[0] if self._due else None

    def note(self, at_ms: int) -> None:
        """Something lapses then, unless it has ended before."""
        heappush(self._due, at_ms)

    def end(self, account: Account, now_ms: int) -> bool:
        """End what is due by now; whether anything was."""
        if not self._due or self._due[0] > now_ms:
            return False
        while self._due and self._due[0] <= now_ms:
            heappop(self._due)
        over = [symbol for symbol, at_ms in account.countdowns.items() if at_ms <= now_ms]
        for order in account.open_orders():
            if order.symbol in over:
                order.status, order.update_ms = "CANCELED", now_ms
            elif 0 < order.good_till_ms <= now_ms:
                order.status, order.update_ms = "EXPIRED", now_ms
        for symbol in over:
            del account.countdowns[symbol]
        return True
