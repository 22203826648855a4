"""Whether to act on a side: a second model of what the side model's choices came to, and whether it may decide.

It learns only from out-of-sample choices of the side model. It decides where its own out-of-sample probabilities are
calibrated and the book that is traded is better with it; else it is fitted, counted, reported, and dropped.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.analyst.calibration import fit_slope, logit
from trader_cli.analyst.read_features import as_read, beside
from trader_cli.analyst.side_by_side import side_by_side
from trader_cli.analyst.statistics import chance_of_no_gain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from trader_cli.analyst.book import Book
    from trader_cli.analyst.boosting import BinnedRows, Calibrated
    from trader_cli.analyst.walk_forward import Fold, Learner, OutOfSample
    from trader_cli.core.json_values import JsonObject

    Floats = NDArray[np.float64]
    Singles = NDArray[np.float32]
    Flags = NDArray[np.bool_]

META_COLUMNS = ("meta_probability_up", "meta_probability_down", "meta_probability_flat", "meta_side")
"""What the act model sees after the features; in training out-of-sample values only."""
_FROM = 2
"""The first fold it speaks in: before, there is nothing for it to learn from."""
_SLOPE_WITHIN = 0.3
_LEAST_ROWS = 300
_LEVEL = 0.05


def meta_columns(probabilities: Floats, side: NDArray[np.int8]) -> Singles:
    """`META_COLUMNS` as read, (n, 4)."""
    return as_read(np.column_stack([probabilities, side]))


def act_features(x: Singles, probabilities: Floats, side: NDArray[np.int8]) -> Singles:
    """What the act model sees: the features, `META_COLUMNS`. Shape (n, f + 4)."""
    return beside(x, meta_columns(probabilities, side))


@dataclass(frozen=True)
class ActVerdict:
    """What was found of the act model out of sample; `dropped` says why it does not decide, `None` where it does."""

    dropped: str | None
    slope: float
    effective_rows: float
    chance_of_no_gain: float

    def as_dict(self) -> JsonObject:
        """The fields."""
        return asdict(self)


@dataclass(frozen=True)
class ActModel:
    """P(the side that was chosen profits after its costs), and whether that decides."""

    booster: Calibrated
    verdict: ActVerdict

    @property
    def decides(self) -> bool:
        """Whether a side must pass it."""
        return self.verdict.dropped is None

    @property
    def sentence(self) -> str:
        """Whether it decides, and why not."""
        return "decides" if self.decides else f"dropped ({self.verdict.dropped})"

    def predict(self, x: Singles, probabilities: Floats, side: NDArray[np.int8]) -> Floats:
        """Probabilities (n,) for features (n, f), the side model's probabilities (n, 3) and sides (n,)."""
        return self.booster.predict(act_features(x, probabilities, side))


@dataclass(frozen=True)
class ActRecord:
    """What the act model said out of sample, each (n,), NaN where nothing: score, base rate known then, probability.

    `models`: which one said it, by segment."""

    score: Floats
    base: Floats
    probability: Floats
    models: list[Calibrated | None] = field(default_factory=list)

    @classmethod
    def of(cls, learner: Learner, out: OutOfSample, folds: Sequence[Fold], seed: int, threads: int = 1) -> ActRecord:
        """The walk-forward of the act model behind that of the side model; `threads` folds at once."""
        score, base, told = (np.full(len(learner.data), np.nan) for _ in range(3))
        made = cls(score, base, told)

        def boosted(fold: Fold) -> Calibrated | None:
            before = learner.before(fold.test.start, fold.test.start)
            return _boosted(fold.binned, learner, out, before & out.known, seed)

        later = folds[_FROM:]
        made.models.extend([None] * len(folds[:_FROM]))
        for fold, booster in zip(later, side_by_side(boosted, later, threads), strict=True):
            first, test = fold.test.start, fold.test
            model = made._calibrated(booster, learner, out, learner.before(first, first))
            made.models.append(model)
            if model is not None:
                made._say(model, act_features(fold.ahead(learner.data), out.probabilities[test], out.side[test]), fold)
        return made

    def fitted(
        self, binned: BinnedRows, learner: Learner, out: OutOfSample, before: Flags, seed: int
    ) -> Calibrated | None:
        """The model of the predicted rows among `before` (n,), calibrated on what its predecessors said of them.

        It reads the bins of the side model, of all the rows before.
        """
        return self._calibrated(_boosted(binned, learner, out, before & out.known, seed), learner, out, before)

    def _calibrated(
        self, booster: Calibrated | None, learner: Learner, out: OutOfSample, before: Flags
    ) -> Calibrated | None:
        told = before & out.known & np.isfinite(self.score)
        scored = self.score[told], logit(self.base[told]), worthwhile(learner, out)[told], learner.data.uniqueness[told]
        return None if booster is None else replace(booster, slope=fit_slope(*scored))

    def _say(self, model: Calibrated, x: Singles, fold: Fold) -> None:
        self.score[fold.test] = score = model.score(x)
        self.base[fold.test], self.probability[fold.test] = model.base, model.calibrated(score)

    def gated(self, out: OutOfSample) -> Flags:
        """The rows (n,) that would be acted on if it decided; without its word nothing is."""
        return out.acted & (np.nan_to_num(self.probability, nan=-1.0) > out.break_even)

    def verdict(self, learner: Learner, out: OutOfSample, without: Book, gated: Book) -> ActVerdict:
        """By its calibration, and by the books that are traded without and with it."""
        told = np.isfinite(self.probability)
        weight, base = learner.data.uniqueness[told], logit(self.base[told])
        rows = float(weight.sum())
        worth = worthwhile(learner, out)[told]
        slope = fit_slope(logit(self.probability[told]) - base, base, worth, weight, 0.0)
        block = max(learner.options.longest_horizon, round(len(without.gains) ** 0.5))
        luck = chance_of_no_gain(gated.gains - without.gains, block)
        return ActVerdict(_why_dropped(slope, rows, luck), slope, rows, luck)


def _boosted(binned: BinnedRows, learner: Learner, out: OutOfSample, known: Flags, seed: int) -> Calibrated | None:
    """What learns from the rows (n,) that were predicted."""
    data = learner.data
    assert (out.learned_to[known] < data.start[known]).all(), "a side prediction is not out of sample"
    if not known.any():
        return None
    rows = binned.part(np.flatnonzero(known), meta_columns(out.probabilities[known], out.side[known]))
    return rows.fit(worthwhile(learner, out)[known], data.uniqueness[known], learner.options, seed + 1)


def worthwhile(learner: Learner, out: OutOfSample) -> Floats:
    """1 where the side that was chosen gained more than it cost, else 0, (n,)."""
    return (learner.data.gain(out.side) > learner.costs.of(out.side)).astype(np.float64)


def _why_dropped(slope: float, rows: float, luck: float) -> str | None:
    if rows < _LEAST_ROWS:
        return f"{rows:.0f} effective rows; {_LEAST_ROWS} are needed"
    if abs(slope - 1) > _SLOPE_WITHIN:
        return f"calibration slope {slope:.2f} out of sample; 1 ± {_SLOPE_WITHIN:g} is needed"
    if luck > _LEVEL:
        return f"the book is not surely better with it (paired block bootstrap: {luck:.2f})"
    return None
