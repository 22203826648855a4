"""Unmodified ccxt.pro against the venue: markets, bars, trades, books, marks and the account, as they come."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from ccxt.pro import binanceusdm
from support.hosts.tape_host import playing_now

from trader_cli.venue.clocks import WallClock
from trader_cli.venue.server.server import VenueServer
from trader_cli.venue.simulated_market.synthetic import synthetic_tape

pytestmark = [pytest.mark.slow, pytest.mark.wall]

TAPE = synthetic_tape(("ETHUSDT", "BTCUSDT"), 3, 0.0, 1)
SYMBOL = "ETH/USDT:USDT"
SECONDS = 20


def at_venue(work: Callable[[Any, VenueServer, WallClock], Awaitable[Any]]) -> Any:
    """Run `work` with a client whose addresses, and nothing else, are the venue's."""
    clock = WallClock()

    async def main() -> Any:
        async with VenueServer(playing_now(TAPE), clock) as venue:
            options = {"fetchCurrencies": False, "fetchMargins": False}
            client = binanceusdm({"apiKey": "sim-key", "secret": "sim-secret", "options": options})
            client.urls["api"] = _moved(client.urls["api"], venue.url)
            client.urls["api"]["ws"]["linear"] = venue.url.replace("http", "ws") + "/ws"
            try:
                await client.load_markets()
                return await asyncio.wait_for(work(client, venue, clock), SECONDS)
            finally:
                await client.close()

    return asyncio.run(main())


def _moved(urls: Any, base: str) -> Any:
    if isinstance(urls, dict):
        return {name: _moved(value, base) for name, value in urls.items()}
    return f"{base}/{urls.split('/', 3)[3]}" if urls.startswith("http") else urls


def test_the_market_is_watched() -> None:
    async def work(client: Any, _venue: VenueServer, clock: WallClock) -> Any:
        watched = await asyncio.gather(
            client.watch_ohlcv(SYMBOL, "1m"),
            client.watch_trades(SYMBOL),
            client.watch_ticker(SYMBOL),
            client.watch_bids_asks([SYMBOL]),
            client.watch_mark_price(SYMBOL),
            client.watch_tickers(),
        )
        return watched, clock.now_ms()

    (bars, trades, ticker, best, mark, tickers), now = at_venue(work)
    assert now - bars[-1][0] < 65_000
    assert trades[-1]["amount"] > 0
    assert ticker["last"] > 0
    assert best[SYMBOL]["bid"] < best[SYMBOL]["ask"]
    assert mark["markPrice"] > 0
    assert SYMBOL in tickers


def test_a_book_that_it_keeps_is_the_engines_book() -> None:
    async def work(client: Any, venue: VenueServer, _clock: WallClock) -> int:
        market, compared = venue._routes.markets["ETHUSDT"], 0
        while compared < 5:
            book = await client.watch_order_book(SYMBOL)
            bids, asks = market.book(book["timestamp"], 1000)
            for kept, shown in ((book["bids"], bids), (book["asks"], asks)):
                assert [tuple(level) for level in kept] == [(round(p, 2), round(q, 3)) for p, q in shown]
            compared += 1
        return compared

    assert at_venue(work) == 5


def test_the_account_is_watched() -> None:
    async def work(client: Any, _venue: VenueServer, _clock: WallClock) -> Any:
        watched = [
            asyncio.create_task(one()) for one in (client.watch_orders, client.watch_my_trades, client.watch_balance)
        ]
        await client.watch_positions()
        while not client.clients or not any("/private/" in url for url in client.clients):
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.3)
        position = asyncio.create_task(client.watch_positions())
        bought = await client.create_order(SYMBOL, "market", "buy", 0.1)
        found = [await task for task in watched]
        held = await position
        stopped = asyncio.create_task(client.watch_orders(SYMBOL))
        asked = {"stopLossPrice": 1000, "reduceOnly": True}
        stop = await client.create_order(SYMBOL, "market", "sell", 0.1, None, asked)
        return bought, found, held, stop, await stopped

    bought, (orders, trades, balance), held, stop, stopped = at_venue(work)
    assert orders[-1]["id"] == trades[-1]["order"] == bought["id"]
    assert trades[-1]["amount"] == 0.1
    assert balance["USDT"]["total"] < 10_000
    assert held[-1]["contracts"] == 0.1
    assert stopped[-1]["clientOrderId"] == stop["clientOrderId"]
