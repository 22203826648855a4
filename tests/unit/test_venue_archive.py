"""The bulk archive and the bulk routes: files, pages and quotes are one market, and none of it is told too early."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trader_cli.core.market.timeframes import DAY_MS, HOUR_MS, MINUTE_MS, Timeframe
from trader_cli.venue.clocks import VirtualClock, run_virtual
from trader_cli.venue.server.archive_routes import BulkArchive
from trader_cli.venue.server.public_routes import PublicRoutes, VenueRejection
from trader_cli.venue.server.server import VenueServer
from trader_cli.venue.simulated_market.number_format import format_one, formatted
from trader_cli.venue.simulated_market.synthetic import START_MS, synthetic_tape
from trader_cli.venue.simulated_market.tape import SymbolTape, Tape, TapeBars
from trader_cli.venue.simulated_market.tape_loading import load_tape

SYMBOL, BARS = "ETHUSDT", ("open_ms", "open", "high", "low", "close", "volume")
UM, SPOT = "/data/futures/um", "/data/spot"
KLINE_HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
)


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1000


OPENED, EMPTY_DAY, GAP = ms("2024-11-20 06:00"), ms("2024-12-20"), ms("2024-12-24 03:00")
LATER = ms("2025-03-10 12:00")
"""Everything is published by then."""


def cut(tape: SymbolTape, keep: np.ndarray[Any, Any]) -> SymbolTape:
    return tape.playing(TapeBars(**{name: getattr(tape, name)[keep] for name in BARS}))


@cache
def the_tape() -> Tape:
    """Minute bars from 2024-11-20 06:00 to 2025-01-19 06:00; a day and three hours are missing, as they sometimes are.

    Every seventh bar trades so little that most points of its path trade nothing.
    """
    made = synthetic_tape((SYMBOL,), 60, 0.0, 5).shifted(OPENED - START_MS)
    opened = made.symbols[SYMBOL].open_ms
    missing = (opened // DAY_MS == EMPTY_DAY // DAY_MS) | ((opened >= GAP) & (opened < GAP + 3 * HOUR_MS))
    thin = np.where(opened // MINUTE_MS % 7 == 0, 0.003, made.symbols[SYMBOL].volume)
    thinned = made.symbols[SYMBOL].playing(replace(made.symbols[SYMBOL].bars, volume=thin))
    return replace(made, symbols={SYMBOL: cut(thinned, ~missing)})


@cache
def the_routes() -> PublicRoutes:
    return PublicRoutes(the_tape())


@cache
def the_archive() -> BulkArchive:
    return BulkArchive(the_routes().markets)


def known_by(now_ms: int, since_ms: int = 0) -> PublicRoutes:
    """The market of a tape that ends with the bar under way."""
    tape = the_tape()
    symbol = tape.symbols[SYMBOL]
    kept = (symbol.open_ms >= since_ms) & (symbol.open_ms <= now_ms)
    return PublicRoutes(replace(tape, symbols={SYMBOL: cut(symbol, kept)}))


def answer(path: str, now: int = LATER, routes: PublicRoutes | None = None, **query: Any) -> Any:
    return (routes or the_routes()).table[path]({k: str(v) for k, v in query.items()}, now)


def file_path(root: str, period: str, kind: str, interval: str | None, date: str) -> str:
    folder = f"{interval}/" if interval else ""
    return f"{root}/{period}/{kind}/{SYMBOL}/{folder}{SYMBOL}-{interval or kind}-{date}.zip"


def lines(zipped: bytes | None) -> list[str]:
    """The lines of the one CSV in a zip."""
    assert zipped is not None
    with zipfile.ZipFile(io.BytesIO(zipped)) as archive:
        (name,) = archive.namelist()
        return archive.read(name).decode().splitlines()


def body(root: str, period: str, kind: str, interval: str | None, date: str) -> list[str]:
    found = lines(the_archive().read(file_path(root, period, kind, interval, date), LATER))
    return found[1:] if root == UM else found


def days_of(month: str) -> list[str]:
    first = datetime.fromisoformat(f"{month}-01").replace(tzinfo=UTC)
    days = [(first + timedelta(days=k)).strftime("%Y-%m-%d") for k in range(31)]
    return [day for day in days if day.startswith(month)]


def held_days(root: str, kind: str, interval: str | None, month: str) -> list[str]:
    paths = {day: file_path(root, "daily", kind, interval, day) for day in days_of(month)}
    return [day for day, path in paths.items() if the_archive().read(path, LATER) is not None]


def pages(path: str, interval: str, first: int, stop: int, limit: int) -> Iterator[list[Any]]:
    """Every bar that opens in [first, stop), page by page."""
    name, at = ("pair" if "indexPrice" in path else "symbol"), first
    while at < stop:
        query = {name: SYMBOL, "interval": interval, "startTime": at, "endTime": stop - 1, "limit": limit}
        page = answer(path, **query)
        yield from page
        if not page:
            return
        at = page[-1][0] + 1


def month_span(month: str) -> tuple[int, int]:
    first = datetime.fromisoformat(f"{month}-01").replace(tzinfo=UTC)
    after = (first + timedelta(days=31)).replace(day=1)
    return int(first.timestamp()) * 1000, int(after.timestamp()) * 1000


SERIES = [
    (UM, "klines", "/fapi/v1/klines"),
    (UM, "markPriceKlines", "/fapi/v1/markPriceKlines"),
    (UM, "indexPriceKlines", "/fapi/v1/indexPriceKlines"),
    (UM, "premiumIndexKlines", "/fapi/v1/premiumIndexKlines"),
    (SPOT, "klines", "/api/v3/klines"),
]


@pytest.mark.parametrize(("root", "kind", "route"), SERIES)
@pytest.mark.parametrize("interval", ["1m", "15m", "4h", "1d"])
def test_a_month_is_its_days_and_the_pages_of_the_route(root: str, kind: str, route: str, interval: str) -> None:
    month = "2024-12"
    whole = body(root, "monthly", kind, interval, month)
    days = [line for day in held_days(root, kind, interval, month) for line in body(root, "daily", kind, interval, day)]
    paged = [",".join(map(str, row)) for row in pages(route, interval, *month_span(month), 499)]
    assert len(whole) == (30 * DAY_MS - (0 if interval == "1d" else 3 * HOUR_MS)) // Timeframe.parse(interval).ms + (
        interval == "4h"  # the gap lies inside two of them
    )
    assert whole == days
    assert whole == paged


@pytest.mark.parametrize("root", [UM, SPOT])
def test_trades_of_a_month_are_its_days_and_the_pages_of_the_route(root: str) -> None:
    month, day = "2024-11", "2024-11-27"
    whole = body(root, "monthly", "aggTrades", None, month)
    days = held_days(root, "aggTrades", None, month)
    assert whole == [line for each in days for line in body(root, "daily", "aggTrades", None, each)]
    route = "/fapi/v1/aggTrades" if root == UM else "/api/v3/aggTrades"
    said, paged = ("true", "false") if root == UM else ("True", "False"), []
    page = answer(route, symbol=SYMBOL, startTime=ms(day), limit=1000)
    while page and page[0]["T"] < ms(day) + DAY_MS:
        paged += [t for t in page if t["T"] < ms(day) + DAY_MS]
        page = answer(route, symbol=SYMBOL, fromId=page[-1]["a"] + 1, limit=1000)
    rows = [[t["a"], t["p"], t["q"], t["f"], t["l"], t["T"], said[0 if t["m"] else 1]] for t in paged]
    rows = rows if root == UM else [[*row, "True"] for row in rows]
    assert body(root, "daily", "aggTrades", None, day) == [",".join(map(str, row)) for row in rows]


def test_funding_of_a_month_is_what_the_route_says() -> None:
    for month in ("2024-11", "2024-12", "2025-01"):
        first, stop = month_span(month)
        query = {"symbol": SYMBOL, "startTime": first, "endTime": stop - 1, "limit": 1000}
        rates = answer("/fapi/v1/fundingRate", **query)
        assert rates
        wanted = [f"{row['fundingTime']},8,{row['fundingRate']}" for row in rates]
        assert body(UM, "monthly", "fundingRate", None, month) == wanted


@pytest.mark.parametrize("day", ["2024-11-20", "2024-12-24", "2025-01-18"])
def test_metrics_hold_the_open_interest_of_the_route(day: str) -> None:
    rows = [line.split(",") for line in body(UM, "daily", "metrics", None, day)]
    query = {"symbol": SYMBOL, "period": "5m", "limit": 500, "startTime": ms(day), "endTime": ms(day) + DAY_MS - 1}
    history = answer("/futures/data/openInterestHist", ms(day) + 2 * DAY_MS, **query)
    assert [ms(row[0]) for row in rows] == [row["timestamp"] for row in history]
    assert [row[2:4] for row in rows] == [[row["sumOpenInterest"], row["sumOpenInterestValue"]] for row in history]
    assert {row[1] for row in rows} == {SYMBOL}
    ratios = np.array([[float(value) if value else np.nan for value in row[4:]] for row in rows])
    assert ratios.shape[1] == 4
    assert np.isfinite(ratios[:, :3]).all()
    assert (np.isnan(ratios) | (ratios > 0)).all()
    gap = [ms(row[0]) for row in rows if row[7] == ""]
    wanted = range(GAP + 5 * MINUTE_MS, GAP + 3 * HOUR_MS + 1, 5 * MINUTE_MS) if day == "2024-12-24" else range(0)
    assert gap == list(wanted)


def everything(interval: str = "15m") -> list[str]:
    """The path of every file there could be."""
    months = [(first, "monthly") for first in ("2024-10", "2024-11", "2024-12", "2025-01", "2025-02")]
    days = [(day, "daily") for month, _ in months[1:4] for day in days_of(month)]
    paths = [
        file_path(root, period, kind, interval, date) for root, kind, _ in SERIES for date, period in months + days
    ]
    paths += [file_path(root, period, "aggTrades", None, date) for root in (UM, SPOT) for date, period in months + days]
    paths += [file_path(UM, "monthly", "fundingRate", None, month) for month, _ in months]
    return paths + [file_path(UM, "daily", "metrics", None, day) for day, _ in days]


def times_of(path: str, found: list[str]) -> list[int]:
    """The moments at which each row of a file was complete, UTC ms."""
    rows = [line.split(",") for line in (found if path.startswith(SPOT) else found[1:])]
    if "/metrics/" in path:
        return [ms(row[0]) for row in rows]
    times = [int(row[0 if "fundingRate" in path else 5 if "aggTrades" in path else 6]) for row in rows]
    return [time // 1000 if time > 10**15 else time for time in times]


@given(st.integers(OPENED, ms("2025-02-05")), st.sampled_from(everything()))
@settings(max_examples=60, deadline=None)
def test_nothing_is_told_before_its_time(now: int, path: str) -> None:
    """At any moment a file is what it would be if the market ended now, and all of it lies in past days."""
    told = the_archive().read(path, now)
    assert told == BulkArchive(known_by(now).markets).read(path, now)
    if told is not None:
        assert told == the_archive().read(path, LATER)
        assert max(times_of(path, lines(told))) < now - now % DAY_MS


@given(st.integers(OPENED + 6 * DAY_MS, ms("2025-01-19 05:59:59")), st.sampled_from(["1m", "1h", "1d"]))
@settings(max_examples=40, deadline=None)
def test_the_routes_tell_nothing_before_its_time(now: int, interval: str) -> None:
    ended = known_by(now, now - now % DAY_MS - 4 * DAY_MS)
    asked: list[tuple[str, dict[str, Any]]] = [
        ("/fapi/v1/indexPriceKlines", {"pair": SYMBOL, "interval": interval, "limit": 3}),
        ("/fapi/v1/premiumIndexKlines", {"symbol": SYMBOL, "interval": interval, "limit": 3}),
        ("/fapi/v1/premiumIndex", {"symbol": SYMBOL}),
        ("/api/v3/klines", {"symbol": SYMBOL, "interval": interval, "limit": 3}),
        ("/api/v3/aggTrades", {"symbol": SYMBOL, "limit": 5}),
        ("/futures/data/openInterestHist", {"symbol": SYMBOL, "period": "5m"}),
    ]
    for path, query in asked:
        told = answer(path, now, **query)
        assert told
        assert told == answer(path, now, ended, **query), path
    last = answer("/futures/data/openInterestHist", now, symbol=SYMBOL, period="5m")[-1]
    assert last["timestamp"] <= now


def test_files_are_the_same_bytes_whoever_makes_them() -> None:
    """In another order, from another table, after others were forgotten: the same bytes and the same checksum."""
    paths = [p for p in everything() if p.endswith(("2024-12-05.zip", "2024-12.zip"))]
    paths = [p for p in paths if "monthly/aggTrades" not in p]
    first = {path: the_archive().read(path, LATER) for path in paths}
    again = BulkArchive(PublicRoutes(the_tape()).markets)
    assert {path: again.read(path, LATER) for path in reversed(paths)} == first
    for path, zipped in first.items():
        assert zipped is not None
        name = path.rpartition("/")[2]
        wanted = f"{hashlib.sha256(zipped).hexdigest()}  {name}\n".encode()
        assert again.read(f"{path}.CHECKSUM", LATER) == wanted
        with zipfile.ZipFile(io.BytesIO(zipped)) as archive:
            assert archive.namelist() == [name.replace(".zip", ".csv")]
            assert archive.infolist()[0].date_time == (1980, 1, 1, 0, 0, 0)


@pytest.mark.parametrize(
    ("path", "appears"),
    [
        (file_path(UM, "daily", "klines", "1m", "2024-12-31"), "2025-01-01 08:00"),
        (file_path(UM, "daily", "metrics", None, "2024-12-31"), "2025-01-01 08:00"),
        (file_path(UM, "monthly", "klines", "1m", "2024-12"), "2025-01-06 08:00"),  # a Monday
        (file_path(SPOT, "monthly", "aggTrades", None, "2024-11"), "2024-12-02 08:00"),
        (file_path(UM, "monthly", "fundingRate", None, "2025-01"), "2025-02-03 08:00"),
    ],
)
@pytest.mark.parametrize("ending", ["", ".CHECKSUM"])
def test_files_appear_the_next_day_or_on_the_first_monday(path: str, appears: str, ending: str) -> None:
    assert the_archive().read(path + ending, ms(appears) - 1) is None
    assert the_archive().read(path + ending, ms(appears)) is not None


def test_a_month_that_ends_on_a_monday_appears_on_the_next() -> None:
    """2024-09-30 was a Monday; the first of October's is the 7th. 2024-07-01 was one itself."""
    tape = synthetic_tape((SYMBOL,), 3, 0.0, 5)
    for start, month, appears in (("2024-09-29", "2024-09", "2024-10-07"), ("2024-06-29", "2024-06", "2024-07-01")):
        archive = BulkArchive(PublicRoutes(tape.shifted(ms(start) - START_MS)).markets)
        path = file_path(UM, "monthly", "klines", "1h", month)
        assert archive.read(path, ms(appears) + 8 * HOUR_MS - 1) is None
        assert archive.read(path, ms(appears) + 8 * HOUR_MS) is not None


