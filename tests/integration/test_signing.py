"""Nothing signed leaves for a host at which this mode does not trade; what arrives is recorded by real loopback hosts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from support.hosts.recording_host import SYMBOL, KeepingHost, later, refusal, rights

from trader_cli.core.errors import ConfigurationError, ExchangeUnavailable, RateLimited, TraderError
from trader_cli.core.money.orders import NotPlaced, OrderRequest, Placed, StopRequest, Unknown
from trader_cli.exchange.account.broker import BinanceBroker
from trader_cli.exchange.binance import BinanceExchange
from trader_cli.exchange.connection.signing_gate import (
    DEMO_HOSTS,
    REAL_HOSTS,
    SigningGate,
    SigningRefused,
    origin_of,
    signing_origins,
    tells_key_rights,
)
from trader_cli.exchange.paper_exchange import PaperExchange
from trader_cli.settings import as_settings

pytestmark = pytest.mark.slow

KEYS = {"api_key": "a-real-key", "api_secret": "a-real-secret"}
ENVIRONMENT = {f"TRADER_BINANCE_EXCHANGE__{name.upper()}": value for name, value in KEYS.items()}
RIGHTS = "/sapi/v1/account/apiRestrictions"
ORDER = "/fapi/v1/order"
Work = Callable[[BinanceExchange, KeepingHost], Awaitable[Any]]


def opening(client_id: str = "in") -> OrderRequest:
    return OrderRequest(client_id, SYMBOL, "BUY", Decimal(1))


def closing(client_id: str = "out") -> OrderRequest:
    return OrderRequest(client_id, SYMBOL, "SELL", Decimal(1), reduce_only=True)


def at_host(work: Work, mode: str | None = "demo", *, protection: bool = False, **options: Any) -> Any:
    """Run `work` with an exchange at a host that keeps what arrives; mode None: what the environment says."""

    async def main() -> Any:
        async with KeepingHost() as host:
            asked = {"base_url": host.url, "max_retries": 0, "timeout": 5, **options}
            exchange = BinanceExchange({"binance_exchange": asked} | ({"mode": mode} if mode else {}))
            await exchange.initialize(protection=protection)
            try:
                return await work(exchange, host)
            finally:
                await exchange.close()

    return asyncio.run(main())


async def everything(side: BinanceBroker) -> None:
    """Every signed request there is, whatever becomes of it."""
    stop = StopRequest("stop", SYMBOL, "SELL", "stop", Decimal(1900))
    for ask in (
        side.account,
        side.positions,
        side.hedge_mode,
        side.key_rights,
        lambda: side.brackets(SYMBOL),
        lambda: side.margin_settings(SYMBOL),
        lambda: side.trades(SYMBOL),
        lambda: side.income(0),
        lambda: side.place(opening()),
        lambda: side.place(closing()),
        lambda: side.place_stop(stop),
        lambda: side.order(SYMBOL, "a"),
        lambda: side.open_orders(SYMBOL),
        lambda: side.open_stops(SYMBOL),
        lambda: side.past_orders(SYMBOL),
        lambda: side.past_stops(SYMBOL),
        lambda: side.cancel(SYMBOL, "a"),
        lambda: side.cancel_stop(SYMBOL, "a"),
    ):
        try:
            await ask()
        except TraderError:
            continue


@pytest.mark.parametrize("explicit", [True, False])
def test_paper_signs_nothing_whatever_the_environment_holds(
    explicit: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in {**ENVIRONMENT, "TRADER_STATE_DIR": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)

    async def work(exchange: BinanceExchange, host: KeepingHost) -> None:
        await everything(exchange.private)
        await everything(exchange.protection)
        assert host.signed == []
        assert [kept.method for kept in host.kept if kept.method != "GET"] == []

    at_host(work, "paper" if explicit else None)
    assert list(tmp_path.rglob("*paper*")), "the account lies where the command line keeps it"


def test_the_paper_exchange_signs_nothing_even_where_the_mode_is_live() -> None:
    async def main() -> None:
        async with KeepingHost() as host:
            exchange = PaperExchange({"mode": "live", "binance_exchange": {**KEYS, "base_url": host.url}})
            await exchange.initialize()
            await everything(exchange.private)
            await exchange.close()
            assert host.signed == []

    asyncio.run(main())


@pytest.mark.parametrize(("profile", "mode"), [("live", "live"), ("demo", "demo"), ("paper", "paper"), ("", "paper")])
def test_the_library_honours_the_profile(profile: str, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADER_PROFILE", profile)
    assert as_settings({}).mode == mode
    assert BinanceExchange({}).settings.binance_exchange.use_testnet == (mode == "demo")
    assert as_settings({"mode": "paper"}).mode == "paper"
    monkeypatch.setenv("TRADER_MODE", mode)
    assert as_settings({}).mode == mode


@pytest.mark.parametrize("keys", [KEYS, {"api_key": "sim-key", "api_secret": "sim-secret"}])
@pytest.mark.parametrize("opened", [True, False])
def test_sim_signs_with_its_own_keys_for_the_venue_that_was_opened(keys: dict[str, str], opened: bool) -> None:
    async def main() -> None:
        async with KeepingHost() as host, KeepingHost() as other:
            config = {"mode": "sim", "binance_exchange": {**keys, "base_url": host.url, "max_retries": 0}}
            exchange = BinanceExchange(config, venue_url=host.url if opened else None)
            await exchange.initialize()
            await everything(exchange.private)
            await everything(exchange.protection)
            await exchange.close()
            assert bool(host.signed) == (opened and keys["api_key"] == "sim-key")
            assert {kept.key for kept in host.signed} <= {"sim-key"}
            assert other.kept == []

    asyncio.run(main())


def test_a_venue_that_is_not_on_loopback_gets_nothing() -> None:
    options = as_settings({"mode": "sim"}).binance_exchange
    assert signing_origins("sim", options, "https://fapi.binance.com") == frozenset()
    assert signing_origins("sim", options, "http://127.0.0.1:81") == {("http", "127.0.0.1", 81)}
    assert signing_origins("sim", options, "http://127.0.0.1.example.org") == frozenset()
    assert signing_origins("sim", options) == frozenset()


@pytest.mark.parametrize(
    ("mode", "options", "hosts", "rights_count"),
    [
        ("live", {}, REAL_HOSTS, True),
        ("live", {"base_url": "https://other.example"}, ("https://other.example:443",), True),
        ("demo", {"use_testnet": True}, DEMO_HOSTS, False),
        ("demo", {"base_url": "https://demo-fapi.binance.com"}, DEMO_HOSTS[:1], False),
        ("demo", {"base_url": "http://127.0.0.1:9"}, ("http://127.0.0.1:9",), True),
        ("demo", {"base_url": "https://fapi.binance.com"}, REAL_HOSTS[:1], True),
        ("paper", {}, (), False),
        ("paper", {"base_url": "https://fapi.binance.com"}, (), False),
    ],
)
def test_where_each_mode_signs(mode: str, options: dict[str, Any], hosts: tuple[str, ...], rights_count: bool) -> None:
    settings = as_settings({"mode": mode, "binance_exchange": options})
    assert signing_origins(settings.mode, settings.binance_exchange) == {origin_of(host) for host in hosts}
    assert tells_key_rights(settings.mode, settings.binance_exchange) == rights_count


def point_elsewhere(exchange: BinanceExchange, url: str) -> None:
    """What a mistake in the client could do."""
    from trader_cli.exchange.connection.client import point_at

    for lane in (exchange._connection._lane, exchange._connection.protection_lane):
        assert lane
        point_at(lane._client, url)


def test_bytes_for_another_host_do_not_leave() -> None:
    async def work(exchange: BinanceExchange, host: KeepingHost) -> None:
        async with KeepingHost() as other:
            point_elsewhere(exchange, other.url)
            for side in (exchange.private, exchange.protection):
                with pytest.raises(SigningRefused, match="was stopped"):
                    await side.positions()
                with pytest.raises(SigningRefused):
                    await side.place(closing())
            assert other.kept == []
            point_elsewhere(exchange, host.url.replace("127.0.0.1", "localhost"))
            with pytest.raises(SigningRefused):
                await exchange.protection.positions()
        assert host.signed == []

    at_host(work, **KEYS)


def test_a_signature_is_seen_in_header_query_and_body() -> None:
    from trader_cli.exchange.connection.client import make_session

    async def main() -> None:
        async with KeepingHost() as host:
            gate = SigningGate(frozenset(), lambda _method, _path: 0.0)
            async with make_session(gate=gate) as session:
                assert (await session.get(f"{host.url}/fapi/v1/time")).status == 200
                for method, extra in (
                    ("GET", {"headers": {"x-mbx-apikey": "k"}}),
                    ("GET", {"params": {"signature": "s"}}),
                    ("POST", {"data": b"a=1&signature=s"}),
                    ("POST", {"data": "signature=s"}),
                ):
                    with pytest.raises(SigningRefused):
                        await session.request(method, f"{host.url}{ORDER}", **extra)
                with pytest.raises(SigningRefused, match="no proxy"):
                    await session.get("http://example.invalid/", proxy=host.url)
            assert host.signed == []
            assert len(host.kept) == 1

    asyncio.run(main())


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("home", [True, False])
def test_redirects_are_not_followed(status: int, home: bool) -> None:
    async def work(exchange: BinanceExchange, host: KeepingHost) -> None:
        async with KeepingHost() as other:
            to = f"{(host if home else other).url}/elsewhere"
            answer = lambda _: web.Response(status=status, headers={"Location": to})  # noqa: E731
            host.answers |= {f"GET {path}": answer for path in ("/fapi/v3/positionRisk", "/fapi/v1/ticker/24hr")}
            host.answers["POST " + ORDER] = answer
            for side in (exchange.private, exchange.protection):
                with pytest.raises(ExchangeUnavailable):
                    await side.positions()
                assert isinstance(await side.place(closing()), Unknown)
            with pytest.raises(ExchangeUnavailable):
                await exchange.get_ticker(SYMBOL)
            assert other.kept == []
            assert host.asked("/elsewhere") == []

    at_host(work, **KEYS)


@pytest.mark.parametrize("name", ["httpProxy", "httpsProxy", "aiohttp_proxy", "proxyUrl", "socksProxy"])
def test_no_proxy_gets_anything(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(exchange: BinanceExchange, host: KeepingHost) -> None:
        async with KeepingHost() as proxy:
            for variable in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
                monkeypatch.setenv(variable, proxy.url)
            assert await exchange.protection.positions() == []
            assert proxy.kept == []
            lane = exchange._connection.protection_lane
            setattr(lane._client, name, proxy.url)
            asked = len(host.kept)
            with pytest.raises(SigningRefused, match="no proxy"):
                await exchange.protection.positions()
            assert (proxy.kept, len(host.kept)) == ([], asked)

    at_host(work, **KEYS)


# --- what a key may do ---


@pytest.mark.parametrize("lane", ["private", "protection"])
def test_nothing_is_opened_with_a_key_that_can_withdraw_or_of_which_nothing_is_known(lane: str) -> None:
    async def work(exchange: BinanceExchange, host: KeepingHost) -> None:
        side: BinanceBroker = getattr(exchange, lane)
        host.answers["GET " + RIGHTS] = lambda _: rights(withdraw=True)
        with pytest.raises(ConfigurationError, match="can withdraw"):
            await side.place(opening())
        host.answers["GET " + RIGHTS] = lambda _: refusal(-1000, "busy", 503)
        with pytest.raises(ExchangeUnavailable):
            await side.place(opening())
        host.answers["GET " + RIGHTS] = lambda _: {
            "enableFutures": False,
            "enableWithdrawals": False,
            "ipRestrict": True,
        }
        with pytest.raises(ConfigurationError, match="cannot trade"):
            await side.place(opening())
        assert host.asked(ORDER, "POST") == []
        asked = len(host.asked(RIGHTS))
        assert isinstance(await side.place(closing()), Placed)
        assert len(host.asked(RIGHTS)) == asked, "what reduces does not ask"

    at_host(work, **KEYS)


def test_rights_are_asked_once_for_both_sides_and_again_after_a_quarter_of_an_hour() -> None:
    async def work(exchange: BinanceExchange, host: KeepingHost) -> None:
        for number, side in enumerate((exchange.private, exchange.protection, exchange.private)):
            assert isinstance(await side.place(opening(str(number))), Placed)
        assert len(host.asked(RIGHTS)) == 1
        real, later_ms = exchange.clock.monotonic_ms, 15 * 60_000 + 1
        exchange.clock.monotonic_ms = lambda: real() + later_ms  # type: ignore[method-assign]
        await exchange.protection.place(opening("late"))
        assert len(host.asked(RIGHTS)) == 2

    at_host(work, **KEYS)


def test_what_reduces_waits_for_no_check() -> None:
    async def work(exchange: BinanceExchange, host: KeepingHost) -> None:
        host.answers["GET " + RIGHTS] = later(3, rights())
        entering = asyncio.create_task(exchange.private.place(opening()))
        await asyncio.sleep(0.05)
        assert isinstance(await asyncio.wait_for(exchange.protection.place(closing()), 1), Placed)
        assert not entering.done()
        entering.cancel()

    at_host(work, **KEYS)


# --- the lane of care, at a real host ---


def test_a_hundred_slow_reads_do_not_delay_care() -> None:
    async def work(exchange: BinanceExchange, host: KeepingHost) -> None:
        host.answers["GET /fapi/v1/ticker/24hr"] = later(1.5, {"lastPrice": "1"})
        reads = [asyncio.create_task(exchange.get_ticker(SYMBOL)) for _ in range(100)]
        await asyncio.sleep(0.1)
        began = asyncio.get_running_loop().time()
        assert await exchange.protection.positions() == []
        assert isinstance(await exchange.protection.place(closing()), Placed)
        assert asyncio.get_running_loop().time() - began < 0.7
        assert not any(read.done() for read in reads)
        for read in reads:
            read.cancel()
        await asyncio.gather(*reads, return_exceptions=True)

    at_host(work, **KEYS)


def test_fifty_slow_looks_of_care_do_not_delay_its_next_order() -> None:
    async def work(exchange: BinanceExchange, host: KeepingHost) -> None:
        host.answers["GET /fapi/v3/positionRisk"] = later(1.5, [])
        looks = [asyncio.create_task(exchange.protection.positions()) for _ in range(50)]
        await asyncio.sleep(0.2)
        assert isinstance(await asyncio.wait_for(exchange.protection.place(closing()), 0.8), Placed)
        assert await asyncio.gather(*looks) == [[]] * 50, "a late answer is still read"

    at_host(work, **KEYS)


@pytest.mark.parametrize("lane", ["private", "protection"])
def test_an_error_says_whether_anything_answered(lane: str) -> None:
    async def work(exchange: BinanceExchange, host: KeepingHost) -> None:
        side: BinanceBroker = getattr(exchange, lane)
        answers: dict[str, tuple[Any, bool]] = {
            "busy": (lambda _: web.Response(text="busy", status=503), True),
            "garbled": (lambda _: web.Response(text="<html>"), True),
            "internal": (lambda _: refusal(-1001, "Internal error.", 500), True),
            "limited": (lambda _: refusal(-1003, "Too many.", 429, **{"Retry-After": "0"}), True),
            "no key": (lambda _: refusal(-2015, "Invalid API-key.", 401), True),
            "late": (later(9, []), False),
        }
        for name, (answer, answered) in answers.items():
            host.answers["GET /fapi/v3/positionRisk"] = answer
            with pytest.raises(TraderError) as failed:
                await side.positions()
            assert failed.value.answered == answered, name
        await host.__aexit__(None, None, None)
        with pytest.raises(ExchangeUnavailable) as failed:
            await side.positions()
        assert not failed.value.answered

    at_host(work, timeout=1, **KEYS)


def test_care_asks_once() -> None:
    async def work(exchange: BinanceExchange, host: KeepingHost) -> None:
        host.answers["GET /fapi/v3/positionRisk"] = lambda _: web.Response(text="busy", status=503)
        with pytest.raises(ExchangeUnavailable):
            await exchange.protection.positions()
        assert len(host.asked("/fapi/v3/positionRisk")) == 1
        with pytest.raises(ExchangeUnavailable):
            await exchange.private.positions()
        assert len(host.asked("/fapi/v3/positionRisk")) == 4

    at_host(work, max_retries=2, **KEYS)


@pytest.mark.parametrize(
    ("status", "body", "seconds"),
    [
        (429, {"code": -1003, "msg": "Too many requests."}, 1),
        (418, {"code": -1003, "msg": "banned"}, 1),
        (400, {"code": -1003, "msg": "Too much request weight used."}, 1),
        (403, "<html>Forbidden</html>", 1),
    ],
)
def test_while_frozen_nothing_is_sent_and_one_order_goes_first(status: int, body: Any, seconds: int) -> None:
    async def work(exchange: BinanceExchange, host: KeepingHost) -> None:
        wait = {"Retry-After": str(seconds)}
        host.answers["POST " + ORDER] = lambda _: (
            web.Response(text=body, status=status, headers=wait, content_type="text/html")
            if isinstance(body, str)
            else web.json_response(body, status=status, headers=wait)
        )
        assert exchange.frozen_s() == 0
        assert isinstance(await exchange.protection.place(closing()), NotPlaced)
        assert 0 < exchange.frozen_s() <= seconds
        asked = len(host.kept)
        reads = [asyncio.create_task(exchange.get_ticker(SYMBOL)) for _ in range(5)]
        for _ in range(5):
            with pytest.raises(RateLimited):
                await exchange.protection.positions()
            assert isinstance(await exchange.protection.place(closing()), NotPlaced)
            await asyncio.sleep(0.1)
        assert len(host.kept) == asked
        del host.answers["POST " + ORDER]
        await exchange.clock.sleep(exchange.frozen_s() + 0.01)
        await exchange.protection.place(closing())
        await asyncio.gather(*reads, return_exceptions=True)
        after = host.kept[asked:]
        assert after[0].method == "POST"
        assert len(after) == 6

    at_host(work, **KEYS)


def test_a_request_that_waits_for_a_connection_does_not_leave_into_a_freeze() -> None:
    async def work(exchange: BinanceExchange, host: KeepingHost) -> None:
        host.answers["GET /fapi/v1/ticker/24hr"] = later(0.6, {"lastPrice": "1"})
        host.answers["POST " + ORDER] = lambda _: refusal(-1003, "Too many requests.", 429, **{"Retry-After": "9"})
        reads = [asyncio.create_task(exchange.get_ticker(SYMBOL)) for _ in range(40)]
        await asyncio.sleep(0.2)
        await exchange.protection.place(closing())
        asked = len(host.kept)
        done, _ = await asyncio.wait(reads, timeout=1.5)
        assert len(host.kept) == asked
        assert sum(isinstance(read.exception(), RateLimited) for read in done) == 24
        for read in reads:
            read.cancel()

    at_host(work, **KEYS)


def test_too_many_orders_stop_new_ones_only() -> None:
    async def work(exchange: BinanceExchange, host: KeepingHost) -> None:
        honest = host.answers["POST " + ORDER]
        host.answers["POST " + ORDER] = lambda _: refusal(-1015, "Too many new orders.", 429, **{"Retry-After": "1"})
        refused = await exchange.protection.place(opening())
        assert isinstance(refused, NotPlaced)
        assert refused.code == -1015
        assert exchange.frozen_s() == 0
        assert 0 < exchange.orders_held_s() <= 1
        host.answers["POST " + ORDER] = honest
        sent = len(host.asked(ORDER, "POST"))
        for side in (exchange.private, exchange.protection):
            held = await side.place(opening())
            assert isinstance(held, NotPlaced)
            assert held.code == -1015
        assert len(host.asked(ORDER, "POST")) == sent
        assert await exchange.protection.positions() == []
        assert isinstance(await exchange.protection.place(closing()), Placed)
        await asyncio.sleep(exchange.orders_held_s() + 0.01)
        assert isinstance(await exchange.protection.place(opening()), Placed)

    at_host(work, **KEYS)


@pytest.mark.parametrize("path", ["/futures/data/openInterestHist", "/fapi/v1/fundingRate", RIGHTS])
def test_a_limit_of_another_pool_or_host_stops_nothing_of_care(path: str) -> None:
    async def work(exchange: BinanceExchange, host: KeepingHost) -> None:
        host.answers["GET " + path] = lambda _: refusal(-1003, "Too many requests.", 429, **{"Retry-After": "99"})
        ask = {
            "/fapi/v1/fundingRate": lambda: exchange.get_funding_rates(SYMBOL),
            "/futures/data/openInterestHist": lambda: exchange.get_open_interest_history(SYMBOL, "5m", 0, 10**13),
            RIGHTS: exchange.private.key_rights,
        }[path]
        with pytest.raises(RateLimited):
            await ask()
        assert exchange.frozen_s() == 0
        assert await exchange.protection.positions() == []
        assert isinstance(await exchange.protection.place(closing()), Placed)

    at_host(work, **KEYS)
