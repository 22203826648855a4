"""What a certificate is made of: columns tried on altered futures, bar by bar, from other pasts and by a twin."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field, replace
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.core.anchors import anchor_block, floor_block
from trader_cli.features.build import Builder, family_start
from trader_cli.features.certificates import (
    AHEAD,
    IMPURE,
    NOT_FINITE,
    PASSED,
    STREAMING,
    UNDECLARED,
    UNEXERCISED,
    ColumnVerdict,
    Reach,
)
from trader_cli.features.certification_tape import crashed, redrawn, spliced
from trader_cli.features.series import PRICE_INPUTS, BarSeries

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import polars as pl
    from numpy.typing import NDArray

    from trader_cli.core.timeframes import Timeframe
    from trader_cli.features.family import Family
    from trader_cli.features.registry import FeatureSpec
    from trader_cli.features.series import Floats, Times

    Flags = NDArray[np.bool_]

_EARLY_CUTS = 5
_STREAMED = 8
_TWIN_SHARE = 4
_TOLERANCE = 1e-6
_STEP = 1.2
_TELLING = 8
_TELLING_ROWS = 4
"""A block of fewer rows moves as a whole by chance."""


@dataclass
class _Remembering:
    """Evaluates a family once on the same bars: most blocks are the same in most alterations.

    Everything the family could see is in the key. `changed`: families that wrote into their input.
    """

    changed: set[str] = field(default_factory=set)
    _known: dict[bytes, Mapping[str, Floats]] = field(default_factory=dict)

    def __call__(self, family: Family, bars: BarSeries) -> Mapping[str, Floats]:
        names = (*PRICE_INPUTS, *bars.extra)
        key = bars.content(names)
        if key not in self._known:
            self._known[key] = family.evaluate(bars)
            if bars.content(names) != key:
                self.changed.add(family.name)
        return self._known[key]

    def forget(self) -> None:
        """Another family is to be tried."""
        self._known.clear()


def try_columns(
    spec: FeatureSpec, frame: pl.DataFrame, *, cuts: int, seed: int, twin: FeatureSpec
) -> tuple[list[ColumnVerdict], int]:
    """The verdict on every column of `spec` on one tape, and at how many rows its future was altered."""
    trial = _Trial(spec, frame, cuts, seed, twin)
    return [verdict for number in range(len(spec.families)) for verdict in trial.verdicts(number)], len(trial.cuts)


class _Trial:
    """One tape, its altered futures, and the families tried on them one after the other."""

    def __init__(self, spec: FeatureSpec, frame: pl.DataFrame, cuts: int, seed: int, twin: FeatureSpec) -> None:
        self._spec, self._twin, self._frame = spec, twin, frame
        self._times: Times = frame["open_time"].to_physical().to_numpy().astype(np.int64)
        self._remembering = _Remembering()
        self._whole = self._builder(frame)
        self._redrawn, self._crashed = redrawn(frame, seed + 1), crashed(frame)
        self.cuts = choose_cuts(spec, self._times, self._known_from(), cuts, seed)
        self._alterations = [(cut, [self._builder(bars) for bars in self._futures(cut)]) for cut in self.cuts]
        self._streamed = self._last_rows()

    def _builder(self, bars: pl.DataFrame, since: int = 0) -> Builder:
        return Builder(bars, self._spec, int(self._times[since]), self._remembering)

    def _futures(self, cut: int) -> Iterator[pl.DataFrame]:
        yield self._frame[:cut]
        yield spliced(self._frame, self._redrawn, cut)
        yield spliced(self._frame, self._crashed, cut)

    def _known_from(self) -> int:
        """The first row behind the warm-up of every family, counted from the last gap of the first half."""
        times, base = self._times, self._spec.timeframe
        gaps = np.flatnonzero(np.diff(times[: len(times) // 2]) != base.ms) + 1
        origin = int(times[gaps[-1]]) if len(gaps) else int(times[0])
        rows = [_first_reaching(family, base, times, origin) for family in self._spec.families]
        return min(max(rows, default=0), len(times) * 3 // 4)

    def _last_rows(self) -> list[int]:
        """Rows to make one by one: the last ones, and those where the last day began."""
        n, day = len(self._times), floor_block(int(self._times[-1]), "day")
        began = int(np.searchsorted(self._times, day))
        rows = {*range(max(0, n - _STREAMED), n), *range(max(0, began - 2), min(n, began + 3)), n * 2 // 3, n * 3 // 4}
        return sorted(rows)

    def verdicts(self, number: int) -> list[ColumnVerdict]:
        """One verdict per column of a family."""
        family = self._spec.families[number]
        self._remembering.forget()
        found = _table(self._whole, family)
        known = np.isfinite(found)
        impure = self._is_impure(self._twin.families[number], found)
        reaches = self._reaches(family, found)
        self._remembering.forget()
        streaming = self._differs_in_streaming(family, found)
        undeclared, restarts = self._undeclared(family, found), self._restarts(family, found)
        verdicts = []
        for at, name in enumerate(family.columns):
            failed = (
                (IMPURE, impure[at] or family.name in self._remembering.changed),
                (UNEXERCISED, not known[at].any()),
                (AHEAD, reaches[at] is not None),
                (NOT_FINITE, family.finite and (streaming[at] or restarts[at] is None)),
                (STREAMING, streaming[at]),
                (UNDECLARED, undeclared[at]),
            )
            status = next((what for what, is_so in failed if is_so), PASSED)
            constant = bool(known[at].any() and np.nanmin(found[at]) == np.nanmax(found[at]))
            reach = reaches[at] if status == AHEAD else None
            verdicts.append(ColumnVerdict(name, family.name, status, reach, restarts[at], constant))
        return verdicts

    def _reaches(self, family: Family, found: Floats) -> list[Reach | None]:
        """For each column: how far before a cut a row moved, over all cuts and alterations."""
        farthest, entire = np.zeros(len(found), dtype=np.int64), np.ones(len(found), dtype=np.bool_)
        telling = np.zeros(len(found), dtype=np.bool_)
        for cut, builders in self._alterations:
            began, moved = self._block_began(family, cut), np.full(len(found), cut)
            for builder in builders:
                differs = _differs(_table(builder, family)[:, :cut], found[:, :cut])
                moved = np.minimum(moved, np.where(differs.any(axis=1), differs.argmax(axis=1), cut))
            for at in np.flatnonzero(moved < cut):
                farthest[at] = max(farthest[at], cut - moved[at])
                known = began + np.flatnonzero(np.isfinite(found[at, began:cut]))
                if len(known) >= _TELLING_ROWS:
                    telling[at] = True
                    entire[at] &= moved[at] <= known[len(known) // 10]
        whole = telling & entire
        return [
            None if reach == 0 else "whole" if is_whole else int(reach)
            for reach, is_whole in zip(farthest, whole, strict=True)
        ]

    def _block_began(self, family: Family, cut: int) -> int:
        """The first row that reads the block the row before `cut` reads; the first of all for a finite family."""
        base = self._spec.timeframe
        if family.finite:
            return 0
        frame = family.frame(base)
        start = family_start(family, base, int(self._times[cut - 1])) + (family.warmup + 1) * frame.ms - base.ms
        return min(int(np.searchsorted(self._times, start)), cut - 1)

    def _is_impure(self, twin: Family, found: Floats) -> Flags:
        """Whether the twin, which has seen the crash first, says something else; of the last quarter of the tape."""
        since = self._recent(twin)
        at_ms = int(self._times[since])
        _table(Builder(self._crashed, self._twin, at_ms), twin)
        again = _table(Builder(self._frame, self._twin, at_ms), twin)
        return _differing_columns(again, found[:, since:])

    def _recent(self, family: Family) -> int:
        """The first row of the last quarter; of a finite family, which may not be what it says, the very first."""
        return 0 if family.finite else len(self._times) - len(self._times) // _TWIN_SHARE

    def _differs_in_streaming(self, family: Family, found: Floats) -> Flags:
        """Whether a row made alone, as the last one known, is another."""
        differs = np.zeros(len(found), dtype=np.bool_)
        for row in self._streamed:
            alone = Builder(self._frame[: row + 1], self._spec, int(self._times[row]))
            differs |= _differs(_table(alone, family)[:, 0], found[:, row])
        return differs

    def _undeclared(self, family: Family, found: Floats) -> Flags:
        """Whether a column moves where only inputs move that the family does not declare; of the last quarter."""
        names = [name for name in self._spec.inputs if name not in family.inputs]
        if not names:
            return np.zeros(len(found), dtype=np.bool_)
        since = self._recent(family)
        bars = self._frame.with_columns(self._redrawn[name] for name in names)
        moved = _table(Builder(bars, self._spec, int(self._times[since])), family)
        return _differing_columns(moved, found[:, since:])

    def _restarts(self, family: Family, found: Floats) -> list[int | None]:
        """For each column the fewest bars before a row that are enough, of those up to the warm-up."""
        bars = longest_series(self._frame, self._spec, family)
        sigma = np.array([np.std(row[np.isfinite(row)]) if np.isfinite(row).any() else 0.0 for row in found])
        tolerance = 0.0 * sigma if family.finite else _TOLERANCE * sigma
        windows = [bars.cut(max(0, row - 2 * family.warmup - 64), row + 1) for row in _telling_rows(family, bars)]
        references = [_last(family, window) for window in windows]
        tried = _distances(family.warmup)
        agrees = np.ones((len(tried), len(found)), dtype=np.bool_)
        for number, back in enumerate(tried):
            for window, reference in zip(windows, references, strict=True):
                kept = len(window) - 1 - back
                if kept > 0:
                    agrees[number] &= _agree(_last(family, with_other_past(window, kept)), reference, tolerance)
        onwards = np.logical_and.accumulate(agrees[::-1])[::-1]
        return [tried[int(np.argmax(enough))] if enough.any() else None for enough in onwards.T]


def _first_reaching(family: Family, base: Timeframe, times: Times, origin: int) -> int:
    """The first row whose anchor lies at or after `origin`."""
    return bisect_left(times.tolist(), origin, key=lambda at: family_start(family, base, at))


def choose_cuts(spec: FeatureSpec, times: Times, known: int, count: int, seed: int) -> list[int]:
    """At least `count` rows of a tape, fewer only where it is that short, ascending: behind them its future is altered.

    Five before row `known`, the end of the warm-up; some just after a block of each frame began; the last two rows; the
    rest anywhere. Apart from the last two they open on an odd bar and within a bar of each higher frame.
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
    """The first row from here on that opens on an odd bar and not with a bar of a higher frame."""
    base = spec.timeframe
    frames = {family.frame(base) for family in spec.families} - {base}
    while row < len(times) and (times[row] // base.ms % 2 == 0 or any(times[row] % frame.ms == 0 for frame in frames)):
        row += 1
    return row


def longest_series(frame: pl.DataFrame, spec: FeatureSpec, family: Family) -> BarSeries:
    """The bars a family is evaluated on, of its own frame, without a gap: the longest run of them."""
    seen: list[BarSeries] = []

    def note(probe: Family, bars: BarSeries) -> Mapping[str, Floats]:
        seen.append(bars)
        return {name: np.full(len(bars), np.nan) for name in probe.columns}

    probe = replace(family, finite=True, warmup=0)
    _table(Builder(frame, replace(spec, families=(probe,)), int(frame["open_time"].to_physical()[0]), note), probe)
    return max(seen, key=len, default=BarSeries.of(frame[:0], spec.inputs))


def with_other_past(bars: BarSeries, first: int) -> BarSeries:
    """The same bars from row `first` on; those before it run backwards, and end where row `first` opens."""
    scale = bars.open[first] / bars.open[0]
    before = {
        "open": bars.close[:first][::-1] * scale,
        "high": bars.high[:first][::-1] * scale,
        "low": bars.low[:first][::-1] * scale,
        "close": bars.open[:first][::-1] * scale,
        "volume": bars.volume[:first][::-1],
    }
    own = {name: np.concatenate([before[name], bars[name][first:]]) for name in PRICE_INPUTS}
    extra = {name: np.concatenate([values[:first][::-1], values[first:]]) for name, values in bars.extra.items()}
    return BarSeries(bars.open_ms, **own, extra=MappingProxyType(extra))


def _telling_rows(family: Family, bars: BarSeries) -> list[int]:
    """Rows whose past is replaced: the last one, and those where most columns are far from what they usually are."""
    if len(bars) <= family.warmup:
        return []
    found = family.evaluate(bars)
    rows = np.stack([found[name] for name in family.columns])[:, family.warmup :]
    with np.errstate(all="ignore"):
        known = np.nan_to_num(rows, posinf=0.0, neginf=0.0)
        far = np.abs(known - np.median(known, axis=1, keepdims=True))
        rank = (far / (far.max(axis=1, keepdims=True) + 1e-300)).sum(axis=0)
    most = np.argsort(rank, kind="stable")[-_TELLING:] + family.warmup
    return sorted({len(bars) - 1, *most.tolist()})


def _distances(warmup: int) -> list[int]:
    """0 … warm-up, about a fifth apart."""
    steps = np.unique(np.geomspace(1, max(warmup, 1), 2 + int(np.log(max(warmup, 1)) / np.log(_STEP))).astype(int))
    return sorted({0, warmup, *(step for step in steps.tolist() if step <= warmup)})


def _last(family: Family, bars: BarSeries) -> Floats:
    found = family.evaluate(bars)
    return np.array([found[name][-1] for name in family.columns])


def _agree(ours: Floats, theirs: Floats, tolerance: Floats) -> Flags:
    known = np.isfinite(ours)
    with np.errstate(invalid="ignore"):
        near: Flags = np.abs(ours - theirs) <= tolerance
    return np.where(known & np.isfinite(theirs), near, known == np.isfinite(theirs))


def _table(builder: Builder, family: Family) -> Floats:
    """The columns of a family, shape (columns, rows), NaN for null."""
    return np.stack([column.to_numpy() for column in builder.columns(family)])


def _differs(ours: Floats, theirs: Floats) -> Flags:
    """Where two arrays are not the same to the bit."""
    return np.asarray(ours.view(np.int64) != theirs.view(np.int64))


def _differing_columns(ours: Floats, theirs: Floats) -> Flags:
    differs: Flags = np.logical_or.reduce(_differs(ours, theirs), axis=1)
    return differs
