"""Tapes: what the simulated market plays: Parquet bars (`tape_loading`), or bars made up from a seed (`synthetic`)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.core.identity.digests import digest_value
from trader_cli.core.market.timeframes import DAY_MS, HOUR_MS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.venue.simulated_market.rule_changes import RuleChange

    Floats = NDArray[np.float64]

FLOWS = ("quote_volume", "trades", "taker_buy_base", "taker_buy_quote")
"""What real bars also record of their trades; where it is not, it is summed from the path."""
MARK_TICK = 1e-8
"""Mark prices have eight decimals, whatever the symbol's tick."""


@dataclass(frozen=True)
class TapeBars:
    """Bars as arrays of shape (n,); `recorded`: those of `FLOWS` that are known.

    `mark`: open, high, low and close of the mark price in each bar, where it was recorded; empty: it is the last price.
    """

    open_ms: NDArray[np.int64]
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    recorded: Mapping[str, Floats] = field(default_factory=dict)
    mark: Mapping[str, Floats] = field(default_factory=dict)

    def since(self, first: int) -> TapeBars:
        """Rows [first, n), in arrays of their own."""
        columns = (self.open_ms, self.open, self.high, self.low, self.close, self.volume)
        beside = ({name: one[first:].copy() for name, one in each.items()} for each in (self.recorded, self.mark))
        return TapeBars(*(column[first:].copy() for column in columns), *beside)  # type: ignore[arg-type]


@dataclass(frozen=True)
class SymbolTape:
    """One symbol: its price tick and quantity step, the seed of its path, its span [start, end), UTC ms, and its bars.

    The bars are made when they are first asked for: most commands look at one symbol of a market, or at none. `funding`
    are recorded rates by the full hour, UTC ms, at which they were paid; without them rates are derived. `book_width`
    is how many times further apart the levels of the derived book lie than its bars say.
    """

    symbol: str
    timeframe: Timeframe
    seed: int
    tick: float
    step: float
    start_ms: int
    end_ms: int
    make: Callable[[], TapeBars] = field(repr=False, compare=False)
    funding: Mapping[int, float] | None = None
    book_width: int = 1

    @classmethod
    def of(cls, symbol: str, timeframe: Timeframe, seed: int, tick: float, step: float, bars: TapeBars) -> SymbolTape:
        """A tape of bars that are there."""
        start, end = (int(bars.open_ms[0]), int(bars.open_ms[-1]) + timeframe.ms) if len(bars.open_ms) else (0, 0)
        return cls(symbol, timeframe, seed, tick, step, start, end, lambda: bars)

    def playing(self, bars: TapeBars) -> SymbolTape:
        """The same symbol with other bars."""
        made = self.of(self.symbol, self.timeframe, self.seed, self.tick, self.step, bars)
        return replace(made, funding=self.funding, book_width=self.book_width)

    def since(self, begin_ms: int) -> SymbolTape:
        """The same symbol without what lies before, but for an hour's number of bars: the derived book goes by them."""
        first = int(self.open_ms.searchsorted(begin_ms)) - HOUR_MS // self.timeframe.ms - 1
        return self.playing(self.bars.since(first)) if first > 0 else self

    def shifted(self, by_ms: int) -> SymbolTape:
        """The same bars at other times."""
        start, end = self.start_ms + by_ms, self.end_ms + by_ms
        funding = None if self.funding is None else {at + by_ms: rate for at, rate in self.funding.items()}
        return replace(self, start_ms=start, end_ms=end, make=partial(_moved, self, by_ms), funding=funding)

    @cached_property
    def bars(self) -> TapeBars:
        """The bars, made once."""
        return self.make()

    @cached_property
    def mark_tape(self) -> SymbolTape:
        """The tape of its mark price, along the path of the same seed; itself where none was recorded."""
        bars = self.bars
        if not bars.mark:
            return self
        opened, high, low, close = (bars.mark[name] for name in ("open", "high", "low", "close"))
        shown = TapeBars(bars.open_ms, opened, high, low, close, np.zeros(len(bars.open_ms)))
        return replace(self, tick=MARK_TICK, make=lambda: shown)

    @property
    def open_ms(self) -> NDArray[np.int64]:
        """Opening times."""
        return self.bars.open_ms

    @property
    def open(self) -> Floats:
        """Opening prices."""
        return self.bars.open

    @property
    def high(self) -> Floats:
        """Highest prices."""
        return self.bars.high

    @property
    def low(self) -> Floats:
        """Lowest prices."""
        return self.bars.low

    @property
    def close(self) -> Floats:
        """Closing prices."""
        return self.bars.close

    @property
    def volume(self) -> Floats:
        """Quantities traded."""
        return self.bars.volume


def _moved(tape: SymbolTape, by_ms: int) -> TapeBars:
    return replace(tape.bars, open_ms=tape.open_ms + by_ms)


def path_seed(symbol: str, seed: int) -> int:
    """The seed of a symbol's path in a market of a seed."""
    return int(digest_value([symbol, seed])[:15], 16)


@dataclass(frozen=True)
class Tape:
    """Symbols played together. `source` names the market in every artifact made from it; `label` is for people.

    `changes` are its rules where they are not those of a simulated exchange.
    """

    source: str
    label: str
    symbols: dict[str, SymbolTape]
    changes: tuple[RuleChange, ...] = ()

    @property
    def start_ms(self) -> int:
        """Opening time of the earliest bar."""
        return min(tape.start_ms for tape in self.symbols.values())

    @property
    def end_ms(self) -> int:
        """When the last bar ends."""
        return max(tape.end_ms for tape in self.symbols.values())

    def at(self, share: float) -> int:
        """The whole hour at this share of the tape's length, UTC ms."""
        at = self.start_ms + int((self.end_ms - self.start_ms) * share)
        return max(self.start_ms, at - at % 3_600_000)

    def shift_to(self, now_ms: int, share: float) -> int:
        """By how many ms to move the tape so that `now_ms` lies at about this share of it.

        Whole weeks if enough of the tape is left after that, else days, hours or bars: sessions and higher frames stay
        where they were as far as can be.
        """
        start, bar_ms = self.at(share), max(tape.timeframe.ms for tape in self.symbols.values())
        for unit in (7 * DAY_MS, DAY_MS, HOUR_MS, bar_ms):
            if unit % bar_ms == 0 and start + 2 * unit <= self.end_ms:
                break
        return (now_ms - start) // unit * unit

    def shifted(self, by_ms: int) -> Tape:
        """The same market at other times."""
        return replace(self, symbols={name: tape.shifted(by_ms) for name, tape in self.symbols.items()})
