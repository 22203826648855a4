"""The intrabar path: how a bar's trades are laid out in time when only the bar was recorded.

Each bar becomes a fixed number of price points from its open to its close that touch its high and its low exactly once
at seeded moments, so nothing shows a high, a low or a close before its time. The same seed and bar give the same path,
whichever bars are expanded beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.venue.simulated_market.tape import FLOWS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trader_cli.venue.simulated_market.tape import SymbolTape

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

POINT_MS = 5_000
MAX_POINTS = 240
_WORD, _GOLDEN = 0xFFFFFFFFFFFFFFFF, 0x9E3779B97F4A7C15


@dataclass(frozen=True)
class Path:
    """Price points of n bars, K each: arrays of shape (n, K). Quantities may be zero where a bar traded too little.

    What traded is told only when it is asked for: where prices go is asked for far more often.
    """

    time_ms: Ints
    price: Floats
    _opened: Ints
    _interval_ms: int
    _volume: Floats
    _step: float
    _seed: int
    _noise: Floats

    @cached_property
    def quantity(self) -> Floats:
        """What traded at each point."""
        points = self.price.shape[1]
        dice = _drawn(self._seed, self._opened, _lane(2 * points)[points:])
        return _quantities(self._volume, self._step, dice)

    @cached_property
    def taker_buys(self) -> NDArray[np.bool_]:
        """Whether who took bought."""
        move = np.diff(self.price, axis=1, prepend=self.price[:, :1])
        return np.where(move == 0, self._noise < 0.5, move > 0)

    @cached_property
    def trade_id(self) -> Ints:
        """The numbers of the trades."""
        points = self.price.shape[1]
        return np.asarray((self._opened // self._interval_ms)[:, None] * points + np.arange(points))


def points_per_bar(interval_ms: int) -> int:
    """K: one point per five seconds, at most 240."""
    return min(MAX_POINTS, interval_ms // POINT_MS)


def uniforms(seed: int, keys: Ints, count: int) -> Floats:
    """Uniform numbers in [0, 1), shape (len(keys), count): a function of seed and key alone (SplitMix64)."""
    return _drawn(seed, keys, _lane(count))


def _drawn(seed: int, keys: Ints, lane: NDArray[np.uint64]) -> Floats:
    """Those of `uniforms` that a part of its lane gives."""
    with np.errstate(over="ignore"):
        start = _mix(keys.astype(np.uint64) ^ np.uint64(_seed_word(seed)))
        mixed = _mix(start[:, None] + lane)
    return (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53


def uniforms_at(seed: int, key: int, count: int) -> Floats:
    """`uniforms` of one key, shape (count,), in a fifth of the time."""
    with np.errstate(over="ignore"):
        mixed = _mix(np.uint64(_mixed((key & _WORD) ^ _seed_word(seed))) + _lane(count))
    return (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53


def uniform_at(seed: int, key: int) -> float:
    """The first of `uniforms_at`."""
    return (_mixed(_mixed((key & _WORD) ^ _seed_word(seed)) + _GOLDEN & _WORD) >> 11) * 2.0**-53


@cache
def _lane(count: int) -> NDArray[np.uint64]:
    with np.errstate(over="ignore"):
        return np.arange(1, count + 1, dtype=np.uint64) * np.uint64(_GOLDEN)


@cache
def _lane_of_prices(points: int) -> NDArray[np.uint64]:
    """Of three numbers a point and three a bar, all but those of quantities."""
    lane = _lane(3 * points + 3)
    return np.concatenate([lane[:points], lane[2 * points :]])


@cache
def _seed_word(seed: int) -> int:
    return _mixed((seed & _WORD) * 0xD1342543DE82EF95 & _WORD)


def _mixed(z: int) -> int:
    """`_mix` of one word."""
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & _WORD
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & _WORD
    return z ^ (z >> 31)


def _mix(z: NDArray[np.uint64] | np.uint64) -> NDArray[np.uint64]:
    z = np.asarray(z, dtype=np.uint64)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def expand(tape: SymbolTape, first: int, stop: int) -> Path:
    """The path of bars [first, stop) of a tape."""
    return expand_rows(tape, slice(first, stop))


def expand_rows(tape: SymbolTape, rows: slice | Ints) -> Path:
    """The path of some bars of a tape."""
    points = points_per_bar(tape.timeframe.ms)
    opened = tape.open_ms[rows]
    dice = _drawn(tape.seed, opened, _lane_of_prices(points))
    price = _prices(tape, rows, dice[:, :points], dice[:, -3:])
    delay = (np.arange(points) + 0.5 * dice[:, points : 2 * points]) / points
    time_ms = opened[:, None] + np.floor(delay * tape.timeframe.ms).astype(np.int64)
    return Path(time_ms, price, opened, tape.timeframe.ms, tape.volume[rows], tape.step, tape.seed, dice[:, :points])


def flows(tape: SymbolTape, first: int, stop: int) -> dict[str, Floats]:
    """Quote volume, trades and taker buys of bars [first, stop): as recorded, else summed from the path."""
    recorded = {name: values[first:stop] for name, values in tape.bars.recorded.items()}
    return recorded if set(FLOWS) <= set(recorded) else {**_flows(expand(tape, first, stop)), **recorded}


def _flows(path: Path) -> dict[str, Floats]:
    value = path.price * path.quantity
    return {
        "quote_volume": value.sum(axis=1),
        "trades": (path.quantity > 0).sum(axis=1).astype(np.float64),
        "taker_buy_base": np.where(path.taker_buys, path.quantity, 0.0).sum(axis=1),
        "taker_buy_quote": np.where(path.taker_buys, value, 0.0).sum(axis=1),
    }


def _prices(tape: SymbolTape, rows: slice | Ints, noise: Floats, dice: Floats) -> Floats:
    """Straight lines open → extreme → other extreme → close, with noise that keeps inside the bar."""
    points = noise.shape[1]
    o, h, l, c = (getattr(tape, n)[rows, None] for n in ("open", "high", "low", "close"))  # noqa: E741
    one = 1 + np.floor(dice[:, :1] * (points - 2)).astype(np.int64)
    two = 1 + np.floor(dice[:, 1:2] * (points - 3)).astype(np.int64)
    two = np.where(two >= one, two + 1, two)
    high_first = dice[:, 2:3] < 0.5
    early, late = np.minimum(one, two), np.maximum(one, two)
    top, bottom = np.where(high_first, h, l), np.where(high_first, l, h)
    k = np.arange(points)
    after, later = k > early, k > late
    begun = np.where(later, late, np.where(after, early, 0))
    length = np.where(later, points - 1 - late, np.where(after, late - early, early))
    start, end = np.where(later, bottom, np.where(after, top, o)), np.where(later, c, np.where(after, bottom, top))
    fraction = (k - begun) / length
    bump = (noise - 0.5) * (h - l) * fraction * (1 - fraction)
    raw = np.clip(np.round((start + (end - start) * fraction + bump) / tape.tick) * tape.tick, l, h)
    for where, value in ((early, top), (late, bottom)):
        np.put_along_axis(raw, where, value, axis=1)
    raw[:, 0], raw[:, -1] = o[:, 0], c[:, 0]
    return np.asarray(raw)


def _quantities(volume: Floats, step: float, noise: Floats) -> Floats:
    """The bar's volume split over its points in whole steps; each row sums to its volume."""
    weights = 0.2 + noise
    share = np.cumsum(weights, axis=1) / weights.sum(axis=1, keepdims=True)
    lots = np.round(volume / step)[:, None]
    filled = np.floor(share * lots)
    filled[:, -1:] = lots
    return np.asarray(np.diff(filled, axis=1, prepend=0.0) * step)
