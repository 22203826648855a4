"""What was seen of a symbol between two looks at an exchange, and the price points that this stands for.

A look shows minute bars, the last one unfinished. A bar first seen when it had closed becomes the path of
`simulated_market.intrabar_path`, whichever look showed it. What is left of a bar seen unfinished becomes its new
extremes and its close.
Where within a minute a price was touched is not known; which extreme came first is the path's own die.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.core.identity.digests import digest_value
from trader_cli.core.market.timeframes import MINUTE_MS, Timeframe
from trader_cli.venue.simulated_market.intrabar_path import expand, points_per_bar, uniforms
from trader_cli.venue.simulated_market.tape import SymbolTape, TapeBars

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trader_cli.core.money.orders import SymbolRules
    from trader_cli.venue.simulated_market.market_port import Level

    Floats = NDArray[np.float64]
    Points = tuple[NDArray[np.int64], Floats, Floats]

MINUTE = Timeframe("1m", MINUTE_MS)
_NONE: Points = (np.empty(0, np.int64), np.empty(0), np.empty(0))
_GRAIN_MS = 10
"""Looks are this far apart or more, so that what a bar still shows has milliseconds of its own."""


@dataclass(frozen=True)
class SeenBar:
    """A minute bar as far as it had come."""

    open_ms: int
    open: float
    high: float
    low: float
    close: float
    volume: float

    def joined(self, later: SeenBar) -> SeenBar:
        """The same bar seen again. What was seen once stays seen, whichever of the exchange's servers answers."""
        high, low, volume = max(self.high, later.high), min(self.low, later.low), max(self.volume, later.volume)
        return SeenBar(self.open_ms, self.open, high, low, later.close, volume)


@dataclass(frozen=True)
class SeenBook:
    """Levels of an order book, best first."""

    bids: tuple[Level, ...]
    asks: tuple[Level, ...]


@dataclass(frozen=True)
class Observation:
    """What was seen of a symbol in (after_ms, upto_ms].

    `before` is the latest bar as it stood at `after_ms`; `bars` are those since, oldest first, its continuation among
    them, the last one perhaps unfinished. `book` was shown at `upto_ms`. `funding` holds (UTC ms, rate). Where both
    times are equal it says only what stood at that moment: the last price is the close of `before`. `mark_before` and
    `marks` are the same of the mark price; None and nothing where the exchange shows no bars of it.
    """

    rules: SymbolRules
    after_ms: int
    upto_ms: int
    before: SeenBar
    bars: tuple[SeenBar, ...] = ()
    book: SeenBook | None = None
    funding: tuple[tuple[int, float], ...] = ()
    mark_before: SeenBar | None = None
    marks: tuple[SeenBar, ...] = ()

    @property
    def symbol(self) -> str:
        """Whose prices these are."""
        return self.rules.symbol

    def end(self) -> Observation:
        """What stood at `upto_ms`: where the next sighting begins."""
        mark = None if self.mark_before is None else _latest(self.mark_before, self.marks)
        return Observation(self.rules, self.upto_ms, self.upto_ms, _latest(self.before, self.bars), mark_before=mark)


def _latest(before: SeenBar, bars: tuple[SeenBar, ...]) -> SeenBar:
    last = bars[-1] if bars else before
    return before.joined(last) if last.open_ms == before.open_ms else last


def look_ms(now_ms: int) -> int:
    """The moment a look at `now_ms` stands for: never later, on a grid, and never the first of a minute.

    At the last millisecond of a minute that minute has closed.
    """
    at = now_ms - now_ms % _GRAIN_MS
    return at - 1 if at % MINUTE_MS == 0 else at


def points(observation: Observation) -> Points:
    """Times (UTC ms, strictly ascending, in (after, upto]), prices and traded quantities: arrays of shape (n,)."""
    return _points(observation, traded=True)


def _points(observation: Observation, *, traded: bool) -> Points:
    tape = _tape(observation.rules, observation.bars)
    closed = [
        i
        for i, bar in enumerate(observation.bars)
        if bar.open_ms > observation.after_ms and _is_closed(bar, observation)
    ]
    first, stop = (closed[0], closed[-1] + 1) if closed else (len(observation.bars), len(observation.bars))
    path = expand(tape, first, stop)
    parts = [_increment(tape, observation, bar, traded=traded) for bar in observation.bars[:first]]
    parts.append((path.time_ms.ravel(), path.price.ravel(), path.quantity.ravel()))
    parts += [_increment(tape, observation, bar, traded=traded) for bar in observation.bars[stop:]]
    times, prices, quantities = zip(*parts, strict=True)
    return np.concatenate(times), np.concatenate(prices), np.concatenate(quantities)


