"""Listen keys: who hears what of which account, and until when."""

from __future__ import annotations

from dataclasses import dataclass

from trader_cli.core.identity.digests import digest_value
from trader_cli.core.market.timeframes import MINUTE_MS
from trader_cli.venue.engine.queries import VenueRejection

VALID_MS = 60 * MINUTE_MS


@dataclass(frozen=True)
class ListenKey:
    """A key, the account it opens and the end of its life, UTC ms."""

    key: str
    account: str
    until_ms: int


class ListenKeys:
    """One living key an account at most."""

    def __init__(self) -> None:
        self._by_account: dict[str, ListenKey] = {}
        self._made = 0

    def create(self, account: str, now_ms: int) -> str:
        """The living key of an account, its life prolonged, or a new one."""
        living = self._living(account, now_ms)
        if living is None:
            self._made += 1
            name = digest_value(["listen", account, now_ms, self._made])
            living = ListenKey(f"{name}{name[::-1]}", account, now_ms)
        self._by_account[account] = ListenKey(living.key, account, now_ms + VALID_MS)
        return living.key

    def prolong(self, account: str, now_ms: int) -> str:
        """Give the living key of an account another hour. Raises `VenueRejection` where there is none."""
        living = self._living(account, now_ms)
        if living is None:
            raise VenueRejection(400, -1125, "This listenKey does not exist.")
        self._by_account[account] = ListenKey(living.key, account, now_ms + VALID_MS)
        return living.key

    def remove(self, account: str) -> None:
        """End the key of an account, for everybody who listens with it."""
        self._by_account.pop(account, None)

    def account_of(self, key: str, now_ms: int) -> str | None:
        """The account that a living key opens."""
        found = next((one for one in self._by_account.values() if one.key == key), None)
        return found.account if found is not None and found.until_ms > now_ms else None

    def _living(self, account: str, now_ms: int) -> ListenKey | None:
        known = self._by_account.get(account)
        return known if known is not None and known.until_ms > now_ms else None
