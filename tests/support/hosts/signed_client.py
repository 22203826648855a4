"""A client of a few lines for tests of the venue: signed requests, one at a time, nothing repeated."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any
from urllib.parse import urlencode

import aiohttp
from yarl import URL

from trader_cli.venue.clocks import VirtualClock, WallClock

Reply = tuple[int, Any]


class Caller:
    """A client that holds virtual time while it waits for an answer, as ours does."""

    def __init__(self, session: aiohttp.ClientSession, url: str, clock: VirtualClock | WallClock) -> None:
        self.session, self.url, self.clock = session, url, clock

    async def ask(self, method: str, path: str, **parameters: Any) -> Reply:
        """Signed with the sim key: (status, JSON or text); status 0 where the connection was cut."""
        query = urlencode({**parameters, "timestamp": self.clock.now_ms(), "recvWindow": 5000})
        signature = hmac.new(b"sim-secret", query.encode(), hashlib.sha256).hexdigest()
        headers = {"X-MBX-APIKEY": "sim-key"}
        with self.clock.held():
            try:
                url = URL(f"{self.url}{path}?{query}&signature={signature}", encoded=True)
                async with self.session.request(method, url, headers=headers) as reply:
                    text = await reply.text()
            except aiohttp.ClientError:
                return 0, None
        try:
            return reply.status, json.loads(text)
        except ValueError:
            return reply.status, text

    async def buy(self, **changes: Any) -> Reply:
        """Buy 1 ETHUSDT at market, or what the changes make of it."""
        given = {"symbol": "ETHUSDT", "side": "BUY", "type": "MARKET", "quantity": "1", **changes}
        return await self.ask("POST", "/fapi/v1/order", **given)
