"""What the venue shows and takes from outside: its books, its log, faults, accounts of their own."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest

from trader_cli.venue.clocks import VirtualClock, run_virtual
from trader_cli.venue.server.authentication import known_key
from trader_cli.venue.server.server import VenueServer
from trader_cli.venue.simulated_market.synthetic import synthetic_tape

TAPE = synthetic_tape(("ETHUSDT",), 3, 0.5, 3)
ENTRY = {"symbol": "ETHUSDT", "side": "BUY", "type": "MARKET", "quantity": "1", "newClientOrderId": "td-e-1"}


class Outside:
    """Who asks."""

    def __init__(self, session: aiohttp.ClientSession, url: str, clock: VirtualClock) -> None:
        self.session, self.url, self.clock = session, url, clock

    async def signed(self, method: str, path: str, key: str = "sim-key", **sent: str) -> tuple[int, Any]:
        text = urlencode({**sent, "timestamp": self.clock.now_ms()})
        signature = hmac.new(b"sim-secret", text.encode(), hashlib.sha256).hexdigest()
        url = f"{self.url}{path}?{text}&signature={signature}"
        async with self.session.request(method, url, headers={"X-MBX-APIKEY": key}) as reply:
            return reply.status, await reply.json()

    async def get(self, path: str) -> Any:
        async with self.session.get(self.url + path) as reply:
            return await reply.json()

    async def books(self, key: str = "sim-key") -> Any:
        return await self.get(f"/venue/books?key={key}")

    async def bend(self, **tree: Any) -> int:
        async with self.session.put(f"{self.url}/venue/faults", json=tree) as reply:
            return reply.status


def outside(work: Callable[[Outside], Awaitable[None]], folder: Path | None = None, later_s: float = 0.0) -> None:
    """Run `work` against a venue in virtual time."""
    clock = VirtualClock(TAPE.at(0.4) + round(later_s * 1000))

    async def main() -> None:
        async with VenueServer(TAPE, clock, folder=folder) as venue, aiohttp.ClientSession() as session:
            await work(Outside(session, venue.url, clock))

    run_virtual(main, clock)


def test_books_show_what_is_open_what_covers_it_and_since_when_it_was_bare() -> None:
    async def work(asker: Outside) -> None:
        assert (await asker.books())["symbols"] == {}
        await asker.signed("POST", "/fapi/v1/order", **ENTRY)
        filled_ms = asker.clock.now_ms()
        await asker.clock.sleep(3)
        stop = {
            "symbol": "ETHUSDT",
            "side": "SELL",
            "type": "STOP_MARKET",
            "triggerPrice": "1.00",
            "algoType": "CONDITIONAL",
            "closePosition": "true",
            "clientAlgoId": "td-b-1",
        }
        open_yet = (await asker.books())["symbols"]["ETHUSDT"]
        assert open_yet["bare_spans"] == [[filled_ms, filled_ms + 3000]]
        status, body = await asker.signed("POST", "/fapi/v1/algoOrder", **stop)
        assert status == 200, body
        await asker.clock.sleep(3)
        books = await asker.books()
        shown = books["symbols"]["ETHUSDT"]
        assert (shown["position"], shown["bare_spans"]) == ("1", [[filled_ms, filled_ms + 3000]])
        assert [(s["client_id"], s["close_position"]) for s in shown["stops"]] == [("td-b-1", True)]
        assert [(e["client_id"], e["filled"]) for e in books["entries"]] == [("td-e-1", "1")]
        assert Decimal(books["wallet"]) < 10_000

    outside(work)


def test_an_account_of_its_own_is_opened_by_its_key_and_kept(tmp_path: Path) -> None:
    async def first(asker: Outside) -> None:
        assert (await asker.signed("POST", "/fapi/v1/order", key="sim-key-a1", **ENTRY))[0] == 200
        assert (await asker.books("sim-key-a1"))["symbols"]["ETHUSDT"]["position"] == "1"
        for other in ("sim-key", "sim-key-a2"):
            assert (await asker.books(other))["symbols"] == {}

    async def again(asker: Outside) -> None:
        shown = (await asker.books("sim-key-a1"))["symbols"]["ETHUSDT"]
        assert (shown["position"], len(shown["bare_spans"])) == ("1", 1)

    outside(first, tmp_path)
    outside(again, tmp_path, later_s=60)


@pytest.mark.parametrize("name", ["", "sim", "sim-key-", "sim-key-A", "sim-key-a b", "sim-key-" + "a" * 33, "other"])
def test_other_names_are_no_keys(name: str) -> None:
    assert known_key(name) is None

    async def work(asker: Outside) -> None:
        assert (await asker.books(name))["code"] == -2015

    outside(work)


def test_what_was_asked_is_shown_and_asking_for_it_is_not_logged() -> None:
    async def work(asker: Outside) -> None:
        await asker.signed("POST", "/fapi/v1/order", **ENTRY)
        await asker.signed("GET", "/fapi/v1/order", symbol="ETHUSDT", origClientOrderId="td-e-1")
        sent, asked = await asker.get("/venue/requests")
        assert (sent["method"], sent["client_id"], sent["outcome"], sent["status"]) == ("POST", "td-e-1", 200, 200)
        assert sent["arrived_ms"] <= sent["executed_ms"] <= sent["replied_ms"]
        assert await asker.get(f"/venue/requests?after={sent['number']}") == [asked]
        assert "signature" not in str(sent)

    outside(work)


def test_faults_hold_from_now_or_from_the_next_request_of_a_route() -> None:
    async def work(asker: Outside) -> None:
        slow = {"method": "GET", "path": "/fapi/v1/time", "before_s": 2.0, "to_s": 5}
        assert await asker.bend(seed=1, faults=[slow]) == 200
        began = asker.clock.now_ms()
        await asker.get("/fapi/v1/time")
        assert asker.clock.now_ms() - began == 2000
        await asker.bend(seed=1, faults=[slow], when="POST /fapi/v1/order")
        await asker.clock.sleep(60)
        began = asker.clock.now_ms()
        await asker.get("/fapi/v1/time")
        assert asker.clock.now_ms() == began, "the plan before it is over, this one has not begun"
        await asker.signed("POST", "/fapi/v1/order", **ENTRY)
        await asker.get("/fapi/v1/time")
        assert asker.clock.now_ms() - began == 2000
        await asker.bend(faults=[])
        await asker.get("/fapi/v1/time")
        assert asker.clock.now_ms() - began == 2000
        assert await asker.bend(faults=[{"method": "GET"}]) == 400

    outside(work)