GOOD = f"{UM}/daily/klines/{SYMBOL}/1m/{SYMBOL}-1m-2024-12-05.zip"


@pytest.mark.parametrize(
    "path",
    [
        GOOD.replace("2024-12-05", date)
        for date in (
            "2024-12-20",
            "2024-11-19",
            "2025-01-20",
            "2024-12-32",
            "2024-12",
            "2024-12-5",
            "2024-1a-05",
            "",
            "24-12-05",
        )
    ]
    + [
        GOOD.replace(SYMBOL, "NOPEUSDT"),
        GOOD.replace("1m", "7m"),
        GOOD.replace("1m", "1w"),
        GOOD.replace("1m", "1s"),
        GOOD.replace("/1m/", "/"),
        GOOD.replace(f"/{SYMBOL}/", "/BTCUSDT/"),
        GOOD.replace("/1m/", "/5m/"),
        GOOD.replace("daily", "weekly"),
        GOOD.replace("futures/um", "futures/cm"),
        GOOD.replace("klines", "trades"),
        GOOD.replace(".zip", ".csv"),
        GOOD + ".MD5",
        GOOD + "/",
        "/data/",
        GOOD.replace("/data", "/data/data"),
        GOOD.replace("klines", "indexPriceKlines").replace("futures/um", "spot"),
        file_path(UM, "monthly", "metrics", None, "2024-12"),
        file_path(UM, "daily", "fundingRate", None, "2024-12-05"),
        file_path(SPOT, "monthly", "fundingRate", None, "2024-12"),
        file_path(SPOT, "daily", "metrics", None, "2024-12-05"),
        file_path(UM, "daily", "aggTrades", "1m", "2024-12-05"),
        file_path(UM, "daily", "metrics", None, "2024-12-20"),
        file_path(UM, "daily", "aggTrades", None, "2024-12-20"),
    ],
)
def test_what_the_archive_does_not_hold_is_not_found(path: str) -> None:
    assert the_archive().read(GOOD, LATER) is not None
    assert the_archive().read(path, LATER) is None
    assert the_archive().read(f"{path}.CHECKSUM", LATER) is None


