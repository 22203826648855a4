"""`BinanceExchange` through the unmodified ccxt client, against the venue on loopback."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from aiohttp import web
from support.hosts.tape_host import Bend, playing_now, serving

from trader_cli.core.errors import (
    ClockSkewed,
    ConfigurationError,
    DataInvalid,
    ExchangeRejected,
    ExchangeUnavailable,
    RateLimited,
    TraderError,
    UsageError,
)
from trader_cli.core.market.bars import aggregate_bars, with_close_time
from trader_cli.core.market.schemas import TIME
from trader_cli.core.market.timeframes import Timeframe
from trader_cli.exchange.binance import BinanceExchange
from trader_cli.exchange.connection.error_table import translate
from trader_cli.exchange.connection.venue_clock import LeasedClock, attach
from trader_cli.venue.clocks import DrivenClock, VirtualClock, run_virtual
from trader_cli.venue.server.server import VenueServer
from trader_cli.venue.simulated_market.synthetic import synthetic_tape
from trader_cli.venue.simulated_market.tape import Tape
from trader_cli.venue.simulated_market.tape_loading import load_tape

pytestmark = pytest.mark.slow

M1, M15 = Timeframe.parse("1m"), Timeframe.parse("15m")
KLINES = "/fapi/v1/klines"


@pytest.fixture(scope="module")
def tape() -> Tape:
    return synthetic_tape(("ETHUSDT",), 6, 0.5, 3)


def ask(url: str, work: Callable[[BinanceExchange], Awaitable[Any]], **options: Any) -> Any:
    """Connect to a served venue, run `work`, disconnect."""

    async def main() -> Any:
        exchange = BinanceExchange({"binance_exchange": {"base_url": url, "max_retries": 0, **options}})
        await exchange.initialize()
        try:
            return await work(exchange)
        finally:
            await exchange.close()

    return asyncio.run(main())


def in_sim(
    tape: Tape, at_ms: int, work: Callable[[BinanceExchange, VirtualClock], Awaitable[Any]], **options: Any
) -> Any:
    clock = VirtualClock(at_ms)

    async def main() -> Any:
        async with VenueServer(tape, clock) as venue:
            exchange = BinanceExchange({"binance_exchange": {"base_url": venue.url, **options}}, clock=clock)
            await exchange.initialize()
            try:
                return await work(exchange, clock)
            finally:
                await exchange.close()

    return run_virtual(main, clock)


@pytest.mark.parametrize("interval", ["1m", "15m", "4h"])
def test_bars_through_ccxt_equal_the_tapes_aggregation(tape: Tape, interval: str) -> None:
    timeframe, now = Timeframe.parse(interval), tape.end_ms - 90_000
    bars = in_sim(tape, now, lambda exchange, _: exchange.get_klines("ETHUSDT", interval, 10_000))
    symbol = tape.symbols["ETHUSDT"]
    minutes = pl.DataFrame(
        {
            "open_time": pl.Series(symbol.open_ms).cast(TIME),
            **{n: getattr(symbol, n) for n in ("open", "high", "low", "close", "volume")},
        }
    )
    minutes = with_close_time(minutes, M1)
    wanted = minutes if interval == "1m" else aggregate_bars(minutes, M1, timeframe)
    wanted = wanted.filter(pl.col("close_time").to_physical() < now)
    prices = ["open_time", "close_time", "open", "high", "low", "close"]
    assert bars.select(prices).equals(wanted.select(prices))
    assert (bars["volume"] - wanted["volume"].round(3)).abs().max() < 1e-9
    assert bars["trades"].null_count() == 0
    assert (bars["taker_buy_base"] <= bars["volume"] + 1e-9).all()


def test_every_public_read_gives_sensible_values(tape: Tape) -> None:
    async def all_reads(exchange: BinanceExchange, clock: VirtualClock) -> None:
        book = await exchange.get_order_book("ETHUSDT", 7)
        ticker = await exchange.get_ticker("ETHUSDT")
        trades = await exchange.get_agg_trades("ETHUSDT", 50)
        funding = await exchange.get_funding_rates("ETHUSDT", 5)
        premium = await exchange.get_premium_index("ETHUSDT")
        assert len(book["bids"]) == len(book["asks"]) == 7
        assert book["bids"][0][0] < ticker["last"] < book["asks"][0][0]
        assert trades.height == 50
        assert trades["price"][-1] == ticker["last"] == premium["mark_price"]
        assert int(trades["time"].to_physical()[-1]) <= clock.now_ms()
        assert funding.height == 5
        assert premium["next_funding_ms"] > clock.now_ms()
        assert await exchange.get_open_interest("ETHUSDT") > 0
        status = exchange.get_exchange_status()
        assert status["initialized"]
        assert status["used_weight"] > 0

    in_sim(tape, tape.at(0.6) + 123_456, all_reads)


def test_the_default_klines_are_the_last_closed_ones(tape: Tape) -> None:
    now = tape.at(0.6) + 7 * 60_000
    bars = in_sim(tape, now, lambda exchange, _: exchange.get_klines("ETHUSDT", "15m", 100))
    assert bars.height == 100
    assert int(bars["close_time"].to_physical()[-1]) == now - now % M15.ms - 1


def test_a_request_budget_waits_in_virtual_time_and_is_never_refused(tape: Tape) -> None:
    async def many(exchange: BinanceExchange, clock: VirtualClock) -> int:
        began = clock.now_ms()
        for _ in range(250):
            await exchange.get_klines("ETHUSDT", "1m", 501)
        return clock.now_ms() - began

    took = in_sim(tape, tape.at(0.6), many, weight_fraction=0.1)
    weight = 250 * 3
    assert weight // 240 * 60_000 <= took + 60_000
    assert took <= (weight // 240 + 1) * 60_000
    assert took > 0


def body_of(change: Callable[[list[Any]], object]) -> Bend:
    def bend(rows: Any) -> Any:
        if not rows:
            return rows
        change(rows)
        return rows

    return bend


def text(content: str, status: int = 200, kind: str = "text/html") -> Bend:
    return lambda _: web.Response(text=content, status=status, content_type=kind)


GARBLED: dict[str, tuple[Bend, type[TraderError], str]] = {
    "an HTML page": (text("<!DOCTYPE html><html>maintenance</html>"), ExchangeUnavailable, "an HTML page"),
    "an HTML page said to be JSON": (text("<html></html>", kind="application/json"), ExchangeUnavailable, "HTML"),
    "an empty body": (text("", kind="application/json"), ExchangeUnavailable, "nothing"),
    "an empty object": (lambda _: {}, ExchangeUnavailable, "nothing"),
    "an object": (lambda _: {"rows": []}, ExchangeUnavailable, "Expected a list of klines"),
    "truncated JSON": (text('[[1, "2"', kind="application/json"), ExchangeUnavailable, "answered"),
    "short rows": (body_of(lambda rows: rows.__setitem__(3, rows[3][:4])), ExchangeUnavailable, "Expected klines"),
    "words": (body_of(lambda rows: rows[3].__setitem__(1, "cheap")), ExchangeUnavailable, "Expected klines"),
    "a 503 page": (text("Service Unavailable", 503), ExchangeUnavailable, "503"),
    "a ban": (text('{"code":-1003,"msg":"Way too many requests"}', 418, "application/json"), RateLimited, "slow down"),
    "NaN": (body_of(lambda rows: rows[3].__setitem__(4, "NaN")), DataInvalid, "row 3 has a close that is not"),
    "a negative price": (
        body_of(lambda rows: rows[3].__setitem__(3, "-1")),
        DataInvalid,
        "row 3 has a low that is not",
    ),
    "a zero price": (body_of(lambda rows: rows[3].__setitem__(1, "0.0")), DataInvalid, "row 3 has a open that is not"),
    "a repeated bar": (body_of(lambda rows: rows.__setitem__(3, rows[2])), DataInvalid, "row 3 does not come after"),
}


@pytest.mark.parametrize("how", GARBLED)
def test_a_garbled_answer_is_an_error_and_never_data(tape: Tape, how: str) -> None:
    bend, kind, message = GARBLED[how]
    with serving(playing_now(tape), {KLINES: bend}) as url, pytest.raises(kind, match=message):
        ask(url, lambda exchange: exchange.get_klines("ETHUSDT", "15m", 50))


def test_the_unfinished_bar_is_dropped_even_when_it_comes_last(tape: Tape) -> None:
    now = playing_now(tape)

    def add_forming(rows: list[Any]) -> None:
        last = list(rows[-1])
        last[0], last[6] = last[0] + M15.ms, last[6] + M15.ms
        rows.append(last)

    with serving(now, {KLINES: body_of(add_forming)}) as url:
        bars = ask(url, lambda exchange: exchange.get_klines("ETHUSDT", "15m", 20))
    assert bars.height == 20
    assert int(bars["close_time"].to_physical()[-1]) < time.time() * 1000


@pytest.mark.parametrize("skew_ms", [30_000, -30_000])
def test_a_clock_that_is_off_is_refused(tape: Tape, skew_ms: int) -> None:
    side = "behind" if skew_ms > 0 else "ahead of"
    with serving(playing_now(tape), skew_ms=skew_ms) as url, pytest.raises(ClockSkewed, match=rf"(29|30)\.\d s {side}"):
        ask(url, lambda exchange: exchange.get_ticker("ETHUSDT"))


def test_an_allowed_skew_moves_us_to_the_exchanges_time(tape: Tape) -> None:
    with serving(playing_now(tape), skew_ms=-2_000) as url:
        lag = ask(url, _server_lag)
    assert -2_500 < lag < -1_500


async def _server_lag(exchange: BinanceExchange) -> float:
    return exchange.server_now_ms() - time.time() * 1000


def test_a_slow_way_to_the_exchange_never_makes_a_bar_close_early(tape: Tape) -> None:
    """Whatever the answer about the time took, our idea of the exchange's time is not ahead of it.

    The exchange's clock runs as ours that counts: a machine may correct its wall clock meanwhile.
    """
    began_ms = time.time() * 1000 - time.monotonic() * 1000

    def now_ms() -> float:
        return began_ms + time.monotonic() * 1000

    def slow(_: Any) -> Any:
        time.sleep(0.3)
        return {"serverTime": int(now_ms())}

    async def lag(exchange: BinanceExchange) -> float:
        return exchange.server_now_ms() - now_ms()

    with serving(playing_now(tape), {"/fapi/v1/time": slow}) as url:
        assert ask(url, lag) <= 0


def test_books_that_cannot_be_true_are_refused(tape: Tape) -> None:
    bends: dict[str, Bend] = {
        "empty side": lambda book: {**book, "bids": []},
        "crossed": lambda book: {**book, "bids": book["asks"], "asks": book["bids"]},
        "not positive": lambda book: {**book, "bids": [["-1", "1"]]},
    }
    for message, bend in bends.items():
        with serving(playing_now(tape), {"/fapi/v1/depth": bend}) as url, pytest.raises(DataInvalid, match=message):
            ask(url, lambda exchange: exchange.get_order_book("ETHUSDT"))


def test_reads_are_retried_as_often_as_configured_and_no_more(tape: Tape) -> None:
    calls: list[int] = []

    def failing(body: Any) -> Any:
        calls.append(1)
        return body if len(calls) > 2 else web.Response(text="busy", status=503)

    with serving(playing_now(tape), {"/fapi/v1/ticker/24hr": failing}) as url:
        assert ask(url, lambda exchange: exchange.get_ticker("ETHUSDT"), max_retries=2)["last"] > 0
        assert len(calls) == 3
        calls.clear()
        with pytest.raises(ExchangeUnavailable, match="503"):
            ask(url, lambda exchange: exchange.get_ticker("ETHUSDT"), max_retries=1)
        assert len(calls) == 2


def test_a_slow_answer_times_out(tape: Tape) -> None:
    def slow(body: Any) -> Any:
        time.sleep(1.2)
        return body

    with serving(playing_now(tape), {"/fapi/v1/ticker/24hr": slow}) as url, pytest.raises(ExchangeUnavailable):
        ask(url, lambda exchange: exchange.get_ticker("ETHUSDT"), timeout=0.3)


def test_an_unknown_symbol_gets_suggestions(tape: Tape) -> None:
    with serving(playing_now(tape)) as url, pytest.raises(UsageError, match=r"'ETHUSD'.*Did you mean ETHUSDT"):
        ask(url, lambda exchange: exchange.get_klines("ETHUSD", "1h"))


def test_nothing_works_before_initialize_or_after_close(tape: Tape) -> None:
    with pytest.raises(UsageError, match="initialize"):
        asyncio.run(BinanceExchange({}).get_ticker("ETHUSDT"))

    async def twice(exchange: BinanceExchange) -> None:
        await exchange.close()
        await exchange.close()
        with pytest.raises(UsageError):
            await exchange.get_ticker("ETHUSDT")

    with serving(playing_now(tape)) as url:
        ask(url, twice)


def test_nobody_at_home_is_unavailable() -> None:
    with pytest.raises(ExchangeUnavailable):
        ask("http://127.0.0.1:9", lambda exchange: exchange.get_ticker("ETHUSDT"))
    with pytest.raises(ConfigurationError, match="http"):
        ask("127.0.0.1:9", lambda exchange: exchange.get_ticker("ETHUSDT"))


def test_urls_go_where_the_settings_say() -> None:
    from trader_cli.exchange.connection.client import make_client
    from trader_cli.settings import as_settings

    def flat(value: Any) -> list[str]:
        return [u for part in value.values() for u in flat(part)] if isinstance(value, dict) else [value]

    moved = make_client(as_settings({"binance_exchange": {"base_url": "http://127.0.0.1:1"}}).binance_exchange, None)  # type: ignore[arg-type]
    assert all("127.0.0.1:1/" in url for url in flat(moved.urls["api"]))
    assert moved.urls["api"]["fapiPublic"] == "http://127.0.0.1:1/fapi/v1"
    demo = make_client(as_settings({"binance_exchange": {"use_testnet": True}}).binance_exchange, None)  # type: ignore[arg-type]
    assert "demo-fapi" in demo.urls["api"]["fapiPublic"]
    real = make_client(as_settings({"binance_exchange": {"timeout": 7}}).binance_exchange, None)  # type: ignore[arg-type]
    assert "demo" not in real.urls["api"]["fapiPublic"]
    assert real.timeout == 7000


def test_the_exchanges_codes_decide_what_an_error_means() -> None:
    import ccxt

    table = [
        (ccxt.ExchangeError('binance {"code":-1121,"msg":"Invalid symbol."}'), ExchangeRejected),
        (ccxt.ExchangeError('binance {"code":-2015,"msg":"Invalid API-key"}'), ConfigurationError),
        (ccxt.ExchangeError('binance {"code":-1008,"msg":"overloaded"}'), ExchangeUnavailable),
        (ccxt.RequestTimeout("binance GET timed out"), ExchangeUnavailable),
        (ccxt.DDoSProtection('binance 429 {"code":-1003}'), RateLimited),
    ]
    for error, kind in table:
        assert type(translate(error, {})) is kind
    limited = translate(ccxt.DDoSProtection("binance 429"), {"Retry-After": "7"})
    assert isinstance(limited, RateLimited)
    assert limited.retry_after_s == 7


def test_two_clients_share_driven_time(tape: Tape) -> None:
    async def main() -> list[int]:
        clock = DrivenClock(tape.at(0.5))
        async with VenueServer(tape, clock) as venue:
            one, two = await attach(venue.url), await attach(venue.url)
            assert isinstance(one, LeasedClock)
            assert isinstance(two, LeasedClock)
            late = asyncio.create_task(one.sleep(60))
            await two.sleep(20)
            seen = [two.now_ms() - tape.at(0.5), clock.now_ms() - tape.at(0.5)]
            await two.close()
            await late
            seen.append(one.now_ms() - tape.at(0.5))
            await one.close()
            return seen

    assert asyncio.run(main()) == [20_000, 20_000, 60_000]


def test_unknown_routes_answer_loudly(tape: Tape) -> None:
    import aiohttp

    async def main() -> tuple[int, dict[str, Any]]:
        async with VenueServer(tape, VirtualClock(tape.at(0.5))) as venue, aiohttp.ClientSession() as session:
            async with session.get(f"{venue.url}/fapi/v1/nonsense") as reply:
                return reply.status, await reply.json()

    status, body = asyncio.run(main())
    assert status == 500
    assert "no route for GET /fapi/v1/nonsense" in body["msg"]


def test_real_bars_travel_unchanged(eth_tape: Path) -> None:
    tape = load_tape(eth_tape, 7)
    bars = in_sim(tape, tape.end_ms, lambda exchange, _: exchange.get_klines("ETHUSDT", "1m", 5_000))
    source = pl.read_parquet(eth_tape).tail(5_000)
    for name in ("open_time", "open", "high", "low", "close", "volume"):
        assert bars[name].equals(source[name]), name
    assert not math.isnan(float(bars["quote_volume"].sum()))
