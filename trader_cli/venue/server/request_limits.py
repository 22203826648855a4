"""The venue's request limits: weight per pool and clock window, 429 beyond it, 418 for those who do not stop.

All requests come from one address. The clock is the venue's; nothing here waits.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trader_cli.core.market.timeframes import DAY_MS, MINUTE_MS
from trader_cli.venue.request_weights import pool_of

if TYPE_CHECKING:
    from trader_cli.core.json_values import JsonObject
    from trader_cli.venue.request_weights import Pool

PATIENCE = 10
"""Refusals in one window after which the address is banned."""
ORDER_PATHS = {"/fapi/v1/order", "/fapi/v1/algoOrder"}
"""Where new orders are posted."""
_FIRST_BAN_MS, _LONGEST_BAN_MS = 2 * MINUTE_MS, 3 * DAY_MS


@dataclass(frozen=True)
class Refusal:
    """Why a request is not answered: status 429 or 418, the JSON, and how long to send nothing."""

    status: int
    body: JsonObject
    retry_after_s: int


@dataclass(frozen=True)
class Charge:
    """What a request was counted as: headers of its reply, and the refusal if it may not be answered."""

    headers: dict[str, str]
    refusal: Refusal | None = None


@dataclass(frozen=True)
class OrderRule:
    """At most `limit` new orders of an account per `number` × `interval`, as `exchangeInfo` says it."""

    interval: str
    number: int
    limit: int
    window_ms: int
    header: str


ORDER_RULES = (
    OrderRule("MINUTE", 1, 1200, MINUTE_MS, "X-MBX-ORDER-COUNT-1M"),
    OrderRule("SECOND", 10, 300, 10_000, "X-MBX-ORDER-COUNT-10S"),
)


@dataclass
class _Window:
    """One counter in its current clock window."""

    number: int = -1
    used: int = 0
    refused: int = 0

    def enter(self, number: int) -> None:
        """Begin anew if the clock has reached another window."""
        if self.number != number:
            self.number, self.used, self.refused = number, 0, 0


@dataclass
class _Ban:
    """The ban of one host, over or not, and how many there have been."""

    until_ms: int = 0
    count: int = 0

    def begin(self, now_ms: int) -> None:
        self.until_ms = now_ms + min(_FIRST_BAN_MS * 2**self.count, _LONGEST_BAN_MS)
        self.count += 1


@dataclass
class RequestLimits:
    """Counters of every pool and account, and the bans that came of them. Each ban of a host is twice as long."""

    _windows: dict[Pool, _Window] = field(default_factory=dict)
    _bans: dict[str, _Ban] = field(default_factory=dict)
    _orders: dict[tuple[str, OrderRule], _Window] = field(default_factory=dict)

    def charge(self, path: str, weight: int, now_ms: int) -> Charge:
        """Count a request; refused ones count, too. A refused request must not be carried out."""
        pool = pool_of(path)
        ban, window = self._bans.setdefault(pool.host, _Ban()), self._window(pool, now_ms)
        if now_ms < ban.until_ms:
            return Charge({}, banned_until(ban.until_ms, now_ms))
        window.used += weight
        headers = dict.fromkeys(pool.headers, str(window.used))
        if window.used <= pool.limit:
            return Charge(headers)
        window.refused += 1
        if window.refused <= PATIENCE:
            return Charge(headers, _too_many(pool, now_ms))
        ban.begin(now_ms)
        window.refused = 0
        return Charge(headers, banned_until(ban.until_ms, now_ms))

    def ban(self, path: str, until_ms: int) -> None:
        """Ban the address from the host of a path."""
        ban = self._bans.setdefault(pool_of(path).host, _Ban())
        ban.until_ms = max(ban.until_ms, until_ms)

    def charge_order(self, account: str, now_ms: int) -> Charge:
        """Count a new order of an account. A refused one must not be carried out; it does not count."""
        windows = [(rule, self._orders.setdefault((account, rule), _Window())) for rule in ORDER_RULES]
        for rule, window in windows:
            window.enter(now_ms // rule.window_ms)
            if window.used >= rule.limit:
                return Charge({}, _too_many_orders(rule, now_ms))
        for _, window in windows:
            window.used += 1
        return Charge({rule.header: str(window.used) for rule, window in windows})

    def _window(self, pool: Pool, now_ms: int) -> _Window:
        window = self._windows.setdefault(pool, _Window())
        window.enter(now_ms // pool.window_ms)
        return window


def _too_many_orders(rule: OrderRule, now_ms: int) -> Refusal:
    message = f"Too many new orders; current limit is {rule.limit} orders per {rule.number} {rule.interval}."
    return Refusal(429, {"code": -1015, "msg": message}, _whole_seconds(rule.window_ms - now_ms % rule.window_ms))


def _too_many(pool: Pool, now_ms: int) -> Refusal:
    span = "minute" if pool.window_ms == MINUTE_MS else f"{pool.window_ms // MINUTE_MS} minutes"
    message = f"Too many requests; current limit of {pool.name} is {pool.limit} per {span}."
    return Refusal(429, {"code": -1003, "msg": message}, _whole_seconds(pool.window_ms - now_ms % pool.window_ms))


def banned_until(until_ms: int, now_ms: int) -> Refusal:
    """The refusal of an address that is banned."""
    message = f"Way too many requests; IP(127.0.0.1) banned until {until_ms}."
    return Refusal(418, {"code": -1003, "msg": message}, _whole_seconds(until_ms - now_ms))


def _whole_seconds(wait_ms: int) -> int:
    return wait_ms // 1000 + 1
