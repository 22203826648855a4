"""Where a certificate looks: at which rows the future is altered, and which rows are made alone."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.core.identity.anchors import anchor_block, floor_block
from trader_cli.core.market.timeframes import HOUR_MS

if TYPE_CHECKING:
    import polars as pl

    from trader_cli.features.bar_arrays import Times
    from trader_cli.features.feature_spec import FeatureSpec

_EARLY_CUTS = 5
_TIMES = ("open_time", "close_time")


def choose_cuts(spec: FeatureSpec, times: Times, known: int, count: int, seed: int) -> list[int]:
    """At least `count` rows of a tape, fewer only where it is that short, ascending: behind them its future is altered.

    Five before row `known`, the end of the warm-up; some just after a block of each frame began; the last two rows; the
    rest anywhere. Apart from the last two they open within a bar of each higher frame.
    """
    rng, n = np.random.default_rng(seed), len(times)
    early = np.geomspace(3, max(known, 40), _EARLY_CUTS, endpoint=False)
    wanted = [*early, *_just_after_blocks(spec, times)]
    rest = max(count - len(wanted) - 2, 3)
    edges = np.linspace(known, max(n - 3, known), rest + 1)
    wanted += [low + rng.random() * (high - low) for low, high in pairwise(edges)]
    chosen = {_off_grid(spec, times, int(row)) for row in wanted} | {n - 2, n - 1}
    chosen = {row for row in chosen if 0 < row < n}
    while len(chosen) < min(count, n // 4):
        chosen.add(min(_off_grid(spec, times, int(rng.integers(1, n))), n - 1))
    return sorted(chosen)


def _just_after_blocks(spec: FeatureSpec, times: Times) -> list[int]:
    """Rows that know one or three bars of the last block of each frame."""
    rows = []
    for frame in {family.frame(spec.timeframe) for family in spec.families}:
        began = np.searchsorted(times, floor_block(int(times[-1]), anchor_block(frame)))
        ratio = frame.ms // spec.timeframe.ms
        rows += [int(began) + ratio + 1, int(began) + 3 * ratio + 1]
    return sorted(rows)


def _off_grid(spec: FeatureSpec, times: Times, row: int) -> int:
    """The first row from here on that does not open with a bar of a higher frame."""
    base = spec.timeframe
    frames = {family.frame(base) for family in spec.families} - {base}
    while row < len(times) and any(times[row] % frame.ms == 0 for frame in frames):
        row += 1
    return row


def probe_rows(frame: pl.DataFrame, known: int, count: int, seed: int) -> list[int]:
    """Some `count` rows behind the warm-up where a column is likeliest to give itself away if it looks ahead only now
    and then: those of the largest moves, volumes and other inputs, the first and last of months, and, spread over the
    hours of the week, any others."""
    n = frame.height
    if not count or known >= n - 1:
        return []
    rng, times = np.random.default_rng(seed), frame["open_time"].to_physical().to_numpy()
    rows: set[int] = set()
    values = {name: frame[name].to_numpy().astype(np.float64) for name in frame.columns if name not in _TIMES}
    values["move"] = np.abs(np.diff(np.log(values["close"]), prepend=np.nan))
    for column in values.values():
        order = np.argsort(np.where(np.isfinite(column), column, -np.inf)[known : n - 1], kind="stable")
        each = max(1, count // (4 * len(values)))
        rows |= {
            known + int(at)
            for at in (*order[-each:], order[0], *np.flatnonzero(~np.isfinite(column[known : n - 1]))[:2])
        }
    months = np.array([floor_block(int(at), "month") for at in times[known:n]])
    turns = known + np.flatnonzero(np.diff(months)) + 1
    rows |= {int(row) for turn in turns[-4:] for row in (turn - 1, turn) if known <= row < n}
    hours = times[known : n - 1] // HOUR_MS % (7 * 24)
    for hour in rng.permutation(np.unique(hours)):
        if len(rows) >= count:
            break
        rows.add(known + int(rng.choice(np.flatnonzero(hours == hour))))
    while len(rows) < min(count, n - 1 - known):
        rows.add(int(rng.integers(known, n - 1)))
    return sorted(rows)
