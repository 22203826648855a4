"""What a failed request says: never a key, a signature or a query; and what each refusal stops."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trader_cli.core.errors import ExchangeRejected, ExchangeUnavailable, RateLimited, TooManyOrders
from trader_cli.exchange.connection.error_table import scrubbed, translate
from trader_cli.exchange.connection.replies import shown
from trader_cli.exchange.connection.weight_budget import RequestBudget
from trader_cli.venue.clocks import VirtualClock, run_virtual

KEY, SECRET = "kEy0123456789abcdefKEY", "sEcret9876543210SECRET"
SIGNED = "timestamp=1700000000000&recvWindow=5000&symbol=ETHUSDT&signature=deadbeef0123"
URL = f"https://fapi.binance.com/fapi/v1/order?{SIGNED}"
TELLTALE = re.compile(r"signature=|deadbeef|recvWindow=|\?\w+=", re.IGNORECASE)
FUTURES, DATA, FUNDING, SPOT = (
    "/fapi/v1/order",
    "/futures/data/openInterestHist",
    "/fapi/v1/fundingRate",
    "/api/v3/time",
)


def kinds() -> dict[str, Exception]:
    """Everything ccxt and aiohttp raise, with the words they put into it."""
    import aiohttp
    import ccxt
    import yarl
    from aiohttp.client_reqrep import ConnectionKey, RequestInfo
    from multidict import CIMultiDict, CIMultiDictProxy

    words = (
        f"binanceusdm GET {URL}",
        f"binanceusdm POST https://fapi.binance.com/fapi/v1/order 503 Busy {SIGNED}",
        f'binanceusdm {{"code":-1102,"msg":"echo {SIGNED}"}}',
        f"headers {{'X-MBX-APIKEY': '{KEY}', 'Accept': '*/*'}}",
        f"key {KEY} and {SECRET}",
        f"/fapi/v1/order?{SIGNED}",
        "{'signature': 'deadbeef0123'}",
    )
    found = [kind for kind in vars(ccxt).values() if isinstance(kind, type) and issubclass(kind, ccxt.BaseError)]
    made: dict[str, Exception] = {
        f"{kind.__name__} {number}": kind(text) for kind in found for number, text in enumerate(words)
    }
    info = RequestInfo(yarl.URL(URL), "GET", CIMultiDictProxy(CIMultiDict({"X-MBX-APIKEY": KEY})), yarl.URL(URL))
    at = ConnectionKey("fapi.binance.com", 443, True, True, None, None, None)
    theirs: list[Exception] = [
        aiohttp.InvalidURL(URL),
        aiohttp.ClientResponseError(info, (), status=302, message=URL),
        aiohttp.TooManyRedirects(info, ()),
        aiohttp.ContentTypeError(info, (), message=URL),
        aiohttp.ClientConnectorError(at, OSError(111, f"refused {URL}")),
        aiohttp.ServerDisconnectedError(URL),
        aiohttp.ClientPayloadError(URL),
        aiohttp.ClientOSError(104, URL),
        aiohttp.ServerTimeoutError(URL),
        TimeoutError(URL),
        ValueError(f"bad {SIGNED}"),
        aiohttp.ClientError(),
    ]
    return made | {f"{type(error).__name__} {number}": error for number, error in enumerate(theirs)}


def test_no_sentence_holds_a_signature_a_key_or_a_query() -> None:
    said = kinds()
    assert len(said) > 100
    for name, error in said.items():
        for status in (None, 302, 403, 418, 429, 503):
            meant = translate(error, {}, status=status, secrets=(KEY, SECRET))
            assert not TELLTALE.search(str(meant)), (name, str(meant))
            assert KEY not in str(meant), name
            assert SECRET not in str(meant), name
            assert len(meant.sentence) > 20


@given(st.text(max_size=40), st.text(max_size=40))
def test_a_signed_url_is_cut_out_of_any_words_around_it(before: str, after: str) -> None:
    assert "deadbeef" not in scrubbed(f"{before} {URL} {after}")
    assert "deadbeef" not in scrubbed(f"{before} {SIGNED} {after}")


def test_a_reply_that_repeats_the_request_is_not_repeated() -> None:
    assert "deadbeef" not in shown(f"you asked {URL}")


def limited(body: str, status: int, headers: dict[str, str] | None = None) -> Any:
    import ccxt

    return translate(ccxt.ExchangeError(f"binanceusdm {body}"), headers, status=status, now_ms=1_000_000_000_000)


def test_what_the_exchange_says_is_shown_as_words_and_code() -> None:
    said = limited('{"code":-1121,"msg":"Invalid symbol."}', 400).sentence
    assert said == "The exchange rejected the request: Invalid symbol (-1121)."


def test_what_each_limit_means() -> None:
    ban = '{"code":-1003,"msg":"Way too many requests; IP(1.2.3.4) banned until 1000000042000. Please use"}'
    banned = limited(ban, 418)
    assert isinstance(banned, RateLimited)
    assert (banned.retry_after_s, banned.banned) == (42, True)
    assert limited(ban, 418, {"Retry-After": "60"}).retry_after_s == 60
    assert limited(ban, 418, {"retry-after": "7"}).retry_after_s == 42
    many = limited('{"code":-1003,"msg":"Too many requests."}', 429, {"Retry-After": "5"})
    assert (many.retry_after_s, many.banned) == (5, False)
    assert limited("too many", 429).retry_after_s == 30
    assert isinstance(limited("<html>403 Forbidden</html>", 403), RateLimited)
    assert not isinstance(limited('{"code":-2011,"msg":"Unknown order"}', 403), RateLimited)
    orders = limited('{"code":-1015,"msg":"Too many new orders."}', 429, {"Retry-After": "3"})
    assert isinstance(orders, TooManyOrders)
    assert isinstance(orders, ExchangeRejected)
    assert not isinstance(orders, ExchangeUnavailable)
    assert (orders.code, orders.retry_after_s) == (-1015, 3)


@pytest.mark.parametrize(
    ("refused", "banned", "stopped"),
    [
        (FUTURES, False, {FUTURES, DATA, FUNDING}),
        (FUTURES, True, {FUTURES, DATA, FUNDING}),
        (DATA, False, {DATA}),
        (FUNDING, False, {FUNDING}),
        (DATA, True, {FUTURES, DATA, FUNDING}),
        (SPOT, False, {SPOT}),
        (SPOT, True, {SPOT}),
    ],
)
def test_a_limit_stops_its_host_or_its_pool_and_no_other(refused: str, banned: bool, stopped: set[str]) -> None:
    clock = VirtualClock(0)
    budget = RequestBudget(clock, 1.0, clock.now_ms)
    budget.freeze(9, refused, banned=banned)
    assert {path for path in (FUTURES, DATA, FUNDING, SPOT) if budget.frozen_s(path)} == stopped


def test_a_freeze_is_over_when_its_time_is_over_and_reads_wait_half_a_second_more() -> None:
    clock = VirtualClock(0)
    budget = RequestBudget(clock, 1.0, lambda: clock.now_ms() + clock.monotonic_ms() * 1000)  # a clock gone mad

    async def work() -> None:
        budget.freeze(7, FUTURES)
        await asyncio.sleep(6.9)
        assert budget.frozen_s(FUTURES) == pytest.approx(0.1)
        assert budget.settling_s(FUTURES) == 0
        await asyncio.sleep(0.1)
        assert budget.frozen_s(FUTURES) == 0
        assert budget.settling_s(FUTURES) == 0.5
        await asyncio.sleep(0.5)
        assert budget.settling_s(FUTURES) == 0

    run_virtual(work, clock)


def test_care_takes_what_is_left_and_is_told_where_nothing_is() -> None:
    clock = VirtualClock(10_000)

    async def work() -> None:
        budget = RequestBudget(clock, 0.1, clock.now_ms)
        for _ in range(240):
            await budget.spend(FUTURES, {})
        waiting = asyncio.create_task(budget.spend("/fapi/v1/klines", {}))
        await asyncio.sleep(0)
        for _ in range(2160):
            budget.take(FUTURES, {})
        with pytest.raises(RateLimited, match="50 s"):
            budget.take(FUTURES, {})
        budget.take(FUTURES, {}, free=True)
        assert not waiting.done()
        waiting.cancel()

    run_virtual(work, clock)
