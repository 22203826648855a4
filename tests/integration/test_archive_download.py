"""Downloading from the bulk archive: a real server on loopback, honest or in trouble; virtual time, so nothing waits."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import pytest
from aiohttp import web
from support.market.archive_zips import Way, kline_csv, zipped
from support.market.bars import random_bars

import trader_cli.exchange.archive.download as archive_module
from trader_cli.core.errors import ExchangeUnavailable, UsageError
from trader_cli.exchange.archive.catalogue import ArchiveFile
from trader_cli.exchange.archive.download import ATTEMPTS, Archive
from trader_cli.exchange.archive.parsing import parse_archive
from trader_cli.venue.clocks import VirtualClock, WallClock, run_virtual

FILE = ArchiveFile("futures/um", "daily", "klines", "ETHUSDT", "15m", date(2024, 1, 1))
BODY = b"PK" + bytes(range(256)) * 64
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Server:
    """Files by path, answers that replace them (taken from the front, the last one stays), and what was asked."""

    files: dict[str, bytes] = field(default_factory=dict)
    instead: dict[str, list[Answer]] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    open_now: int = 0
    most_open: int = 0
    gate: asyncio.Event | None = None
    url: str = ""

    def add(self, file: ArchiveFile, body: bytes) -> None:
        digest = hashlib.sha256(body).hexdigest()
        self.files[f"/{file.path}"] = body
        self.files[f"/{file.path}.CHECKSUM"] = f"{digest}  {file.name}\n".encode()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        self.asked[path] += 1
        if path in self.instead:
            answers = self.instead[path]
            return await (answers.pop(0) if len(answers) > 1 else answers[0])(request)
        if path not in self.files:
            return web.Response(status=404, text="<Error><Code>NoSuchKey</Code></Error>")
        if path.endswith(".zip"):
            self.open_now += 1
            self.most_open = max(self.most_open, self.open_now)
            try:
                if self.gate is not None:
                    await self.gate.wait()
            finally:
                self.open_now -= 1
        return web.Response(body=self.files[path])


@asynccontextmanager
async def serving(server: Server) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/{path:.*}", server.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def run(server: Server, use: Callable[[Archive], Awaitable[Any]], **options: Any) -> tuple[Any, VirtualClock]:
    """`use` of an archive on this server, in virtual time that begins at 0."""
    clock = VirtualClock(0)

    async def main() -> Any:
        async with serving(server) as server.url, Archive(server.url, clock, **options) as archive:
            return await use(archive)

    return run_virtual(main, clock), clock


def fetched(server: Server, **options: Any) -> bytes | None:
    return run(server, lambda archive: archive.fetch(FILE), **options)[0]


def honest() -> Server:
    server = Server()
    server.add(FILE, BODY)
    return server


def status(code: int) -> Answer:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=code)

    return answer


def sends(body: bytes) -> Answer:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(body=body)

    return answer


async def breaks_off(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": str(len(BODY))})
    await response.prepare(request)
    await response.write(BODY[:100])
    assert request.transport is not None
    request.transport.close()
    return response


ZIP, CHECKSUM = f"/{FILE.path}", f"/{FILE.path}.CHECKSUM"


@pytest.mark.parametrize("threads", [False, True])
def test_a_file_is_what_its_check_sum_says_and_takes_two_requests(threads: bool) -> None:
    server = honest()
    assert fetched(server, threads=threads) == BODY
    assert server.asked == {ZIP: 1, CHECKSUM: 1}


def test_a_file_that_is_not_there_is_none_at_once() -> None:
    server = Server()
    found, clock = run(server, lambda archive: archive.fetch(FILE))
    assert (found, server.asked[ZIP], clock.now_ms()) == (None, 1, 0)


def test_a_check_sum_is_not_waited_for_where_there_is_no_file() -> None:
    server = Server()

    async def never(_: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        return web.Response()

    server.instead[CHECKSUM] = [never]

    async def use(archive: Archive) -> None:
        assert await archive.fetch(FILE) is None
        assert [task for task in asyncio.all_tasks() if "Archive." in repr(task)] == []

    run(server, use)


def test_virtual_time_is_held_while_a_request_is_under_way() -> None:
    server, clock, holders = honest(), VirtualClock(0), []

    async def looks(_: web.Request) -> web.StreamResponse:
        holders.append(clock.holders)
        return web.Response(body=BODY)

    server.instead[ZIP] = [looks]

    async def main() -> None:
        async with serving(server) as url, Archive(url, clock) as archive:
            await archive.fetch(FILE)

    run_virtual(main, clock)
    assert (holders, clock.holders) == ([1], 0)


TROUBLES: dict[str, Answer] = {
    "HTTP 500": status(500),
    "HTTP 429": status(429),
    "HTTP 403": status(403),
    "could not be read": breaks_off,
    "sha256": sends(BODY[:-1]),
    "promised": sends(BODY + b"!"),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_trouble_that_passes_is_tried_again(trouble: str) -> None:
    server = honest()
    server.instead[ZIP] = [TROUBLES[trouble], TROUBLES[trouble], sends(BODY)]
    body, clock = run(server, lambda archive: archive.fetch(FILE))
    assert (body, server.asked[ZIP]) == (BODY, 3)
    assert clock.now_ms() == 1_500, "half a second, then one, of the injected clock"


@pytest.mark.parametrize("trouble", TROUBLES)
def test_trouble_that_stays_is_named_and_nothing_unverified_is_returned(trouble: str) -> None:
    server = honest()
    server.instead[ZIP] = [TROUBLES[trouble]]
    with pytest.raises(ExchangeUnavailable, match=trouble) as error:
        fetched(server)
    assert FILE.name in error.value.sentence
    assert server.asked[ZIP] == ATTEMPTS


def test_a_mismatch_names_the_file_and_both_digests() -> None:
    server = honest()
    server.instead[ZIP] = [sends(b"other")]
    with pytest.raises(ExchangeUnavailable) as error:
        fetched(server)
    for part in (FILE.name, hashlib.sha256(b"other").hexdigest(), hashlib.sha256(BODY).hexdigest()):
        assert part in error.value.sentence


@pytest.mark.parametrize(
    ("checksum", "message"),
    [
        (status(404), "is there, but not its ETHUSDT-15m-2024-01-01.zip.CHECKSUM"),
        (status(500), "CHECKSUM answered with HTTP 500"),
        (sends(b""), "should hold a sha256"),
        (sends(b"<html>"), "should hold a sha256"),
        (sends(hashlib.sha256(BODY).hexdigest().encode() + b"  ETHUSDT-15m-2024-01-02.zip"), "should hold a sha256"),
        (sends(b"x" * 5_000), "goes on after 4,096 bytes"),
    ],
)
def test_without_a_check_sum_of_this_file_nothing_is_returned(checksum: Answer, message: str) -> None:
    server = honest()
    server.instead[CHECKSUM] = [checksum]
    with pytest.raises(ExchangeUnavailable, match=message):
        fetched(server)
    assert server.asked[CHECKSUM] == ATTEMPTS


def test_a_body_that_does_not_end_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_module, "LONGEST_BODY", len(BODY) - 1)
    with pytest.raises(ExchangeUnavailable, match="goes on after 16,385 bytes"):
        fetched(honest())


def test_where_nobody_answers_the_archive_is_unavailable() -> None:
    async def main() -> None:
        server = Server()
        async with serving(server) as url:
            pass  # the port is free again
        async with Archive(url, VirtualClock(0)) as archive:
            await archive._attempt(FILE)

    with pytest.raises(ExchangeUnavailable, match="could not be read"):
        asyncio.run(main())


def test_a_silent_server_is_not_waited_for_for_ever() -> None:
    async def main() -> None:
        server = honest()
        server.gate = asyncio.Event()
        async with serving(server) as url, Archive(url, WallClock(), timeout_s=0.05) as archive:
            try:
                await archive._attempt(FILE)
            finally:
                server.gate.set()

    with pytest.raises(ExchangeUnavailable, match="could not be read"):
        asyncio.run(main())


def test_a_closed_archive_says_so() -> None:
    with pytest.raises(UsageError, match="The archive is closed"):
        asyncio.run(Archive("http://127.0.0.1:1", WallClock()).fetch(FILE))


# Streams ---------------------------------------------------------------------------------------------------------------


def many(n: int) -> tuple[Server, list[ArchiveFile], list[bytes | None]]:
    """A server of n days, every fifth of them absent."""
    server = Server()
    files = [
        ArchiveFile("futures/um", "daily", "klines", "ETHUSDT", "15m", date(2024, 1, 1) + timedelta(days=i))
        for i in range(n)
    ]
    bodies = [None if i % 5 == 4 else f"body {i}".encode() * (i + 1) for i in range(n)]
    for file, body in zip(files, bodies, strict=True):
        if body is not None:
            server.add(file, body)
    return server, files, bodies


async def taken(archive: Archive, files: list[ArchiveFile], parallel: int) -> list[tuple[ArchiveFile, bytes | None]]:
    return [pair async for pair in archive.stream(files, parallel)]


@pytest.mark.parametrize("parallel", [1, 3, 50])
def test_a_stream_is_in_order_and_equals_one_by_one_whatever_fails_on_the_way(parallel: int) -> None:
    server, files, bodies = many(17)
    for i in (0, 3, 8):
        path = f"/{files[i].path}"
        server.instead[path] = [status(500), breaks_off, sends(server.files[path])]
    pairs, _ = run(server, lambda archive: taken(archive, files, parallel))
    assert pairs == list(zip(files, bodies, strict=True))


def test_an_empty_stream_ends_and_none_at_a_time_is_refused() -> None:
    assert run(Server(), lambda archive: taken(archive, [], 3))[0] == []
    with pytest.raises(UsageError, match="At least one download"):
        run(Server(), lambda archive: taken(archive, [FILE], 0))


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until something is so."""
    for _ in range(100_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came to be so")


@pytest.mark.parametrize("parallel", [1, 3])
def test_as_many_downloads_as_asked_are_in_flight_and_no_more(parallel: int) -> None:
    server, files, _ = many(4)

    async def use(archive: Archive) -> None:
        server.gate = asyncio.Event()
        async with aclosing(archive.stream(files * 3, parallel)) as stream:
            first = asyncio.ensure_future(anext(stream))
            await until(lambda: server.open_now == parallel)
            server.gate.set()
            await first
            await until(lambda: sum(n for path, n in server.asked.items() if path.endswith(".zip")) == parallel + 1)
            for _ in range(200):
                await asyncio.sleep(0)
        asked = sum(n for path, n in server.asked.items() if path.endswith(".zip"))
        assert asked == parallel + 1, "one given out, as many under way, and no more until the next is taken"

    run(server, use)
    assert server.most_open == parallel


@pytest.mark.parametrize("how", ["close", "cancel", "error"])
def test_leaving_a_stream_leaves_no_task_and_no_held_clock(how: str) -> None:
    server, files, _ = many(4)

    async def leave(archive: Archive) -> None:
        async with aclosing(archive.stream(files, 3)) as stream:
            await anext(stream)
            await until(lambda: server.open_now == 2)
            if how == "error":
                raise KeyError
            if how == "cancel":
                await anext(stream)

    async def use(archive: Archive) -> None:
        gate = asyncio.Event()

        async def second_waits(_: web.Request) -> web.StreamResponse:
            server.open_now += 1
            await gate.wait()
            return web.Response(body=b"late")

        for file in files[1:]:
            server.instead[f"/{file.path}"] = [second_waits]
        leaving = asyncio.ensure_future(leave(archive))
        if how == "cancel":
            await until(lambda: server.open_now == 2)
            leaving.cancel()
        await asyncio.wait([leaving])
        assert leaving.cancelled() == (how == "cancel")
        assert (not leaving.cancelled() and leaving.exception() is not None) == (how == "error")
        assert [task for task in asyncio.all_tasks() if "Archive." in repr(task)] == []
        gate.set()

    _, clock = run(server, use)
    assert clock.holders == 0


def test_the_first_error_in_order_ends_the_stream_and_leaves_no_task() -> None:
    server, files, bodies = many(6)
    server.instead[f"/{files[2].path}"] = [status(500)]
    seen = []

    async def use(archive: Archive) -> None:
        with pytest.raises(ExchangeUnavailable, match=files[2].name):
            async for _, body in archive.stream(files, 4):
                seen.append(body)
        assert [task for task in asyncio.all_tasks() if "Archive." in repr(task)] == []

    run(server, use)
    assert seen == bodies[:2]


def test_what_is_downloaded_can_be_read() -> None:
    from trader_cli.core.market.bars import with_close_time
    from trader_cli.core.market.timeframes import Timeframe

    server = Server()
    bars = with_close_time(random_bars(96), Timeframe.parse("15m")).with_columns(
        quote_volume="volume", trades=1, taker_buy_base="volume", taker_buy_quote="volume"
    )
    bars = bars.with_columns(trades=bars["volume"].cast(int))
    server.add(FILE, zipped(kline_csv(bars, Way()), FILE))
    body = fetched(server)
    assert body is not None
    assert parse_archive(body, FILE).frame.equals(bars)
