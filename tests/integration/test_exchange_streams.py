"""Our streams against the venue: whole books and fresh marks or none, whatever the sockets go through."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from support.hosts.signed_client import Caller
from support.trading.virtual_venue import settings_at

from trader_cli.core.market.timeframes import HOUR_MS
from trader_cli.exchange.binance import BinanceExchange
from trader_cli.exchange.connection.client import make_session
from trader_cli.exchange.streams import stream_socket
from trader_cli.exchange.streams.account_stream import AccountStream
from trader_cli.exchange.streams.market_stream import MarketStream
from trader_cli.exchange.streams.stream_ages import StreamAges
from trader_cli.exchange.streams.stream_hosts import market_url, route_of, stream_host
from trader_cli.settings import as_settings
from trader_cli.venue.clocks import VirtualClock, run_virtual
from trader_cli.venue.server import stream_routes
from trader_cli.venue.server.server import VenueServer
from trader_cli.venue.simulated_market.synthetic import synthetic_tape
from trader_cli.venue.streams.account_streams import AccountStreams
from trader_cli.venue.streams.hub import StreamHub
from trader_cli.venue.streams.stream_connection import StreamConnection

pytestmark = pytest.mark.slow

TAPE = synthetic_tape(("ETHUSDT", "BTCUSDT"), 4, 0.0, 7)
SYMBOLS = ("ETHUSDT", "BTCUSDT")
Work = Callable[["Streaming"], Awaitable[Any]]


class Streaming:
    """A venue, an exchange client of the demo profile, and its streams as they run."""

    def __init__(self, venue: VenueServer, exchange: BinanceExchange, session: Any, clock: VirtualClock) -> None:
        self.venue, self.exchange, self.clock, self.ages = venue, exchange, clock, StreamAges()
        self.news: list[int] = []
        connection, host = exchange._connection, stream_host("demo", exchange.settings.binance_exchange)
        self.account = AccountStream(connection, session, host, self.ages, lambda: self.news.append(clock.now_ms()))

        async def snapshot(symbol: str) -> Any:
            return await exchange._read("depth", {"symbol": symbol, "limit": 1000})

        self.market = MarketStream(connection, session, host, self.ages, SYMBOLS, snapshot)
        self.caller = Caller(session, venue.url, clock)

    @property
    def stale(self) -> set[str]:
        return {age.name for age in self.ages.all(self.clock.now_ms()) if age.since_ms is not None}

    def compared(self) -> bool:
        """Whether there is a book just now; one that is not the engine's is an error."""
        book = self.market.book("ETHUSDT", 1000)
        if book is None:
            return False
        bids, asks = self.venue._routes.markets["ETHUSDT"].book(book.time_ms, 1000)
        shown = [tuple((round(p, 2), round(q, 3)) for p, q in side) for side in (bids, asks)]
        assert [book.bids, book.asks] == shown
        return True


def streaming(folder: Path, work: Work, *, market: bool = True, account: bool = True) -> Any:
    """Run `work` beside the streams, in virtual time, and return what it returns."""
    clock = VirtualClock(TAPE.at(0.3))

    async def main() -> Any:
        async with VenueServer(TAPE, clock, folder=folder / "venue") as venue, make_session(plain=True) as session:
            exchange = BinanceExchange(settings_at(venue.url, folder), clock=clock)
            await exchange.initialize()
            at = Streaming(venue, exchange, session, clock)
            runs = [one.run for one, wanted in ((at.market, market), (at.account, account)) if wanted]
            tasks = [asyncio.create_task(run()) for run in runs]
            try:
                return await work(at)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await exchange.close()

    return run_virtual(main, clock)


