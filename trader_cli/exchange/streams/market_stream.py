"""Market streams of chosen symbols: the latest mark prices, and books that are kept whole."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from trader_cli.core.errors import TraderError
from trader_cli.exchange.streams.followed_book import FollowedBook
from trader_cli.exchange.streams.stream_hosts import market_url, route_of
from trader_cli.exchange.streams.stream_socket import StreamSocket, run_all

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    import aiohttp

    from trader_cli.core.market.quotes import OrderBook
    from trader_cli.exchange.connection.connection import Connection
    from trader_cli.exchange.streams.stream_ages import StreamAges
    from trader_cli.exchange.streams.stream_messages import DepthSnapshot, Event

    Snapshot = Callable[[str], Awaitable[DepthSnapshot]]

_MARK, _DEPTH = "markPrice@1s", "depth@100ms"
FRESH_MS = 2000
"""What is older by the exchange's time is asked for by REST instead."""
_AGAIN_S = 1.0


class MarketStream:
    """Marks and books of symbols. `snapshot` asks for the depth of a symbol, a thousand levels."""

    def __init__(
        self,
        connection: Connection,
        session: aiohttp.ClientSession,
        host: str,
        ages: StreamAges,
        symbols: Iterable[str],
        snapshot: Snapshot,
    ) -> None:
        self._connection, self._ages, self._snapshot = connection, ages, snapshot
        self._books = {symbol: FollowedBook(symbol) for symbol in symbols}
        self._marks: dict[str, tuple[int, float]] = {}
        self._snapshots: dict[str, asyncio.Task[None]] = {}
        names = [f"{symbol.lower()}@{kind}" for symbol in self._books for kind in (_MARK, _DEPTH)]
        self._sockets = [
            self._socket(session, host, [name for name in names if route_of(name) == route])
            for route in sorted({route_of(name) for name in names})
        ]

    def _socket(self, session: aiohttp.ClientSession, host: str, names: list[str]) -> StreamSocket:
        async def url() -> str:
            return market_url(host, route_of(names[0]))

        def up() -> None:
            for name in names:
                self._ages.begin(name, self._connection.server_now_ms())

        def down() -> None:
            self._ages.lose(self._connection.server_now_ms(), *names)
            for symbol, book in self._books.items():
                if f"{symbol.lower()}@{_DEPTH}" in names:
                    book.lose()

        def is_stale() -> bool:
            now_ms = self._connection.server_now_ms()
            return any(self._ages.is_overdue(name, now_ms) for name in names)

        clock = self._connection.clock
        return StreamSocket(session, clock, url, names, hear=self._hear, up=up, down=down, is_stale=is_stale)

    async def run(self) -> None:
        """Until cancelled."""
        try:
            await run_all(*(socket.run for socket in self._sockets))
        finally:
            for task in self._snapshots.values():
                task.cancel()

    # --- what is known ---

    def mark(self, symbol: str) -> float | None:
        """The mark price, where it is fresh."""
        known = self._marks.get(symbol)
        fresh = known is not None and self._connection.server_now_ms() - known[0] <= FRESH_MS
        return known[1] if known is not None and fresh else None

    def book(self, symbol: str, levels: int) -> OrderBook | None:
        """The best levels of a book, where it is whole and fresh."""
        book = self._books.get(symbol)
        if book is None or not book.is_whole or self._connection.server_now_ms() - book.event_ms > FRESH_MS:
            return None
        return book.shown(levels)

    # --- what comes ---

    def _hear(self, event: Event, _now_ms: int) -> None:
        kind, symbol, at_ms = event["e"], event.get("s", ""), int(event["E"])
        if symbol not in self._books:
            return
        name = {"markPriceUpdate": _MARK, "depthUpdate": _DEPTH}.get(kind)
        if name is None:
            return
        newer = self._ages.hear(f"{symbol.lower()}@{name}", at_ms, self._connection.server_now_ms())
        if kind == "depthUpdate":
            book = self._books[symbol]
            if not book.hear(event) and not book.is_begun:
                self._ask_for(symbol)
        elif newer:
            self._marks[symbol] = at_ms, float(event["p"])

    def _ask_for(self, symbol: str) -> None:
        """A snapshot, unless one is on its way."""
        task = self._snapshots.get(symbol)
        if task is None or task.done():
            self._snapshots[symbol] = asyncio.create_task(self._begin(symbol))

    async def _begin(self, symbol: str) -> None:
        try:
            reply = await self._snapshot(symbol)
            self._books[symbol].begin(reply)
        except (TraderError, KeyError, TypeError, ValueError):
            self._books[symbol].lose()
        if not self._books[symbol].is_begun:
            await self._connection.clock.sleep(_AGAIN_S)
