"""The request budget: stay well inside the exchange's limits, and stop at once when it says so.

The exchange counts in fixed windows of the clock, each kind of request against limits of its own (shared facts, §3.1).
"""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

from trader_cli.core.errors import RateLimited
from trader_cli.core.weights import WEIGHT_LIMIT, request_weight

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from trader_cli.core.ports import Clock

_MINUTE_MS = 60_000
_FIVE_MINUTES_MS = 5 * _MINUTE_MS
_LONGEST_FREEZE_MS = 90_000
_SPOT_WEIGHT_LIMIT = 6000
_DATA_REQUESTS = 1000
_FUNDING_REQUESTS = 500
_FUNDING = frozenset({"/fapi/v1/fundingRate", "/fapi/v1/fundingInfo"})


class WeightBudget:
    """One limit: what was spent in this window of the clock, by us and, as the exchange's headers say, by others.

    `now_ms` is the exchange's time, by default that of `clock`; `fraction` is the share of `limit` we may use.
    """

    def __init__(
        self,
        clock: Clock,
        fraction: float,
        *,
        limit: int = WEIGHT_LIMIT,
        window_ms: int = _MINUTE_MS,
        now_ms: Callable[[], int] | None = None,
    ) -> None:
        self.clock = clock
        self.turn = asyncio.Lock()
        """Held by whoever waits first: the others follow in the order they came."""
        self.used = 0
        self._fraction = fraction
        self._limit = limit
        self._window_ms = window_ms
        self._now_ms = now_ms or clock.now_ms
        self._window = -1
        self._frozen_until_ms = 0

    async def spend(self, weight: int, *, urgent: bool = False) -> None:
        """Wait until this request fits into the budget, and count it: `take` of this budget alone."""
        await take([(self, weight)], urgent=urgent)

    def wait_ms(self, weight: int, *, urgent: bool = False) -> int:
        """How long a request must wait as things are; 0: it may be sent now."""
        if (frozen := self.frozen_ms()) > 0:
            return frozen
        self._turn_over()
        allowed = self._limit if urgent else int(self._limit * self._fraction)
        if self.used == 0 or self.used + weight <= allowed:
            return 0
        return self._window_ms - self._now_ms() % self._window_ms

    def count(self, weight: int) -> None:
        """A request is sent now."""
        self._turn_over()
        self.used += weight

    def observe(self, headers: Mapping[str, str] | None, sent_ms: int | None = None) -> None:
        """Take over the exchange's own count of weight per minute: other programs may share the address.

        What answers a request sent (exchange's time) in an earlier minute may speak of that one, and is left aside.
        """
        self._turn_over()
        if sent_ms is not None and sent_ms // self._window_ms != self._window:
            return
        for name, value in (headers or {}).items():
            if name.lower() == "x-mbx-used-weight-1m" and value.isdigit():
                self.used = max(self.used, int(value))

    def learn(self, limit: int) -> None:
        """The limit as the exchange states it."""
        self._limit = limit

    def freeze(self, seconds: float) -> None:
        """Send nothing for a while."""
        self._frozen_until_ms = max(self._frozen_until_ms, self._now_ms() + int(seconds * 1000))

    def frozen_ms(self) -> int:
        """How long the exchange wants no request at all."""
        return max(0, self._frozen_until_ms - self._now_ms())

    def _turn_over(self) -> None:
        """Begin a new count in a new window. A clock set back by a little does not begin the last one again."""
        window = self._now_ms() // self._window_ms
        if window != self._window and window != self._window - 1:
            self._window, self.used = window, 0


async def take(charges: Sequence[tuple[WeightBudget, int]], *, urgent: bool = False) -> None:
    """Wait until a request fits into every budget it counts against, and count it in all of them at once.

    First come, first served, by the first budget named. An urgent request (an order, a stop, a cancel) passes the
    others, and may use the part of the exchange's limit that is kept free. Raises `RateLimited` rather than wait long
    for an exchange that wants no request.
    """
    async with nullcontext() if urgent else charges[0][0].turn:
        await _take(charges, urgent=urgent)


async def _take(charges: Sequence[tuple[WeightBudget, int]], *, urgent: bool) -> None:
    while (wait_ms := max(budget.wait_ms(weight, urgent=urgent) for budget, weight in charges)) > 0:
        frozen_s = max(budget.frozen_ms() for budget, _ in charges) / 1000
        if frozen_s * 1000 > _LONGEST_FREEZE_MS:
            raise RateLimited(
                f"The exchange wants no request for {frozen_s:.0f} s.", retry_after_s=frozen_s, mend="Wait."
            )
        await charges[0][0].clock.sleep(wait_ms / 1000)
    for budget, weight in charges:
        budget.count(weight)


class RequestBudget:
    """Every limit of the exchange's public and signed routes, and which of them a request counts against.

    Futures and spot weight per minute; `/futures/data` 1000 requests and funding rates 500 requests per five minutes.
    """

    def __init__(self, clock: Clock, fraction: float, now_ms: Callable[[], int]) -> None:
        self.futures = WeightBudget(clock, fraction, now_ms=now_ms)
        self.spot = WeightBudget(clock, fraction, limit=_SPOT_WEIGHT_LIMIT, now_ms=now_ms)
        five_minutes = partial(WeightBudget, clock, fraction, window_ms=_FIVE_MINUTES_MS, now_ms=now_ms)
        self._data = five_minutes(limit=_DATA_REQUESTS)
        self._funding = five_minutes(limit=_FUNDING_REQUESTS)

    async def spend(self, path: str, query: Mapping[str, Any], *, urgent: bool = False) -> None:
        """Wait until a request may be sent, and count it. An urgent one weighs 1. Raises `RateLimited`."""
        weight = 1 if urgent else request_weight(path, query)
        if path.startswith("/futures/data/"):
            return await take([(self._data, 1)], urgent=urgent)
        if path in _FUNDING:
            return await take([(self._funding, 1), (self.futures, weight)], urgent=urgent)
        return await take([(self._weights_of(path), weight)], urgent=urgent)

    def observe(self, path: str, headers: Mapping[str, str] | None, sent_ms: int) -> None:
        """Take over the weight that the reply to a request of `sent_ms` (exchange's time) reports."""
        self._weights_of(path).observe(headers, sent_ms)

    def learn(self, rate_limits: Any, *, spot: bool = False) -> None:
        """Take over the weight per minute from exchange information; what is missing or odd leaves it as it was."""
        for limit in rate_limits if isinstance(rate_limits, list) else []:
            if isinstance(limit, dict) and _is_weight_per_minute(limit):
                (self.spot if spot else self.futures).learn(limit["limit"])

    def freeze(self, seconds: float) -> None:
        """Send nothing at all for a while: a ban is one of the address."""
        for budget in (self.futures, self.spot, self._data, self._funding):
            budget.freeze(seconds)

    def _weights_of(self, path: str) -> WeightBudget:
        return self.spot if path.startswith(("/api/", "/sapi/")) else self.futures


def _is_weight_per_minute(limit: Mapping[str, Any]) -> bool:
    kind = limit.get("rateLimitType"), limit.get("interval"), limit.get("intervalNum")
    value = limit.get("limit")
    return kind == ("REQUEST_WEIGHT", "MINUTE", 1) and isinstance(value, int) and value > 0
