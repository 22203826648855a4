"""LightGBM as we use it: small trees, one thread, a fixed seed, one binned set of rows for many learners."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np

from trader_cli.analyst.calibration import base_rate, logistic, logit
from trader_cli.analyst.read_features import as_read
from trader_cli.analyst.single_row import SingleRow
from trader_cli.features.blocked_matmul import inner

if TYPE_CHECKING:
    from lightgbm import Booster, Dataset
    from numpy.typing import NDArray

    from trader_cli.settings.analyst_section import AnalystSettings

    Floats = NDArray[np.float64]
    Singles = NDArray[np.float32]
    Ints = NDArray[np.int64]

BINNING = {
    "num_threads": 1,
    "verbosity": -1,
    "max_bin": 63,
    "bin_construct_sample_cnt": 10_000,
    "feature_pre_filter": False,
    "enable_bundle": False,
    "is_enable_sparse": False,
}
"""Of more rows than 10,000 so many are drawn to find the bins by: some 160 a bin."""
_INDEPENDENT_ROWS = 300.0
"""Independent rows that a leaf should hold; never less than `_LEAST`, nor more than a fifth of all."""
_LEAST = 20


@dataclass(frozen=True)
class Calibrated:
    """A booster of two classes and the slope of its calibration.

    `centre`: log-odds of the rows it learned from. `base`: probability where it tells nothing.
    """

    booster: Booster
    centre: float
    base: float
    slope: float = 0.0

    def score(self, x: Floats | Singles) -> Floats:
        """What the booster adds to the log-odds, (n,), of features (n, f) as read; NaN features are allowed."""
        read = as_read(x)
        if len(read) == 1:
            return np.array([self._single_row.raw_score(read) - self.centre])
        raw = self.booster.predict(read, raw_score=True, num_threads=1)
        return np.asarray(raw, dtype=np.float64) - self.centre

    @cached_property
    def _single_row(self) -> SingleRow:
        return SingleRow(self.booster)

    @property
    def gains(self) -> Floats:
        """What each feature gained the booster, (f,)."""
        return np.asarray(self.booster.feature_importance("gain"), dtype=np.float64)

    def calibrated(self, score: Floats) -> Floats:
        """Probabilities (n,) of scores (n,)."""
        return logistic(logit(self.base) + self.slope * score)

    def predict(self, x: Floats | Singles) -> Floats:
        """Calibrated probabilities, (n,)."""
        return self.calibrated(self.score(x))


@dataclass(frozen=True)
class BinnedRows:
    """Features (n, f), NaN allowed, binned once by their own quantiles; learners differ by labels and weights."""

    bins: Dataset

    @classmethod
    def of(cls, x: Floats | Singles) -> BinnedRows:
        """Of these rows as read, which are not kept."""
        return cls(_binned(as_read(x)))

    def __len__(self) -> int:
        return int(self.bins.num_data())

    def part(self, rows: Ints, further: Singles) -> BinnedRows:
        """Some of the rows (m,), in the same bins, with further columns (m, e) in bins of their own."""
        from lightgbm.basic import _LIB, _safe_call

        width = self.bins.num_feature()
        names = [f"Column_{width + at}" for at in range(further.shape[1])]
        kept, added = self.bins.subset(rows, params=BINNING).construct(), _binned(further, names)
        # not `add_features_from`: that warns of rows that are not kept
        _safe_call(_LIB.LGBM_DatasetAddFeaturesFrom(kept._handle, added._handle))
        return BinnedRows(kept)

    def fit(self, outcomes: Floats, weight: Floats, options: AnalystSettings, seed: int) -> Calibrated | None:
        """A booster of outcomes in {0, 1}, (n,), from the rows of weight above 0, its slope still 0.

        `None` where they hold fewer than two of either outcome.
        """
        import lightgbm

        learned = weight > 0
        ones = np.count_nonzero(outcomes[learned])
        if min(ones, np.count_nonzero(learned) - ones) < 2:
            return None
        data = self.bins.set_label(outcomes).set_weight(weight)
        booster = lightgbm.train(tree_parameters(weight[learned], options, seed), data, num_boost_round=options.trees)
        centre = float(logit(inner(weight, outcomes) / weight.sum()))
        return Calibrated(booster, centre, base_rate(outcomes, weight))


def _binned(x: Singles, names: list[str] | Literal["auto"] = "auto") -> Dataset:
    import lightgbm

    return lightgbm.Dataset(x, np.zeros(len(x)), params=BINNING, feature_name=names).construct()


def tree_parameters(weight: Floats, options: AnalystSettings, seed: int) -> dict[str, object]:
    """Cuts are drawn at random (Geurts, Ernst & Wehenkel 2006): of 200 columns the best cut of the best is luck."""
    smallest = _INDEPENDENT_ROWS / max(float(weight.mean()), 1e-3)
    return {
        "objective": "binary",
        "num_leaves": options.leaves,
        "learning_rate": options.learning_rate,
        "min_data_in_leaf": int(max(_LEAST, min(smallest, len(weight) / 5))),
        "extra_trees": True,
        "lambda_l2": 1.0,
        **BINNING,
        "deterministic": True,
        "force_row_wise": True,
        "seed": seed,
    }
