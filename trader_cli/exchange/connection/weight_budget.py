"""The request budget: stay well inside the exchange's limits, and stop at once when it says so.

The exchange counts in fixed windows of the clock, each kind of request in a pool of its own (`venue.request_weights`).
"""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from math import ceil
from typing import TYPE_CHECKING, Any

from trader_cli.core.errors import RateLimited
from trader_cli.venue.request_weights import FUNDING, FUTURES, FUTURES_DATA, SPOT, WALLET, pool_of, request_weight

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from trader_cli.core.ports import Clock
    from trader_cli.venue.request_weights import Pool

_LONGEST_FREEZE_MS = 90_000  # a window of a minute is waited for, and a little; longer is a ban, and an error at once
_LONG_AGO_MS = 86_400_000  # before any freeze
_SETTLING_MS = 500
"""How long reads of the market wait after a freeze, so that what protects a position goes first."""
_POOLS = (FUTURES, FUTURES_DATA, FUNDING, SPOT, WALLET)


class WeightBudget:
    """One pool: the weight of this window of the clock, from our own requests and from what headers report.

    `now_ms` is the exchange's time, by default that of `clock`; `fraction` is the share of the limit we may use.
    """

    def __init__(
        self, clock: Clock, fraction: float, pool: Pool = FUTURES, now_ms: Callable[[], int] | None = None
    ) -> None:
        self.pool = pool
        self.used = 0
        self.limit = pool.limit
        self._clock = clock
        self._fraction = fraction
        self._now_ms = now_ms or clock.now_ms
        self._headers = frozenset(name.lower() for name in pool.headers)
        self._turn = asyncio.Lock()
        self._window = -1
        self._frozen_until_ms = -_LONG_AGO_MS

    async def spend(self, weight: int, *, urgent: bool = False) -> None:
        """Wait until this request fits into the budget, and count it. First come, first served.

        An urgent one (an order, a stop, a cancel) passes those that wait, and may use the part of the exchange's limit
        that is kept free. Raises `RateLimited` rather than wait long for an exchange that wants no request.
        """
        async with nullcontext() if urgent else self._turn:
            while (wait_ms := self._wait_ms(weight, self.limit if urgent else int(self.limit * self._fraction))) > 0:
                await self._clock.sleep(wait_ms / 1000)
            self.used += weight

    def _wait_ms(self, weight: int, allowed: int) -> int:
        frozen_ms = self.frozen_ms
        if frozen_ms > 0:
            return self._thaw_ms(frozen_ms)
        now = self._now_ms()
        self._turn_over(now)
        if self.used == 0 or self.used + weight <= allowed:
            return 0
        return self.pool.window_ms - now % self.pool.window_ms

    def _thaw_ms(self, wait_ms: int) -> int:
        if wait_ms > _LONGEST_FREEZE_MS:
            wait = wait_ms / 1000
            raise RateLimited(f"The exchange wants no request for {wait:.0f} s.", retry_after_s=wait, hint="Wait.")
        return wait_ms

    def observe(self, headers: Mapping[str, str] | None, sent_ms: int | None = None) -> None:
        """Take over the exchange's own count: other programs may share the address.

        What answers a request sent (exchange's time) in an earlier window may speak of that one, and is left aside.
        """
        self._turn_over(self._now_ms())
        if sent_ms is not None and sent_ms // self.pool.window_ms != self._window:
            return
        for name, value in (headers or {}).items() if self._headers else ():
            if name.lower() in self._headers and value.isdigit():
                self.used = max(self.used, int(value))

    def take(self, weight: int) -> None:
        """Count a request that goes at once, though others wait. Raises `RateLimited` where all of the limit is used.

        What has been used elsewhere is the exchange's business: one more would be answered by a ban of everything.
        """
        now = self._now_ms()
        self._turn_over(now)
        if self.used and self.used + weight > self.limit:
            wait = (self.pool.window_ms - now % self.pool.window_ms) / 1000
            raise RateLimited(
                f"All of the exchange's {self.pool.name} is used; more comes in {wait:.0f} s.", retry_after_s=wait
            )
        self.used += weight

    @property
    def frozen_ms(self) -> int:
        """Milliseconds until requests may be sent again. Nobody who sets a clock can end it."""
        return max(0, self._frozen_until_ms - self._clock.monotonic_ms())

    @property
    def thawed_ms(self) -> int:
        """Milliseconds since the last freeze ended; negative while it lasts."""
        return self._clock.monotonic_ms() - self._frozen_until_ms

    def freeze(self, seconds: float) -> None:
        """Send nothing for a while."""
        self._frozen_until_ms = max(self._frozen_until_ms, self._clock.monotonic_ms() + ceil(seconds * 1000))

    def _turn_over(self, now_ms: int) -> None:
        """Begin a new count in a new window. A clock set back over its edge does not begin the last one again."""
        window = now_ms // self.pool.window_ms
        if window not in {self._window, self._window - 1}:
            self._window, self.used = window, 0


