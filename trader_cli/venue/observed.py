"""`ObservedMarket`: one symbol of a real exchange as far as it was looked at. The engine trades on it as on a tape.

The mark price is the last price, as everywhere at the venue. An order that a stop becomes between two looks takes from
the latest book, moved to the price of that moment: nobody saw the book of that moment.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.core.timeframes import HOUR_MS, MINUTE_MS
from trader_cli.venue.sightings import SeenBook, Sighting, points

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trader_cli.core.orders import SymbolRules
    from trader_cli.venue.ports import Beyond, Level


@dataclass(frozen=True)
class _ShownBook:
    """A book from `time_ms` on; `moving` if it was seen only later, at another price."""

    time_ms: int
    book: SeenBook
    moving: bool


class ObservedMarket:
    """Price points, books and funding rates in order of time; they are only ever added."""

    def __init__(self, rules: SymbolRules) -> None:
        self.rules = rules
        self._times, self._prices, self._quantities = array("q"), array("d"), array("d")
        self._books: list[_ShownBook] = []
        self._rates: dict[int, float] = {}

    # --- what is shown to it ---

    def take(self, sighting: Sighting) -> None:
        """Everything of a sighting."""
        self.rules = sighting.rules
        if not self._times or self._times[-1] < sighting.after_ms:
            self.show_points([(sighting.after_ms, sighting.before.close, 0.0)])
        times, prices, quantities = (column.tolist() for column in points(sighting))
        self.show_points(zip(times, prices, quantities, strict=True))
        self._rates |= dict(sighting.funding)
        if sighting.book is not None:
            if sighting.upto_ms > sighting.after_ms:
                self._books.append(_ShownBook(sighting.after_ms + 1, sighting.book, moving=True))
            self.show_book(sighting.upto_ms, sighting.book)

    def show_points(self, shown: Iterable[Beyond]) -> None:
        """(UTC ms, price, traded quantity), each later than all before. Raises `ValueError`."""
        for time_ms, price, quantity in shown:
            if self._times and time_ms <= self._times[-1]:
                raise ValueError(f"{self.rules.symbol}: a price at {time_ms} after one at {self._times[-1]}")
            self._times.append(time_ms)
            self._prices.append(price)
            self._quantities.append(quantity)

    def show_book(self, time_ms: int, book: SeenBook) -> None:
        """The book as it stood at that moment."""
        self._books.append(_ShownBook(time_ms, book, moving=False))

    def show_rate(self, time_ms: int, rate: float) -> None:
        """A funding rate that fell due."""
        self._rates[time_ms] = rate

    def has_book_of(self, time_ms: int) -> bool:
        """Whether the book of just this moment was seen."""
        return bool(self._books) and self._books[-1].time_ms == time_ms and not self._books[-1].moving

    # --- what the engine asks ---

    def first_beyond(self, after_ms: int, upto_ms: int, below: float, above: float) -> Beyond | None:
        """The first point in (after, upto] whose price is ≤ `below` or ≥ `above`."""
        first, stop = bisect_right(self._times, after_ms), bisect_right(self._times, upto_ms)
        if first == stop:
            return None
        prices = np.frombuffer(self._prices)[first:stop]
        hits = (prices <= below) | (prices >= above)
        at = int(np.argmax(hits))
        if not hits[at]:
            return None
        return self._times[first + at], self._prices[first + at], self._quantities[first + at]

    def last_price(self, now_ms: int) -> float:
        """The latest price seen by `now_ms`. Raises `LookupError` before the first."""
        at = bisect_right(self._times, now_ms) - 1
        if at < 0:
            raise LookupError(f"{self.rules.symbol}: no price was seen by {now_ms}.")
        return self._prices[at]

    def book(self, now_ms: int, levels: int) -> tuple[list[Level], list[Level]]:
        """(bids, asks) of the latest book; moved to the last price, if that is newer. Empty before the first."""
        at = bisect_right(self._books, now_ms, key=lambda shown: shown.time_ms) - 1
        if at < 0:
            return [], []
        shown = self._books[at]
        latest = self._times[bisect_right(self._times, now_ms) - 1]
        shift = self._shift(shown.book, now_ms) if shown.moving or latest > shown.time_ms else 0.0
        bids, asks = ([(p + shift, q) for p, q in side[:levels]] for side in (shown.book.bids, shown.book.asks))
        return [level for level in bids if level[0] > 0], asks

    def _shift(self, book: SeenBook, now_ms: int) -> float:
        """How far the last price has gone from the middle of a book, in whole ticks."""
        tick, middle = float(self.rules.tick), (book.bids[0][0] + book.asks[0][0]) / 2
        return round((self.last_price(now_ms) - middle) / tick) * tick

    def funding_rate(self, time_ms: int) -> float:
        """What fell due at a full hour, 0 where nothing did."""
        first, last = time_ms - HOUR_MS + MINUTE_MS, time_ms + MINUTE_MS
        return sum(rate for at, rate in self._rates.items() if first <= at < last)
