"""What a certificate is made of: columns tried on altered futures, bar by bar, from other pasts and by a twin."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.core.identity.anchors import floor_block
from trader_cli.features.bar_arrays import PRICE_INPUTS, BarSeries
from trader_cli.features.build import Builder, family_start
from trader_cli.features.certificate_rows import choose_cuts, probe_rows
from trader_cli.features.certification_tape import crashed, redrawn, spliced
from trader_cli.features.column_comparisons import (
    TELLING_ROWS,
    agreeing,
    differing_columns,
    distances_tried,
    first_row_reaching,
    last_values,
    longest_series,
    moved_columns,
    standard_deviations,
    table_of,
    telling_rows,
    with_other_past,
)
from trader_cli.features.column_verdicts import (
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

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import polars as pl
    from numpy.typing import NDArray

    from trader_cli.features.bar_arrays import Floats, Times
    from trader_cli.features.family import Family
    from trader_cli.features.feature_spec import FeatureSpec

    Flags = NDArray[np.bool_]

_STREAMED = 8
_TWIN_SHARE = 4
_TOLERANCE = 1e-6
_AHEAD = (1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144)
"""So many more bars are shown to a row that is another alone."""


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


@dataclass(frozen=True)
class Effort:
    """At how many rows at least the future is altered, how many more rows are made alone, and the seed of both."""

    cuts: int = 16
    probes: int = 0
    seed: int = 0


def try_columns(
    spec: FeatureSpec, frame: pl.DataFrame, effort: Effort, twin: FeatureSpec
) -> tuple[list[ColumnVerdict], int]:
    """The verdict on every column of `spec` on one tape, and at how many rows its future was altered."""
    trial = _Trial(spec, frame, effort, twin)
    return [verdict for number in range(len(spec.families)) for verdict in trial.verdicts(number)], len(trial.cuts)


class _Trial:
    """One tape, its altered futures, and the families tried on them one after the other."""

    def __init__(self, spec: FeatureSpec, frame: pl.DataFrame, effort: Effort, twin: FeatureSpec) -> None:
        self._spec, self._twin, self._frame = spec, twin, frame
        self._times: Times = frame["open_time"].to_physical().to_numpy().astype(np.int64)
        self._remembering = _Remembering()
        self._whole = self._builder(frame)
        self._redrawn, self._crashed = redrawn(frame, effort.seed + 1), crashed(frame)
        self.cuts = choose_cuts(spec, self._times, self._known_from(), effort.cuts, effort.seed)
        self._alterations = [(cut, [self._builder(bars) for bars in self._futures(cut)]) for cut in self.cuts]
        probes = probe_rows(frame, self._known_from(), effort.probes, effort.seed)
        self._streamed = sorted({*self._last_rows(), *probes})

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
        rows = [first_row_reaching(family, base, times, origin) for family in self._spec.families]
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
        found = table_of(self._whole, family)
        known = np.isfinite(found)
        impure = self._is_impure(self._twin.families[number], found)
        sigma = standard_deviations(found)
        reaches, rounding = self._reaches(family, found, sigma)
        self._remembering.forget()
        streaming, probed = self._alone(family, found, sigma)
        streaming |= rounding
        reaches = [reach if reach is not None else other for reach, other in zip(reaches, probed, strict=True)]
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

    def _reaches(self, family: Family, found: Floats, sigma: Floats) -> tuple[list[Reach | None], Flags]:
        """For each column how far before a cut a row moved, over all cuts and alterations; and where it only rounds
        differently, by no more than 1e-9 σ: not the future, but not the same bits either."""
        farthest, entire = np.zeros(len(found), dtype=np.int64), np.ones(len(found), dtype=np.bool_)
        telling, rounding = np.zeros(len(found), dtype=np.bool_), np.zeros(len(found), dtype=np.bool_)
        for cut, builders in self._alterations:
            began, moved = self._block_began(family, cut), np.full(len(found), cut)
            for builder in builders:
                differs, rounds = moved_columns(table_of(builder, family)[:, :cut], found[:, :cut], sigma)
                rounding |= rounds.any(axis=1)
                moved = np.minimum(moved, np.where(differs.any(axis=1), differs.argmax(axis=1), cut))
            for at in np.flatnonzero(moved < cut):
                farthest[at] = max(farthest[at], cut - moved[at])
                known = began + np.flatnonzero(np.isfinite(found[at, began:cut]))
                if len(known) >= TELLING_ROWS:
                    telling[at] = True
                    entire[at] &= moved[at] <= known[len(known) // 10]
        whole = telling & entire
        reaches: list[Reach | None] = [
            None if reach == 0 else "whole" if is_whole else int(reach)
            for reach, is_whole in zip(farthest, whole, strict=True)
        ]
        return reaches, rounding

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
        table_of(Builder(self._crashed, self._twin, at_ms), twin)
        again = table_of(Builder(self._frame, self._twin, at_ms), twin)
        return differing_columns(again, found[:, since:])

    def _recent(self, family: Family) -> int:
        """The first row of the last quarter; of a finite family, which may not be what it says, the very first."""
        return 0 if family.finite else len(self._times) - len(self._times) // _TWIN_SHARE

    def _alone(self, family: Family, found: Floats, sigma: Floats) -> tuple[Flags, list[Reach | None]]:
        """Whether a row made alone, as the last one known, is another; and how many more bars make it the same."""
        differs, reaches = np.zeros(len(found), dtype=np.bool_), list[Reach | None]([None] * len(found))
        for row in self._streamed:
            alone, wanted = self._made(family, row, 0), found[:, row]
            moved, rounds = moved_columns(alone, wanted, sigma)
            differs |= moved | rounds
            for ahead in _AHEAD if moved.any() else ():
                again, _ = moved_columns(self._made(family, row, ahead), wanted, sigma)
                for at in np.flatnonzero(moved & ~again):
                    known = reaches[at]
                    reaches[at] = max(ahead, known) if isinstance(known, int) else ahead
                moved &= again
        return differs, reaches

    def _made(self, family: Family, row: int, ahead: int) -> Floats:
        """The columns at a row where so many bars after it are known, shape (columns,)."""
        bars = self._frame[: row + 1 + ahead]
        return table_of(Builder(bars, self._spec, int(self._times[row])), family)[:, 0]

    def _undeclared(self, family: Family, found: Floats) -> Flags:
        """Whether a column moves where only inputs move that the family does not declare; of the last quarter."""
        names = [name for name in self._spec.inputs if name not in family.inputs]
        if not names:
            return np.zeros(len(found), dtype=np.bool_)
        since = self._recent(family)
        bars = self._frame.with_columns(self._redrawn[name] for name in names)
        moved = table_of(Builder(bars, self._spec, int(self._times[since])), family)
        return differing_columns(moved, found[:, since:])

    def _restarts(self, family: Family, found: Floats) -> list[int | None]:
        """For each column the fewest bars before a row that are enough, of those up to the warm-up."""
        bars = longest_series(self._frame, self._spec, family)
        tolerance = (0.0 if family.finite else _TOLERANCE) * standard_deviations(found)
        windows = [bars.cut(max(0, row - 2 * family.warmup - 64), row + 1) for row in telling_rows(family, bars)]
        references = [last_values(family, window) for window in windows]
        tried = distances_tried(family.warmup)
        agrees = np.ones((len(tried), len(found)), dtype=np.bool_)
        for number, back in enumerate(tried):
            for window, reference in zip(windows, references, strict=True):
                kept = len(window) - 1 - back
                if kept > 0:
                    agrees[number] &= agreeing(last_values(family, with_other_past(window, kept)), reference, tolerance)
        onwards = np.logical_and.accumulate(agrees[::-1])[::-1]
        return [tried[int(np.argmax(enough))] if enough.any() else None for enough in onwards.T]