class RequestBudget:
    """Every pool of the exchange. `now_ms` is the exchange's time."""

    def __init__(self, clock: Clock, fraction: float, now_ms: Callable[[], int]) -> None:
        self._of = {pool: WeightBudget(clock, fraction, pool, now_ms) for pool in _POOLS}

    @property
    def used(self) -> int:
        """Weight used in this minute at the futures host."""
        return self._of[FUTURES].used

    async def spend(self, path: str, query: Mapping[str, Any], *, urgent: bool = False) -> None:
        """Wait until a request may be sent, and count it in its pool. An urgent one weighs 1. Raises `RateLimited`."""
        await self._of[pool_of(path)].spend(1 if urgent else request_weight(path, query), urgent=urgent)

    def observe(self, path: str, headers: Mapping[str, str] | None, sent_ms: int) -> None:
        """Take over what the reply to a request of `sent_ms` (exchange's time) says about the pools of its host."""
        for pool, budget in self._of.items():
            if pool.host == pool_of(path).host:
                budget.observe(headers, sent_ms)

    def learn(self, rate_limits: Any, *, spot: bool = False) -> None:
        """Take over the weight per minute from exchange information; what is missing or odd leaves it as it was."""
        for limit in rate_limits if isinstance(rate_limits, list) else []:
            if isinstance(limit, dict) and _is_weight_per_minute(limit):
                self._of[SPOT if spot else FUTURES].limit = limit["limit"]

    def take(self, path: str, query: Mapping[str, Any], *, free: bool = False) -> None:
        """Count a request that goes at once; a free one (an order) is never held up. Raises `RateLimited`."""
        if not free:
            self._of[pool_of(path)].take(request_weight(path, query))

    def freeze(self, seconds: float, path: str | None = None, *, banned: bool = False) -> None:
        """Send nothing for a while: to the host of a path that was refused, or at all.

        A pool beside the host's main one has a limit of its own, and breaking it stops no other, unless we are banned.
        """
        for pool, budget in self._of.items():
            if path is None or pool == pool_of(path) or (_is_host_wide(path, banned) and _same_host(pool, path)):
                budget.freeze(seconds)

    def frozen_s(self, path: str) -> float:
        """Seconds until this path may be asked again."""
        return self._of[pool_of(path)].frozen_ms / 1000

    def settling_s(self, path: str) -> float:
        """Seconds until reads of the market may go on after a freeze; 0 also while it lasts."""
        thawed_ms = self._of[pool_of(path)].thawed_ms
        return (_SETTLING_MS - thawed_ms) / 1000 if 0 <= thawed_ms < _SETTLING_MS else 0.0


def _is_host_wide(path: str, banned: bool) -> bool:
    return banned or pool_of(path) in {FUTURES, SPOT}


def _same_host(pool: Pool, path: str) -> bool:
    return pool.host == pool_of(path).host


def _is_weight_per_minute(limit: Mapping[str, Any]) -> bool:
    kind = limit.get("rateLimitType"), limit.get("interval"), limit.get("intervalNum")
    value = limit.get("limit")
    return kind == ("REQUEST_WEIGHT", "MINUTE", 1) and isinstance(value, int) and value > 0
