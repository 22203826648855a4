"""A market without friction, of bare bars: what is traded on it can be counted from the bars alone.

A bar goes through four prices, its open, one extreme, the other and its close, a quarter of its time apart. Between two
of them prices pass through all that lies between. Everybody is filled at the last price, however much is wanted. There
is no funding and no basis: whoever counts them does it apart.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Protocol

import numpy as np

from trader_cli.venue.simulated_market.intrabar_path import Path
from trader_cli.venue.simulated_market.market_port import Beyond
from trader_cli.venue.simulated_market.price_path import PricePath
from trader_cli.venue.simulated_market.symbol_market import SymbolMarket

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trader_cli.venue.simulated_market.tape import SymbolTape

    Floats = NDArray[np.float64]
    Side = list[tuple[float, float]]

POINTS = 4
"""Prices that a bar goes through."""
_DEEP = 1e9


class Prices(Protocol):
    """Prices of bars, each (n,)."""

    @property
    def open(self) -> Floats: ...
    @property
    def high(self) -> Floats: ...
    @property
    def low(self) -> Floats: ...
    @property
    def close(self) -> Floats: ...


def way_of(bars: Prices) -> Floats:
    """The prices that each bar goes through, (n, 4): the low comes before the high where it closes no lower.

    Of a price without drift that is as often for whoever is long as for whoever is short.
    """
    rises = bars.close >= bars.open
    early, late = np.where(rises, bars.low, bars.high), np.where(rises, bars.high, bars.low)
    return np.stack([bars.open, early, late, bars.close], axis=1)


class IdealPath(PricePath):
    """The way of a tape's bars as a path."""

    def __init__(self, tape: SymbolTape) -> None:
        super().__init__(tape)
        way, opened = way_of(tape.bars), tape.open_ms
        times = opened[:, None] + np.arange(POINTS) * (tape.timeframe.ms // POINTS)
        still = np.zeros(way.shape)
        self._whole = Path(times, way, opened, tape.timeframe.ms, tape.volume, tape.step, tape.seed, still)

    def run_of(self, index: int) -> tuple[Path, int]:
        """All of it, and the bar's row."""
        return self._whole, index

    def _within(self, index: int, span: tuple[int, int], below: float, above: float) -> Beyond | None:
        """As ever, but the first price of a bar only is not passed on the way from the one before."""
        times, prices = self.points(index)
        for at in range(bisect_right(times, span[0]), bisect_right(times, span[1])):
            if prices[at] <= below or prices[at] >= above:
                return Beyond(times[at], prices[at], 0.0, prices[at - 1] if at else None)
        return None


class IdealMarket(SymbolMarket):
    """One symbol of it."""

    def __init__(self, tape: SymbolTape) -> None:
        super().__init__(tape, IdealPath(tape))

    def book(self, now_ms: int, levels: int) -> tuple[Side, Side]:  # noqa: ARG002
        """The last price, on both sides, for any quantity."""
        level = [(self.last_price(now_ms), _DEEP)]
        return level, level

    def book_columns(self, now_ms: int, levels: int) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
        """The same as arrays."""
        prices, sizes = (np.array(column) for column in zip(*self.book(now_ms, levels)[0], strict=True))
        return (prices, sizes), (prices, sizes)

    def funding_rate(self, time_ms: int) -> float:  # noqa: ARG002
        """None is paid."""
        return 0.0

    def quoted_funding_rate(self, now_ms: int, following_ms: int) -> float:  # noqa: ARG002
        """None is told."""
        return 0.0

    def index_price(self, now_ms: int) -> float:
        """The last price."""
        return self.last_price(now_ms)
