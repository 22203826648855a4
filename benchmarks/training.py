"""Training: the walk-forward of all learners beside a plain loop, its memory over many bars, one served row.

The plain loop is what a user of LightGBM writes: a fresh Dataset for each fit and predictions of DataFrames, on the
same labels, rows and weights, trees of the same shape, one thread. Predictions are equal, to the bit, where it bins as
we do; it is timed with LightGBM's own bins as well.
"""

from __future__ import annotations

import ctypes
import time
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from benchmarks.children import in_a_child, peak_bytes
from benchmarks.features import bars as minutes
from benchmarks.honesty.markets import FRAME, random_walk
from benchmarks.timing import median_seconds, report
from trader_cli.analyst import training
from trader_cli.analyst.act_model import worthwhile
from trader_cli.analyst.boosting import BINNING, BinnedRows, tree_parameters
from trader_cli.analyst.calibration import logit
from trader_cli.analyst.read_features import as_read
from trader_cli.analyst.training import TrainingInput, train
from trader_cli.core.market.timeframes import Timeframe
from trader_cli.core.types import Tries
from trader_cli.features.build import build_features
from trader_cli.features.family import FamilyOptions
from trader_cli.features.inputs import known_inputs
from trader_cli.features.registry import make_spec
from trader_cli.pipelines.stages.book_maker import book_maker
from trader_cli.settings import as_settings
from trader_cli.settings.room_options import TrainingOptions
from trader_cli.storage.stored_columns import StoredColumns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from trader_cli.analyst.trained_model import TrainedModel
    from trader_cli.analyst.walk_forward import Fold, Learner, OutOfSample

    Floats = NDArray[np.float64]

HOURS, REFITS = 45_000, 20
LIGHTGBM_BINS = {"max_bin": 63, "feature_pre_filter": False, "verbosity": -1, "num_threads": 1}
NOT_FITTED = {"enable_autoencoder_features": False, "enable_advanced_features": False}
M1 = Timeframe.parse("1m")
ROWS_SERVED = 2000


def run() -> None:
    """All of it."""
    found = in_a_child("benchmarks.training:walked", optional="pandas")
    if found:
        size = f"{found['columns']:.0f} columns, {REFITS + 1} refits, {found['learners']:.0f} learners"
        report(f"{HOURS} bars, {size}: CPU", found["cpu"], found["plain_cpu"], "s", "1.5 times less")
        outside = found["cpu"] - found["trained"], found["plain_cpu"] - found["plain_trained"]
        report("  of it outside of LightGBM's training", *outside, "s", "3 times less")
        binned = found["plain_alike_cpu"] - found["plain_alike_trained"]
        report("  the same, where the plain loop bins as we do", outside[0], binned, "s")
    usual = in_a_child("benchmarks.training:hours")
    report("the same with fitted families: wall", usual["wall"], usual["cpu"], "s (CPU)", "under 240 s")
    report("  memory", usual["peak"] / 2**20, 1024.0, "MiB", "under 1 GiB")
    few, many = _of_minutes(100_000), _of_minutes(500_000)
    report("500,000 bars of 1m against 100,000: CPU", many["cpu"], few["cpu"], "s", "6 times at most")
    report("  memory", many["peak"] / 2**20, few["peak"] / 2**20, "MiB", "under 2,048 MiB")
    row = in_a_child("benchmarks.training:one_row")
    report("one row, against LightGBM's single-row C path", row["ours"], row["reference"], "us", "2 times at most")


@dataclass
class Clock:
    """CPU seconds inside `lightgbm.train`, of Datasets that were made before."""

    trained: float = 0.0
    _train: Any = field(default=None, repr=False)

    def __enter__(self) -> Clock:
        import lightgbm

        self._train = lightgbm.train

        def timed(*given: Any, **named: Any) -> Any:
            began = time.process_time()
            made = self._train(*given, **named)
            self.trained += time.process_time() - began
            return made

        lightgbm.train = timed
        return self

    def __exit__(self, *_: object) -> None:
        import lightgbm

        lightgbm.train = self._train


def given_bars(bars: pl.DataFrame, timeframe: Timeframe, features: pl.DataFrame | StoredColumns) -> TrainingInput:
    """A training on these bars."""
    return TrainingInput("key", "made up", "ETHUSDT", timeframe, bars, features, {}, maker=book_maker(as_settings({})))


