"""The path of a tape as prices are looked for in it: where one is first beyond a bound, and what is shown at a moment.

Bars are looked through as they were recorded; only where one reaches a bound its path is looked at.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, NamedTuple

from trader_cli.core.market.timeframes import MINUTE_MS
from trader_cli.venue.simulated_market.intrabar_path import expand
from trader_cli.venue.simulated_market.market_port import Beyond

if TYPE_CHECKING:
    from trader_cli.venue.simulated_market.intrabar_path import Path
    from trader_cli.venue.simulated_market.tape import SymbolTape

    Points = tuple[list[int], list[float]]

_EVENT_BARS, _RUN_BARS = 512, 512
"""Bars that are looked through at once; bars whose path is made together: a single one takes a third of their time."""
_RUNS_KEPT, _BARS_KEPT = 4, 16
"""A price is looked for in one run, and what follows from it soon in another; several look at one market in turn."""


class _Quiet(NamedTuple):
    """What was looked for last: no price after `since_ms` and before `until_ms` is beyond `below` or `above`."""

    since_ms: int
    until_ms: int
    below: float
    above: float

    def ends(self, after_ms: int, below: float, above: float) -> int:
        """The time after which a price may be beyond these: the one given, unless more is known."""
        knows = self.since_ms <= after_ms < self.until_ms and below <= self.below and above >= self.above
        return self.until_ms - 1 if knows else after_ms


class PricePath:
    """The path of one tape. Times are UTC ms; nothing is made before it is asked for."""

    def __init__(self, tape: SymbolTape) -> None:
        self._tape, self._bar_ms = tape, tape.timeframe.ms
        self._runs: dict[int, Path] = {}
        self._bars: dict[int, Points] = {}
        self._under_way = (0, 0, 0)
        self._shown = (0, 0, 0.0)
        self._quiet = _Quiet(0, 0, 0.0, 0.0)

    def bar_under_way(self, time_ms: int) -> int:
        """Index of the bar that holds a time, or of the first one after it."""
        since, until, index = self._under_way
        if not since <= time_ms < until:
            opened = self._tape.open_ms
            index = int(opened.searchsorted(time_ms - self._bar_ms, side="right"))
            since = int(opened[index - 1]) + self._bar_ms if index else 0
            until = int(opened[index]) + self._bar_ms if index < len(opened) else time_ms + 1
            self._under_way = since, until, index
        return index

    def run_of(self, index: int) -> tuple[Path, int]:
        """The path of the run of bars that holds one, and its row in it. The last few runs made are remembered."""
        run, row = divmod(index, _RUN_BARS)
        path = self._runs.get(run)
        if path is None:
            first = run * _RUN_BARS
            path = self._runs[run] = expand(self._tape, first, first + _RUN_BARS)
            if len(self._runs) > _RUNS_KEPT:
                del self._runs[next(iter(self._runs))]
        return path, row

    def points(self, index: int) -> Points:
        """(Times, prices) of one bar's path. Not to be changed."""
        found = self._bars.get(index)
        if found is None:
            path, row = self.run_of(index)
            found = self._bars[index] = path.time_ms[row].tolist(), path.price[row].tolist()
            if len(self._bars) > _BARS_KEPT:
                del self._bars[next(iter(self._bars))]
        return found

    def shown_at(self, now_ms: int) -> tuple[int, int, float]:
        """(Since, until, the price that is shown from then on and before that), as far as one bar tells.

        Before the first trade it is the first open.
        """
        if not self._shown[0] <= now_ms < self._shown[1]:
            self._shown = self._price_from(now_ms)
        return self._shown

    def _price_from(self, now_ms: int) -> tuple[int, int, float]:
        tape, index = self._tape, self.bar_under_way(now_ms)
        if index == len(tape.open_ms):
            return now_ms, now_ms + self._bar_ms, self._before(index)
        times, prices = self.points(index)
        seen = bisect_right(times, now_ms)
        until = times[seen] if seen < len(times) else int(tape.open_ms[index]) + self._bar_ms
        return times[seen - 1] if seen else now_ms, until, prices[seen - 1] if seen else self._before(index)

    def _before(self, index: int) -> float:
        """The price before a bar's first point."""
        return float(self._tape.close[index - 1] if index else self._tape.open[0])

    def priced_at(self, now_ms: int) -> int:
        """When the latest price by now came; 0 before the first."""
        at = self.bar_under_way(now_ms)
        for index in range(min(at, len(self._tape.open_ms) - 1), max(at - 2, -1), -1):
            times = self.points(index)[0]
            seen = bisect_right(times, now_ms)
            if seen:
                return times[seen - 1]
        return 0

    def times_between(self, after_ms: int, upto_ms: int) -> list[int]:
        """When prices came in (after, upto]."""
        first, last = self.bar_under_way(after_ms), int(self._tape.open_ms.searchsorted(upto_ms, side="right"))
        return [at for index in range(first, last) for at in self.points(index)[0] if after_ms < at <= upto_ms]

    def first_beyond(self, after_ms: int, upto_ms: int, below: float, above: float) -> Beyond | None:
        """The first point of the path in (after, upto] whose price is ≤ `below` or ≥ `above`."""
        from_ms = self._quiet.ends(after_ms, below, above)
        if from_ms > upto_ms:
            return None
        found = self._looked_for(from_ms, upto_ms, below, above)
        begun_ms = self._quiet.since_ms if from_ms > after_ms else after_ms
        self._quiet = _Quiet(begun_ms, upto_ms + 1 if found is None else found.time_ms, below, above)
        return found

    def _looked_for(self, after_ms: int, upto_ms: int, below: float, above: float) -> Beyond | None:
        tape, first = self._tape, self.bar_under_way(after_ms)
        last = int(tape.open_ms.searchsorted(upto_ms, side="right"))
        if first < last and (found := self._within(first, (after_ms, upto_ms), below, above)):
            return found
        for start in range(first + 1, last, _EVENT_BARS):
            stop = min(start + _EVENT_BARS, last)
            near = (tape.low[start:stop] <= below) | (tape.high[start:stop] >= above)
            at = int(near.argmax())
            if near[at]:  # a path reaches its bar's high and low; only the last bar may end too early
                found = self._within(start + at, (after_ms, upto_ms), below, above)
                if found is not None or start + at + 1 == last:
                    return found
        return None

    def _within(self, index: int, span: tuple[int, int], below: float, above: float) -> Beyond | None:
        """The first point of one bar that is beyond."""
        times, prices = self.points(index)
        for at in range(bisect_right(times, span[0]), bisect_right(times, span[1])):
            if prices[at] <= below or prices[at] >= above:
                within = at > 0 and times[at - 1] // MINUTE_MS == times[at] // MINUTE_MS
                path, row = self.run_of(index)
                return Beyond(times[at], prices[at], float(path.quantity[row, at]), prices[at - 1] if within else None)
        return None
