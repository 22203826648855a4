"""The request budget: stay well inside the exchange's weight per minute, and stop at once when it says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trader_cli.core.errors import RateLimited
from trader_cli.core.weights import WEIGHT_LIMIT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trader_cli.core.ports import Clock

_MINUTE_MS = 60_000
_LONGEST_WAIT_MS = 90_000


class WeightBudget:
    """Counts weight per clock minute, from our own requests and from what the exchange's headers report."""

    def __init__(self, clock: Clock, fraction: float) -> None:
        self._clock = clock
        self._allowed = int(WEIGHT_LIMIT * fraction)
        self._minute = -1
        self._frozen_until_ms = 0
        self.used = 0

    async def spend(self, weight: int, *, urgent: bool = False) -> None:
        """Wait until this request fits into the budget, and count it. Raises `RateLimited` rather than wait long.

        An urgent one (an order, a stop, a cancel) may use the part of the exchange's weight that is kept free.
        """
        while (wait_ms := self._wait_ms(weight, WEIGHT_LIMIT if urgent else self._allowed)) > 0:
            if wait_ms > _LONGEST_WAIT_MS:
                wait = wait_ms / 1000
                raise RateLimited(f"The exchange wants no request for {wait:.0f} s.", retry_after_s=wait, mend="Wait.")
            await self._clock.sleep(wait_ms / 1000)
        self.used += weight

    def _wait_ms(self, weight: int, allowed: int) -> int:
        now = self._clock.now_ms()
        if now < self._frozen_until_ms:
            return self._frozen_until_ms - now
        if now // _MINUTE_MS != self._minute:
            self._minute, self.used = now // _MINUTE_MS, 0
        if self.used == 0 or self.used + weight <= allowed:
            return 0
        return _MINUTE_MS - now % _MINUTE_MS

    def observe(self, headers: Mapping[str, str] | None) -> None:
        """Take over the exchange's own count: other programs may share the address."""
        for name, value in (headers or {}).items():
            if name.lower() == "x-mbx-used-weight-1m" and value.isdigit():
                self.used = max(self.used, int(value))

    def freeze(self, seconds: float) -> None:
        """Send nothing for a while."""
        self._frozen_until_ms = max(self._frozen_until_ms, self._clock.now_ms() + int(seconds * 1000))
