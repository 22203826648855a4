"""A session of the HTTP client's kind whose requests are answered by a simulated exchange in this process: no sockets.

The unmodified ccxt client writes and signs its requests, and reads status, headers and bytes, as over HTTP.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partialmethod
from http import HTTPStatus
from typing import TYPE_CHECKING

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from trader_cli.exchange.connection.signing_gate import is_signed_request, origin_of, origin_of_request
from trader_cli.venue.server.trading_desk import Request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from trader_cli.exchange.connection.signing_gate import SigningGate
    from trader_cli.venue.server.simulated_venue import Reply, SimulatedVenue

ADDRESS = "http://127.0.0.1:1"
"""How a simulated exchange in this process is addressed. Nothing is sent there: nobody listens, and no one is asked."""
_ORIGIN = origin_of(ADDRESS)


class VenueSession:
    """Requests to `ADDRESS`, answered by `venue` if `gate` lets them pass. Any other host cannot be reached by it."""

    def __init__(self, venue: SimulatedVenue, gate: SigningGate | None = None) -> None:
        self._venue, self._gate = venue, gate
        self.headers = CIMultiDict[str]()

    def request(
        self,
        method: str,
        url: URL | str,
        *,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: object = None,  # noqa: ARG002 - nothing is waited for
        proxy: object = None,
    ) -> _RequestContext:
        return _RequestContext(
            self._venue, self._gate, method, URL(url), data or b"", CIMultiDict(headers or {}), proxy
        )

    get = partialmethod(request, "GET")
    post = partialmethod(request, "POST")
    put = partialmethod(request, "PUT")
    delete = partialmethod(request, "DELETE")

    async def close(self) -> None:
        """Nothing is held."""


@dataclass(frozen=True)
class _RequestContext:
    """One request, sent when it is entered."""

    venue: SimulatedVenue
    gate: SigningGate | None
    method: str
    url: URL
    body: bytes
    headers: CIMultiDict[str]
    proxy: object

    async def __aenter__(self) -> VenueResponse:
        if self.proxy is not None or origin_of_request(self.url) != _ORIGIN:
            raise aiohttp.ClientConnectionError("Only the simulated exchange of this process is reached.")
        if self.gate is not None:
            signed = is_signed_request(self.headers, self.url, self.body)
            self.gate.check(self.method, self.url, signed=signed)
        await asyncio.sleep(0)  # as over a socket, who else is ready goes on meanwhile
        path, query = self.url.path, self.url.raw_query_string
        request = Request(self.method, path, query, self.body.decode(), self.headers, self.url.query)
        reply = await self.venue.answer(request)
        if reply.status == 0:
            raise aiohttp.ServerDisconnectedError
        return VenueResponse(reply)

    async def __aexit__(self, *_exc: object) -> None:
        """Nothing is held."""


class VenueResponse:
    """What came, as far as it is read."""

    def __init__(self, reply: Reply) -> None:
        self._body = reply.body
        self.status = reply.status
        self.reason = HTTPStatus(reply.status).phrase
        self.headers = {"Content-Type": reply.content_type, **reply.headers}
        self.content = self

    async def text(self, errors: str = "strict") -> str:
        """The body as text."""
        return self._body.decode(errors=errors)

    async def iter_any(self) -> AsyncIterator[bytes]:
        """The body, in one part."""
        yield self._body
