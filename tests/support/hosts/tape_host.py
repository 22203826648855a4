"""A venue on loopback in a thread of its own, honest or bent in chosen places, for tests that need another process's view."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import web

from trader_cli.venue.clocks import WallClock
from trader_cli.venue.server.public_routes import PublicRoutes, VenueRejection
from trader_cli.venue.simulated_market.tape import Tape

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
Bend = Callable[[Any], Any]
"""From the honest body to what is sent instead: JSON, or a `web.Response`."""


def playing_now(tape: Tape, share: float = 0.75) -> Tape:
    """The tape moved in time so that the wall clock stands about there."""
    return tape.shifted(tape.shift_to(WallClock().now_ms(), share))


@contextmanager
def serving(tape: Tape, bends: dict[str, Bend] | None = None, *, skew_ms: int = 0, port: int = 0) -> Iterator[str]:
    """Serve a tape at the wall clock plus `skew_ms`; yields the URL. `bends` maps paths to what is done to answers."""
    routes, clock, bent = PublicRoutes(tape), WallClock(), dict(bends or {})

    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            body: Any = routes.table[request.path](request.query, clock.now_ms() + skew_ms)
        except VenueRejection as refused:
            return web.json_response({"code": refused.code, "msg": refused.message}, status=refused.status)
        sent = bent[request.path](body) if request.path in bent else body
        return sent if isinstance(sent, web.StreamResponse) else web.json_response(sent)

    with answering(answer, port=port) as url:
        yield url


@contextmanager
def answering(answer: Answer, *, port: int = 0) -> Iterator[str]:
    """A host of one handler in a thread of its own; yields its URL."""
    ready, address = threading.Event(), []
    loop = asyncio.new_event_loop()

    async def main(stop: asyncio.Event) -> None:
        app = web.Application()
        app.router.add_get("/{path:.*}", answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port, reuse_address=True).start()
        address.append(f"http://127.0.0.1:{runner.addresses[0][1]}")
        ready.set()
        await stop.wait()
        await runner.cleanup()

    stop = asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(main(stop)))
    thread.start()
    assert ready.wait(10)
    try:
        yield address[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()
