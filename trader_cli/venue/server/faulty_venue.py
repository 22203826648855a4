"""A venue that spoils chosen answers: what was asked is carried out, or not, and the reply is lost or nonsense."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal

from trader_cli.venue.server.authentication import KEYS
from trader_cli.venue.server.public_routes import VenueRejection
from trader_cli.venue.server.server import VenueServer
from trader_cli.venue.server.simulated_venue import Reply, rejected

if TYPE_CHECKING:
    from collections.abc import Callable

    from trader_cli.venue.engine.books import Account
    from trader_cli.venue.server.trading_desk import Request

Fault = Literal["dropped", "down", "refused", "html", "truncated", "empty"]
Route = tuple[str, str]
"""Method and path."""

_SPOILED = {"html": b"<html></html>", "truncated": b'[{"orderId": 1', "empty": b""}


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

    async def answer(self, request: Request, is_heard: Callable[[], bool] = lambda: True) -> Reply:
        """The reply, spoilt or not."""
        route = request.method, request.path
        waiting = self.faults.get(route, [])
        fault = waiting.pop(0) if waiting else None
        if fault == "down":
            return Reply(503, b"Service Unavailable", content_type="text/plain")
        if fault == "refused":
            return rejected(VenueRejection(400, -2010, "New order rejected."), {})
        reply = await super().answer(request, is_heard)
        self.seen.append(route)
        self.arrivals.set()
        if fault == "dropped":
            return Reply(0, b"")
        return Reply(200, _SPOILED[fault]) if fault in _SPOILED else reply

    def account(self, key: str = "sim-key") -> Account:
        """What the exchange itself keeps for the account of a key, now: no client lies in between."""
        engine = self._trading().engine(KEYS[key])
        engine.advance(self._clock.now_ms())
        return engine.account
