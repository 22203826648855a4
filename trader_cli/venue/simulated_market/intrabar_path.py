"""The intrabar path: how a bar's trades are laid out in time when only the bar was recorded.

Each bar becomes a fixed number of price points from its open to its close that touch its high and its low exactly once
at seeded moments, so nothing shows a high, a low or a close before its time. The same seed and bar give the same path,
whichever bars are expanded beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
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
_WORD = 0xFFFFFFFFFFFFFFFF


@dataclass(frozen=True)
class Path:
    """Price points of n bars, K each: arrays of shape (n, K). Quantities may be zero where a bar traded too little."""

    time_ms: Ints
    price: Floats
    quantity: Floats
    taker_buys: NDArray[np.bool_]
    trade_id: Ints


def points_per_bar(interval_ms: int) -> int:
    """K: one point per five seconds, at most 240."""
    return min(MAX_POINTS, interval_ms // POINT_MS)


def uniforms(seed: int, keys: Ints, count: int) -> Floats:
    """Uniform numbers in [0, 1), shape (len(keys), count): a function of seed and key alone (SplitMix64)."""
    with np.errstate(over="ignore"):
        lane = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        start = _mix(
            keys.astype(np.uint64) ^ _mix(np.uint64(seed & 0xFFFFFFFFFFFFFFFF) * np.uint64(0xD1342543DE82EF95))
        )
        mixed = _mix(start[:, None] + lane)
    return (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53


def uniforms_at(seed: int, key: int, count: int) -> Floats:
    """`uniforms` of one key, shape (count,), in a fifth of the time."""
    with np.errstate(over="ignore"):
        mixed = _mix(np.uint64(_mixed((key & _WORD) ^ _seed_word(seed))) + _lane(count))
    return (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53


def uniform_at(seed: int, key: int) -> float:
    """The first of `uniforms_at`."""
    start = _mixed((key & _WORD) ^ _seed_word(seed))
    return (_mixed(start + 0x9E3779B97F4A7C15 & _WORD) >> 11) * 2.0**-53


@cache
def _lane(count: int) -> NDArray[np.uint64]:
    with np.errstate(over="ignore"):
        return np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)


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
    dice = uniforms(tape.seed, opened, 3 * points + 3)
    price = _prices(tape, rows, dice[:, :points], dice[:, -3:])
    quantity = _quantities(tape.volume[rows], tape.step, dice[:, points : 2 * points])
    delay = (np.arange(points) + 0.5 * dice[:, 2 * points : 3 * points]) / points
    time_ms = opened[:, None] + np.floor(delay * tape.timeframe.ms).astype(np.int64)
    move = np.diff(price, axis=1, prepend=price[:, :1])
    taker_buys = np.where(move == 0, dice[:, :points] < 0.5, move > 0)
    trade_id = (opened // tape.timeframe.ms)[:, None] * points + np.arange(points)
    return Path(time_ms, price, quantity, taker_buys, trade_id)


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
    k = np.arange(points)[None, :]
    fractions = [k / early, (k - early) / (late - early), (k - late) / (points - 1 - late)]
    legs = [(o, top), (top, bottom), (bottom, c)]
    fraction = np.where(k <= early, fractions[0], np.where(k <= late, fractions[1], fractions[2]))
    start = np.where(k <= early, legs[0][0], np.where(k <= late, legs[1][0], legs[2][0]))
    end = np.where(k <= early, legs[0][1], np.where(k <= late, legs[1][1], legs[2][1]))
    bump = (noise - 0.5) * (h - l) * fraction * (1 - fraction)
    raw = np.clip(np.round((start + (end - start) * fraction + bump) / tape.tick) * tape.tick, l, h)
    knots = [(k == 0, o), (k == early, top), (k == late, bottom), (k == points - 1, c)]
    for where, value in knots:
        raw = np.where(where, value, raw)
    return np.asarray(raw)


def _quantities(volume: Floats, step: float, noise: Floats) -> Floats:
    """The bar's volume split over its points in whole steps; each row sums to its volume."""
    weights = 0.2 + noise
    share = np.cumsum(weights, axis=1) / weights.sum(axis=1, keepdims=True)
    lots = np.round(volume / step)[:, None]
    filled = np.floor(share * lots)
    filled[:, -1:] = lots
    return np.asarray(np.diff(filled, axis=1, prepend=0.0) * step)