def features_of(bars: pl.DataFrame, timeframe: Timeframe) -> pl.DataFrame:
    """As the package makes them of bars alone."""
    options = FamilyOptions(timeframe, inputs=known_inputs(bars), higher=timeframe.higher)
    return build_features(bars, make_spec(options))


def options_of(folds: int, families: dict[str, bool] | None = None) -> TrainingOptions:
    """The usual settings but for these."""
    named = {"analyst": {"walk_forward_folds": folds}, "feature_engineering_orchestrator": families or {}}
    return TrainingOptions.of(as_settings(named))


def _trained(given: TrainingInput, options: TrainingOptions) -> tuple[TrainedModel, dict[str, float]]:
    began, wall = time.process_time(), time.perf_counter()
    model = train(given, options, Tries.alone)
    return model, {
        "cpu": time.process_time() - began,
        "wall": time.perf_counter() - wall,
        "peak": float(peak_bytes()),
    }


def hours() -> dict[str, float]:
    """A whole training with the usual settings."""
    bars = random_walk(1, HOURS)
    return _trained(given_bars(bars, FRAME, features_of(bars, FRAME)), options_of(REFITS))[1]


def made_minutes(folder: str, count: str) -> dict[str, float]:
    """So many minutes and their features, as files in a folder."""
    bars = minutes(int(count))
    features = features_of(bars, M1)
    bars.write_parquet(f"{folder}/bars.parquet")
    features.write_parquet(f"{folder}/features.parquet", compression="lz4")
    return {"columns": float(features.width - 2)}


def stored_minutes(folder: str) -> dict[str, float]:
    """A whole training on those files, with the usual settings."""
    began, bars = time.process_time(), pl.read_parquet(f"{folder}/bars.parquet")
    features = StoredColumns(lambda: pl.read_parquet(f"{folder}/features.parquet"))
    found = _trained(given_bars(bars, M1, features), TrainingOptions.of(as_settings({})))[1]
    return {**found, "cpu": time.process_time() - began}


def _of_minutes(count: int) -> dict[str, float]:
    """The files are made in another process than the one that reads them."""
    with TemporaryDirectory() as folder:
        in_a_child("benchmarks.training:made_minutes", folder, str(count))
        return in_a_child("benchmarks.training:stored_minutes", folder)


@dataclass(frozen=True)
class Walk:
    """What was trained, segment by segment: the learners, the segments, what each learner said out of sample."""

    learners: Sequence[Learner]
    folds: Sequence[Fold]
    said: list[OutOfSample]


def walked() -> dict[str, float]:
    """CPU seconds of `train` without fitted families, from features to claim, and of the plain loop's fits."""
    walks: list[Walk] = []
    usual = training.walk_forward

    def recorded(learners: Sequence[Learner], folds: Sequence[Fold], *more: Any) -> list[OutOfSample]:
        walks.append(Walk(learners, folds, usual(learners, folds, *more)))
        return walks[-1].said

    bars = random_walk(1, HOURS)
    features = features_of(bars, FRAME)
    training.walk_forward = recorded
    with Clock() as ours:
        _, found = _trained(given_bars(bars, FRAME, features), options_of(REFITS, NOT_FITTED))
    training.walk_forward = usual
    [walk] = walks
    alike, plain = plain_loop(walk, BINNING, check=True), plain_loop(walk, LIGHTGBM_BINS)
    return {
        "columns": float(walk.learners[0].data.x.shape[1]),
        "learners": float(len(walk.learners)),
        "cpu": found["cpu"],
        "trained": ours.trained,
        **{f"plain_{name}": told for name, told in plain.items()},
        **{f"plain_alike_{name}": told for name, told in alike.items()},
    }


