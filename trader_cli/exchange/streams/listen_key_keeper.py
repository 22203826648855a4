"""The listen key of an account: made, prolonged every half hour, and made anew where the exchange has forgotten it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trader_cli.core.errors import ExchangeUnavailable, TraderError

if TYPE_CHECKING:
    from collections.abc import Callable

    from trader_cli.core.ports import Clock
    from trader_cli.exchange.connection.connection import Connection

_PATH = "/fapi/v1/listenKey"
PROLONG_S, _AGAIN_S = 1800.0, 20.0


class ListenKeyKeeper:
    """`changed` is called when the key is another: whoever listens by the old one hears nothing any more."""

    def __init__(self, connection: Connection, clock: Clock, changed: Callable[[], None]) -> None:
        self._connection, self._clock, self._changed = connection, clock, changed
        self._key: str | None = None

    async def key(self) -> str:
        """The key in use, or a new one. Raises `TraderError` where the exchange gives none."""
        if self._key is None:
            self._key = await self._made()
        return self._key

    def forget(self) -> None:
        """The exchange has said that it has expired."""
        self._key = None

    async def run(self) -> None:
        """Prolong it until cancelled; a key that cannot be prolonged is made anew."""
        wait_s = PROLONG_S
        while True:
            await self._clock.sleep(wait_s)
            try:
                made = await self._made()  # it is the same, prolonged, where it lives; else another
            except TraderError:
                wait_s = _AGAIN_S
                continue
            wait_s = PROLONG_S
            if made != self._key:
                self._key = made
                self._changed()

    async def _made(self) -> str:
        reply: object = await self._connection.protection.read("fapiPrivatePostListenKey", _PATH, {})
        key = reply.get("listenKey") if isinstance(reply, dict) else None
        if not isinstance(key, str) or not key:
            raise ExchangeUnavailable("The exchange gave no listen key.", hint="Streams go on by looks.")
        return key
