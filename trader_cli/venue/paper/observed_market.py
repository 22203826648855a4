"""`ObservedMarket`: one symbol of a real exchange as far as it was looked at. The engine trades on it as on a tape.

The mark price has points of its own where marks were seen, else it is the last price. An order that a stop becomes
between two looks takes from the latest book, moved to its trigger: nobody saw the book of that moment.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.core.market.timeframes import HOUR_MS, MINUTE_MS
from trader_cli.venue.paper.observations import Observation, SeenBook, mark_points, points
from trader_cli.venue.simulated_market.market_port import Beyond

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trader_cli.core.money.orders import SymbolRules
    from trader_cli.venue.paper.observations import Points
    from trader_cli.venue.simulated_market.market_port import Level, PricePoint


@dataclass(frozen=True)
class _ShownBook:
    """A book from `time_ms` on; `moving` if it was seen only later, at another price."""

    time_ms: int
    book: SeenBook
    moving: bool


class _Points:
    """Price points in order of time; they are only ever added."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.times, self.prices, self.quantities = array("q"), array("d"), array("d")

    def add(self, shown: Iterable[PricePoint]) -> None:
        """(UTC ms, price, traded quantity), each later than all before. Raises `ValueError`."""
        for time_ms, price, quantity in shown:
            if self.times and time_ms <= self.times[-1]:
                raise ValueError(f"{self.name}: a price at {time_ms} after one at {self.times[-1]}")
            self.times.append(time_ms)
            self.prices.append(price)
            self.quantities.append(quantity)

    def first_beyond(self, after_ms: int, upto_ms: int, below: float, above: float) -> Beyond | None:
        """The first point in (after, upto] whose price is ≤ `below` or ≥ `above`."""
        first, stop = bisect_right(self.times, after_ms), bisect_right(self.times, upto_ms)
        if first == stop:
            return None
        prices = np.frombuffer(self.prices)[first:stop]
        hits = (prices <= below) | (prices >= above)
        at = int(np.argmax(hits))
        if not hits[at]:
            return None
        at += first
        return Beyond(self.times[at], self.prices[at], self.quantities[at], self.before(at))

    def before(self, at: int) -> float | None:
        """The price before a point in the same minute; None where it was the minute's first."""
        within = at > 0 and self.times[at - 1] // MINUTE_MS == self.times[at] // MINUTE_MS
        return self.prices[at - 1] if within else None

    def at(self, now_ms: int) -> int:
        """The index of the latest point by `now_ms`, −1 before the first."""
        return bisect_right(self.times, now_ms) - 1


class ObservedMarket:
    """Price points, books and funding rates in order of time; they are only ever added."""

    def __init__(self, rules: SymbolRules) -> None:
        self.rules = rules
        self._last, self._mark = _Points(rules.symbol), _Points(f"{rules.symbol}, mark")
        self._looks: list[int] = []
        self._books: list[_ShownBook] = []
        self._rates: dict[int, float] = {}

    # --- what is shown to it ---

    def take(self, observation: Observation) -> None:
        """Everything of a sighting."""
        self.rules = observation.rules
        if not self._looks or observation.upto_ms > self._looks[-1]:
            self._looks.append(observation.upto_ms)
        _add(self._last, _traded_by(observation), observation.before.close, points(observation))
        if observation.mark_before is not None:
            _add(self._mark, observation.after_ms, observation.mark_before.close, mark_points(observation))
        self._rates |= dict(observation.funding)
        if observation.book is not None:
            if observation.upto_ms > observation.after_ms:
                self._books.append(_ShownBook(observation.after_ms + 1, observation.book, moving=True))
            self.show_book(observation.upto_ms, observation.book)

    def show_points(self, shown: Iterable[PricePoint]) -> None:
        """(UTC ms, price, traded quantity), each later than all before. Raises `ValueError`."""
        self._last.add(shown)

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

    knows_ahead = False
    """What comes is not seen yet."""

    def first_beyond(self, after_ms: int, upto_ms: int, below: float, above: float) -> Beyond | None:
        """The first point in (after, upto] whose price is ≤ `below` or ≥ `above`."""
        return self._last.first_beyond(after_ms, upto_ms, below, above)

    def last_price(self, now_ms: int) -> float:
        """The latest price seen by `now_ms`. Raises `LookupError` before the first."""
        at = self._last.at(now_ms)
        if at < 0:
            raise LookupError(f"{self.rules.symbol}: no price was seen by {now_ms}.")
        return self._last.prices[at]

    @property
    def mark_is_last(self) -> bool:
        """Whether no mark price was seen."""
        return not self._mark.times

    def first_mark_beyond(self, after_ms: int, upto_ms: int, below: float, above: float) -> Beyond | None:
        """As `first_beyond`, of the mark price."""
        seen = self._last if self.mark_is_last else self._mark
        return seen.first_beyond(after_ms, upto_ms, below, above)

    def mark_price(self, now_ms: int) -> float:
        """The latest mark price seen by `now_ms`, the last price if none was."""
        at = self._mark.at(now_ms)
        return self._mark.prices[at] if at >= 0 else self.last_price(now_ms)

    def price_on_the_way(self, time_ms: int, share: float) -> float:
        """The last price at that share of its way to what it was at `time_ms`, from what it was just before."""
        at = self._last.at(time_ms)
        price, before = self.last_price(time_ms), self._last.before(at)
        return price if before is None else before + share * (price - before)

    def unresolved_until(self, time_ms: int) -> int:
        """The end of the minute, or of the look that showed it: what came first within is not known."""
        at = bisect_left(self._looks, time_ms)
        looked = self._looks[at] if at < len(self._looks) else time_ms
        return min(looked, time_ms - time_ms % MINUTE_MS + MINUTE_MS - 1)

    def still_until(self, after_ms: int) -> int:
        """The moment itself: any may bring one."""
        return after_ms

    def book(self, now_ms: int, levels: int) -> tuple[list[Level], list[Level]]:
        """(bids, asks) of the latest book; moved to the last price, if that is newer. Empty before the first."""
        at = bisect_right(self._books, now_ms, key=lambda shown: shown.time_ms) - 1
        if at < 0:
            return [], []
        shown = self._books[at]
        latest = self._last.times[self._last.at(now_ms)]
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


def _traded_by(observation: Observation) -> int:
    """When the price with which a sighting begins was traded, at the latest: not in a minute without a trade so far."""
    before = observation.before
    return observation.after_ms if before.volume > 0 else min(observation.after_ms, before.open_ms - 1)


def _add(seen: _Points, after_ms: int, before: float, shown: Points) -> None:
    """Points of a sighting, and where it began unless that is known."""
    if not seen.times or seen.times[-1] < after_ms:
        seen.add([(after_ms, before, 0.0)])
    seen.add(zip(*(column.tolist() for column in shown), strict=True))
