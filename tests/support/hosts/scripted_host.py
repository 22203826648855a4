"""A Binance-compatible host on loopback whose answers a test writes itself, in virtual time, and a client of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from aiohttp import web

from trader_cli.exchange.binance import BinanceExchange
from trader_cli.venue.clocks import VirtualClock, run_virtual
from trader_cli.venue.request_weights import request_weight

Query = dict[str, str]
Route = Callable[[Query, int], Any]
"""From the query and the host's time (UTC ms) to the body: JSON, or a `web.Response`."""
MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
NOON_MS = 1_704_067_200_000 + DAY_MS // 2
SYMBOL = {"status": "TRADING", "contractType": "PERPETUAL", "quoteAsset": "USDT", "filters": []}


class Host:
    """Answers `routes`, and notes every request: `asked` holds (time, path, query), `weights` what each minute cost."""

    def __init__(self, clock: VirtualClock, routes: Mapping[str, Route], *, weight_limit: int = 2400) -> None:
        self._clock = clock
        self._routes: dict[str, Route] = {
            "/fapi/v1/time": lambda _query, now: {"serverTime": now},
            "/fapi/v1/exchangeInfo": lambda _query, now: exchange_info(now, weight_limit),
            **routes,
        }
        self.asked: list[tuple[int, str, Query]] = []
        self.weights: dict[int, int] = {}

    def of(self, path: str) -> list[Query]:
        """The queries of a path, in the order they came."""
        return [query for _, asked, query in self.asked if asked == path]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """The one handler."""
        now, query = self._clock.now_ms(), dict(request.query)
        self.asked.append((now, request.path, query))
        minute = now // MINUTE_MS
        self.weights[minute] = self.weights.get(minute, 0) + request_weight(request.path, query)
        body = self._routes[request.path](query, now)
        headers = {"X-MBX-USED-WEIGHT-1M": str(self.weights[minute])}
        return body if isinstance(body, web.StreamResponse) else web.json_response(body, headers=headers)


def exchange_info(now: int, weight_limit: int = 2400, symbols: Iterable[str] = ("ETHUSDT",)) -> dict[str, Any]:
    """Exchange information of futures."""
    return {
        "serverTime": now,
        "rateLimits": [
            {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": weight_limit}
        ],
        "symbols": [{**SYMBOL, "symbol": name, "baseAsset": name.removesuffix("USDT")} for name in symbols],
    }


def klines(opens: list[int], step: int = MINUTE_MS) -> Route:
    """Bars that open at these times (ascending), as the exchange shows them at a moment: the forming one, too."""

    def shown(query: Query, now: int) -> list[list[Any]]:
        start, limit = int(query["startTime"]), int(query["limit"])
        end = min(now, int(query.get("endTime", now)))
        found = [opened for opened in opens if start <= opened <= end]
        return [kline(opened, step) for opened in found[:limit]]

    return shown


def kline(opened: int, step: int = MINUTE_MS) -> list[Any]:
    """A bar whose numbers tell when it opened."""
    price = 1000 + opened // step % 997
    return [
        opened,
        f"{price}.10",
        f"{price}.90",
        f"{price}.00",
        f"{price}.50",
        "12.5",
        opened + step - 1,
        "12506.25",
        7,
        "6.1",
        "6100.3",
        "0",
    ]


def with_host(
    routes: Mapping[str, Route],
    work: Callable[[BinanceExchange, Host], Awaitable[Any]],
    *,
    now_ms: int = NOON_MS,
    weight_limit: int = 2400,
    mode: str = "paper",
    **options: Any,
) -> Any:
    """`work` with a client of such a host, in one virtual time that begins at `now_ms`."""
    clock = VirtualClock(now_ms)

    async def main() -> Any:
        host, app = Host(clock, routes, weight_limit=weight_limit), web.Application()
        app.router.add_get("/{path:.*}", host.answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        exchange = BinanceExchange(
            {"mode": mode, "binance_exchange": {"base_url": url, "max_retries": 0, **options}}, clock=clock
        )
        try:
            await exchange.initialize()
            return await work(exchange, host)
        finally:
            await exchange.close()
            await runner.cleanup()

    return run_virtual(main, clock)
