"""Fetching bars through the checked client against the same pages by a bare aiohttp loop."""

from __future__ import annotations

import time

import aiohttp

from benchmarks.timing import report
from trader_cli.exchange.binance import BinanceExchange
from trader_cli.venue.clocks import VirtualClock, run_virtual
from trader_cli.venue.server import VenueServer
from trader_cli.venue.synthetic import synthetic_tape

BARS = 20_000


def run() -> None:
    """Both read the same venue in the same process; CPU is shared with it."""
    tape = synthetic_tape(("ETHUSDT",), 30, 0.0, 1)
    clock = VirtualClock(tape.end_ms)

    async def main() -> tuple[float, float]:
        async with VenueServer(tape, clock) as venue:
            exchange = BinanceExchange({"binance_exchange": {"base_url": venue.url}}, clock=clock)
            await exchange.initialize()
            await exchange.get_klines("ETHUSDT", "1m", BARS)
            began = time.perf_counter()
            frame = await exchange.get_klines("ETHUSDT", "1m", BARS)
            ours = time.perf_counter() - began
            await exchange.close()
            assert frame.height == BARS
            return ours, await bare(venue.url)

    async def bare(url: str) -> float:
        began = time.perf_counter()
        async with aiohttp.ClientSession() as session:
            start = tape.end_ms - BARS * 60_000
            for page in range(BARS // 1000):
                query = {
                    "symbol": "ETHUSDT",
                    "interval": "1m",
                    "limit": "1000",
                    "startTime": str(start + page * 60_000_000),
                }
                with clock.held():
                    async with session.get(f"{url}/fapi/v1/klines", params=query) as reply:
                        await reply.json()
        return time.perf_counter() - began

    ours, theirs = run_virtual(main, clock)
    report(f"{BARS} bars over HTTP", ours * 1e3, theirs * 1e3, "ms")
