"""What is asked before an order that opens leaves: may this key do it, and does the exchange take new orders?

What reduces is never asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trader_cli.core.money.key_rights import refuse_rights
from trader_cli.core.money.orders import NotPlaced

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trader_cli.core.money.orders import KeyRights
    from trader_cli.exchange.connection.connection import Connection

_TOO_MANY_ORDERS = -1015
"""The exchange's own number for what it would answer."""
_GOOD_FOR_MS = 15 * 60_000
"""A key's rights are changed by hand and seldom; asked at every entry they would cost a request each."""


class EntryPermission:
    """Shared by both private sides. `tells_rights`: whether this is a host that says what a key may do."""

    def __init__(self, connection: Connection, *, tells_rights: bool) -> None:
        self._connection = connection
        self._tells_rights = tells_rights
        self._good_until_ms: int | None = None

    def learned(self, rights: KeyRights) -> None:
        """The exchange said what the key may do."""
        good = rights.can_trade_futures and not rights.can_withdraw
        self._good_until_ms = self._connection.clock.monotonic_ms() + _GOOD_FOR_MS if good else None

    async def refusal(self, ask_rights: Callable[[], Awaitable[KeyRights]]) -> NotPlaced | None:
        """Why an order that opens may not be sent now. Raises `ConfigurationError` for a key that may not trade so.

        A check that fails raises what it failed with: nothing is opened with a key of which nothing is known.
        """
        await self._check_key(ask_rights)
        held_s = self._connection.orders_held_s()
        if held_s > 0:
            return NotPlaced(_TOO_MANY_ORDERS, f"The exchange takes no new orders for {held_s:.0f} s.")
        return None

    async def _check_key(self, ask_rights: Callable[[], Awaitable[KeyRights]]) -> None:
        good_until_ms, now_ms = self._good_until_ms, self._connection.clock.monotonic_ms()
        if self._tells_rights and (good_until_ms is None or now_ms > good_until_ms):
            refuse_rights(await ask_rights())
