"""A venue that spoils chosen answers: what was asked is carried out, or not, and the reply is lost or nonsense."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal

from aiohttp import web

from trader_cli.venue.server.authentication import KEYS
from trader_cli.venue.server.server import VenueServer

if TYPE_CHECKING:
    from trader_cli.venue.engine.books import Account

Fault = Literal["dropped", "down", "refused", "html", "truncated", "empty"]
Route = tuple[str, str]
"""Method and path."""

_SPOILED = {"html": "<html></html>", "truncated": '[{"orderId": 1', "empty": ""}


class FaultyVenue(VenueServer):
    """A whole venue. The next requests of a route meet the faults listed for it, one each; after those it is honest.

    `dropped`, `html`, `truncated` and `empty` carry the request out and spoil the reply; `down` (503) and `refused`
    (−2010) carry out nothing. `seen` lists every request in order; `arrivals` wakes those who wait for one.
    """

    def __init__(self, *arguments: Any, faults: dict[Route, list[Fault]] | None = None, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.faults = faults if faults is not None else {}
        self.seen: list[Route] = []
        self.arrivals = asyncio.Event()

    async def _answer(self, request: web.Request) -> web.Response:
        route = request.method, request.path
        waiting = self.faults.get(route, [])
        fault = waiting.pop(0) if waiting else None
        if fault == "down":
            return web.Response(text="Service Unavailable", status=503)
        if fault == "refused":
            return web.json_response({"code": -2010, "msg": "New order rejected."}, status=400)
        answer = await super()._answer(request)
        self.seen.append(route)
        self.arrivals.set()
        if fault == "dropped" and request.transport is not None:
            request.transport.close()
        if fault in _SPOILED:
            return web.Response(text=_SPOILED[fault], content_type="application/json")
        return answer

    def account(self, key: str = "sim-key") -> Account:
        """What the exchange itself keeps for the account of a key, now: no client lies in between."""
        engine = self._trading().engine(KEYS[key])
        engine.advance(self._clock.now_ms())
        return engine.account
