"""Fetching bars: against the same pages by a bare aiohttp loop, and against the time their weight takes at least.

`python -m benchmarks.fetch 1 730` fetches two years of one symbol instead of two months.
"""

from __future__ import annotations

import asyncio
import sys
import time

import aiohttp

from benchmarks.timing import report
from trader_cli.exchange.binance import BinanceExchange
from trader_cli.exchange.market_data.pages import CHEAP_BARS
from trader_cli.venue.clocks import VirtualClock, run_virtual
from trader_cli.venue.request_weights import FUTURES
from trader_cli.venue.server.server import VenueServer
from trader_cli.venue.simulated_market.synthetic import synthetic_tape

BARS = 20_000
DAY_BARS = 1440
SYMBOLS = ("ETHUSDT", "BTCUSDT", "SOLUSDT", "BNBUSDT", "XRPUSDT")


def run() -> None:
    """Both halves, the second on two months of one symbol."""
    pages_against_bare()
    download()


def pages_against_bare() -> None:
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


def download(symbols: int = 1, days: int = 60) -> None:
    """Minute bars of some days in virtual time, against the weight they need at least over the weight we may use.

    That is the usual share of the exchange's limit, or, for little, a share with which it takes ten minutes.
    """
    names, bars = SYMBOLS[:symbols], days * DAY_BARS
    weight = len(names) * 2 * bars / CHEAP_BARS
    fraction = min(0.75, weight / 10 / FUTURES.limit)
    tape = synthetic_tape(names, days + 1, 0.0, 1)
    clock = VirtualClock(tape.end_ms - 20_000)

    async def main() -> tuple[float, float, float]:
        async with VenueServer(tape, clock) as venue:
            options = {"base_url": venue.url, "weight_fraction": fraction}
            exchange = BinanceExchange({"binance_exchange": options}, clock=clock)
            await exchange.initialize()
            began, real = clock.now_ms(), time.perf_counter()
            frames = await asyncio.gather(*(exchange.get_klines(name, "1m", bars) for name in names))
            took, real = clock.now_ms() - began, time.perf_counter() - real
            await exchange.close()
            assert [frame.height for frame in frames] == [bars] * len(names)
            return took / 1000, weight / int(FUTURES.limit * fraction) * 60, real

    took, bound, real = run_virtual(main, clock)
    what = f"{symbols} x {days} days of 1m bars, virtual ({real:.1f} s real)"
    report(what, took, bound, "s", "ratio <= 1.1")


if __name__ == "__main__":
    download(*map(int, sys.argv[1:]))
