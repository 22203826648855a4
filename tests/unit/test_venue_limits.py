"""Request limits: what is answered stays inside every window, what is refused is not carried out."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trader_cli.core.market.timeframes import DAY_MS, MINUTE_MS
from trader_cli.venue.clocks import VirtualClock, run_virtual
from trader_cli.venue.request_weights import (
    FUNDING,
    FUTURES,
    FUTURES_DATA,
    SPOT,
    WALLET,
    WEIGHT_LIMIT,
    pool_of,
    request_weight,
)
from trader_cli.venue.server.faulty_venue import FaultyVenue
from trader_cli.venue.server.public_routes import PublicRoutes
from trader_cli.venue.server.request_limits import ORDER_RULES, PATIENCE, RequestLimits
from trader_cli.venue.simulated_market.synthetic import synthetic_tape

TAPE = synthetic_tape(("ETHUSDT",), 3, 0.0, 3)
NOON = TAPE.start_ms + 2 * DAY_MS + 12 * 60 * MINUTE_MS
KLINES, TIME, SPOT_TIME = "/fapi/v1/klines", "/fapi/v1/time", "/api/v3/time"
PATHS = {
    KLINES: FUTURES,
    "/fapi/v1/indexPriceKlines": FUTURES,
    "/fapi/v3/account": FUTURES,
    "/fapi/v1/order": FUTURES,
    "/futures/data/openInterestHist": FUTURES_DATA,
    "/fapi/v1/fundingRate": FUNDING,
    "/fapi/v1/fundingInfo": FUNDING,
    "/api/v3/klines": SPOT,
    "/api/v3/exchangeInfo": SPOT,
    "/sapi/v1/account/apiRestrictions": WALLET,
}


def test_every_path_is_counted_in_its_pool() -> None:
    assert {path: pool_of(path) for path in PATHS} == PATHS
    assert FUTURES.limit == WEIGHT_LIMIT


@pytest.mark.parametrize(
    ("path", "query", "weight"),
    [
        *(
            (f"/fapi/v1/{kind}", {"limit": limit}, weight)
            for kind in ("klines", "markPriceKlines", "indexPriceKlines", "premiumIndexKlines")
            for limit, weight in ((99, 1), (100, 2), (499, 2), (500, 5), (1000, 5), (1500, 10))
        ),
        ("/api/v3/klines", {"limit": "10"}, 2),
        ("/api/v3/klines", {"limit": "1000"}, 2),
        ("/api/v3/exchangeInfo", {}, 20),
        ("/api/v3/aggTrades", {}, 2),
        ("/api/v3/time", {}, 1),
        ("/futures/data/openInterestHist", {"limit": 500}, 1),
        ("/fapi/v1/fundingRate", {"limit": 1000}, 1),
        ("/fapi/v1/fundingInfo", {}, 1),
    ],
)
def test_what_requests_cost(path: str, query: dict[str, Any], weight: int) -> None:
    assert request_weight(path, query) == weight


requests = st.lists(
    st.tuples(st.sampled_from(sorted(PATHS)), st.integers(1, 400), st.integers(0, 40_000)), min_size=1, max_size=120
)


@given(requests)
def test_no_window_answers_more_than_its_limit(asked: list[tuple[str, int, int]]) -> None:
    """Whatever is asked when: the answered weight of a pool and window is within the limit, and refusals say why."""
    limits, now, answered = RequestLimits(), NOON, dict[Any, int]()
    for path, weight, wait in asked:
        now += wait
        charge, pool = limits.charge(path, weight, now), pool_of(path)
        window = pool, now // pool.window_ms
        if charge.refusal is None:
            answered[window] = answered.get(window, 0) + weight
            assert set(charge.headers) == set(pool.headers)
        else:
            assert charge.refusal.status in {429, 418}
            assert charge.refusal.body["code"] == -1003
            assert charge.refusal.retry_after_s > 0
    assert all(weight <= pool.limit for (pool, _), weight in answered.items())


@given(requests)
def test_pools_do_not_know_each_other(asked: list[tuple[str, int, int]]) -> None:
    """Spot requests are answered alike whether futures requests come in between or not."""
    mixed, alone, now = RequestLimits(), RequestLimits(), NOON
    for path, weight, wait in asked:
        now += wait
        charge = mixed.charge(path, weight, now)
        if pool_of(path).host == "spot":
            assert charge == alone.charge(path, weight, now)


def test_who_waits_as_told_is_answered_again() -> None:
    for path, pool in PATHS.items():
        limits, now = RequestLimits(), NOON + 12_345
        assert limits.charge(path, pool.limit, now).refusal is None
        refusal = limits.charge(path, 1, now).refusal
        assert refusal is not None
        assert refusal.status == 429
        wait_ms = pool.window_ms - now % pool.window_ms
        assert wait_ms <= refusal.retry_after_s * 1000 <= wait_ms + 1000
        assert limits.charge(path, 1, now + wait_ms - 1).refusal is not None
        assert limits.charge(path, 1, now + refusal.retry_after_s * 1000).refusal is None


def test_who_goes_on_is_banned_each_time_for_longer() -> None:
    limits, now, spans = RequestLimits(), NOON, []
    for _ in range(14):
        assert limits.charge(KLINES, FUTURES.limit, now).refusal is None
        statuses = [limits.charge(TIME, 1, now).refusal.status for _ in range(PATIENCE + 1)]  # type: ignore[union-attr]
        assert statuses == [429] * PATIENCE + [418]
        refusal = limits.charge("/fapi/v1/fundingRate", 1, now).refusal
        assert refusal is not None
        assert refusal.status == 418, "the ban is of the address"
        until = int(refusal.body["msg"].rpartition("until ")[2].rstrip("."))
        assert until <= now + refusal.retry_after_s * 1000 <= until + 1000
        assert limits.charge(SPOT_TIME, 1, now).refusal is None, "another host"
        assert limits.charge(TIME, 1, until - 1).refusal is not None
        spans.append(until - now)
        now = until - until % MINUTE_MS + MINUTE_MS
    assert spans[:3] == [2 * MINUTE_MS, 4 * MINUTE_MS, 8 * MINUTE_MS]
    assert spans[-1] == 3 * DAY_MS


def test_orders_are_counted_by_account() -> None:
    limits, (minute, seconds) = RequestLimits(), ORDER_RULES
    for at in range(0, 40_000, 10_000):
        for number in range(1, seconds.limit + 1):
            charge = limits.charge_order("main", NOON + at)
            assert charge.refusal is None
            assert charge.headers[seconds.header] == str(number)
        assert limits.charge_order("main", NOON + at).refusal is not None
        assert limits.charge_order("other", NOON + at).refusal is None
    refusal = limits.charge_order("main", NOON + 50_000).refusal
    assert refusal is not None, f"{minute.limit} in the minute"
    assert (refusal.status, refusal.body["code"], refusal.retry_after_s) == (429, -1015, 11)
    assert limits.charge_order("main", NOON + MINUTE_MS).refusal is None


def test_the_exchange_says_the_limits_it_keeps() -> None:
    routes = PublicRoutes(TAPE)
    for path, pool, rules in (("/fapi/v1/exchangeInfo", FUTURES, ORDER_RULES), ("/api/v3/exchangeInfo", SPOT, ())):
        said = routes.table[path]({}, NOON)
        assert isinstance(said, dict)
        listed = [(r["rateLimitType"], r["interval"], r["intervalNum"], r["limit"]) for r in said["rateLimits"]]
        weight = ("REQUEST_WEIGHT", "MINUTE", 1, pool.limit)
        assert listed == [weight, *(("ORDERS", rule.interval, rule.number, rule.limit) for rule in rules)]


class Caller:
    """Raw requests to a venue, signed where they need be: (status, headers, JSON)."""

    def __init__(self, session: aiohttp.ClientSession, url: str, clock: VirtualClock) -> None:
        self.session, self.url, self.clock = session, url, clock

    async def get(self, path: str, **query: Any) -> tuple[int, Any, Any]:
        async with self.session.get(self.url + path, params=query) as reply:
            return reply.status, reply.headers, await reply.json()

    async def signed(self, method: str, path: str, **parameters: Any) -> tuple[int, Any, Any]:
        text = urlencode({**parameters, "timestamp": self.clock.now_ms()})
        text += "&signature=" + hmac.new(b"sim-secret", text.encode(), hashlib.sha256).hexdigest()
        url = f"{self.url}{path}" + (f"?{text}" if method != "POST" else "")
        sent = {"data": text} if method == "POST" else {}
        kind = {"X-MBX-APIKEY": "sim-key", "Content-Type": "application/x-www-form-urlencoded"}
        async with self.session.request(method, url, headers=kind, **sent) as reply:
            return reply.status, reply.headers, await reply.json()

    async def buy(self) -> tuple[int, Any, Any]:
        order = {"symbol": "ETHUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.1"}
        return await self.signed("POST", "/fapi/v1/order", **order)


def served(work: Any, at_ms: int = NOON) -> Any:
    clock = VirtualClock(at_ms)

    async def main() -> Any:
        async with FaultyVenue(TAPE, clock) as venue, aiohttp.ClientSession() as session:
            with clock.held():
                return await work(Caller(session, venue.url, clock), venue)

    return run_virtual(main, clock)


def test_private_requests_pay_too_and_an_order_beyond_the_limit_is_not_executed() -> None:
    async def work(caller: Caller, venue: FaultyVenue) -> None:
        status, headers, _ = await caller.signed("GET", "/fapi/v3/account")
        assert (status, headers["X-MBX-USED-WEIGHT-1M"]) == (200, "5")
        status, headers, _ = await caller.buy()
        assert (status, headers["X-MBX-USED-WEIGHT-1M"]) == (200, "6")
        assert (headers["X-MBX-ORDER-COUNT-10S"], headers["X-MBX-ORDER-COUNT-1M"]) == ("1", "1")
        held = venue.account().position("ETHUSDT").amount
        assert held > 0
        for _ in range((FUTURES.limit - 6) // 30):
            status, headers, _ = await caller.signed("GET", "/fapi/v1/income")
            assert status == 200
        while int(headers["X-MBX-USED-WEIGHT-1M"]) < FUTURES.limit:
            _, headers, _ = await caller.get(TIME)
        for private in (caller.buy, lambda: caller.signed("GET", "/fapi/v3/positionRisk")):
            status, headers, reply = await private()
            assert (status, reply["code"]) == (429, -1003)
            assert int(headers["Retry-After"]) > 0
        assert venue.account().position("ETHUSDT").amount == held
        assert (await caller.get(SPOT_TIME))[0] == 200
        caller.clock.elapsed_s += 60
        status, headers, _ = await caller.buy()
        assert (status, headers["X-MBX-USED-WEIGHT-1M"]) == (200, "1")
        assert venue.account().position("ETHUSDT").amount == 2 * held

    served(work)


def test_a_refusal_by_the_exchange_says_what_was_used() -> None:
    async def work(caller: Caller, _: FaultyVenue) -> None:
        for path, headers in (("/fapi/v1/klines", FUTURES.headers), ("/api/v3/klines", SPOT.headers)):
            status, got, reply = await caller.get(path, symbol="NOPE", interval="1m", limit=1000)
            assert (status, reply["code"]) == (400, -1121)
            assert [got[name] for name in headers] == [str(request_weight(path, {"limit": 1000}))] * len(headers)

    served(work)


def test_bulk_routes_are_limited_over_the_network() -> None:
    async def work(caller: Caller, _: FaultyVenue) -> None:
        for path, pool in (("/fapi/v1/fundingInfo", FUNDING), ("/futures/data/openInterestHist", FUTURES_DATA)):
            query = {"symbol": "ETHUSDT", "period": "1d"}
            statuses = [(await caller.get(path, **query))[0] for _ in range(pool.limit + 1)]
            assert statuses == [200] * pool.limit + [429]
            assert (await caller.get(TIME))[0] == 200

    served(work)


def test_a_ban_is_told_over_the_network() -> None:
    async def work(caller: Caller, _: FaultyVenue) -> None:
        spent = {"symbol": "ETHUSDT", "interval": "1m", "limit": 1500}
        while (await caller.get(KLINES, **spent))[0] == 200:
            pass
        for _ in range(PATIENCE - 1):
            assert (await caller.get(TIME))[0] == 429
        status, headers, reply = await caller.get(TIME)
        assert (status, reply["code"], headers["Retry-After"]) == (418, -1003, "121")
        assert f"banned until {NOON + 2 * MINUTE_MS}" in reply["msg"]
        assert (await caller.signed("GET", "/fapi/v3/account"))[0] == 418

    served(work)
