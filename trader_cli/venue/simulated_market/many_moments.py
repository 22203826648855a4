"""What the simulated market shows at many moments at once, to the bit what `SymbolMarket` shows at each of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.core.market.timeframes import DAY_MS, HOUR_MS, MINUTE_MS
from trader_cli.venue.simulated_market.intrabar_path import expand_rows, uniforms, uniforms_at

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from trader_cli.venue.simulated_market.base_bars import BaseBars
    from trader_cli.venue.simulated_market.intrabar_path import Path
    from trader_cli.venue.simulated_market.tape import SymbolTape

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Side = tuple[Floats, Floats]

_AT_ONCE = 2048
_THIN_BOOK = 1000
"""Steps a minute assumed to trade before the first bar of a tape has closed."""


@dataclass(frozen=True)
class Books:
    """Books at n moments: prices and sizes of each side, (n, levels) each, best first. A price may not be positive."""

    bids: Side
    asks: Side


def bars_under_way(tape: SymbolTape, times: Ints) -> Ints:
    """The bar that holds each time, or the first one after it; the number of bars where there is none. Shape (n,)."""
    return np.searchsorted(tape.open_ms, times - tape.timeframe.ms, side="right")


def prices_at(tape: SymbolTape, times: Ints) -> Floats:
    """The last price at ascending times, UTC ms, shape (n,); before the first trade, the first open."""
    under_way = bars_under_way(tape, times)
    before = np.where(under_way > 0, tape.close[np.maximum(under_way - 1, 0)], tape.open[0])
    for where, path, row in _paths(tape, under_way):
        seen = (path.time_ms[row] <= times[where, None]).sum(axis=1)
        last = path.price[row, np.maximum(seen - 1, 0)]
        before[where] = np.where(seen > 0, last, before[where])
    return before


def _paths(tape: SymbolTape, under_way: Ints) -> Iterator[tuple[slice, Path, Ints]]:
    """Runs of moments, with the path of the bars under way in them, and the row of each moment in that."""
    whole = int(np.searchsorted(under_way, len(tape.open_ms)))
    for first in range(0, whole, _AT_ONCE):
        where = slice(first, min(first + _AT_ONCE, whole))
        bars, row = np.unique(under_way[where], return_inverse=True)
        yield where, expand_rows(tape, bars), row


def books_at(
    tape: SymbolTape, times: Ints, last: Floats, levels: int, recent: tuple[Floats, Floats] | None = None
) -> Books:
    """Books derived from the last hour's volume and range, around last prices (n,); seeded, stable within a second.

    A deeper look shows the same levels and more. `recent` is `last_hour` of the bars under way, where it is known.
    """
    volume, reach = recent or last_hour(tape, bars_under_way(tape, times))
    tick = tape.tick
    half = np.maximum(1, np.rint(reach / (2 * tick))).astype(np.int64)
    gap = np.maximum(1, np.rint(last * 0.5e-4 / tick)).astype(np.int64)
    dice = uniforms(tape.seed, times // 1000, 2 * levels)
    steps = (half[:, None] + gap[:, None] * np.arange(levels)) * tape.book_width
    sides = []
    for sign, noise in ((-1, dice[:, 0::2]), (1, dice[:, 1::2])):
        sizes = np.maximum(1.0, np.round(volume[:, None] * (0.5 + noise) * 0.3 / tape.step)) * tape.step
        sides.append((last[:, None] + sign * tick * steps, sizes))
    return Books(sides[0], sides[1])


def book_at(tape: SymbolTape, time_ms: int, last: float, levels: int, recent: tuple[float, float]) -> tuple[Side, Side]:
    """(bids, asks) of `books_at` at one moment, each of shape (levels,)."""
    (volume, reach), tick = recent, tape.tick
    half, gap = max(1, round(reach / (2 * tick))), max(1, round(last * 0.5e-4 / tick))
    steps = (half + gap * np.arange(levels)) * tape.book_width
    sizes = volume * (0.5 + uniforms_at(tape.seed, time_ms // 1000, 2 * levels)) * 0.3 / tape.step
    sizes = np.maximum(1.0, np.rint(sizes)) * tape.step
    return (np.asarray(last - tick * steps), sizes[0::2]), (np.asarray(last + tick * steps), sizes[1::2])


def last_hour(tape: SymbolTape, under_way: Ints) -> tuple[Floats, Floats]:
    """What traded a minute, and two per cent of the mean range of a bar, at least a tick, shapes (n,)."""
    most = max(1, HOUR_MS // tape.timeframe.ms)
    if len(under_way) == 1 and under_way[0] >= 1:  # the same in a third of the time
        recent = slice(max(0, int(under_way[0]) - most), int(under_way[0]))
        reach = 0.02 * (tape.high[recent] - tape.low[recent]).mean()
        return tape.volume[recent].mean(keepdims=True) * MINUTE_MS / tape.timeframe.ms, np.maximum(tape.tick, [reach])
    volume, spread = np.full(len(under_way), _THIN_BOOK * tape.step), np.full(len(under_way), tape.tick)
    ranges = tape.high - tape.low
    for count in np.unique(np.minimum(under_way, most)).tolist():
        if not count:
            continue
        where = np.flatnonzero(np.minimum(under_way, most) == count)
        bars = under_way[where, None] + np.arange(-count, 0)
        volume[where] = tape.volume[bars].mean(axis=1) * MINUTE_MS / tape.timeframe.ms
        spread[where] = np.maximum(tape.tick, 0.02 * ranges[bars].mean(axis=1))
    return volume, spread


def day_quote_volumes(tape: SymbolTape, base: BaseBars, times: Ints) -> Floats:
    """The turnover of the 24 hours before ascending times, the bar under way included. Shape (n,)."""
    under_way = bars_under_way(tape, times)
    first = np.searchsorted(tape.open_ms, times - DAY_MS, side="left")
    whole = base.flow("quote_volume", int(under_way.max(initial=0)))
    found = np.array([whole[a:b].sum() for a, b in zip(first.tolist(), under_way.tolist(), strict=True)])
    for where, path, row in _paths(tape, under_way):
        seen = (path.time_ms[row] <= times[where, None]).sum(axis=1)
        value = np.cumsum(path.price * path.quantity, axis=1)[row, np.maximum(seen - 1, 0)]
        for at in np.flatnonzero(seen > 0).tolist():
            a, b = int(first[where][at]), int(under_way[where][at])
            found[where.start + at] = np.append(whole[a:b], value[at]).sum()
    return found


def as_written(values: Floats, places: int) -> Floats:
    """Numbers as the exchange writes them with so many decimals (`number_format.format_one`), read back."""
    return np.asarray(np.rint(values * 10.0**places) / 10.0**places)
