"""The simulated exchange in the process answers as it does over HTTP, and is all that its session reaches."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from support.hosts.signed_client import Caller, Reply

from trader_cli.core.errors import RateLimited
from trader_cli.exchange.connection.signing_gate import SigningGate, SigningRefused, origin_of
from trader_cli.exchange.connection.venue_session import ADDRESS, VenueSession
from trader_cli.venue.clocks import VirtualClock, run_virtual
from trader_cli.venue.server.faults import Fault, FaultPlan
from trader_cli.venue.server.server import VenueServer
from trader_cli.venue.server.simulated_venue import SimulatedVenue
from trader_cli.venue.simulated_market.synthetic import synthetic_tape

TAPE = synthetic_tape(("ETHUSDT", "BTCUSDT"), 4, 0.5, 3)
START = TAPE.at(0.5)
SYMBOL = {"symbol": "ETHUSDT"}
STOP = {**SYMBOL, "side": "SELL", "algoType": "CONDITIONAL", "type": "STOP_MARKET", "workingType": "MARK_PRICE"}
ASKED: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("GET", "/fapi/v1/time", {}),
    ("GET", "/fapi/v1/exchangeInfo", {}),
    ("GET", "/fapi/v1/klines", {**SYMBOL, "interval": "15m", "limit": 20}),
    ("GET", "/fapi/v1/depth", {**SYMBOL, "limit": 5}),
    ("GET", "/fapi/v1/depth", {**SYMBOL, "limit": 7}),
    ("GET", "/fapi/v1/premiumIndex", {"symbol": "a b&c=d+%ü"}),
    ("GET", "/api/v3/ticker/24hr", SYMBOL),
    ("GET", "/fapi/v1/nothing", {}),
    ("GET", "/data/futures/um/daily/klines/ETHUSDT/15m/nothing.zip", {}),
    ("GET", "/fapi/v3/account", {}),
    ("GET", "/fapi/v3/positionRisk", {}),
    ("GET", "/fapi/v1/openAlgoOrders", SYMBOL),
    ("GET", "/fapi/v1/allOrders", SYMBOL),
    ("GET", "/fapi/v1/userTrades", SYMBOL),
    ("POST", "/fapi/v1/leverage", {**SYMBOL, "leverage": 3}),
    ("POST", "/fapi/v1/order", {**SYMBOL, "side": "BUY", "type": "MARKET", "quantity": "1"}),
    ("POST", "/fapi/v1/order", {**SYMBOL, "side": "SELL", "type": "MARKET", "quantity": "0.5", "reduceOnly": "true"}),
    ("POST", "/fapi/v1/order", {**SYMBOL, "side": "BUY", "type": "MARKET", "quantity": "0"}),
    ("POST", "/fapi/v1/algoOrder", {**STOP, "triggerPrice": "1000", "closePosition": "true"}),
    ("DELETE", "/fapi/v1/order", {**SYMBOL, "origClientOrderId": "none"}),
    ("PUT", "/fapi/v1/order", SYMBOL),
)
"""What a client might ask, sense or not."""


def over_http(work: Callable[[Caller], Awaitable[Any]], faults: FaultPlan | None) -> Any:
    clock = VirtualClock(START)

    async def main() -> Any:
        async with VenueServer(TAPE, clock, faults=faults) as venue, aiohttp.ClientSession() as session:
            return await work(Caller(session, venue.url, clock))

    return run_virtual(main, clock)


def in_the_process(work: Callable[[Caller], Awaitable[Any]], faults: FaultPlan | None) -> Any:
    clock = VirtualClock(START)

    async def main() -> Any:
        session: Any = VenueSession(SimulatedVenue(TAPE, clock, faults=faults))
        return await work(Caller(session, ADDRESS, clock))

    return run_virtual(main, clock)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("failing", [False, True])
def test_any_requests_are_answered_as_over_http(seed: int, failing: bool) -> None:
    dice = random.Random(seed)
    chosen = [(dice.choice(ASKED), dice.choice((0.0, 0.1, 40.0))) for _ in range(60)]
    faults = FaultPlan((Fault("POST", "/fapi/v1/order", failure="503 unknown", share=0.5),), seed) if failing else None

    async def work(caller: Caller) -> list[Reply]:
        replies = []
        for (method, path, parameters), wait_s in chosen:
            replies.append(await caller.ask(method, path, **parameters))
            await asyncio.sleep(wait_s)
        return replies

    replies = over_http(work, faults)
    assert in_the_process(work, faults) == replies
    assert {200, 400} <= {status for status, _ in replies}


def test_headers_are_those_that_http_brings() -> None:
    async def work(caller: Caller) -> dict[str, str]:
        async with caller.session.get(f"{caller.url}/fapi/v1/time") as reply:
            assert reply.reason == "OK"
            return {k: v for k, v in reply.headers.items() if k not in {"Date", "Server", "Content-Length"}}

    assert {k: v.partition(";")[0] for k, v in over_http(work, None).items()} == in_the_process(work, None)


def test_a_connection_that_is_cut_is_lost_here_too() -> None:
    faults = FaultPlan((Fault("GET", "/fapi/v1/time", failure="dropped"),), 0)

    async def work(caller: Caller) -> Reply:
        return await caller.ask("GET", "/fapi/v1/time")

    assert in_the_process(work, faults) == over_http(work, faults) == (0, None)


def gated(*, signs: bool, wait_s: float = 0.0) -> VenueSession:
    at = frozenset({origin_of(ADDRESS)}) if signs else frozenset()
    return VenueSession(SimulatedVenue(TAPE, VirtualClock(START)), SigningGate(at, lambda *_: wait_s))


async def status(session: VenueSession, url: str, **options: Any) -> int:
    async with session.get(url, **options) as reply:
        return reply.status


KEY = {"headers": {"x-mbx-apikey": "sim-key"}}


def test_what_may_not_be_signed_does_not_arrive() -> None:
    async def main() -> None:
        session = gated(signs=False)
        assert await status(session, f"{ADDRESS}/fapi/v1/time") == 200
        for url, options in ((f"{ADDRESS}/fapi/v1/time", KEY), (f"{ADDRESS}/fapi/v1/time?signature=1", {})):
            with pytest.raises(SigningRefused):
                await status(session, url, **options)
        assert len(session._venue.log.requests) == 1
        assert await status(gated(signs=True), f"{ADDRESS}/fapi/v1/time", **KEY) == 200
        with pytest.raises(RateLimited):
            await status(gated(signs=True, wait_s=3.0), f"{ADDRESS}/fapi/v1/time")

    asyncio.run(main())


@pytest.mark.parametrize("url", ["http://127.0.0.1:2/fapi/v1/time", "https://fapi.binance.com/fapi/v1/time"])
def test_no_other_host_is_reached(url: str) -> None:
    session = gated(signs=True)
    with pytest.raises(aiohttp.ClientConnectionError):
        asyncio.run(status(session, url))
    with pytest.raises(aiohttp.ClientConnectionError):
        asyncio.run(status(session, f"{ADDRESS}/fapi/v1/time", proxy="http://127.0.0.1:2"))
    assert not session._venue.log.requests
