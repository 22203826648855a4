"""LightGBM as we use it: small trees, explicit threads, a fixed seed, one binned set of rows for many learners."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.analyst.calibration import base_rate, logistic, logit

if TYPE_CHECKING:
    from lightgbm import Booster, Dataset
    from numpy.typing import NDArray

    from trader_cli.settings.analyst_section import AnalystSettings

    Floats = NDArray[np.float64]

_BINS = 63
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

    def score(self, x: Floats) -> Floats:
        """What the booster adds to the log-odds, (n,), of features (n, f); NaN features are allowed."""
        raw = self.booster.predict(x, raw_score=True, num_threads=1)
        return np.asarray(raw, dtype=np.float64) - self.centre

    def calibrated(self, score: Floats) -> Floats:
        """Probabilities (n,) of scores (n,)."""
        return logistic(logit(self.base) + self.slope * score)

    def predict(self, x: Floats) -> Floats:
        """Calibrated probabilities, (n,)."""
        return self.calibrated(self.score(x))


@dataclass(frozen=True)
class BinnedRows:
    """Features (n, f), NaN allowed, binned once by their own quantiles; learners differ by labels and weights."""

    x: Floats

    @cached_property
    def _bins(self) -> Dataset:
        import lightgbm

        parameters = {"verbosity": -1, "max_bin": _BINS, "feature_pre_filter": False}
        return lightgbm.Dataset(self.x, params=parameters, free_raw_data=False).construct()

    def fit(self, outcomes: Floats, weight: Floats, options: AnalystSettings, seed: int) -> Calibrated | None:
        """A booster of outcomes in {0, 1}, (n,), from the rows of weight above 0, its slope still 0.

        `None` where they hold fewer than two of either outcome.
        """
        import lightgbm

        learned = weight > 0
        ones = np.count_nonzero(outcomes[learned])
        if min(ones, np.count_nonzero(learned) - ones) < 2:
            return None
        data = self._bins.set_label(outcomes).set_weight(weight)
        booster = lightgbm.train(_parameters(weight[learned], options, seed), data, num_boost_round=options.trees)
        centre = float(logit(weight @ outcomes / weight.sum()))
        return Calibrated(booster, centre, base_rate(outcomes, weight))


def _parameters(weight: Floats, options: AnalystSettings, seed: int) -> dict[str, object]:
    """Cuts are drawn at random (Geurts, Ernst & Wehenkel 2006): of 200 columns the best cut of the best is luck."""
    smallest = _INDEPENDENT_ROWS / max(float(weight.mean()), 1e-3)
    return {
        "objective": "binary",
        "num_leaves": options.leaves,
        "learning_rate": options.learning_rate,
        "min_data_in_leaf": int(max(_LEAST, min(smallest, len(weight) / 5))),
        "extra_trees": True,
        "lambda_l2": 1.0,
        "max_bin": _BINS,
        "feature_pre_filter": False,
        "num_threads": options.threads,
        "deterministic": True,
        "force_row_wise": True,
        "seed": seed,
        "verbosity": -1,
    }
