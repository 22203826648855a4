"""An order book that is kept from a snapshot and the changes after it, by the exchange's rules for futures.

Source: the exchange's description of how to manage a local order book.
"""

from __future__ import annotations

from heapq import nlargest, nsmallest
from typing import TYPE_CHECKING

from trader_cli.core.market.quotes import OrderBook

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from trader_cli.exchange.streams.stream_messages import DepthSnapshot, Event

_MOST_WAITING = 2000
"""Changes that are kept until a snapshot comes; with more than these it is taken anew."""


class FollowedBook:
    """Of one symbol. `is_whole`: a snapshot was taken and no change has been missed since."""

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self.is_whole, self.event_ms = False, 0
        self._sides: tuple[dict[float, float], dict[float, float]] = {}, {}
        self._last: int | None = None
        self._waiting: list[Event] = []

    def lose(self) -> None:
        """Nothing of it is known any more: a snapshot is needed, and changes are kept for it."""
        self.is_whole, self._last, self._waiting = False, None, []

    def hear(self, change: Event) -> bool:
        """One change, as the stream tells it. Whether the book is whole; where it is not, a snapshot is needed."""
        if self._last is None:
            self._waiting.append(change)
            if len(self._waiting) > _MOST_WAITING:
                del self._waiting[0]
        elif change["u"] < self._last:
            pass
        elif self._fits(change):
            self._take(change)
        else:
            self.lose()
            self._waiting.append(change)
        return self.is_whole

    def _fits(self, change: Event) -> bool:
        last = self._last
        assert last is not None
        return bool(
            change["pu"] == last if self.is_whole else change["U"] <= last <= change["u"] or change["pu"] == last
        )

    def _take(self, change: Event) -> None:
        for side, levels in zip(self._sides, (change["b"], change["a"]), strict=True):
            _set(side, levels)
        self._last, self.event_ms, self.is_whole = change["u"], change["E"], True

    def begin(self, snapshot: DepthSnapshot) -> bool:
        """From a reply of the depth route, taken after the changes have begun to come. Whether the book is whole.

        It is not while the snapshot is older than the changes that were kept, or no change has come since: then
        another snapshot is needed, or just the next change.
        """
        waiting, self._waiting = self._waiting, []
        self.is_whole, self._last = False, int(snapshot["lastUpdateId"])
        for side, levels in zip(self._sides, (snapshot["bids"], snapshot["asks"]), strict=True):
            side.clear()
            _set(side, levels)
        for number, change in enumerate(waiting):
            if not self.hear(change) and self._last is None:
                self._waiting = waiting[number:]
                return False
        return self.is_whole

    @property
    def is_begun(self) -> bool:
        """Whether a snapshot was taken to which the next change may fit."""
        return self._last is not None

    def shown(self, levels: int) -> OrderBook:
        """The best levels of it."""
        bids, asks = self._sides
        best = nlargest(levels, bids), nsmallest(levels, asks)
        shown = [
            tuple((price, side[price]) for price in prices) for side, prices in zip((bids, asks), best, strict=True)
        ]
        return OrderBook(self.symbol, self.event_ms, shown[0], shown[1])


def _set(side: dict[float, float], levels: Iterable[Sequence[str]]) -> None:
    for price, quantity in levels:
        size = float(quantity)
        if size:
            side[float(price)] = size
        else:
            side.pop(float(price), None)
