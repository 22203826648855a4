"""What models read: the same numbers in training and live, binned once a fold, one row as many."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from threading import current_thread

import numpy as np
import polars as pl
import pytest
import test_analyst
import test_fitted
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from trader_cli.analyst.act_model import ActRecord
from trader_cli.analyst.boosting import BinnedRows, Calibrated
from trader_cli.analyst.read_features import as_read, beside, read_complete
from trader_cli.analyst.side_by_side import side_by_side, threads_within
from trader_cli.analyst.training import TrainingInput, make_dataset
from trader_cli.analyst.walk_forward import Learner, make_folds, walk_forward
from trader_cli.core.errors import TooFewBars
from trader_cli.features.autoencoder import fit_autoencoder
from trader_cli.features.bar_arrays import BarSeries
from trader_cli.settings import as_settings
from trader_cli.storage.stored_columns import StoredColumns

numbers = st.floats(width=64) | st.sampled_from([1e39, -1e300, 5e-324, np.nan])


@given(arrays.arrays(np.float64, st.tuples(st.integers(1, 5), st.integers(1, 4)), elements=numbers))
def test_what_is_read_is_read_once(x: np.ndarray) -> None:
    """Reading what was read changes nothing; order in memory, and a digit more, change nothing either."""
    read = as_read(x)
    assert read.dtype == np.float32
    assert as_read(read) is read
    assert as_read(read.astype(np.float64)).tobytes() == as_read(np.asfortranarray(x)).tobytes() == read.tobytes()


@given(st.integers(1, 9000), st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.5, 0.9, 1.0]))
@settings(max_examples=20, deadline=None)
def test_rows_are_read_piece_by_piece_as_they_are_all_at_once(n: int, seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    x = np.where(rng.random((n, 6)) < 0.1, np.nan, rng.normal(size=(n, 6)))
    x[rng.random((n, 6)) < 0.02] = np.inf
    frame, wanted = pl.DataFrame(x, [f"f{at}" for at in range(6)]).fill_nan(None), rng.random(n) < 0.7
    looked = wanted | (rng.random(n) < 0.2)
    read, complete = read_complete(frame, frame.columns, wanted, looked, share)
    assert (complete == looked & (np.isfinite(x).mean(axis=1) >= share)).all()
    assert read.tobytes() == as_read(x[complete & wanted]).tobytes()


def test_live_reads_what_was_trained_on_to_the_bit() -> None:
    """The rows that the final boosters learned from, and what the bundle makes of the stored features at them."""
    config, bars = as_settings({"analyst": test_fitted.QUICK}), test_fitted.BARS
    data, names = make_dataset(bars, test_fitted.FEATURES, config.analyst, test_fitted.M15.ms)
    model, features = test_fitted.usual_model(), test_fitted.FEATURES.select(names).to_numpy().astype(np.float64)
    trained_on = beside(data.x, model.fitted.columns(bars, data.x, data.start))
    stored = features[data.start]
    assert (stored != data.x).any(), "features have digits that are not read"
    assert model.widened(bars, stored, data.start).tobytes() == trained_on.tobytes()
    row = data.start[-1:]
    alone = model.widened(bars.cut(0, int(row[0]) + 1), features[row], row)
    assert alone.tobytes() == trained_on[-1:].tobytes()


def test_stored_features_are_read_once_and_let_go_of() -> None:
    reads: list[int] = []

    def read() -> pl.DataFrame:
        reads.append(1)
        return test_fitted.FEATURES

    config, bars = as_settings({"analyst": test_fitted.QUICK}), test_fitted.BARS
    stored = StoredColumns(read)
    given_ = TrainingInput("key", "tape", "ETHUSDT", test_fitted.M15, test_fitted.FRAME, stored, {})
    data, names = given_.dataset(bars, config.analyst)
    usual, wanted = make_dataset(bars, test_fitted.FEATURES, config.analyst, test_fitted.M15.ms)
    assert (data.x.tobytes(), names, len(reads)) == (usual.x.tobytes(), wanted, 1)
    stored.frame()
    assert len(reads) == 2, "they were held"
    few, reads[:] = test_fitted.FRAME[:300], []
    short = StoredColumns(lambda: read()[:300])
    with pytest.raises(TooFewBars):
        replace(given_, bars=few, features=short).dataset(BarSeries.of(few), config.analyst)
    short.frame()
    assert len(reads) == 2, "they were held, where there was too little to learn from"


# --- bins ---


def test_bins_of_a_segment_know_nothing_of_it_or_later() -> None:
    """Other features from a segment on: every score up to it stays, to the bit."""
    data, _ = test_analyst.dataset()
    ours, folds, learner = test_analyst.walked(data)
    for fold in folds[1:]:
        first = fold.test.start
        later = data.x.copy()
        later[first:] = np.abs(later[first:]) * 50 + 3
        changed = replace(learner, data=replace(data, x=later))
        count, embargo = learner.options.walk_forward_folds, learner.options.embargo
        [theirs] = walk_forward([changed], make_folds(changed.data, count, embargo), 7)
        assert theirs.score[:first].tobytes() == ours.score[:first].tobytes()
        assert theirs.score[first:].tobytes() != ours.score[first:].tobytes()


def test_a_part_of_binned_rows_learns_as_the_rows_themselves_in_the_same_bins() -> None:
    """Few values: a bin each, of all rows as of some; then a part is what its rows alone would be."""
    rng = np.random.default_rng(5)
    x, further = rng.integers(0, 6, (3000, 4)) * 1.0, as_read(rng.integers(0, 5, (3000, 2)))
    y, weight = (rng.random(3000) < 0.3 + 0.1 * (x[:, 1] > 2)) * 1.0, rng.random(3000)
    rows, options = np.flatnonzero(rng.random(3000) < 0.6), test_analyst.OPTIONS
    part = BinnedRows.of(x).part(rows, further[rows])
    alone = BinnedRows.of(np.hstack([x[rows], further[rows]]))
    assert len(part) == len(alone) == len(rows)
    one, other = (binned.fit(y[rows], weight[rows], options, 7) for binned in (part, alone))
    assert one
    assert other
    wide = np.hstack([x, further])
    assert one.booster.num_feature() == 6
    assert one.score(wide).tobytes() == other.score(wide).tobytes()


# --- one row ---


@cache
def booster() -> Calibrated:
    rng = np.random.default_rng(8)
    x = np.where(rng.random((3000, 12)) < 0.05, np.nan, rng.normal(size=(3000, 12)))
    y = (np.nan_to_num(x[:, 2]) + rng.normal(size=3000) > 0) * 1.0
    made = BinnedRows.of(x).fit(y, np.ones(3000), as_settings({}).analyst, 7)
    assert made
    return made


@given(arrays.arrays(np.float32, (4, 12), elements=st.floats(width=32) | st.sampled_from([np.nan, 0.0])))
@settings(deadline=None)
def test_a_row_alone_has_the_bits_it_has_among_others(x: np.ndarray) -> None:
    together = booster().score(x)
    for at in range(4):
        assert booster().score(x[at : at + 1]).tobytes() == together[at : at + 1].tobytes()


def test_a_row_of_another_width_is_refused() -> None:
    with pytest.raises(ValueError, match="11 features for a booster of 12"):
        booster().score(np.zeros((1, 11)))


def test_an_autoencoder_takes_ten_thousand_rows_of_however_many_evenly_spread() -> None:
    x = np.random.default_rng(2).normal(size=(10_000, 3)).cumsum(axis=1)
    assert fit_autoencoder(np.repeat(x, 3, axis=0), bottleneck=1, seed=1).digest == (
        fit_autoencoder(x, bottleneck=1, seed=1).digest
    )


def test_learners_share_bins_and_are_as_each_is_alone() -> None:
    data, _ = test_analyst.dataset()
    _, folds, learner = test_analyst.walked(data)
    slower = Learner(data, learner.options.model_copy(update={"trees": 12}), learner.costs)
    together = walk_forward([learner, slower], folds, 7)
    alone = [walk_forward([one], folds, 7)[0] for one in (slower, learner)]
    assert together[0].score.tobytes() == alone[1].score.tobytes()
    assert together[1].score.tobytes() == alone[0].score.tobytes()


@pytest.mark.parametrize("threads", [2, 5])
def test_folds_side_by_side_say_what_they_say_one_after_the_other(threads: int) -> None:
    data, _ = test_analyst.dataset()
    out, folds, learner = test_analyst.walked(data)
    act = ActRecord.of(learner, out, folds, 7)
    count, embargo, progress = learner.options.walk_forward_folds, learner.options.embargo, list[int]()
    beside_each_other = make_folds(
        data, count, embargo, lambda before, upto: as_read(np.cumsum(before[:upto])[:, None]), threads=threads
    )
    one_by_one = make_folds(data, count, embargo, lambda before, upto: as_read(np.cumsum(before[:upto])[:, None]))
    for one, other in zip(one_by_one, beside_each_other, strict=True):
        assert (one.test, one.judged, one.columns.tobytes()) == (other.test, other.judged, other.columns.tobytes())
    [again] = walk_forward([learner], folds, 7, lambda _, done, __: progress.append(done), threads)
    for name in ("probabilities", "score", "side", "acted", "learned_to"):
        assert getattr(again, name).tobytes() == getattr(out, name).tobytes(), name
    assert progress == list(range(1, len(folds) + 1))
    acted = ActRecord.of(learner, out, folds, 7, threads)
    assert acted.probability.tobytes() == act.probability.tobytes()


def test_no_more_is_done_side_by_side_than_there_is_memory_for() -> None:
    assert [threads_within(4, size) for size in (0, 1, 1 << 26, 1 << 27, 1 << 28, 1 << 40)] == [4, 4, 4, 2, 1, 1]
    names = {current_thread().name for _ in range(1)}
    assert set(side_by_side(lambda _: current_thread().name, range(3), 1)) == names
    assert list(side_by_side(lambda at: at * at, range(20), 3)) == [at * at for at in range(20)]
    with pytest.raises(ZeroDivisionError):
        list(side_by_side(lambda at: 1 / at, [2, 1, 0, 3], 2))
