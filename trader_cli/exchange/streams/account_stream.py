"""The stream of our account: it says when something has happened to it. What it is, REST says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trader_cli.exchange.streams.listen_key_keeper import ListenKeyKeeper
from trader_cli.exchange.streams.stream_hosts import account_url
from trader_cli.exchange.streams.stream_socket import StreamSocket, run_all

if TYPE_CHECKING:
    from collections.abc import Callable

    import aiohttp

    from trader_cli.exchange.connection.connection import Connection
    from trader_cli.exchange.streams.stream_ages import StreamAges
    from trader_cli.exchange.streams.stream_messages import Event

ACCOUNT = "account"
"""Its name among the ages of streams. It may rightly be silent: it is stale only while it is not up."""
_CONCERNS = frozenset({"ORDER_TRADE_UPDATE", "ALGO_UPDATE", "ACCOUNT_UPDATE", "MARGIN_CALL", "ACCOUNT_CONFIG_UPDATE"})
_EXPIRED = "listenKeyExpired"


class AccountStream:
    """`news` is called whenever a look is due: something has happened, or may have while the stream was away.

    It must not wait, and is called for an event that is older than one before as well: nothing is concluded from it.
    """

    def __init__(
        self,
        connection: Connection,
        session: aiohttp.ClientSession,
        host: str,
        ages: StreamAges,
        news: Callable[[], None],
    ) -> None:
        self._connection, self._host, self._ages, self._news = connection, host, ages, news
        clock = connection.clock
        self._socket = StreamSocket(session, clock, self._url, hear=self._hear, up=self._up, down=self._down)
        self._keeper = ListenKeyKeeper(connection, clock, self._socket.renew)

    async def run(self) -> None:
        """Until cancelled."""
        await run_all(self._keeper.run, self._socket.run)

    async def _url(self) -> str:
        return account_url(self._host, await self._keeper.key())

    def _hear(self, event: Event, _now_ms: int) -> None:
        kind, now_ms = event["e"], self._connection.server_now_ms()
        if kind == _EXPIRED:
            self._keeper.forget()
            self._socket.renew()
        elif kind in _CONCERNS:
            self._ages.hear(ACCOUNT, int(event["E"]), now_ms)
            self._news()

    def _up(self) -> None:
        self._ages.begin(ACCOUNT, self._connection.server_now_ms())
        self._news()

    def _down(self) -> None:
        self._ages.lose(self._connection.server_now_ms(), ACCOUNT)