def test_headers_and_units_differ_as_on_the_exchange() -> None:
    def first_lines(root: str, kind: str, interval: str | None, day: str) -> list[str]:
        return lines(the_archive().read(file_path(root, "daily", kind, interval, day), LATER))[:2]

    for kind in ("klines", "markPriceKlines", "indexPriceKlines", "premiumIndexKlines"):
        assert first_lines(UM, kind, "1m", "2025-01-02")[0] == KLINE_HEADER
    trades = first_lines(UM, "aggTrades", None, "2025-01-02")
    assert trades[0] == "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker"
    assert trades[1].count(",") == 6
    funding = lines(the_archive().read(file_path(UM, "monthly", "fundingRate", None, "2024-12"), LATER))
    assert funding[0] == "calc_time,funding_interval_hours,last_funding_rate"
    metrics = first_lines(UM, "metrics", None, "2025-01-02")
    assert metrics[0].startswith("create_time,symbol,sum_open_interest,sum_open_interest_value,count_toptrader_")
    assert metrics[1].startswith(f"2025-01-02 00:00:00,{SYMBOL},")
    for day, unit in (("2024-12-31", 1), ("2025-01-01", 1000)):
        bar = first_lines(SPOT, "klines", "1m", day)[0].split(",")
        assert int(bar[0]) == ms(day) * unit
        assert int(bar[6]) == (ms(day) + MINUTE_MS) * unit - 1
        trade = first_lines(SPOT, "aggTrades", None, day)[0].split(",")
        assert 0 <= int(trade[5]) - ms(day) * unit < MINUTE_MS * unit
        assert (len(trade), trade[7]) == (8, "True")
        perpetual = first_lines(UM, "klines", "1m", day)[1].split(",")
        assert int(perpetual[0]) == ms(day)
        assert perpetual[1:6] + perpetual[7:] == bar[1:6] + bar[7:]
    spot_now = answer("/api/v3/klines", ms("2025-01-05"), symbol=SYMBOL, interval="1m", limit=2)
    assert spot_now[-1][0] == ms("2025-01-05") - MINUTE_MS


