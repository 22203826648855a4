"""Symbols of every kind, from `fetch` to `features`: delivered, settled, delisted, of many coins, of gold, of any script."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from aiohttp import web
from support.commands.command_line import CommandLine, Ran
from support.commands.in_process import Inside
from support.hosts.tape_host import answering, playing_now

from trader_cli.core.errors import ExitCode, UsageError
from trader_cli.core.identity.manifests import ArtifactKey
from trader_cli.core.market.timeframes import DAY_MS, Timeframe
from trader_cli.storage.artifacts import ArtifactStore
from trader_cli.venue.clocks import WallClock
from trader_cli.venue.server.archive_routes import BulkArchive
from trader_cli.venue.server.public_routes import PublicRoutes, VenueRejection
from trader_cli.venue.simulated_market.synthetic import synthetic_tape
from trader_cli.venue.simulated_market.tape import Tape, TapeBars

pytestmark = pytest.mark.slow

GONE, MANY, QUARTER, GOLD, SCRIPT = "LUNAUSDT", "1000SHIBUSDT", "ETHUSDT_991231", "XAUUSDT", "币安人生USDT"
GONE_DAYS = 40
H1 = Timeframe.parse("1h")
Answer = Callable[[dict[str, str]], Any]
"""From a query to what is sent instead of the honest answer; None: the honest one."""


@cache
def tape() -> Tape:
    """Three months up to now; one symbol traded until some weeks ago."""
    made = playing_now(synthetic_tape(("ETHUSDT", GONE, MANY, QUARTER, GOLD, SCRIPT), 100, 0.0, 5), 0.97)
    gone = made.symbols[GONE]
    kept = gone.open_ms < midnight(GONE_DAYS)
    names = ("open_ms", "open", "high", "low", "close", "volume")
    ended = gone.playing(TapeBars(**{name: getattr(gone, name)[kept] for name in names}))
    return replace(made, symbols={**made.symbols, GONE: ended})


@cache
def routes() -> PublicRoutes:
    return PublicRoutes(tape())


def midnight(days_ago: int) -> int:
    now = WallClock().now_ms()
    return now - now % DAY_MS - days_ago * DAY_MS


def day(days_ago: int, spelled: str = "%Y-%m-%d") -> str:
    return f"{datetime.fromtimestamp(midnight(days_ago) / 1000, UTC):{spelled}}"


@contextmanager
def exchange(
    answers: dict[str, Answer] | None = None,
    *,
    unlisted: tuple[str, ...] = (),
    asked: list[str] | None = None,
    **listed: dict[str, Any],
) -> Iterator[str]:
    """The exchange and its archive under one address. `unlisted` it does not list; `listed` changes what it says."""
    archive, bent, requests = BulkArchive(routes().markets), dict(answers or {}), [] if asked is None else asked

    def info(body: Any) -> Any:
        symbols = [{**one, **listed.get(one["symbol"], {})} for one in body["symbols"] if one["symbol"] not in unlisted]
        return {**body, "symbols": symbols}

    async def answer(request: web.Request) -> web.StreamResponse:
        path, query, now = request.path, dict(request.query), WallClock().now_ms()
        requests.append(f"{path}?{query.get('symbol', '')}")
        if path.startswith("/data/"):
            held = archive.read(path, now)
            return web.Response(status=404) if held is None else web.Response(body=held)
        instead = bent[path](query) if path in bent else None
        if instead is not None:
            return instead if isinstance(instead, web.StreamResponse) else web.json_response(instead)
        if query.get("symbol") in unlisted:
            return refusal(-1121)
        try:
            body = routes().table[path](query, now)
        except VenueRejection as refused:
            return refusal(refused.code)
        return web.json_response(info(body) if path == "/fapi/v1/exchangeInfo" else body)

    with answering(answer) as url:
        yield url


def refusal(code: int, status: int = 400) -> web.Response:
    return web.json_response({"code": code, "msg": "no"}, status=status)


def ran(folder: Path, url: str, *words: str) -> Ran:
    cli = Inside(folder)
    return cli.run(*words, TRADER_BINANCE_EXCHANGE__BASE_URL=url, TRADER_BINANCE_EXCHANGE__MAX_RETRIES="0")


def fetched(folder: Path, url: str, symbol: str, *words: str) -> dict[str, Any]:
    done = ran(folder, url, "fetch", symbol, "-t", "1h", *words, "--json")
    assert done.code == 0, done.out + done.err
    return done.json


def with_features(folder: Path, url: str, symbol: str) -> None:
    done = ran(folder, url, "features", symbol, "-t", "1h")
    assert done.code == 0, done.out + done.err


def stored(folder: Path, symbol: str, stage: str = "bars") -> pl.DataFrame:
    store = ArtifactStore(folder / "cache")
    manifest = store.current(ArtifactKey("paper", symbol, "1h", stage))
    assert manifest is not None
    return store.read(manifest)


def closes(symbol: str, first_ms: int, limit: int = 1500) -> list[float]:
    """What the exchange itself shows, or showed."""
    query = {"symbol": symbol, "interval": "1h", "startTime": str(first_ms), "limit": str(limit)}
    return [float(row[4]) for row in routes().table["/fapi/v1/klines"](query, WallClock().now_ms())]


# what does not trade any more


@pytest.mark.parametrize("via", ["auto", "archive"])
def test_the_history_of_a_delisted_coin_comes_from_the_archive(tmp_path: Path, via: str) -> None:
    asked: list[str] = []
    with exchange(unlisted=(GONE,), asked=asked) as url:
        words = ("--since", day(90), "--via", via)
        done = fetched(tmp_path, url, GONE, *words)
        again = fetched(tmp_path, url, GONE, *words)
        with_features(tmp_path, url, GONE)
    assert stored(tmp_path, GONE)["close"].to_list() == closes(GONE, midnight(90))
    assert done["last_ms"] == midnight(GONE_DAYS) - H1.ms
    assert (again["digest"], again["new_bars"]) == (done["digest"], 0)
    assert any("does not list it any more" in note and "no position is opened" in note for note in done["notes"])
    assert not [path for path in asked if path.endswith(f"?{GONE}")], "the exchange is not asked for what it has not"


def test_a_span_of_a_delisted_coin_that_rest_would_have_sooner_comes_from_the_archive(tmp_path: Path) -> None:
    with exchange(unlisted=(GONE,)) as url:
        done = fetched(tmp_path, url, GONE, "--since", day(43, "%Y%m%d"), "--until", day(41, "%Y%m%d"))
    assert (done["first_ms"], done["last_ms"]) == (midnight(43), midnight(GONE_DAYS) - H1.ms)


def test_by_rest_alone_a_delisted_coin_is_not_there(tmp_path: Path) -> None:
    with exchange(unlisted=(GONE,)) as url:
        done = ran(tmp_path, url, "fetch", GONE, "-t", "1h", "--since", day(90), "--via", "rest")
    assert (done.code, "does not list" in done.err) == (ExitCode.USAGE, True)


def test_what_neither_the_exchange_nor_its_archive_knows_is_said_to_be_unknown(tmp_path: Path) -> None:
    with exchange() as url:
        done = ran(tmp_path, url, "fetch", "ETHUSTD", "-t", "1h", "--since", day(9))
    assert done.code == ExitCode.USAGE
    said = " ".join(done.err.split())
    assert "does not list the symbol 'ETHUSTD'" in said
    assert "Did you mean ETHUSDT" in said
    assert "archive" in said


def test_a_month_missing_in_the_history_of_a_delisted_coin_is_named(tmp_path: Path) -> None:
    missing = f"{GONE}-1h-{day(60, '%Y-%m')}"
    archive = BulkArchive(routes().markets)

    async def holed(request: web.Request) -> web.StreamResponse:
        body = None if missing in request.path else archive.read(request.path, WallClock().now_ms())
        return web.Response(status=404) if body is None else web.Response(body=body)

    with exchange(unlisted=(GONE,)) as url, answering(holed) as elsewhere:
        cli = Inside(tmp_path)
        there = {"TRADER_BINANCE_EXCHANGE__BASE_URL": url, "TRADER_BINANCE_EXCHANGE__ARCHIVE_URL": elsewhere}
        words = ("fetch", GONE, "-t", "1h", "--since", day(95), "--until", day(1), "--allow-gaps", "--json")
        done = cli.run(*words, **there)
    assert done.code == 0, done.err
    ends = datetime.fromtimestamp(midnight(GONE_DAYS) / 1000 - 1, UTC).strftime("%Y-%m")
    held = any(missing in note for note in done.json["notes"])
    assert held is (day(60, "%Y-%m") != ends), "a month after which nothing comes is the end, not a hole"


def test_a_settling_symbol_keeps_its_bars_and_what_is_not_told_any_more_is_said(tmp_path: Path) -> None:
    closed: dict[str, Answer] = {
        path: lambda _query: refusal(-4108)
        for path in ("/fapi/v1/openInterest", "/fapi/v1/depth", "/fapi/v1/premiumIndex")
    }
    with exchange(closed, **{MANY: {"status": "SETTLING"}}) as url:
        done = fetched(tmp_path, url, MANY, "--limit", "300", "--with", "depth,funding,info")
        with_features(tmp_path, url, MANY)
    notes = " ".join(done["notes"])
    assert "The state of the market was not stored:" in notes
    assert "No depth was stored:" in notes
    assert "SETTLING" in notes
    assert done["kinds"]["funding"]["new"] > 0
    assert done["kinds"]["info"]["new"] == 1


@pytest.mark.parametrize("code", [-1122, -4108, -4141])
def test_bars_that_are_not_told_any_more_come_from_the_archive(tmp_path: Path, code: int) -> None:
    with exchange({"/fapi/v1/klines": lambda _query: refusal(code)}, **{GONE: {"status": "CLOSE"}}) as url:
        done = fetched(tmp_path, url, GONE, "--since", day(80), "--until", day(GONE_DAYS - 3))
        with_features(tmp_path, url, GONE)
    assert done["last_ms"] == midnight(GONE_DAYS) - H1.ms
    assert any("CLOSE" in note for note in done["notes"])


def test_what_is_closed_ends_in_the_archive_where_it_ended(tmp_path: Path) -> None:
    with exchange(**{GONE: {"status": "CLOSE"}}) as url:
        done = fetched(tmp_path, url, GONE, "--since", day(80), "--until", day(3), "--via", "archive")
    assert done["last_ms"] == midnight(GONE_DAYS) - H1.ms


def test_what_waits_to_be_traded_has_no_bars_yet(tmp_path: Path) -> None:
    with exchange({"/fapi/v1/klines": lambda _query: []}, **{MANY: {"status": "PENDING_TRADING"}}) as url:
        done = ran(tmp_path, url, "fetch", MANY, "-t", "1h", "--via", "rest")
    assert done.code == ExitCode.DATA
    assert "has no closed 1h bars" in " ".join(done.err.split())
    assert "PENDING_TRADING" in done.err


# names


@pytest.mark.parametrize("symbol", [QUARTER, SCRIPT, MANY, GOLD])
@pytest.mark.parametrize("via", ["rest", "archive"])
def test_every_kind_of_symbol_goes_through_by_its_own_name(tmp_path: Path, symbol: str, via: str) -> None:
    with exchange(**{GOLD: {"contractType": "TRADIFI_PERPETUAL", "underlyingType": "COMMODITY"}}) as url:
        words = ("--limit", "1", "--until", day(3), "--via", via, "--with", "mark,index,open-interest")
        done = fetched(tmp_path, url, symbol, *words)
        with_features(tmp_path, url, symbol)
        listed = ran(tmp_path, url, "status", "--json").json
    assert [one["symbol"] for one in listed["series"]] == [symbol]
    assert (done["symbol"], done["archive_files"] > 0) == (symbol, via == "archive")
    assert done["kinds"]["mark"]["rows"] == done["kinds"]["index"]["rows"] == done["bars"]
    assert stored(tmp_path, symbol)["close"].to_list()[-1000:] == closes(symbol, done["last_ms"] - 999 * H1.ms, 1000)


def test_a_delivery_contract_is_not_the_perpetual(tmp_path: Path) -> None:
    with exchange(unlisted=(QUARTER,)) as url:
        fetched(tmp_path, url, "ETHUSDT", "--limit", "1")
        quarter = fetched(tmp_path, url, QUARTER, "--since", day(60), "--until", day(3))
        perpetual = fetched(tmp_path, url, "ETHUSDT", "--since", day(60), "--until", day(3))
    assert quarter["digest"] != perpetual["digest"]
    assert stored(tmp_path, QUARTER)["close"][0] != stored(tmp_path, "ETHUSDT")["close"][0]


@pytest.mark.parametrize("name", ["..", "../ETHUSDT", "ETH/USDT", ".", "ETHUSDT.", "ETH USDT", "", "E" * 41])
def test_what_names_no_symbol_names_no_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "symbols.txt").write_text(name + "\n")
    with exchange() as url:
        done = ran(tmp_path, url, "fetch", "-t", "1h", name)
    assert done.code == ExitCode.USAGE
    with pytest.raises(UsageError, match="is not a symbol"):
        ArtifactStore(tmp_path / "cache").current(ArtifactKey("paper", name, "1h", "bars"))


# the most traded


def test_the_most_traded_are_counted_with_gold_and_stocks(tmp_path: Path) -> None:
    def tickers(_query: dict[str, str]) -> Any:
        volumes = {GOLD: "900", "ETHUSDT": "800", QUARTER: "990", SCRIPT: "700"}
        return [{"symbol": name, "quoteVolume": volume} for name, volume in volumes.items()]

    gold = {"contractType": "TRADIFI_PERPETUAL", "underlyingType": "COMMODITY"}
    with exchange({"/fapi/v1/ticker/24hr": lambda q: None if q else tickers(q)}, **{GOLD: gold}) as url:
        done = ran(tmp_path, url, "fetch", "--top", "2", "-t", "1h", "--limit", "1", "--json")
    assert done.code == 0, done.err
    assert [one["symbol"] for one in done.json["series"]] == [GOLD, "ETHUSDT"]
    assert "TradFi" in CommandLine(tmp_path).run("fetch", "--help").out


# spot


def spot_of(name: str) -> Answer:
    """Klines of the spot market: it lists one coin under this name, at a thousandth of the price."""

    def answer(query: dict[str, str]) -> Any:
        if query["symbol"] != name:
            return refusal(-1121)
        whole = routes().table["/api/v3/klines"]({**query, "symbol": MANY}, WallClock().now_ms())
        return [
            [
                row[0],
                *(f"{float(price) / 1000:.9f}" for price in row[1:5]),
                f"{float(row[5]) * 1000:.3f}",
                *row[6:9],
                f"{float(row[9]) * 1000:.3f}",
                *row[10:],
            ]
            for row in whole
        ]

    return answer


def test_the_spot_market_of_a_thousand_coins_is_that_of_one(tmp_path: Path) -> None:
    with exchange({"/api/v3/klines": spot_of("SHIBUSDT")}) as url, answering(nothing) as empty:
        cli = Inside(tmp_path)
        there = {"TRADER_BINANCE_EXCHANGE__BASE_URL": url, "TRADER_BINANCE_EXCHANGE__ARCHIVE_URL": empty}
        done = cli.run("fetch", MANY, "-t", "1h", "--limit", "300", "--with", "spot", "--json", **there)
        again = cli.run("fetch", MANY, "-t", "1h", "--limit", "300", "--json", **there)
    assert done.code == again.code == 0, done.err + again.err
    assert any("SHIBUSDT" in note and "1000" in note for note in done.json["notes"]), done.json["notes"]
    assert again.json["kinds"]["spot"]["new"] == 0
    spot, bars = stored(tmp_path, MANY, "spot"), stored(tmp_path, MANY)
    assert spot.height == bars.height
    for name, within in (("open", 1e-6), ("close", 1e-6), ("volume", 1e-6), ("taker_buy_base", 1e-6)):
        assert ((spot[name] / bars[name] - 1).abs().max() or 0) < within, name  # type: ignore[operator]


def test_a_spot_market_of_another_coin_is_not_taken(tmp_path: Path) -> None:
    def dear(query: dict[str, str]) -> Any:
        rows = spot_of("SHIBUSDT")(query)
        return (
            rows
            if not isinstance(rows, list)
            else [[row[0], *(str(float(p) * 40) for p in row[1:5]), *row[5:]] for row in rows]
        )

    with exchange({"/api/v3/klines": dear}) as url, answering(nothing) as empty:
        there = {"TRADER_BINANCE_EXCHANGE__BASE_URL": url, "TRADER_BINANCE_EXCHANGE__ARCHIVE_URL": empty}
        for _ in range(2):
            done = Inside(tmp_path).run(
                "fetch", MANY, "-t", "1h", "--limit", "300", "--with", "spot", "--json", **there
            )
            assert done.code == 0, done.err
            assert done.json["kinds"]["spot"] == {"rows": 0, "new": 0}
            assert any("of another coin" in note for note in done.json["notes"]), done.json["notes"]


async def nothing(_request: web.Request) -> web.StreamResponse:
    return web.Response(status=404)


def test_where_there_is_no_spot_market_the_bars_are_stored_and_it_is_said(tmp_path: Path) -> None:
    with exchange({"/api/v3/klines": lambda _query: refusal(-1121)}) as url, answering(nothing) as empty:
        there = {"TRADER_BINANCE_EXCHANGE__BASE_URL": url, "TRADER_BINANCE_EXCHANGE__ARCHIVE_URL": empty}
        done = Inside(tmp_path).run("fetch", MANY, "-t", "1h", "--limit", "300", "--with", "spot", "--json", **there)
        with_features(tmp_path, url, MANY)
    assert done.code == 0, done.err
    assert done.json["kinds"]["spot"] == {"rows": 0, "new": 0}
    assert any(note.startswith("No spot was stored:") for note in done.json["notes"])


# what fails beside the bars


BESIDE = {
    "mark": "/fapi/v1/markPriceKlines",
    "index": "/fapi/v1/indexPriceKlines",
    "spot": "/api/v3/klines",
    "funding": "/fapi/v1/fundingRate",
    "open-interest": "/futures/data/openInterestHist",
    "trades": "/fapi/v1/aggTrades",
    "depth": "/fapi/v1/depth",
    "info": "/fapi/v1/ticker/24hr",
}
ANSWERS: dict[str, tuple[Callable[[], Any], tuple[ExitCode, ...]]] = {
    "refused": (lambda: refusal(-1130), (ExitCode.DONE,)),
    "a firewall": (lambda: web.Response(status=403, text="<html>"), (ExitCode.DONE, ExitCode.UNAVAILABLE)),
    "out of order": (lambda: web.Response(status=503), (ExitCode.UNAVAILABLE,)),
    "no JSON": (lambda: web.Response(text="<html>"), (ExitCode.UNAVAILABLE, ExitCode.DATA)),
}


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("kind", BESIDE)
def test_what_fails_beside_the_bars_does_not_take_them_away(tmp_path: Path, kind: str, answer: str) -> None:
    make, codes = ANSWERS[answer]
    with exchange({BESIDE[kind]: lambda _query: make()}) as url:
        words = ("fetch", "ETHUSDT", "-t", "1h", "--since", day(3), "--via", "rest", "--with", kind, "--json")
        done = ran(tmp_path, url, *words)
    assert done.code in codes, done.out + done.err
    said = json.dumps(done.json["notes"]) if done.code == 0 else done.out + done.err
    assert "not stored" in said or "No " in said or "bars were stored" in said
    assert stored(tmp_path, "ETHUSDT").height >= 3 * 24
    with exchange() as url:
        mended = fetched(tmp_path, url, "ETHUSDT", "--since", day(3), "--via", "rest", "--with", kind)
        assert mended["kinds"][kind]["new"] > 0