def test_books_and_marks_are_the_exchanges_and_fresh(tmp_path: Path) -> None:
    async def work(at: Streaming) -> int:
        seen = 0
        await at.clock.sleep(3)
        for _ in range(60):
            await at.clock.sleep(0.37)
            seen += at.compared()
            mark = at.market.mark("BTCUSDT")
            told = at.venue._routes.markets["BTCUSDT"]
            assert mark in {round(told.mark_price(at.clock.now_ms() - late), 1) for late in range(0, 2100, 50)}
        assert at.stale == set()
        return seen

    assert streaming(tmp_path, work) == 60


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(1, 10))])
def test_a_book_is_right_or_not_there_whatever_happens_on_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Messages are lost, doubled, held back, garbled; sockets are closed; and it is there again soon after."""
    dice, hear, held = np.random.default_rng(seed), StreamConnection.hear, list[Any]()

    def bent(self: StreamConnection, name: str, message: bytes) -> None:
        chance = float(dice.random()) if begun else 1.0
        if chance < 0.04:
            return
        if chance < 0.08:
            held.append((self, name, message))
            return
        if chance < 0.09:
            message = message[: len(message) // 2]
        if chance < 0.10:
            self.end(1008)
        for _ in range(2 if chance < 0.14 else 1):
            hear(self, name, message)
        while held and dice.random() < 0.5:
            hear(*held.pop())

    begun: list[bool] = []
    monkeypatch.setattr(StreamConnection, "hear", bent)

    async def work(at: Streaming) -> tuple[int, bool, int]:
        await at.clock.sleep(5)
        begun.append(True)
        seen = 0
        for _ in range(120):
            await at.clock.sleep(0.5)
            seen += at.compared()
        begun.clear()
        await at.clock.sleep(45)
        return seen, at.compared(), sum(socket.connects for socket in at.market._sockets)

    seen, again, connects = streaming(tmp_path, work, account=False)
    assert seen > 10
    assert again
    assert connects > 3


def test_whoever_falls_silent_is_stale_since_then_and_is_connected_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hear, silent = StreamConnection.hear, list[bool]()
    monkeypatch.setattr(StreamConnection, "hear", lambda self, *told: None if silent else hear(self, *told))

    async def work(at: Streaming) -> tuple[Any, ...]:
        await at.clock.sleep(5)
        fresh, connects = at.stale, sum(socket.connects for socket in at.market._sockets)
        began = at.clock.now_ms()
        silent.append(True)
        await at.clock.sleep(3)
        asked_elsewhere = at.market.mark("ETHUSDT"), at.market.book("ETHUSDT", 5)
        await at.clock.sleep(8)
        age = at.ages.of("ethusdt@markPrice@1s", at.clock.now_ms())
        await at.clock.sleep(60)
        silent.clear()
        await at.clock.sleep(20)
        anew = sum(socket.connects for socket in at.market._sockets) - connects
        return fresh, asked_elsewhere, (age.since_ms or 0) - began, anew, at.stale, at.compared()

    fresh, asked_elsewhere, since, anew, stale, compared = streaming(tmp_path, work, account=False)
    assert fresh == set()
    assert asked_elsewhere == (None, None)
    assert -1100 < since < 12_000
    assert anew > 0
    assert stale == set()
    assert compared


def test_what_happens_to_the_account_is_news_at_once_and_so_is_every_connection(tmp_path: Path) -> None:
    async def work(at: Streaming) -> tuple[list[int], int, list[int], list[int]]:
        await at.clock.sleep(2)
        first, at.news = at.news, []
        bought_ms = at.clock.now_ms()
        await at.caller.buy(quantity="0.1")
        await at.clock.sleep(0.2)
        second, at.news = at.news, []
        for socket in [*at.venue._streams._open]:
            await socket.close(code=1001)
        await at.clock.sleep(5)
        return first, bought_ms, second, at.news

    first, bought_ms, second, third = streaming(tmp_path, work, market=False)
    assert len(first) == 1, "a look is due once the stream is up"
    assert second
    assert second[0] - bought_ms < 50
    assert len(third) == 1


def test_a_key_is_prolonged_and_made_anew_where_the_exchange_has_forgotten_it(tmp_path: Path) -> None:
    async def work(at: Streaming) -> tuple[Any, ...]:
        await at.clock.sleep(3.2 * 3600)
        prolonged = [entry.arrived_ms for entry in at.venue.log.requests if entry.path.endswith("listenKey")]
        at.news = []
        await at.caller.buy(quantity="0.1")
        await at.clock.sleep(1)
        heard, at.news = len(at.news), []
        at.venue._trading().listen_keys.remove("main")
        await at.clock.sleep(5)
        await at.caller.buy(quantity="0.1")
        await at.clock.sleep(1)
        return len(prolonged), heard, len(at.news), at.stale

    prolonged, heard, again, stale = streaming(tmp_path, work, market=False)
    assert prolonged == 7
    assert heard >= 1
    assert again >= 2, "one for the new connection, and the fill"
    assert stale == set()


def test_a_day_ends_without_a_gap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A day of an hour: the next connection is up ten minutes before the exchange ends the first."""
    monkeypatch.setattr(stream_routes, "LIFE_MS", HOUR_MS)
    monkeypatch.setattr(stream_socket, "LIFE_MS", HOUR_MS - 600_000)

    async def work(at: Streaming) -> tuple[int, set[str], int]:
        lost: list[int] = []
        at.ages.lose = lambda now_ms, *_names: lost.append(now_ms)  # type: ignore[method-assign]
        await at.clock.sleep(1.5 * 3600)
        at.news = []
        await at.caller.buy(quantity="0.1")
        await at.clock.sleep(1)
        assert at.news
        return at.account._socket.connects, at.stale, len(lost)

    assert streaming(tmp_path, work, market=False) == (2, set(), 0)