@pytest.mark.parametrize("interval", ["1m", "1h"])
def test_the_index_is_a_price_beside_the_mark(interval: str) -> None:
    query = {"interval": interval, "limit": 1000, "startTime": ms("2024-12-01")}
    mark = np.array(answer("/fapi/v1/markPriceKlines", symbol=SYMBOL, **query), dtype=float)
    index = np.array(answer("/fapi/v1/indexPriceKlines", pair=SYMBOL, **query), dtype=float)
    premium = np.array(answer("/fapi/v1/premiumIndexKlines", symbol=SYMBOL, **query), dtype=float)
    assert not np.concatenate([bars[:, [5, 7, 9, 10]] for bars in (mark, index, premium)]).any()
    assert np.array_equal(mark[:, 0], index[:, 0]) and np.array_equal(mark[:, 0], premium[:, 0])
    for bars in (index, premium):
        assert (bars[:, 2] >= bars[:, [1, 3, 4]].max(axis=1)).all()
        assert (bars[:, 3] <= bars[:, [1, 2, 4]].min(axis=1)).all()
    np.testing.assert_allclose(mark[:, 4] / index[:, 4] - 1, premium[:, 4], atol=2e-8)
    np.testing.assert_allclose(mark[:, 1] / index[:, 1] - 1, premium[:, 1], atol=2e-8)
    assert np.abs(premium[:, 1:5]).max() < 4e-4
    assert premium[:, 4].std() > 1e-6
    assert (premium[:, 2] >= premium[:, 3]).all()


