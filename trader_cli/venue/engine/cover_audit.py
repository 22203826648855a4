"""Which part of a position rests behind stops, by the exchange's own books, at every moment. Exact, not sampled.

A stop here is a waiting STOP_MARKET in the direction that closes: close-position, or reduce-only with a quantity.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.venue.engine.books import ZERO

if TYPE_CHECKING:
    from trader_cli.venue.engine.books import Account
    from trader_cli.venue.engine.engine import Engine

Span = tuple[int, int]
"""From (UTC ms) to, the end excluded."""
_WHOLE = Decimal("Infinity")


@dataclass(frozen=True)
class Cover:
    """From `at_ms` on: the position, and how much of a long (by sells) and of a short (by buys) stops would close.

    `ours` is the part of it that orders with our ids have traded since it was last flat.
    """

    at_ms: int
    amount: Decimal
    sells: Decimal
    buys: Decimal
    ours: Decimal

    def is_unprotected(self, *, ours_only: bool = False) -> bool:
        """Whether some of the position, or of our part of it, has no stop."""
        needed = abs(self.amount)
        if ours_only:
            needed = min(needed, abs(self.ours)) if self.ours * self.amount > 0 else ZERO
        return needed > (self.sells if self.amount > 0 else self.buys)


def cover_of(account: Account, symbol: str, at_ms: int, ours: Decimal = ZERO) -> Cover:
    """The cover of a symbol as its account stands."""
    stopped = {"SELL": ZERO, "BUY": ZERO}
    for algo in account.open_algos(symbol):
        if algo.type == "STOP_MARKET" and (algo.close_position or algo.reduce_only):
            stopped[algo.side] += _WHOLE if algo.close_position else algo.quantity
    position = account.positions.get(symbol)
    return Cover(at_ms, position.amount if position else ZERO, stopped["SELL"], stopped["BUY"], ours)


class CoverAudit:
    """Watches an engine (`VenueServer.watch_engine`) and remembers every change of cover with its time.

    Orders whose client id begins with `prefix` are ours.
    """

    def __init__(self, prefix: str = "td-") -> None:
        self._prefix = prefix
        self._seen: dict[str, list[Cover]] = {}
        self._ours: dict[str, Decimal] = {}
        self._fills = 0

    def __call__(self, engine: Engine) -> None:
        """The account has changed, just now."""
        account = engine.account
        self._count(account)
        for symbol in sorted({*self._seen, *account.positions, *(algo.symbol for algo in account.algos.values())}):
            if account.position(symbol).amount == 0:
                self._ours[symbol] = ZERO
            self._note(symbol, cover_of(account, symbol, engine.now_ms, self._ours.get(symbol, ZERO)))

    def _count(self, account: Account) -> None:
        """Fold what orders of ours have traded since the last look; another account begins anew."""
        if len(account.fills) < self._fills:
            self._fills, self._ours = 0, {}
        for fill in account.fills[self._fills :]:
            if account.orders[fill.order_id].client_id.startswith(self._prefix):
                signed = fill.quantity if fill.side == "BUY" else -fill.quantity
                self._ours[fill.symbol] = self._ours.get(fill.symbol, ZERO) + signed
        self._fills = len(account.fills)

    def _note(self, symbol: str, now: Cover) -> None:
        seen = self._seen.setdefault(symbol, [])
        if seen and seen[-1].at_ms == now.at_ms:
            seen[-1] = now
        elif not seen or seen[-1] != replace(now, at_ms=seen[-1].at_ms):
            seen.append(now)

    @property
    def symbols(self) -> list[str]:
        """Symbols of which something was seen."""
        return sorted(self._seen)

    def history(self, symbol: str) -> tuple[Cover, ...]:
        """Every change, oldest first."""
        return tuple(self._seen.get(symbol, ()))

    def unprotected_spans(self, symbol: str, now_ms: int, *, ours_only: bool = False) -> list[Span]:
        """When the position, or our part of it, was not wholly behind stops. One that lasts still ends now."""
        seen, spans = self._seen.get(symbol, []), list[Span]()
        for at, cover in enumerate(seen):
            end = seen[at + 1].at_ms if at + 1 < len(seen) else now_ms
            if not cover.is_unprotected(ours_only=ours_only) or end <= cover.at_ms:
                continue
            if spans and spans[-1][1] == cover.at_ms:
                spans[-1] = spans[-1][0], end
            else:
                spans.append((cover.at_ms, end))
        return spans