def test_a_peer_that_says_nothing_at_all_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half open: the connection stands, no pong comes, and what happens is not told."""
    begun: list[bool] = []
    tell = AccountStreams._tell
    monkeypatch.setattr(AccountStreams, "_tell", lambda self, *told: None if begun else tell(self, *told))

    async def work(at: Streaming) -> tuple[int, set[str], int]:
        await at.clock.sleep(2)
        begun.append(True)
        (socket,) = at.venue._streams._open
        socket.pong = _never  # type: ignore[method-assign]
        socket.ping = _never  # type: ignore[method-assign]
        await at.clock.sleep(70)
        begun.clear()
        return at.account._socket.connects, at.stale, len(at.news)

    assert streaming(tmp_path, work, market=False) == (2, set(), 2)


async def _never(_message: bytes = b"") -> None:
    """What is to be said is not."""


def test_an_exchange_that_is_away_is_tried_again_and_stale_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(at: Streaming) -> tuple[Any, ...]:
        await at.clock.sleep(2)
        began = at.clock.now_ms()
        with monkeypatch.context() as away:
            away.setattr(web.WebSocketResponse, "can_prepare", lambda *_: False)
            for socket in [*at.venue._streams._open]:
                await socket.close(code=1001)
            await at.clock.sleep(90)
            stale = at.stale
            since = {name: at.ages.of(name, at.clock.now_ms()).since_ms for name in stale}
        await at.clock.sleep(50)
        return began, stale, since, at.stale

    began, stale, since, after = streaming(tmp_path, work)
    assert len(stale) == 5
    assert all(began - 1100 <= one < began + 1000 for one in since.values())
    assert after == set()


def test_each_host_and_route_is_where_the_profile_says() -> None:
    hosts = {
        mode: stream_host(mode, as_settings({"mode": mode}).binance_exchange)  # type: ignore[arg-type]
        for mode in ("live", "demo", "paper")
    }
    assert hosts == {
        "live": "wss://fstream.binance.com",
        "demo": "wss://fstream.binancefuture.com",
        "paper": "wss://fstream.binance.com",
    }
    assert [
        route_of(name) for name in ("ethusdt@depth@100ms", "!bookTicker", "ethusdt@kline_1m", "!markPrice@arr")
    ] == [
        "public",
        "public",
        "market",
        "market",
    ]
    assert market_url("ws://127.0.0.1:1", "public") == "ws://127.0.0.1:1/public/ws"


def test_hubs_speak_only_while_somebody_listens(tmp_path: Path) -> None:
    async def work(at: Streaming) -> int:
        await at.clock.sleep(3)
        hub: StreamHub = at.venue._streams._hub
        assert hub._tasks
        for socket in at.market._sockets:
            socket._names = ()
        for one in [*at.venue._streams._open]:
            await one.close(code=1001)
        await at.clock.sleep(3)
        return len(hub._tasks)

    assert streaming(tmp_path, work, account=False) == 0