def plain_loop(walk: Walk, bins: dict[str, object], *, check: bool = False) -> dict[str, float]:
    """Every fit of every segment, and those of all rows; `check`: what it predicts is what we said, to the bit."""
    import pandas as pd

    data, seed = walk.learners[0].data, as_settings({}).seed
    frame = pd.DataFrame(data.x, columns=[f"feature_{at}" for at in range(data.x.shape[1])])
    best, out = walk.learners[-1], walk.said[-1]
    began = time.process_time()
    with Clock() as clock:
        for number, fold in enumerate(walk.folds):
            first, ahead = fold.test.start, frame.iloc[fold.test]
            for learner, said in zip(walk.learners, walk.said, strict=True):
                before, flat = learner.before(first, first)[:first], learner.data.outcome[:first] == 0
                weight = np.where(before & ~flat, learner.data.uniqueness[:first], 0.0)
                booster = plain_fit(frame.iloc[:first], learner.data.rose[:first], weight, learner, bins, seed)
                raw = booster.predict(ahead, raw_score=True, num_threads=1)
                if check:
                    centre = logit(float((weight * learner.data.rose[:first]).sum()) / weight.sum())
                    assert (raw - centre == said.score[fold.test]).all(), "the plain loop says something else"
            if number >= 2:
                _plain_act(frame, best, out, fold, bins, seed)
        everything = np.ones(len(data), np.bool_)
        plain_fit(frame, best.data.rose, best.data.weights(everything), best, bins, seed)
    return {"cpu": time.process_time() - began, "trained": clock.trained}


def plain_fit(
    frame: Any, outcomes: Floats, weight: Floats, learner: Learner, bins: dict[str, object], seed: int
) -> Any:
    """One booster on a fresh Dataset of a DataFrame."""
    import lightgbm

    parameters = {**tree_parameters(weight[weight > 0], learner.options, seed), **bins}
    kept = {name: told for name, told in parameters.items() if name in bins or name not in BINNING}
    data = lightgbm.Dataset(frame, outcomes, weight=weight, params=bins).construct()
    return lightgbm.train(kept, data, num_boost_round=learner.options.trees)


def _plain_act(frame: Any, learner: Learner, out: OutOfSample, fold: Fold, bins: dict[str, object], seed: int) -> None:
    """The act model of a segment, on rows that were predicted before it."""
    first = fold.test.start
    rows = np.flatnonzero(learner.before(first, first) & out.known)
    wide = [_with_choices(frame, out, one) for one in (rows, np.arange(first, fold.test.stop))]
    booster = plain_fit(wide[0], worthwhile(learner, out)[rows], learner.data.uniqueness[rows], learner, bins, seed + 1)
    booster.predict(wide[1], raw_score=True, num_threads=1)


def _with_choices(frame: Any, out: OutOfSample, rows: NDArray[np.int64]) -> Any:
    """Features and what the side model said, as a DataFrame."""
    up, down, flat = out.probabilities[rows].T.astype(np.float32)
    return frame.iloc[rows].assign(up=up, down=down, flat=flat, side=out.side[rows].astype(np.float32))


def one_row() -> dict[str, float]:
    """us of a score of one row, and of LightGBM's own single-row call on the same booster, bare."""
    import lightgbm

    rng = np.random.default_rng(0)
    x = as_read(rng.normal(size=(ROWS_SERVED, 190)))
    options = as_settings({}).analyst
    model = BinnedRows.of(x).fit((x[:, 3] + rng.normal(size=len(x)) > 0) * 1.0, np.ones(len(x)), options, 7)
    assert model is not None
    rows = [x[at : at + 1] for at in range(len(x))]
    together = model.score(x)
    assert all(model.score(row)[0] == said for row, said in zip(rows, together, strict=True))
    library, handle = lightgbm.basic._LIB, model.booster._handle
    config, length, answer = ctypes.c_void_p(), ctypes.c_int64(), np.empty(1)
    library.LGBM_BoosterPredictForMatSingleRowFastInit(
        handle, 1, 0, -1, 0, x.shape[1], ctypes.c_char_p(b"num_threads=1"), ctypes.byref(config)
    )
    told, into = ctypes.byref(length), ctypes.c_void_p(answer.ctypes.data)
    addresses = [ctypes.c_void_p(row.ctypes.data) for row in rows]

    def bare() -> None:
        for at in addresses:
            library.LGBM_BoosterPredictForMatSingleRowFast(config, at, told, into)

    def ours() -> None:
        for row in rows:
            model.score(row)

    served, reference = median_seconds(ours, bare, runs=15)
    library.LGBM_FastConfigFree(config)
    return {"ours": served / len(rows) * 1e6, "reference": reference / len(rows) * 1e6}