@given(st.integers(OPENED + DAY_MS, ms("2025-01-19 05:59:59")))
@settings(max_examples=30, deadline=None)
def test_the_quoted_index_closes_the_bar_under_way(now: int) -> None:
    quoted = answer("/fapi/v1/premiumIndex", now, symbol=SYMBOL)
    bar = answer("/fapi/v1/indexPriceKlines", now, pair=SYMBOL, interval="1m", limit=1)[-1]
    mark = answer("/fapi/v1/markPriceKlines", now, symbol=SYMBOL, interval="1m", limit=1)[-1]
    if bar[0] == now - now % MINUTE_MS:
        assert (quoted["indexPrice"], quoted["markPrice"]) == (bar[4], mark[4])
    assert 0 < abs(float(quoted["markPrice"]) / float(quoted["indexPrice"]) - 1) < 4e-4


@given(st.integers(OPENED // (5 * MINUTE_MS) + 1, ms("2025-01-19 06:00") // (5 * MINUTE_MS)))
@settings(max_examples=30, deadline=None)
def test_open_interest_in_the_past_is_what_was_quoted(step: int) -> None:
    now = step * 5 * MINUTE_MS
    told = answer("/futures/data/openInterestHist", now + MINUTE_MS, symbol=SYMBOL, period="5m", limit=1)[-1]
    quoted = float(answer("/fapi/v1/openInterest", now, symbol=SYMBOL)["openInterest"])
    assert told["timestamp"] == now
    traded = the_routes().markets[SYMBOL].trades(now, now, now, None, 10)
    assert float(told["sumOpenInterest"]) == pytest.approx(quoted, abs=0.0011 + sum(t.quantity for t in traded))


def test_open_interest_goes_back_thirty_days_in_pages() -> None:
    now, path = ms("2025-01-10 12:34"), "/futures/data/openInterestHist"
    ask = {"symbol": SYMBOL, "period": "1h"}
    assert len(answer(path, now, **ask)) == 30
    all_of_it = answer(path, now, **ask, startTime=now - 30 * DAY_MS, limit=500)
    all_of_it += answer(path, now, **ask, startTime=all_of_it[-1]["timestamp"] + 1, limit=500)
    assert [row["timestamp"] for row in all_of_it] == list(range(ms("2024-12-11 13:00"), now, HOUR_MS))
    assert answer(path, now, **ask, limit=500) == all_of_it[-500:]
    assert (
        answer(path, now, **ask, endTime=ms("2025-01-01"), limit=3)
        == [row for row in all_of_it if row["timestamp"] <= ms("2025-01-01")][-3:]
    )
    for wrong in ({"startTime": now - 30 * DAY_MS - 1}, {"period": "3m"}, {"limit": 501}):
        with pytest.raises(VenueRejection) as refused:
            answer(path, now, **{**ask, **wrong})
        assert refused.value.code == -1130


def test_a_page_does_not_depend_on_how_it_is_asked_for() -> None:
    """A page from a start is a part of the pages before an end, with the bar under way and without it."""
    now = ms("2024-12-24 10:20:30")
    for path, name in (
        ("/fapi/v1/klines", "symbol"),
        ("/fapi/v1/indexPriceKlines", "pair"),
        ("/api/v3/klines", "symbol"),
    ):
        ask = {name: SYMBOL, "interval": "5m"}
        latest = answer(path, now, **ask, limit=200)
        assert len(latest) == 200
        assert latest[-1][0] == ms("2024-12-24 10:20")
        assert all(a[0] < b[0] for a, b in pairwise(latest))
        for first, limit in ((0, 200), (150, 50), (150, 49), (199, 1), (150, 100)):
            page = answer(path, now, **ask, startTime=latest[first][0], limit=limit)
            assert page == latest[first : first + limit]
        assert answer(path, now, **ask, endTime=latest[150][0], limit=20) == latest[131:151]
        assert answer(path, now, **ask, startTime=now + 1) == []
        assert answer(path, now, **ask, startTime=latest[9][0], endTime=latest[3][0]) == []


@given(st.lists(st.integers(1, 10**13), min_size=1, max_size=50), st.integers(0, 8))
def test_numbers_written_together_are_written_as_one_by_one(lots: list[int], places: int) -> None:
    values = np.array(lots, dtype=np.int64) / 10.0**places
    together = formatted([values, values[::-1]], places)
    one_by_one = [f"{value:.{places}f}" for value in values.tolist()]
    assert [column.to_list() for column in together] == [one_by_one, one_by_one[::-1]]


@given(
    st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=50), st.lists(st.integers(-(10**9), 10**9)), st.integers(0, 8)
)
def test_halves_are_rounded_by_one_rule_alone_or_together(values: list[float], halves: list[int], places: int) -> None:
    """A route and the archive show one number as one text, also where the next digit would be a 5."""
    values = [*values, *((2 * half + 1) / (2 * 10.0**places) for half in halves)]
    assert formatted([np.array(values)], places)[0].to_list() == [format_one(value, places) for value in values]


def test_a_half_goes_to_the_even_digit() -> None:
    assert [format_one(value, 2) for value in (0.125, 0.375, -0.125, 1.005, 2.0, -0.001)] == [
        "0.12",
        "0.38",
        "-0.12",
        "1.00",
        "2.00",
        "0.00",
    ]


def test_spot_answers_in_its_own_shapes() -> None:
    now = ms("2025-01-05 10:00:30")
    assert answer("/api/v3/ping", now) == {}
    assert answer("/api/v3/time", now) == {"serverTime": now}
    listed = answer("/api/v3/exchangeInfo", now)
    assert [symbol["symbol"] for symbol in listed["symbols"]] == [SYMBOL]
    assert listed["rateLimits"][0]["limit"] == 6000
    assert answer("/api/v3/exchangeInfo", now, symbol=SYMBOL)["symbols"] == listed["symbols"]
    bars = {"symbol": SYMBOL, "interval": "1h"}
    assert answer("/api/v3/klines", now, **bars) == answer("/fapi/v1/klines", now, **bars)
    spot, perpetual = (answer(p, now, symbol=SYMBOL, limit=9) for p in ("/api/v3/aggTrades", "/fapi/v1/aggTrades"))
    assert spot == [{**trade, "M": True} for trade in perpetual]
    assert answer("/fapi/v1/fundingInfo", now) == []
    wrong: list[tuple[str, dict[str, Any], int]] = [
        ("/api/v3/klines", {**bars, "limit": 1001}, -1130),
        ("/api/v3/klines", {**bars, "symbol": "NOPE"}, -1121),
        ("/api/v3/klines", {"interval": "1h"}, -1102),
        ("/api/v3/aggTrades", {"symbol": SYMBOL, "limit": 1001}, -1130),
        ("/api/v3/aggTrades", {"symbol": SYMBOL, "startTime": now - HOUR_MS - 1, "endTime": now}, -1127),
        ("/api/v3/exchangeInfo", {"symbol": "NOPE"}, -1121),
        ("/fapi/v1/indexPriceKlines", bars, -1102),
    ]
    for path, query, code in wrong:
        with pytest.raises(VenueRejection) as refused:
            answer(path, now, **query)
        assert refused.value.code == code, path


async def fetched(session: aiohttp.ClientSession, method: str, url: str) -> tuple[int, dict[str, str], bytes]:
    async with session.request(method, url) as reply:
        return reply.status, {name.lower(): value for name, value in reply.headers.items()}, await reply.read()


def test_the_archive_is_served_and_costs_nothing() -> None:
    """Over the network: file, checksum, HEAD, what is missing; no word of weight, and none charged."""
    clock = VirtualClock(ms("2025-01-10 09:00"))
    there, missing = GOOD, GOOD.replace("12-05", "12-20")

    async def main() -> list[tuple[int, dict[str, str], bytes]]:
        with clock.held():
            async with VenueServer(the_tape(), clock) as venue, aiohttp.ClientSession() as session:
                asked = [
                    ("GET", there),
                    ("GET", f"{there}.CHECKSUM"),
                    ("HEAD", there),
                    ("GET", missing),
                    ("HEAD", missing),
                    ("POST", there),
                    ("GET", "/fapi/v1/time"),
                    ("GET", "/api/v3/time"),
                ]
                return [await fetched(session, method, venue.url + path) for method, path in asked]

    file, checksum, head, absent, head_absent, posted, time, spot = run_virtual(main, clock)
    assert [reply[0] for reply in (file, checksum, head, absent, head_absent, posted)] == [200, 200, 200, 404, 404, 500]
    assert checksum[2].decode().split("  ") == [hashlib.sha256(file[2]).hexdigest(), there.rpartition("/")[2] + "\n"]
    assert (head[2], int(head[1]["content-length"])) == (b"", len(file[2]))
    assert absent[1]["content-type"].startswith("application/xml")
    assert b"<Code>NoSuchKey</Code>" in absent[2]
    assert not [name for reply in (file, checksum, head, absent) for name in reply[1] if name.startswith("x-mbx")]
    assert time[1]["x-mbx-used-weight-1m"] == "1"
    assert spot[1]["x-mbx-used-weight-1m"] == spot[1]["x-mbx-used-weight"] == "1"
    rows = lines(file[2])[1:]
    assert len(rows) == 1440

    async def paged() -> Any:
        with clock.held():
            async with VenueServer(the_tape(), clock) as venue, aiohttp.ClientSession() as session:
                query = f"symbol={SYMBOL}&interval=1m&startTime={ms('2024-12-05')}&limit=1440"
                async with session.get(f"{venue.url}/fapi/v1/klines?{query}") as reply:
                    return await reply.json()

    assert rows == [",".join(map(str, row)) for row in run_virtual(paged, clock)]


def test_real_bars_are_archived_unchanged(eth_tape: Path) -> None:
    tape = load_tape(eth_tape, 7)
    symbol = tape.symbols[SYMBOL]
    day = datetime.fromtimestamp(tape.start_ms / 1000 + 10 * 86_400, UTC).strftime("%Y-%m-%d")
    path = file_path(UM, "daily", "klines", "1m", day)
    found = lines(BulkArchive(PublicRoutes(tape).markets).read(path, tape.end_ms))[1:]
    rows = np.array([line.split(",") for line in found], dtype=float)
    source = pl.read_parquet(eth_tape).filter(pl.col("open_time").dt.strftime("%Y-%m-%d") == day)
    names = ("open", "high", "low", "close", "volume")
    assert len(rows) == source.height == 1440
    assert np.array_equal(rows[:, 1:6], source.select(names).to_numpy())
    assert np.array_equal(rows[:, 0], source["open_time"].dt.epoch("ms").to_numpy())
    if "quote_volume" in symbol.bars.recorded:
        np.testing.assert_allclose(rows[:, 7], source["quote_volume"].to_numpy(), rtol=1e-9)
