"""Whom a simulated exchange answers: programs of this machine that name it, and no web page of anybody else.

A page in a browser on this machine reaches 127.0.0.1, too; it could stop driven time, bend answers or trade. Browsers
say where a page is from (`Origin`, `Sec-Fetch-Site`), and under which name they came (`Host`: another one than ours
where a page has pointed its own name at 127.0.0.1). Programs send none of the former, and are answered.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import orjson
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.typedefs import Handler, Middleware
    from multidict import CIMultiDictProxy

LOG = logging.getLogger("trader.venue")
NAMES = ("127.0.0.1", "localhost", "[::1]")
"""What this machine may call itself."""
MISDIRECTED, FORBIDDEN = 421, 403
_HTTP = 80
_OWN_PAGES = frozenset({"same-origin", "none"})


def refusal(headers: CIMultiDictProxy[str], port: int) -> tuple[int, str] | None:
    """(status, sentence) for a request that is not to be answered at this port; `None` for one that is.

    Refused: no Host, several, or one that is not a loopback name with this port; an Origin other than that; a page of
    another site, or one without an origin, by `Sec-Fetch-Site`.
    """
    own = {f"{name}:{port}" for name in NAMES} | (set(NAMES) if port == _HTTP else set())
    hosts = [host.lower() for host in headers.getall("Host", [])]
    if len(hosts) != 1 or hosts[0] not in own:
        shown = ", ".join(hosts) or "none"
        return MISDIRECTED, f"trader venue: answers to {' or '.join(sorted(own))} only; the Host header is {shown}."
    foreign = [origin for origin in headers.getall("Origin", []) if origin.lower() not in {f"http://{x}" for x in own}]
    if foreign:
        return FORBIDDEN, f"trader venue: a web page of {foreign[0]} is not answered."
    site = headers.get("Sec-Fetch-Site", "none").lower()
    if site not in _OWN_PAGES:
        return FORBIDDEN, f"trader venue: a web page of another site ({site}) is not answered."
    return None


def answering_its_own(port: Callable[[], int]) -> Middleware:
    """Middleware that refuses what `refusal` refuses, before anything is read, counted, logged or bent."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        refused = refusal(request.headers, port())
        if refused is None:
            return await handler(request)
        status, sentence = refused
        LOG.warning("%s", sentence)
        body = orjson.dumps({"code": -1000, "msg": sentence})
        return web.Response(body=body, status=status, content_type="application/json")

    return guard
