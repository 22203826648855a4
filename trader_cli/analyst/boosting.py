"""LightGBM as we use it: small trees, explicit threads, a fixed seed, and a calibrator fitted on a later slice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.analyst.calibration import apply_classes, fit_classes

if TYPE_CHECKING:
    from lightgbm import Booster
    from numpy.typing import NDArray

    from trader_cli.settings.model import AnalystSettings

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

CALIBRATION_SHARE = 0.25


@dataclass(frozen=True)
class Calibrated:
    """A booster and the Platt map of each of its classes."""

    booster: Booster
    maps: list[tuple[float, float]]

    def predict(self, x: Floats) -> Floats:
        """Calibrated class probabilities, shape (n, k), of features of shape (n, f); NaN features are allowed."""
        return apply_classes(raw_probabilities(self.booster, x), self.maps)


def raw_probabilities(booster: Booster, x: Floats) -> Floats:
    """The booster's own probabilities, shape (n, k); a binary model gives (1−p, p)."""
    p = np.asarray(booster.predict(x, num_threads=1))
    return np.column_stack([1 - p, p]) if p.ndim == 1 else p


@dataclass(frozen=True)
class Rows:
    """Labelled rows in time order: features (n, f), classes, uniqueness, and the bars each label spans, (n,) each."""

    x: Floats
    classes: Ints
    uniqueness: Floats
    start: Ints
    end: Ints

    def cut(self, keep: NDArray[np.bool_] | slice) -> Rows:
        """The kept rows."""
        return Rows(self.x[keep], self.classes[keep], self.uniqueness[keep], self.start[keep], self.end[keep])


def fit_calibrated(rows: Rows, kinds: int, options: AnalystSettings, seed: int) -> Calibrated | None:
    """Fit on the earlier rows, calibrate on the last quarter, purged by label end; `None` where a class is missing."""
    edge = int(len(rows.classes) * (1 - CALIBRATION_SHARE))
    if edge >= len(rows.classes):
        return None
    early = rows.cut(rows.end < rows.start[edge])
    late = rows.cut(slice(edge, None))
    if any(np.count_nonzero(early.classes == k) < 2 for k in range(kinds)):
        return None
    booster = _fit(early, kinds, options, seed)
    return Calibrated(booster, fit_classes(raw_probabilities(booster, late.x), late.classes, late.uniqueness))


def _fit(rows: Rows, kinds: int, options: AnalystSettings, seed: int) -> Booster:
    import lightgbm

    smallest = 10.0 / max(float(rows.uniqueness.mean()), 1e-3)
    parameters: dict[str, object] = {
        "objective": "binary" if kinds == 2 else "multiclass",
        "num_leaves": options.leaves,
        "learning_rate": options.learning_rate,
        "min_data_in_leaf": int(max(20, min(smallest, len(rows.classes) / 8))),
        "feature_fraction": 0.5,
        "lambda_l2": 1.0,
        "max_bin": 63,
        "num_threads": options.threads,
        "deterministic": True,
        "force_row_wise": True,
        "seed": seed,
        "verbosity": -1,
    }
    if kinds > 2:
        parameters["num_class"] = kinds
    data = lightgbm.Dataset(rows.x, label=rows.classes, weight=rows.uniqueness, params={"verbosity": -1, "max_bin": 63})
    return lightgbm.train(parameters, data, num_boost_round=options.trees)
