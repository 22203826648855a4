"""Market data in bulk through the unmodified ccxt client: whole, in order, within the limits, whatever the host shows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import polars as pl
import pytest
from aiohttp import web
from support.hosts.scripted_host import (
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    NOON_MS,
    Host,
    Query,
    Route,
    exchange_info,
    kline,
    klines,
    with_host,
)

from trader_cli.core.errors import DataInvalid, ExchangeUnavailable, UsageError
from trader_cli.core.market.schemas import BARS, FUNDING, MARK, OPEN_INTEREST, TRADES, check_schema
from trader_cli.exchange.binance import BinanceExchange
from trader_cli.venue.clocks import VirtualClock, run_virtual
from trader_cli.venue.server.server import VenueServer
from trader_cli.venue.simulated_market.synthetic import synthetic_tape
from trader_cli.venue.simulated_market.tape import Tape

pytestmark = pytest.mark.slow

KLINES, TRADE_ROUTE, FUNDING_ROUTE = "/fapi/v1/klines", "/fapi/v1/aggTrades", "/fapi/v1/fundingRate"
COUNT_ROUTE = "/futures/data/openInterestHist"
BARS_MS = NOON_MS - 9000 * MINUTE_MS
"""Where a day and a bit of minute bars begin that end at noon."""


async def taken(stream: AsyncIterator[pl.DataFrame]) -> list[pl.DataFrame]:
    return [frame async for frame in stream]


def times(frames: list[pl.DataFrame], column: str = "open_time") -> list[int]:
    return [time for frame in frames for time in frame[column].to_physical().to_list()]


def minutes(first: int = BARS_MS, count: int = 9000) -> list[int]:
    return list(range(first, first + count * MINUTE_MS, MINUTE_MS))


def bars_of(opens: list[int], first: int, last: int, **options: Any) -> tuple[list[pl.DataFrame], Host]:
    async def work(exchange: BinanceExchange, host: Host) -> tuple[list[pl.DataFrame], Host]:
        return await taken(exchange.stream_klines("ETHUSDT", "1m", first, last)), host

    found: tuple[list[pl.DataFrame], Host] = with_host({KLINES: klines(opens)}, work, **options)
    return found


WHOLE = minutes()
SHOWN = {
    "everything": WHOLE,
    "a bar missing": WHOLE[:4000] + WHOLE[4001:],
    "a hole over many pages": WHOLE[:700] + WHOLE[6000:],
    "one bar in a wide hole": WHOLE[:700] + WHOLE[3000:3001] + WHOLE[8990:],
    "every other hour missing": [opened for opened in WHOLE if opened // HOUR_MS % 2],
    "listed late": WHOLE[8000:],
    "listed late, with a hole": WHOLE[2000:2050] + WHOLE[7000:],
    "gone early": WHOLE[:1234],
    "a single bar": WHOLE[5000:5001],
    "nothing": [],
}


@pytest.mark.parametrize("what", SHOWN)
def test_what_the_exchange_has_is_what_comes_however_it_has_holes(what: str) -> None:
    opens = SHOWN[what]
    frames, host = bars_of(opens, BARS_MS, NOON_MS + DAY_MS)
    assert times(frames) == opens
    assert all(check_schema(frame, BARS).height for frame in frames)
    assert frames == [] or pl.concat(frames)["volume"].to_list() == [12.5] * len(opens)
    assert len(host.of(KLINES)) <= 1 + -(-9000 // 499)


@pytest.mark.parametrize(("first", "last"), [(0, 1), (1, 0), (100, 699), (98, 98), (17, 1016), (3, 7002)])
def test_a_span_is_kept_to_at_both_ends(first: int, last: int) -> None:
    frames, _ = bars_of(WHOLE, WHOLE[first], WHOLE[last] + MINUTE_MS - 1)
    assert times(frames) == WHOLE[first : last + 1]


def test_years_before_the_listing_cost_one_request() -> None:
    opens = WHOLE[6000:]
    frames, host = bars_of(opens, NOON_MS - 1500 * DAY_MS, NOON_MS)
    assert times(frames) == opens
    assert len(host.of(KLINES)) <= 2 + 3000 // 499
    frames, host = bars_of([], 0, NOON_MS)
    assert (frames, len(host.of(KLINES))) == ([], 1)


def test_bars_cost_the_least_weight_there_is() -> None:
    _, host = bars_of(WHOLE, BARS_MS, NOON_MS)
    assert sum(host.weights.values()) - 2 <= 1 + 2 * -(-9000 // 499)


@pytest.mark.parametrize("late_ms", [0, 1, 30_000, 59_999])
def test_the_unfinished_bar_never_comes(late_ms: int) -> None:
    frames, _ = bars_of([*WHOLE, NOON_MS], BARS_MS, NOON_MS + HOUR_MS, now_ms=NOON_MS + late_ms)
    assert times(frames) == WHOLE


def bent(change: Callable[[list[Any], Query], list[Any]]) -> Route:
    honest = klines([*WHOLE, NOON_MS])
    return lambda query, now: change(honest(query, now), query)


def _without_end(_rows: list[Any], query: Query) -> list[Any]:
    rows: list[Any] = klines(SHOWN["every other hour missing"])({**query, "endTime": str(NOON_MS)}, NOON_MS)
    return rows


def test_an_exchange_that_shows_more_than_asked_gives_every_bar_once() -> None:
    async def work(exchange: BinanceExchange, _: Host) -> pl.DataFrame:
        return await exchange.get_klines("ETHUSDT", "1m", 9000)

    found = with_host({KLINES: bent(_without_end)}, work)
    assert times([found]) == SHOWN["every other hour missing"]


def test_a_bar_that_closes_while_pages_are_on_the_way_is_not_taken_for_a_whole_one() -> None:
    """The last page shows it half made; the first one comes only after it has closed."""
    late, failed = NOON_MS + MINUTE_MS - 100, list[int]()

    def shown(query: Query, now: int) -> Any:
        if not failed and int(query["startTime"]) == WHOLE[6000]:
            failed.append(now)
            return web.json_response({}, status=503)
        return klines([*WHOLE, NOON_MS])(query, now)

    async def work(exchange: BinanceExchange, _: Host) -> list[pl.DataFrame]:
        frames = await taken(exchange.stream_klines("ETHUSDT", "1m", WHOLE[6000], NOON_MS + HOUR_MS))
        assert exchange.server_now_ms() > NOON_MS + MINUTE_MS
        return frames

    assert times(with_host({KLINES: shown}, work, now_ms=late, max_retries=1)) == WHOLE[6000:]
    assert failed


BROKEN: dict[str, tuple[Callable[[list[Any], Query], list[Any]], str]] = {
    "a repeated bar": (lambda rows, _: rows[:40] + rows[39:], "does not come after the row before it"),
    "a bar from before": (lambda rows, _: [kline(BARS_MS - MINUTE_MS), *rows], "begins before the time"),
    "bars out of order": (lambda rows, _: [rows[0], *rows[:0:-1]], "does not come after the row before it"),
    "bars off the grid": (lambda rows, _: [[row[0] + 1, *row[1:]] for row in rows], "off the time frame's grid"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_bars_that_cannot_be_true_are_no_data(how: str) -> None:
    change, message = BROKEN[how]

    async def work(exchange: BinanceExchange, _: Host) -> None:
        with pytest.raises(DataInvalid, match=message):
            await exchange.get_klines("ETHUSDT", "1m", 3000)

    with_host({KLINES: bent(change)}, work)


def failing_from(start_ms: int, status: int, headers: dict[str, str] | None = None, times: int = 10**6) -> Route:
    left = [times]

    def route(query: Query, now: int) -> Any:
        if int(query["startTime"]) < start_ms or left[0] == 0:
            return klines(WHOLE)(query, now)
        left[0] -= 1
        return web.json_response({"code": -1003, "msg": "no"} if status == 429 else {}, status=status, headers=headers)

    return route


def test_a_page_that_fails_raises_after_what_came_before_it_and_ends_the_rest() -> None:
    async def work(exchange: BinanceExchange, host: Host) -> tuple[list[pl.DataFrame], int, int]:
        frames: list[pl.DataFrame] = []
        with pytest.raises(ExchangeUnavailable):
            async for frame in exchange.stream_klines("ETHUSDT", "1m", BARS_MS, NOON_MS):
                frames += [frame]
        asked = len(host.asked)
        await exchange.clock.sleep(300)
        return frames, asked, len(host.asked)

    frames, asked, later = with_host({KLINES: failing_from(WHOLE[5000], 503)}, work)
    assert times(frames) == WHOLE[: len(times(frames))]
    assert 2500 < len(times(frames)) <= 5000
    assert asked == later <= 2 + 1 + 5000 // 499 + 8


def test_a_stream_goes_on_where_it_was_left() -> None:
    async def work(exchange: BinanceExchange, host: Host) -> list[pl.DataFrame]:
        async with aclosing(exchange.stream_klines("ETHUSDT", "1m", BARS_MS, NOON_MS)) as stream:
            kept = [await anext(stream)]
        asked = len(host.of(KLINES))
        assert asked < 17
        await exchange.clock.sleep(60)
        assert len(host.of(KLINES)) == asked
        return kept + await taken(exchange.stream_klines("ETHUSDT", "1m", times(kept)[-1] + MINUTE_MS, NOON_MS))

    assert times(with_host({KLINES: klines(WHOLE)}, work)) == WHOLE


def test_told_to_wait_every_page_waits_so_long_and_no_bar_is_lost() -> None:
    async def work(exchange: BinanceExchange, host: Host) -> None:
        frames = await taken(exchange.stream_klines("ETHUSDT", "1m", BARS_MS, NOON_MS))
        assert times(frames) == WHOLE
        moments = [at for at, path, _ in host.asked if path == KLINES]
        assert moments[0] + 17_000 in moments
        assert not [at for at in moments if moments[0] < at < moments[0] + 17_000]

    route = failing_from(WHOLE[3000], 429, {"Retry-After": "17"}, times=1)
    with_host({KLINES: route}, work, max_retries=1)


def test_the_limit_the_exchange_states_is_kept_and_used_up() -> None:
    async def work(exchange: BinanceExchange, host: Host) -> tuple[dict[int, int], int]:
        found = await exchange.get_klines("ETHUSDT", "1m", 9000)
        assert times([found]) == WHOLE
        return host.weights, exchange.clock.now_ms() - NOON_MS

    weights, took = with_host({KLINES: klines(WHOLE)}, work, weight_limit=40, weight_fraction=0.25)
    assert max(weights.values()) <= 10
    assert took <= 1.1 * sum(weights.values()) / 10 * MINUTE_MS


# --- on the simulated exchange ---


@pytest.fixture(scope="module")
def tape() -> Tape:
    return synthetic_tape(("ETHUSDT", "BTCUSDT"), 30, 0.5, 3)


def in_sim(tape: Tape, work: Callable[[BinanceExchange, VirtualClock], Any], **options: Any) -> Any:
    clock = VirtualClock(tape.end_ms - 19_000)

    async def main() -> Any:
        async with VenueServer(tape, clock) as venue:
            exchange = BinanceExchange({"binance_exchange": {"base_url": venue.url, **options}}, clock=clock)
            await exchange.initialize()
            try:
                return await work(exchange, clock)
            finally:
                await exchange.close()

    return run_virtual(main, clock)


@pytest.mark.parametrize("symbols", [("ETHUSDT",), ("ETHUSDT", "BTCUSDT")])
def test_a_download_takes_the_time_its_weight_takes(tape: Tape, symbols: tuple[str, ...]) -> None:
    bars, allowed = 20_000, 24

    async def work(exchange: BinanceExchange, clock: VirtualClock) -> int:
        began = clock.now_ms()
        frames = await asyncio.gather(*(exchange.get_klines(symbol, "1m", bars) for symbol in symbols))
        assert [frame.height for frame in frames] == [bars] * len(symbols)
        return clock.now_ms() - began

    took = in_sim(tape, work, weight_fraction=allowed / 2400)
    weight = len(symbols) * 2 * bars / 499
    assert (weight / allowed - 2) * MINUTE_MS <= took <= 1.1 * weight / allowed * MINUTE_MS


def test_mark_index_and_spot_bars_are_those_of_their_routes(tape: Tape) -> None:
    async def work(exchange: BinanceExchange, _: VirtualClock) -> None:
        last = await exchange.get_klines("ETHUSDT", "5m", 3000)
        mark = check_schema(await exchange.get_mark_klines("ETHUSDT", "5m", 3000), MARK)
        index = check_schema(await exchange.get_index_klines("ETHUSDT", "5m", 3000), MARK)
        used = exchange.get_exchange_status()["used_weight"]
        spot = check_schema(await exchange.get_spot_klines("ETHUSDT", "5m", 3000), BARS)
        assert exchange.get_exchange_status()["used_weight"] == used
        assert mark.equals(last.select(mark.columns))
        assert index["open_time"].equals(last["open_time"])
        assert 0 < (index["close"] / last["close"] - 1).abs().mean() < 0.01
        assert spot["open_time"].equals(last["open_time"])
        pieces = [spot[at : at + 7] for at in (0, 996, 1997)]
        for piece in pieces:
            start = int(piece["open_time"].to_physical()[0])
            assert (await exchange.get_spot_klines("ETHUSDT", "5m", 7, start_ms=start)).equals(piece)

    in_sim(tape, work)


def test_trades_of_a_span_are_those_of_its_hours(tape: Tape) -> None:
    async def work(exchange: BinanceExchange, clock: VirtualClock) -> None:
        first = clock.now_ms() - 5 * HOUR_MS - 1234
        last = clock.now_ms() - 77_777
        whole = pl.concat(await taken(exchange.stream_agg_trades("ETHUSDT", first, last)))
        hours = [
            frame
            for start in range(first, last, HOUR_MS)
            for frame in await taken(exchange.stream_agg_trades("ETHUSDT", start, min(start + HOUR_MS - 1, last)))
        ]
        assert check_schema(whole, TRADES).equals(pl.concat(hours))
        assert first <= times([whole], "time")[0]
        assert times([whole], "time")[-1] <= last
        assert whole.height > 1000

    in_sim(tape, work)


def test_the_other_reads_of_the_simulated_exchange(tape: Tape) -> None:
    async def work(exchange: BinanceExchange, clock: VirtualClock) -> None:
        now = clock.now_ms()
        counts = check_schema(
            await exchange.get_open_interest_history("ETHUSDT", "5m", now - 4 * DAY_MS, now), OPEN_INTEREST
        )
        assert {b - a for a, b in zip(times([counts], "time"), times([counts], "time")[1:], strict=False)} == {300_000}
        assert counts.height in {1152, 1153}
        funding = pl.concat(await taken(exchange.stream_funding("ETHUSDT", 0, now)))
        assert funding.equals(await exchange.get_funding_rates("ETHUSDT", 1000))
        for market in ("um", "spot"):
            listed = await exchange.exchange_info(market)
            assert [s["symbol"] for s in listed["symbols"]][:1] == ["ETHUSDT"]
            assert listed["symbols"][0]["base"] == "ETH"
            assert {f["filterType"] for f in listed["symbols"][0]["filters"]} >= {"PRICE_FILTER", "LOT_SIZE"}
        volumes = {name: (await exchange.get_ticker(name))["quote_volume"] for name in ("ETHUSDT", "BTCUSDT")}
        assert await exchange.top_symbols(5) == sorted(volumes, key=lambda name: -volumes[name])
        assert await exchange.top_symbols(1) == (await exchange.top_symbols(5))[:1]

    in_sim(tape, work)


# --- other history on hosts of our own ---


def trade(number: int, time_ms: int) -> dict[str, Any]:
    return {"a": number, "p": f"{1000 + number % 7}.5", "q": "0.25", "f": number, "l": number, "T": time_ms, "m": True}


def trades(rows: list[dict[str, Any]]) -> dict[str, Route]:
    """The route, and hourly bars that tell where there are any."""

    def shown(query: Query, now: int) -> list[Any]:
        limit, seen = int(query["limit"]), [row for row in rows if row["T"] <= now]
        if "fromId" in query:
            assert "startTime" not in query
            return [row for row in seen if row["a"] >= int(query["fromId"])][:limit]
        start, end = int(query["startTime"]), int(query["endTime"])
        assert end - start < HOUR_MS
        return [row for row in seen if start <= row["T"] <= end][:limit]

    counts: dict[int, int] = {}
    for row in rows:
        counts[row["T"] - row["T"] % HOUR_MS] = counts.get(row["T"] - row["T"] % HOUR_MS, 0) + 1
    first = min(counts) if counts else NOON_MS
    hours = list(range(first, NOON_MS, HOUR_MS))

    def hourly(query: Query, now: int) -> list[Any]:
        made = klines(hours, HOUR_MS)(query, now)
        return [[*row[:8], counts.get(row[0], 0), *row[9:]] for row in made]

    return {TRADE_ROUTE: shown, KLINES: hourly}


def trades_of(rows: list[dict[str, Any]], first: int, last: int = NOON_MS) -> tuple[list[int], int]:
    """(ids that came, requests they took)."""

    async def work(exchange: BinanceExchange, host: Host) -> tuple[list[int], int]:
        frames = await taken(exchange.stream_agg_trades("ETHUSDT", first, last))
        assert all(frame.height for frame in frames)
        return [i for frame in frames for i in frame["trade_id"].to_list()], len(host.asked) - 2

    found: tuple[list[int], int] = with_host(trades(rows), work)
    return found


TICKS = [trade(5000 + n, BARS_MS + n * 70_000) for n in range(4200)]


@pytest.mark.parametrize(("first", "stop"), [(0, 4200), (1, 4199), (10, 10), (1500, 2500), (3000, 3001)])
def test_trades_come_whole_from_the_first_to_the_last_millisecond(first: int, stop: int) -> None:
    last_ms = TICKS[stop - 1]["T"] if stop > first else TICKS[first]["T"] - 1
    ids, _ = trades_of(TICKS, TICKS[first]["T"], last_ms)
    assert ids == [row["a"] for row in TICKS[first:stop]]


def test_hours_without_trades_are_passed_over() -> None:
    late = [trade(n, NOON_MS - 3 * HOUR_MS + n) for n in range(3)] + [trade(3, NOON_MS - 1)]
    ids, requests = trades_of(late, NOON_MS - 2000 * DAY_MS)
    assert ids == [0, 1, 2, 3]
    assert requests <= 5
    assert trades_of([], 0) == ([], 2)
    apart = [trade(0, NOON_MS - 1000 * HOUR_MS), trade(1, NOON_MS - 5)]
    ids, requests = trades_of(apart, apart[0]["T"] + 1)
    assert ids == [1]
    assert requests < 16


@pytest.mark.parametrize("at", [3, 52, 51, 1052, 2500])
def test_a_hole_in_the_ids_is_no_data_within_a_page_or_between_two(at: int) -> None:
    rows = TICKS[:at] + TICKS[at + 1 :]
    with pytest.raises(DataInvalid, match=rf"id {5000 + at - 1} is followed by {5000 + at + 1}"):
        trades_of(rows, BARS_MS)


def payments(moments: list[int], cap: int = 1000) -> Route:
    def shown(query: Query, now: int) -> list[Any]:
        start, end, limit = int(query["startTime"]), int(query["endTime"]), min(cap, int(query["limit"]))
        found = [at for at in moments if start <= at <= min(end, now)]
        return [
            {"symbol": "ETHUSDT", "fundingTime": at, "fundingRate": "0.0001", "markPrice": ""} for at in found[:limit]
        ]

    return shown


@pytest.mark.parametrize("cap", [1000, 100])
@pytest.mark.parametrize("count", [0, 1, 999, 1000, 1001, 2500])
def test_funding_comes_whole_however_short_the_pages(count: int, cap: int) -> None:
    moments = [NOON_MS - 4 * HOUR_MS * n + n % 3 for n in range(1, count + 1)][::-1]

    async def work(exchange: BinanceExchange, host: Host) -> int:
        frames = await taken(exchange.stream_funding("ETHUSDT", 0, NOON_MS))
        assert times(frames, "time") == moments
        assert all(check_schema(frame, FUNDING).height for frame in frames)
        return len(host.of(FUNDING_ROUTE))

    assert with_host({FUNDING_ROUTE: payments(moments, cap)}, work) <= 1 + -(-max(1, count) // cap)


@pytest.mark.parametrize("twice", [[5, 5, 6], [1, 6]])
def test_funding_that_cannot_be_true_is_no_data(twice: list[int]) -> None:
    def shown(_query: Query, _now: int) -> list[Any]:
        return [{"fundingTime": at, "fundingRate": "0.0001", "markPrice": "1"} for at in twice]

    async def work(exchange: BinanceExchange, _: Host) -> None:
        with pytest.raises(DataInvalid, match=r"row \d.*out of order or of the span"):
            await taken(exchange.stream_funding("ETHUSDT", 4, NOON_MS))

    with_host({FUNDING_ROUTE: shown}, work)


def test_open_interest_reaches_thirty_days_back_and_no_further() -> None:
    def shown(query: Query, now: int) -> Any:
        start, end, limit = (int(query[name]) for name in ("startTime", "endTime", "limit"))
        assert query["period"] == "5m"
        if start < now - 30 * DAY_MS:
            return web.json_response({"code": -1130, "msg": "parameter 'startTime' is invalid."}, status=400)
        found = range(-(-start // 300_000) * 300_000, min(end, now) + 1, 300_000)
        return [{"symbol": "ETHUSDT", "sumOpenInterest": f"{at % 991}.5", "timestamp": at} for at in found][-limit:]

    async def work(exchange: BinanceExchange, host: Host) -> None:
        now = exchange.server_now_ms()
        counts = await exchange.get_open_interest_history("ETHUSDT", "5m", 0, now + DAY_MS)
        assert times([counts], "time") == list(range(now - 30 * DAY_MS + 300_000, now + 1, 300_000))
        assert counts["open_interest"].to_list() == [at % 991 + 0.5 for at in times([counts], "time")]
        assert len(host.of(COUNT_ROUTE)) == 18
        assert (await exchange.get_open_interest_history("ETHUSDT", "5m", 0, 1)).schema == counts.schema
        with pytest.raises(UsageError, match="3m"):
            await exchange.get_open_interest_history("ETHUSDT", "3m", 0, now)

    with_host({COUNT_ROUTE: shown}, work)


@pytest.mark.parametrize("volume", ["", None, "NaN", "-1", "x"])
def test_a_symbol_without_a_volume_is_left_out_of_the_most_traded(volume: str | None) -> None:
    """And said, where it could have been one of them."""
    names = ["AUSDT", "NEWUSDT", "SOONUSDT", "ETHUSDT"]
    shown = dict(zip(names, ["5", volume, volume, "80"], strict=True))

    def information(_query: Query, now: int) -> Any:
        body = exchange_info(now, symbols=names)
        body["symbols"][2]["status"] = "PENDING_TRADING"
        return body

    async def work(exchange: BinanceExchange, _host: Host) -> None:
        said: list[str] = []
        assert await exchange.top_symbols(9, said.append) == ["ETHUSDT", "AUSDT"]
        assert len(said) == 1
        assert "NEWUSDT" in said[0]
        assert "SOONUSDT" not in said[0]

    tickers = [{"symbol": name, "quoteVolume": amount} for name, amount in shown.items()]
    with_host({"/fapi/v1/exchangeInfo": information, "/fapi/v1/ticker/24hr": lambda _query, _now: tickers}, work)


def test_what_is_listed_and_traded_most() -> None:
    names = ["AUSDT", "BUSDT", "CUSDC", "DUSDT", "EUSDT", "ETHUSDT"]
    volumes = dict(zip([*names, "GONEUSDT"], ["5", "70", "900", "70", "1000", "80", "99999"], strict=True))

    def information(_query: Query, now: int) -> Any:
        body = exchange_info(now, symbols=names)
        body["symbols"][2]["quoteAsset"] = "USDC"
        body["symbols"][4]["status"] = "SETTLING"
        return body

    async def work(exchange: BinanceExchange, host: Host) -> None:
        assert await exchange.top_symbols(3) == ["ETHUSDT", "BUSDT", "DUSDT"]
        assert await exchange.top_symbols(99) == ["ETHUSDT", "BUSDT", "DUSDT", "AUSDT"]
        assert "symbol" not in host.of("/fapi/v1/ticker/24hr")[0]
        listed = await exchange.exchange_info()
        assert [s["status"] for s in listed["symbols"]].count("SETTLING") == 1
        assert listed["symbols"][2] == {
            "symbol": "CUSDC",
            "status": "TRADING",
            "base": "CUSDC",
            "quote": "USDC",
            "contract": "PERPETUAL",
            "onboard_ms": None,
            "filters": [],
        }
        with pytest.raises(UsageError, match="at least 1"):
            await exchange.top_symbols(0)
        with pytest.raises(UsageError, match="'cm'"):
            await exchange.exchange_info("cm")

    routes: dict[str, Route] = {
        "/fapi/v1/exchangeInfo": information,
        "/fapi/v1/ticker/24hr": lambda _query, _now: [
            {"symbol": name, "quoteVolume": volume} for name, volume in volumes.items()
        ],
    }
    with_host(routes, work)


def test_series_that_do_not_exist_are_named() -> None:
    def nobody(_query: Query, _now: int) -> Any:
        return web.json_response({"code": -1121, "msg": "Invalid symbol."}, status=400)

    async def work(exchange: BinanceExchange, _: Host) -> None:
        with pytest.raises(UsageError, match="spot market has no mark bars"):
            exchange.stream_klines("ETHUSDT", "1m", 0, NOON_MS, kind="mark", market="spot")
        with pytest.raises(UsageError, match="'XYZ'"):
            exchange.stream_klines("XYZ", "1m", 0, NOON_MS)
        with pytest.raises(UsageError, match="does not list the symbol 'XYZ' on this market"):
            await exchange.get_spot_klines("XYZ", "1m", 5)

    with_host({"/api/v3/klines": nobody}, work)