def mark_points(observation: Observation) -> Points:
    """As `points`, of the mark price, whose quantities are zero. Its minutes turn when those of the last price do."""
    before = observation.mark_before or observation.before
    return _points(replace(observation, before=before, bars=observation.marks), traded=False)


def caught_up(observation: Observation, now_ms: int) -> Observation:
    """The same, told to an account that has come to `now_ms` meanwhile: what it missed counts as having come since.

    Where it had been seen until just then, it is the sighting itself. Not for one that ends by `now_ms`.
    """
    if observation.after_ms >= now_ms:
        return observation
    before, bars = _caught_up(observation.before, observation.bars, points(observation), now_ms)
    if observation.mark_before is None:
        return replace(observation, after_ms=now_ms, before=before, bars=bars)
    mark, marks = _caught_up(observation.mark_before, observation.marks, mark_points(observation), now_ms)
    return replace(observation, after_ms=now_ms, before=before, bars=bars, mark_before=mark, marks=marks)


def _caught_up(
    before: SeenBar, bars: tuple[SeenBar, ...], news: Points, now_ms: int
) -> tuple[SeenBar, tuple[SeenBar, ...]]:
    """The minute that is under way holds every price that is new, from the close that was known."""
    minute, stood = MINUTE.floor(now_ms + 1), before.close
    old = news[0] < minute + MINUTE_MS
    later = tuple(bar for bar in bars if bar.open_ms > minute)
    known = SeenBar(minute, stood, stood, stood, stood, 0.0)
    if not old.any():
        return known, later
    prices = news[1][old]
    high, low = max(stood, float(prices.max())), min(stood, float(prices.min()))
    return known, (SeenBar(minute, stood, high, low, float(prices[-1]), float(news[2][old].sum())), *later)


def _is_closed(bar: SeenBar, observation: Observation) -> bool:
    return bar.open_ms + MINUTE_MS <= observation.upto_ms + 1


def _tape(rules: SymbolRules, bars: tuple[SeenBar, ...]) -> SymbolTape:
    table = np.array([(b.open, b.high, b.low, b.close, b.volume) for b in bars], dtype=np.float64).reshape(-1, 5)
    opened = np.array([bar.open_ms for bar in bars], dtype=np.int64)
    seed = int(digest_value([rules.symbol, "observed"])[:15], 16)
    return SymbolTape.of(rules.symbol, MINUTE, seed, float(rules.tick), float(rules.step), TapeBars(opened, *table.T))


def _increment(tape: SymbolTape, observation: Observation, bar: SeenBar, *, traded: bool) -> Points:
    """A bar that was or is unfinished: what it shows now and did not before, evenly over the time it had for it.

    Before the first trade of a minute its bar stands at the close of the one before: of what is `traded` that is no
    price, and the minute opens where it is traded first.
    """
    before = observation.before if observation.before.open_ms == bar.open_ms else None
    if traded and before is not None and before.volume == 0:
        before = None
    now = before.joined(bar) if before else bar
    if traded and now.volume == 0:
        return _NONE
    start = max(observation.after_ms, bar.open_ms - 1)
    end = min(observation.upto_ms, bar.open_ms + MINUTE_MS - 1)
    if end <= start:
        return _NONE
    prices = _news(before, now, high_first=_high_first(tape.seed, bar.open_ms))
    n = len(prices)
    lots = round((now.volume - (before.volume if before else 0.0)) / tape.step)
    shares = np.diff([lots * i // n for i in range(n + 1)]) * tape.step
    times = start + (end - start) * np.arange(1, n + 1, dtype=np.int64) // n
    return times, np.array(prices), shares


def _news(before: SeenBar | None, now: SeenBar, *, high_first: bool) -> list[float]:
    top, bottom = (before.high, before.low) if before else (now.open, now.open)
    extremes = ([now.high] if now.high > top else [], [now.low] if now.low < bottom else [])
    ordered = extremes if high_first else extremes[::-1]
    return [*([] if before else [now.open]), *ordered[0], *ordered[1], now.close]


def _high_first(seed: int, open_ms: int) -> bool:
    """The die by which the path of this very minute decides."""
    count = 3 * points_per_bar(MINUTE_MS) + 3
    return bool(uniforms(seed, np.array([open_ms], dtype=np.int64), count)[0, -1] < 0.5)
