"""A host on loopback that keeps every request it gets, and answers as it is told, for tests of what leaves a process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs

from aiohttp import web

SYMBOL = "ETHUSDT"
FILTERS = [
    {"filterType": "PRICE_FILTER", "tickSize": "0.01", "minPrice": "0.01", "maxPrice": "100000"},
    {"filterType": "LOT_SIZE", "stepSize": "0.001", "minQty": "0.001", "maxQty": "1000"},
    {"filterType": "MARKET_LOT_SIZE", "stepSize": "0.001", "minQty": "0.001", "maxQty": "500"},
    {"filterType": "MIN_NOTIONAL", "notional": "20"},
    {"filterType": "PERCENT_PRICE", "multiplierUp": "1.05", "multiplierDown": "0.95", "multiplierDecimal": "4"},
    {"filterType": "MAX_NUM_ORDERS", "limit": 200},
    {"filterType": "MAX_NUM_ALGO_ORDERS", "limit": 10},
]


def listed(**changes: Any) -> dict[str, Any]:
    """A symbol as exchange information describes it."""
    return {
        "symbol": SYMBOL,
        "status": "TRADING",
        "contractType": "PERPETUAL",
        "deliveryDate": 4133404800000,
        "onboardDate": 1569398400000,
        "baseAsset": "ETH",
        "quoteAsset": "USDT",
        "marginAsset": "USDT",
        "filters": FILTERS,
        **changes,
    }


@dataclass(frozen=True)
class LedgerOrder:
    """A request as it arrived."""

    method: str
    path: str
    given: dict[str, str]
    key: str

    @property
    def is_signed(self) -> bool:
        """Whether it carries a key or a signature."""
        return bool(self.key) or "signature" in self.given


Answer = Callable[[LedgerOrder], Any]
"""To a body, a response, or something to wait for that gives one."""


def refusal(code: int, message: str, status: int = 400, **headers: str) -> web.Response:
    """A refusal as the exchange words it."""
    return web.json_response({"code": code, "msg": message}, status=status, headers=headers)


def order_of(kept: LedgerOrder) -> dict[str, Any]:
    """The order that was asked for, filled."""
    given = kept.given
    return {
        "orderId": 7,
        "clientOrderId": given.get("newClientOrderId", given.get("origClientOrderId", "")),
        "symbol": SYMBOL,
        "side": given.get("side", "SELL"),
        "status": "FILLED",
        "avgPrice": "2000",
        "origQty": given.get("quantity", "1"),
        "executedQty": given.get("quantity", "1"),
        "reduceOnly": given.get("reduceOnly", "false") == "true",
        "updateTime": 1,
    }


class KeepingHost:
    """`answers` maps "METHOD path" to what answers it; `skew_ms` is by how much its clock is ahead of ours."""

    def __init__(self, **answers: Answer) -> None:
        self.kept: list[LedgerOrder] = []
        self.skew_ms = 0
        self.symbols = [listed()]
        self.answers: dict[str, Answer] = {
            "GET /fapi/v1/time": lambda _: {"serverTime": self.now_ms()},
            "GET /fapi/v1/exchangeInfo": lambda _: {"serverTime": 1, "rateLimits": [], "symbols": self.symbols},
            "GET /sapi/v1/account/apiRestrictions": lambda _: rights(),
            "GET /fapi/v3/positionRisk": lambda _: [],
            "GET /fapi/v1/ticker/24hr": lambda _: TICKER,
            "POST /fapi/v1/order": order_of,
            **answers,
        }
        self._runner: web.AppRunner | None = None

    def now_ms(self) -> int:
        """Its clock."""
        return int(time.time() * 1000) + self.skew_ms

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        text = request.url.raw_query_string + "&" + (await request.read()).decode()
        given = {name: values[-1] for name, values in parse_qs(text).items()}
        kept = LedgerOrder(request.method, request.path, given, request.headers.get("X-MBX-APIKEY", ""))
        self.kept.append(kept)
        answer = self.answers.get(f"{request.method} {request.path}")
        made = answer(kept) if answer else refusal(-1000, f"nothing at {request.path}", 404)
        body = await made if isinstance(made, Awaitable) else made
        return body if isinstance(body, web.StreamResponse) else web.json_response(body)

    async def __aenter__(self) -> KeepingHost:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    def asked(self, path: str, method: str = "") -> list[LedgerOrder]:
        """What was asked of a path."""
        return [kept for kept in self.kept if kept.path == path and method in {"", kept.method}]

    @property
    def signed(self) -> list[LedgerOrder]:
        """What arrived with a key or a signature."""
        return [kept for kept in self.kept if kept.is_signed]


TICKER = {
    "symbol": SYMBOL,
    "lastPrice": "2000",
    "openPrice": "1990",
    "highPrice": "2010",
    "lowPrice": "1980",
    "volume": "10",
    "quoteVolume": "20000",
    "priceChangePercent": "0.5",
    "closeTime": 1,
    "openTime": 0,
}


def rights(*, withdraw: bool = False) -> dict[str, bool]:
    """What a key may do."""
    return {"enableFutures": True, "enableWithdrawals": withdraw, "ipRestrict": True}


def later(seconds: float, body: Any) -> Answer:
    """An answer that takes its time."""

    async def answer(_: LedgerOrder) -> Any:
        await asyncio.sleep(seconds)
        return body

    return answer
