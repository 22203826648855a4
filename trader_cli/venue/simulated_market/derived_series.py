"""What no tape holds and the venue derives: the index price, the premium, open interest, positioning ratios.

All of it is a function of the seed, the time and the bars that have closed by then. None of it is a model of a real
market: it is there so that what reads it is given something that moves.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.core.market.timeframes import DAY_MS, HOUR_MS, MINUTE_MS
from trader_cli.venue.simulated_market.intrabar_path import uniform_at, uniforms

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from trader_cli.venue.simulated_market.number_format import View
    from trader_cli.venue.simulated_market.tape import SymbolTape

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

FUNDING_INTERVAL_MS, METRICS_MS = 8 * HOUR_MS, 5 * MINUTE_MS
_SLOW_BASIS, _BAR_BASIS = 6e-4, 5e-5
"""Full swing of the basis over hours (±3 bps) and from bar to bar (±0.25 bps)."""
_KNOT_MS = 4 * HOUR_MS
_BASIS_SALT, _NOISE_SALT, _RATIO_SALT = 0x1DE, 0xBA5, 0x7A7


def basis(seed: int, bar_open_ms: Ints) -> Floats:
    """How far the last price stands above the index during a bar of the tape, as a share of the index. Shape (n,).

    A slow seeded wave and a little seeded noise, held for the bar: known beforehand, hence nothing tells of prices.
    """
    noise = uniforms(seed ^ _NOISE_SALT, bar_open_ms, 1)[:, 0] - 0.5
    return np.round(_SLOW_BASIS * _wave(seed ^ _BASIS_SALT, bar_open_ms) + _BAR_BASIS * noise, 8)


def _wave(seed: int, time_ms: Ints) -> Floats:
    """Straight lines between seeded knots in [-0.5, 0.5), four hours apart."""
    knot = time_ms // _KNOT_MS
    share = (time_ms % _KNOT_MS) / _KNOT_MS
    first, second = (uniforms(seed, knot + k, 1)[:, 0] for k in (0, 1))
    return np.asarray(first + (second - first) * share - 0.5)


def index_price(seed: int, bar_open_ms: Ints, price: Floats) -> Floats:
    """The index where the last price is `price`, rounded to its eight places. Shape (n,)."""
    return np.round(price / (1.0 + basis(seed, bar_open_ms)), 8)


def index_at(seed: int, bar_open_ms: int, price: float) -> float:
    """`index_price` of one bar."""
    knot, share = bar_open_ms // _KNOT_MS, (bar_open_ms % _KNOT_MS) / _KNOT_MS
    first, second = (uniform_at(seed ^ _BASIS_SALT, knot + k) for k in (0, 1))
    wave, noise = first + (second - first) * share - 0.5, uniform_at(seed ^ _NOISE_SALT, bar_open_ms) - 0.5
    apart = round((_SLOW_BASIS * wave + _BAR_BASIS * noise) * 1e8) / 1e8
    return round(price / (1.0 + apart) * 1e8) / 1e8


def seen_as(view: View, seed: int, bars: Mapping[str, Floats]) -> dict[str, Floats]:
    """Bars of the tape with the prices of a view: the index, or the premium (mark / index − 1); else as they are."""
    opened = bars["open_ms"].astype(np.int64)
    if view == "index":
        prices = {name: index_price(seed, opened, bars[name]) for name in ("open", "high", "low", "close")}
    elif view == "premium":
        prices = dict.fromkeys(("open", "high", "low", "close"), basis(seed, opened))
    else:
        prices = {}
    return {**bars, **prices}


class OpenInterest:
    """Open interest and ratios of one symbol at many moments: half of what closed bars traded in the day before."""

    def __init__(self, tape: SymbolTape, taker_buy_base: Callable[[], Floats]) -> None:
        """`taker_buy_base`: what takers bought in each bar, asked for where a ratio is."""
        self._tape = tape
        self._taker_buy_base = taker_buy_base
        self._lots = _sums(np.rint(tape.volume / tape.step))

    @cached_property
    def _bought_lots(self) -> Floats:
        return _sums(np.rint(self._taker_buy_base() / self._tape.step))

    def times(self, first_ms: int, last_ms: int, every_ms: int) -> Ints:
        """The moments on the grid in [first, last] from the first closed bar of the tape on. Shape (n,)."""
        first = max(first_ms, self._tape.start_ms + self._tape.timeframe.ms)
        return np.arange(-(-first // every_ms) * every_ms, last_ms + 1, every_ms, dtype=np.int64)

    def at(self, times: Ints) -> tuple[Floats, Floats]:
        """(open interest in base units, its value at the last close). Shapes (n,)."""
        first = np.searchsorted(self._tape.open_ms, times - DAY_MS, side="left")
        closed = self._closed(times)
        held = np.round(0.5 * (self._lots[closed] - self._lots[np.minimum(first, closed)])) * self._tape.step
        return held, held * self._tape.close[np.maximum(closed - 1, 0)]

    def taker_ratio(self, times: Ints) -> Floats:
        """Volume bought by takers over volume sold by them in the last five minutes (at least one bar); NaN if none."""
        closed = self._closed(times)
        span = max(METRICS_MS, self._tape.timeframe.ms)
        first = np.minimum(np.searchsorted(self._tape.open_ms, times - span, side="left"), closed)
        bought = self._bought_lots[closed] - self._bought_lots[first]
        sold = self._lots[closed] - self._lots[first] - bought
        return np.where(sold > 0, bought / np.where(sold > 0, sold, 1.0), np.nan)

    def ratios(self, times: Ints) -> list[Floats]:
        """Three seeded long/short ratios between 0.7 and 2.1: top traders by count and by size, all by count."""
        return [1.4 * np.exp(0.8 * _wave(self._tape.seed ^ (_RATIO_SALT + k), times)) for k in range(3)]

    def _closed(self, times: Ints) -> Ints:
        """How many bars of the tape have closed by each moment."""
        return np.searchsorted(self._tape.open_ms, times - self._tape.timeframe.ms, side="right").astype(np.int64)


def _sums(lots: Floats) -> Floats:
    """Cumulative sums with a zero in front; exact, as lots are whole."""
    return np.concatenate([[0.0], np.cumsum(lots)])


def derived_funding_rate(seed: int, time_ms: int) -> float:
    """The rate of the interval that ends at `time_ms`: near the usual 0.01 %, seeded."""
    noise = float(uniforms(seed, np.array([time_ms // FUNDING_INTERVAL_MS], dtype=np.int64), 1)[0, 0])
    return round(1e-4 + 1e-4 * (noise - 0.5), 8)
