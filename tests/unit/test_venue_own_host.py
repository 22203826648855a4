"""The simulated exchange answers to its own name only, and no web page of anybody else: nothing of it is carried out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import aiohttp
import pytest

from trader_cli.venue.clocks import DrivenClock
from trader_cli.venue.server.host_check import refusal
from trader_cli.venue.server.server import VenueServer
from trader_cli.venue.simulated_market.synthetic import synthetic_tape

TAPE = synthetic_tape(("ETHUSDT",), 3, 0.5, 3)
ROUTES = (
    ("GET", "/fapi/v1/time"),
    ("POST", "/fapi/v1/order"),
    ("DELETE", "/fapi/v1/order"),
    ("OPTIONS", "/fapi/v1/order"),
    ("GET", "/venue/clock"),
    ("POST", "/venue/lease"),
    ("POST", "/venue/lease/a/sleep"),
    ("DELETE", "/venue/lease/a"),
    ("GET", "/venue/books"),
    ("GET", "/venue/requests"),
    ("PUT", "/venue/faults"),
    ("GET", "/data/futures/um/x.zip"),
)
FOREIGN = (
    ({"Host": "attacker.example"}, 421),
    ({"Host": "attacker.example:{port}"}, 421),
    ({"Host": "127.0.0.1"}, 421),
    ({"Host": "127.0.0.1:1"}, 421),
    ({"Host": "127.0.0.1.attacker.example:{port}"}, 421),
    ({"Host": ""}, 421),
    ({"Origin": "https://attacker.example"}, 403),
    ({"Origin": "null"}, 403),
    ({"Origin": "http://127.0.0.1:1"}, 403),
    ({"Origin": "https://127.0.0.1:{port}"}, 403),
    ({"Sec-Fetch-Site": "cross-site"}, 403),
    ({"Sec-Fetch-Site": "same-site"}, 403),
)
OWN = (
    {},
    {"Host": "127.0.0.1:{port}"},
    {"Host": "localhost:{port}"},
    {"Host": "LocalHost:{port}"},
    {"Host": "[::1]:{port}"},
    {"Origin": "http://127.0.0.1:{port}"},
    {"Origin": "http://localhost:{port}"},
    {"Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "none"},
)

Ask = Callable[..., Awaitable[aiohttp.ClientResponse]]


def at_a_driven_venue(work: Callable[[VenueServer, Ask], Awaitable[None]]) -> None:
    """Run `work` against a venue whose time is driven; `{port}` in a header is the venue's."""

    async def main() -> None:
        async with VenueServer(TAPE, DrivenClock(TAPE.at(0.4))) as venue, aiohttp.ClientSession() as session:

            async def ask(method: str, path: str, headers: dict[str, str]) -> aiohttp.ClientResponse:
                sent = {name: value.replace("{port}", venue.url.rsplit(":", 1)[1]) for name, value in headers.items()}
                async with session.request(method, venue.url + path, headers=sent) as reply:
                    await reply.read()
                    return reply

            await work(venue, ask)

    asyncio.run(main())


@pytest.mark.parametrize(("headers", "status"), FOREIGN, ids=str)
def test_nothing_is_done_for_a_page_of_somebody_else(headers: dict[str, str], status: int) -> None:
    async def work(venue: VenueServer, ask: Ask) -> None:
        for method, path in ROUTES:
            reply = await ask(method, path, headers)
            assert reply.status == status, (method, path)
            assert "Access-Control-Allow-Origin" not in reply.headers
            assert "trader venue" in (await reply.json())["msg"]
        assert list(venue.log.requests) == []

    at_a_driven_venue(work)


@pytest.mark.parametrize("headers", OWN, ids=str)
def test_programs_of_this_machine_are_answered(headers: dict[str, str]) -> None:
    async def work(_venue: VenueServer, ask: Ask) -> None:
        for method, path in (("GET", "/fapi/v1/time"), ("GET", "/venue/clock"), ("POST", "/venue/lease")):
            assert (await ask(method, path, headers)).status == 200, (method, path)

    at_a_driven_venue(work)


def test_driven_time_is_not_stopped_by_a_page() -> None:
    """A lease taken by a page would hold time for ever."""

    async def work(venue: VenueServer, ask: Ask) -> None:
        refused = await ask("POST", "/venue/lease", {"Origin": "https://attacker.example"})
        ours = (await (await ask("POST", "/venue/lease", {})).json())["lease"]
        until = TAPE.at(0.4) + 60_000
        async with aiohttp.ClientSession() as session:
            slept = session.post(f"{venue.url}/venue/lease/{ours}/sleep", json={"until_ms": until})
            async with slept as reply:
                assert (await reply.json())["now_ms"] >= until
        assert refused.status == 403

    at_a_driven_venue(work)


def test_port_80_needs_no_port_in_the_name() -> None:
    from multidict import CIMultiDict, CIMultiDictProxy

    named = CIMultiDictProxy(CIMultiDict({"Host": "localhost"}))
    assert refusal(named, 80) is None
    assert refusal(named, 8787) is not None
    assert refusal(CIMultiDictProxy(CIMultiDict([("Host", "localhost:80"), ("Host", "localhost:80")])), 80) is not None
