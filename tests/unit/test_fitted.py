"""Fitted families: from training rows only, frozen in the bundle, the same bits in batch and stream."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np
import polars as pl
import pytest
import test_analyst
from hypothesis import given, settings
from hypothesis import strategies as st
from support.market.bars import random_bars

from trader_cli.analyst.act_model import META_COLUMNS, ActRecord
from trader_cli.analyst.analysis import analyse
from trader_cli.analyst.boosting import BinnedRows
from trader_cli.analyst.feature_engineering_orchestrator import FeatureEngineeringOrchestrator
from trader_cli.analyst.fitted_families import FittedFamilies, FittedOptions, fit_families, history_bars
from trader_cli.analyst.trained_model import TrainedModel
from trader_cli.analyst.training import TrainingInput, make_dataset, train
from trader_cli.analyst.walk_forward import Fold, fit_side, make_folds
from trader_cli.core.errors import ConfigurationError, DataInvalid, DataMissing, UsageError
from trader_cli.core.market.timeframes import Timeframe
from trader_cli.core.types import Tries
from trader_cli.features.autoencoder import Autoencoder, fit_autoencoder
from trader_cli.features.bar_arrays import BarSeries
from trader_cli.features.fracdiff import (
    ORDERS,
    dickey_fuller,
    fracdiff,
    fracdiff_weights,
    is_stationary,
    smallest_stationary_order,
)
from trader_cli.features.regimes import FILTER_BARS, RegimeModel, fit_regimes, held_states
from trader_cli.settings import as_settings
from trader_cli.settings.room_options import AnalysisOptions, TrainingOptions

M15 = Timeframe.parse("15m")
FRAME = random_bars(1500, seed=3)
BARS = BarSeries.of(FRAME)
TECHNICAL = {"feature_engineering_orchestrator": {"enable_advanced_features": False}}
FEATURES = FeatureEngineeringOrchestrator(TECHNICAL).build(FRAME, M15)
X = FEATURES.drop("open_time", "decision_time").to_numpy().astype(np.float64)
NAMES = FEATURES.columns[2:]
ROWS = np.arange(300, 1300)
SETTINGS = as_settings({})
HOWS = ["cut", "redraw", "crash"]


def altered(cut: int, how: str) -> pl.DataFrame:
    """The same bars up to `cut`, another valid future after it."""
    head, tail = FRAME[:cut], FRAME[cut:]
    if how == "cut":
        return head
    if how == "redraw":
        return pl.concat([head, random_bars(FRAME.height, seed=99)[cut:]])
    prices = [pl.col(name) * 0.3 for name in ("open", "high", "low", "close")]
    return pl.concat([head, tail.with_columns(*prices, pl.col("volume") * 20)])


def latent(n: int, k: int = 12, seed: int = 0) -> np.ndarray:
    """Rows of k numbers that hang on three, and noise of a tenth of their variance."""
    rng = np.random.default_rng(seed)
    return np.tanh(rng.normal(size=(n, 3)) @ rng.normal(size=(3, k))) + rng.normal(size=(n, k)) * 0.2


# --- autoencoder ---

ENCODER = fit_autoencoder(X[ROWS], bottleneck=6, seed=7)


@given(st.integers(0, 2**32 - 1), st.integers(1, 2100), st.floats(0, 0.9), st.booleans())
@settings(max_examples=30, deadline=None)
def test_a_row_is_encoded_the_same_alone_and_in_a_crowd(seed: int, n: int, holes: float, fortran: bool) -> None:
    rng = np.random.default_rng(seed)
    x = ENCODER.centre + rng.standard_t(2, size=(n, len(ENCODER.centre))) * ENCODER.scale * 3
    x[rng.random(x.shape) < holes] = np.nan
    x[rng.integers(n)] = np.nan
    batch = ENCODER.encode(np.asfortranarray(x) if fortran else x)
    for i in {0, n - 1, *rng.integers(0, n, 20).tolist()}:
        assert ENCODER.encode(x[i : i + 1])[0].tobytes() == batch[i].tobytes()
    empty = np.isnan(x).all(axis=1)
    assert np.isnan(batch[empty]).all()
    known = batch[~empty]
    assert (np.abs(known[:, :-2]) <= 1).all()
    assert (known[:, -2] >= 0).all()
    assert ((known[:, -1] >= 0) & (known[:, -1] <= 1)).all()


def test_an_unknown_feature_counts_as_its_mean_and_not_in_the_error() -> None:
    hole, mean = X[700:701].copy(), X[700:701].copy()
    hole[0, 5], mean[0, 5] = np.nan, ENCODER.centre[5]
    np.testing.assert_allclose(ENCODER.encode(hole)[0, :-2], ENCODER.encode(mean)[0, :-2], atol=1e-6)
    wild = hole.copy()
    wild[0, 5] = np.inf
    assert ENCODER.encode(wild).tobytes() == ENCODER.encode(hole).tobytes()


def test_on_its_training_rows_the_percentile_is_uniform() -> None:
    percentile = ENCODER.encode(X[ROWS])[:, -1]
    assert np.quantile(percentile, [0.1, 0.5, 0.9]) == pytest.approx([0.1, 0.5, 0.9], abs=0.01)


def test_what_hangs_together_is_reconstructed_and_noise_is_not() -> None:
    """Three numbers carry 12 but for a tenth of their variance; of 12 independent ones three carry a quarter."""
    held_out = latent(6000)[4000:]
    assert fit_autoencoder(latent(6000)[:4000], bottleneck=3, seed=7).encode(held_out)[:, -2].mean() < 0.35
    noise = np.random.default_rng(1).normal(size=(6000, 12))
    assert fit_autoencoder(noise[:4000], bottleneck=3, seed=7).encode(noise[4000:])[:, -2].mean() > 0.7


def test_a_bar_of_ten_sigma_is_an_anomaly() -> None:
    """A jump of ten standard deviations at unusual volume, through the features into the top percent of the error."""
    for at, sign in ((1400, 1), (1417, -1)):
        lift = np.where(np.arange(1500) >= at, math.exp(sign * 10 * 0.004), 1.0)
        close, before = FRAME["close"].to_numpy() * lift, FRAME["open"].to_numpy() * np.roll(lift, 1)
        before[0] = FRAME["open"][0]
        bars = FRAME.with_columns(
            open=pl.Series(before),
            close=pl.Series(close),
            high=pl.Series(np.maximum(before, close) * 1.001),
            low=pl.Series(np.minimum(before, close) * 0.999),
            volume=pl.Series(FRAME["volume"].to_numpy() * np.where(np.arange(1500) == at, 8.0, 1.0)),
        )
        x = features_of(bars)
        assert ENCODER.encode(x[at : at + 1])[0, -1] > 0.99
        assert ENCODER.encode(X[at : at + 1])[0, -1] < 0.99


def test_an_encoder_is_a_function_of_its_rows_and_seed() -> None:
    again = fit_autoencoder(X[ROWS].copy(), bottleneck=6, seed=7)
    assert again.digest == ENCODER.digest
    assert Autoencoder.from_dict(ENCODER.as_dict()).digest == ENCODER.digest
    assert fit_autoencoder(X[ROWS], bottleneck=6, seed=8).digest != ENCODER.digest
    assert fit_autoencoder(X[ROWS][:-1], bottleneck=6, seed=7).digest != ENCODER.digest
    assert ENCODER.columns == (*(f"autoencoder_z{i}" for i in range(1, 7)), "autoencoder_error", "autoencoder_anomaly")


def test_rows_that_cannot_be_encoded_are_refused_with_a_sentence() -> None:
    with pytest.raises(DataMissing, match="64 rows; found 10"):
        fit_autoencoder(X[ROWS][:10], bottleneck=6, seed=7)
    for bottleneck in (0, X.shape[1] + 1):
        with pytest.raises(ConfigurationError, match="bottleneck"):
            fit_autoencoder(X[ROWS], bottleneck=bottleneck, seed=7)


# --- fractional differencing ---


@given(st.floats(0.05, 1.95), st.integers(0, 2**32 - 1), st.integers(1, 400))
@settings(max_examples=60, deadline=None)
def test_fracdiff_is_the_direct_sum_of_the_binomial_series(order: float, seed: int, n: int) -> None:
    x = np.cumsum(np.random.default_rng(seed).normal(size=n))
    weights = fracdiff_weights(order)
    for k, weight in enumerate(weights[:20]):
        binomial = math.prod((order - i) / (i + 1) for i in range(k))
        assert weight == pytest.approx((-1) ** k * binomial, abs=1e-12)
    assert abs(weights[-1]) >= 1e-3
    got, reach = fracdiff(x, order), len(weights) - 1
    assert np.isnan(got[:reach]).all()
    wanted = [math.fsum(w * x[t - k] for k, w in enumerate(weights)) for t in range(reach, n)]
    np.testing.assert_allclose(got[reach:], wanted, rtol=0, atol=1e-10)
    for start in (1, 37):
        if n > start + reach:
            assert fracdiff(x[start:], order)[reach:].tobytes() == got[start + reach :].tobytes()


def test_whole_orders_are_the_differences() -> None:
    x = np.log(BARS.close)
    assert np.array_equal(fracdiff(x, 0.0), x)
    for order in (1, 2):
        np.testing.assert_allclose(fracdiff(x, order)[order:], np.diff(x, order), rtol=0, atol=1e-13)
    with pytest.raises(UsageError, match=r"\[0, 2\]"):
        fracdiff(x, 2.5)


def test_the_unit_root_test_agrees_with_least_squares_and_forgets_scale_and_level() -> None:
    x = np.cumsum(np.random.default_rng(0).normal(size=400))
    statistic, used = dickey_fuller(x)
    lags, steps = int(4 * 4**0.25), np.diff(x)
    design = np.column_stack(
        [x[lags:-1], *(steps[lags - i : len(steps) - i] for i in range(1, lags + 1)), np.ones(len(steps) - lags)]
    )
    slopes, rest, *_ = np.linalg.lstsq(design, steps[lags:], rcond=None)
    variance = rest[0] / (len(design) - design.shape[1]) * np.linalg.inv(design.T @ design)[0, 0]
    assert statistic == pytest.approx(slopes[0] / math.sqrt(variance), rel=1e-9)
    assert used == len(design)
    assert dickey_fuller(7 - 1e-4 * x)[0] == pytest.approx(statistic, rel=1e-6)


def test_random_walks_keep_their_unit_root_and_noise_has_none() -> None:
    """At 5 % the test rejects about one walk in twenty and every white noise; an AR(1) of 0.9 over 1,000 bars as well."""
    rng = np.random.default_rng(5)
    steps = rng.normal(size=(200, 1000))
    walks = [is_stationary(np.cumsum(one)) for one in steps]
    assert 1 <= sum(walks) <= 20
    strict = [is_stationary(np.cumsum(one), 0.01) for one in steps]
    loose = [is_stationary(np.cumsum(one), 0.10) for one in steps]
    assert sum(strict) < sum(walks) < sum(loose)
    assert all(map(is_stationary, steps))
    decaying = np.zeros(1000)
    for t in range(1, 1000):
        decaying[t] = 0.9 * decaying[t - 1] + steps[0, t]
    assert is_stationary(decaying)
    with pytest.raises(UsageError, match="0\\.05"):
        is_stationary(steps[0], 0.2)
    with pytest.raises(DataMissing, match="30 values"):
        is_stationary(steps[0][:10])


def test_the_order_is_no_larger_than_it_must_be() -> None:
    rng = np.random.default_rng(6)
    noise = rng.normal(size=3000)
    walk = np.cumsum(noise)
    order = smallest_stationary_order(walk)
    assert 0.1 < order < 1.0
    assert is_stationary(fracdiff(walk, order)[100:])
    assert not is_stationary(fracdiff(walk, ORDERS[ORDERS.index(order) - 1])[100:])
    assert smallest_stationary_order(noise) == ORDERS[0]
    assert smallest_stationary_order(walk, (0.05, 0.1)) == 0.1
    assert not is_stationary(fracdiff(walk, 0.1)[100:])


# --- regimes ---

REGIMES = fit_regimes(BARS.cut(0, 1000), M15)
assert REGIMES is not None


@pytest.mark.parametrize("how", HOWS)
def test_regimes_see_no_future(how: str) -> None:
    assert REGIMES is not None
    whole, held = REGIMES.followed(BARS, M15)
    assert np.isfinite(whole[600:]).all()
    assert set(held.tolist()) == {-1, 0, 1, 2}
    for cut in (3, 301, 577, 600, 705, 767, 768, 1113, 1499):
        changed, now_held = REGIMES.followed(BarSeries.of(altered(cut, how)), M15)
        assert changed[:cut].tobytes() == whole[:cut].tobytes()
        assert now_held[:cut].tolist() == held[:cut].tolist()


@pytest.mark.parametrize("name", ["1m", "15m", "1h", "4h", "12h", "1d"])
def test_regimes_stream_to_the_bit_with_just_the_needed_history(name: str) -> None:
    """One block runs on plain numbers, many on arrays: this holds them equal too."""
    frame = Timeframe.parse(name)
    bars = BarSeries.of(random_bars(4000 if name == "1m" else 1500, name, seed=4))
    model = fit_regimes(bars, frame)
    assert model is not None
    (batch, held), need = model.followed(bars, frame), history_bars(frame)
    for i in [*range(len(bars) - 130, len(bars), 9), len(bars) - 1]:
        enough = bars.cut(max(0, i + 1 - need), i + 1)
        alone, alone_held = model.followed(enough, frame, len(enough) - 1)
        assert (alone[0].tobytes(), alone_held[0]) == (batch[i].tobytes(), held[i])
    assert np.isfinite(batch[-1]).all()
    short = bars.cut(len(bars) - FILTER_BARS, len(bars))
    assert np.isnan(model.filtered(short, frame)).all()


def test_no_regime_and_no_difference_crosses_a_long_gap() -> None:
    holed = BarSeries.of(pl.concat([FRAME[:700], FRAME[716:]]))
    fitted = fit_families(BARS, X[ROWS], NAMES, ROWS, TrainingOptions.of(SETTINGS), M15)
    rows = np.arange(len(holed))
    got = fitted.columns(holed, np.delete(X, slice(700, 716), axis=0), rows)
    before = fitted.columns(BARS, X, np.arange(1500))
    assert got[:700].tobytes() == before[:700].tobytes()
    reach = len(fracdiff_weights(fitted.fracdiff_order or 0)) - 1
    assert np.isnan(got[700 : 700 + reach, -1]).all()
    assert got[700 + reach :, -1].tobytes() == before[716 + reach :, -1].tobytes()
    assert np.isnan(got[700 : 700 + FILTER_BARS, -2]).all()
    assert np.isfinite(got[700 + FILTER_BARS + 48 + 96 :, -2]).all()


@pytest.mark.parametrize("row", [700, 703, 760, 1300])
def test_regimes_and_differences_over_a_short_gap_are_those_of_bars_without_trades(row: int) -> None:
    holed = BarSeries.of(pl.concat([FRAME[:700], FRAME[703:]]))
    close, volume = BARS.close.copy(), BARS.volume.copy()
    close[700:703], volume[700:703] = close[699], 0.0
    listed = replace(BARS, close=close, volume=volume)
    fitted = fit_families(BARS, X[ROWS], NAMES, ROWS, TrainingOptions.of(SETTINGS), M15)
    alone = holed.cut(max(0, row + 1 - history_bars(M15)), row + 1)
    got = fitted.columns(alone, X[row + 3 : row + 4], np.array([len(alone) - 1]))[:, -4:]
    expected = fitted.columns(listed, X[row + 3 : row + 4], np.array([row + 3]))[:, -4:]
    if row < 703:
        assert np.isnan(got).all()
    else:
        assert got.tobytes() == expected.tobytes()


def test_a_bar_without_trades_moves_the_filter_by_the_transition_alone() -> None:
    assert REGIMES is not None
    volume = BARS.volume.copy()
    volume[1200] = 0.0
    filtered = REGIMES.filtered(replace(BARS, volume=volume), M15)
    np.testing.assert_allclose(filtered[1200], filtered[1199] @ REGIMES.transition, atol=1e-6)


def test_a_regime_is_held_until_another_is_clearly_likelier() -> None:
    first = [0.5, 0.45, 0.41, 0.39, 0.45, 0.59, 0.61, 0.5]
    alphas = np.array([[p, 1 - p, 0.0] for p in first])
    assert held_states(alphas).tolist() == [0, 0, 0, 1, 1, 1, 0, 0]
    assert alphas.argmax(axis=1).tolist() == [0, 1, 1, 1, 1, 0, 0, 0]


def test_many_sequences_teach_the_chain_they_came_from() -> None:
    """A chain with known stays and volatilities is found again."""
    rng = np.random.default_rng(8)
    stay, sigmas = 0.995, (0.001, 0.003, 0.01)
    state, states = 0, []
    for _ in range(12_000):
        state = state if rng.random() < stay else int(rng.integers(3))
        states.append(state)
    truth = np.array(states)
    close = 100 * np.exp(np.cumsum(rng.normal(size=len(truth)) * np.array(sigmas)[truth]))
    bars = BarSeries(np.arange(len(truth)) * M15.ms, close, close, close, close, rng.lognormal(0, 0.3, len(truth)))
    model = fit_regimes(bars, M15)
    assert model is not None
    assert (np.diag(model.transition) > 0.97).all()
    settled = np.arange(700, len(truth))
    settled = settled[[len(set(states[t - 60 : t + 1])) == 1 for t in settled]]
    assert (model.filtered(bars, M15)[settled].argmax(axis=1) == truth[settled]).mean() > 0.9
    assert RegimeModel.from_dict(model.as_dict()).filtered(bars, M15).tobytes() == model.filtered(bars, M15).tobytes()


# --- the families together ---

FITTED = fit_families(BARS, X[ROWS], NAMES, ROWS, TrainingOptions.of(SETTINGS), M15)


def features_of(frame: pl.DataFrame) -> np.ndarray:
    return FeatureEngineeringOrchestrator(TECHNICAL).build(frame, M15)[NAMES].to_numpy().astype(np.float64)


@pytest.mark.parametrize("how", HOWS)
def test_nothing_after_the_training_rows_changes_what_is_fitted(how: str) -> None:
    """Another future, the same families; and another past, others: the digest is not blind."""
    frame = altered(1300, how)
    x = features_of(frame)
    again = fit_families(BarSeries.of(frame), x[ROWS], NAMES, ROWS, TrainingOptions.of(SETTINGS), M15)
    assert again.digest == FITTED.digest
    assert again.columns(BarSeries.of(frame), x[:1300], np.arange(1300)).tobytes() == (
        FITTED.columns(BARS, X[:1300], np.arange(1300)).tobytes()
    )
    earlier = altered(1280, "crash")
    assert (
        FITTED.digest
        != fit_families(
            BarSeries.of(earlier), features_of(earlier)[ROWS], NAMES, ROWS, TrainingOptions.of(SETTINGS), M15
        ).digest
    )


def test_a_served_row_equals_the_batch_to_the_bit() -> None:
    batch = FITTED.columns(BARS, X, np.arange(1500))
    assert batch.shape == (1500, len(FITTED.names))
    assert np.isfinite(batch[700:]).all()
    need = history_bars(M15)
    for i in range(1300, 1500, 13):
        bars = BARS.cut(i + 1 - need, i + 1)
        assert FITTED.columns(bars, X[i : i + 1], np.array([need - 1]))[0].tobytes() == batch[i].tobytes()
    some = np.array([800, 801, 1003, 1400])
    assert FITTED.columns(BARS, X[some], some).tobytes() == batch[some].tobytes()
    with pytest.raises(UsageError, match="features of 2 rows"):
        FITTED.columns(BARS, X[some], some[:2])


def test_the_guides_call_appends_the_columns_of_a_model() -> None:
    plain = asyncio.run(FeatureEngineeringOrchestrator(TECHNICAL).generate_all_features(FRAME))
    wide = asyncio.run(FeatureEngineeringOrchestrator(TECHNICAL, fitted=FITTED).generate_all_features(FRAME))
    assert wide.select(plain.columns).equals(plain)
    added = wide.drop(plain.columns)
    assert added.columns == list(FITTED.names)
    assert added.to_numpy().tobytes() == FITTED.columns(BARS, X, np.arange(1500)).tobytes()
    with pytest.raises(DataInvalid, match="want the feature 'rsi_7'"):
        other = {
            "feature_engineering_orchestrator": {"enable_legacy_features": False, "enable_advanced_features": False}
        }
        asyncio.run(FeatureEngineeringOrchestrator(other, fitted=FITTED).generate_all_features(FRAME))


def test_families_survive_the_bundle() -> None:
    again = FittedFamilies.from_dict(FITTED.as_dict())
    assert again.digest == FITTED.digest
    assert again.columns(BARS, X, np.arange(1500)).tobytes() == FITTED.columns(BARS, X, np.arange(1500)).tobytes()


@pytest.mark.parametrize("n", [0, 50, 127])
def test_too_few_rows_fit_nothing_and_say_nothing(n: int) -> None:
    fitted = fit_families(BARS, X[ROWS][:n], NAMES, ROWS[:n], TrainingOptions.of(SETTINGS), M15)
    columns = fitted.columns(BARS, X[-5:], np.arange(1495, 1500))
    assert np.isnan(np.delete(columns, np.s_[-4:-1], axis=1)).all()


# --- in training ---

QUICK: dict[str, Any] = {"trees": 8, "walk_forward_folds": 3, "learners": 1, "horizon_bars": 12}


def trained(bars: pl.DataFrame = FRAME, **keys: Any) -> TrainedModel:
    config = as_settings({"analyst": QUICK, "feature_engineering_orchestrator": keys})
    features = FeatureEngineeringOrchestrator(TECHNICAL).build(bars, M15)
    return train(
        TrainingInput("k", "tape", "ETHUSDT", M15, bars, features, {}), TrainingOptions.of(config), Tries.alone
    )


@cache
def usual_model() -> TrainedModel:
    return trained()


def test_switches_take_fitted_columns_away() -> None:
    autoencoders = {f"autoencoder_z{i}" for i in range(1, 7)} | {"autoencoder_error", "autoencoder_anomaly"}
    others = {"regime_calm", "regime_normal", "regime_stressed", "fracdiff_close"}
    assert usual_model().base_features == tuple(sorted(NAMES))
    assert set(usual_model().features) - set(NAMES) == autoencoders | others
    assert set(trained(enable_autoencoder_features=False).features) - set(NAMES) == others
    assert set(trained(enable_advanced_features=False).features) - set(NAMES) == autoencoders
    assert "autoencoder_z3" not in trained(autoencoder_bottleneck=2).features
    none = trained(enable_autoencoder_features=False, enable_advanced_features=False)
    assert none.features == tuple(sorted(NAMES))
    assert none.fitted.regimes is not None


def test_the_final_families_are_those_of_all_training_rows() -> None:
    config = as_settings({"analyst": QUICK})
    data, _ = make_dataset(BARS, FEATURES, config.analyst, M15.ms)
    assert (
        usual_model().fitted.digest
        == fit_families(BARS, data.x, sorted(NAMES), data.start, TrainingOptions.of(config), M15).digest
    )


@pytest.mark.parametrize("how", ["redraw", "crash"])
def test_every_fold_is_fitted_on_its_training_rows_only(how: str) -> None:
    """Another future after a segment's first row: what was fitted for it and all it says up to there stays."""
    config = as_settings({"analyst": QUICK})
    data, _ = make_dataset(BARS, FEATURES, config.analyst, M15.ms)

    def folds(frame: pl.DataFrame, seen: list[str], told: list[np.ndarray]) -> list[Fold]:
        bars = BarSeries.of(frame)
        features = FeatureEngineeringOrchestrator(TECHNICAL).build(frame, M15)
        rows = data.start
        base = features[NAMES].to_numpy().astype(np.float64)[rows]
        assert len(bars) == len(BARS)

        def fit(before: np.ndarray, upto: int) -> np.ndarray:
            fitted = fit_families(bars, base[before], NAMES, rows[before], TrainingOptions.of(config), M15)
            seen.append(fitted.digest)
            told.append(fitted.columns(bars, base[:upto], rows[:upto]))
            return told[-1]

        return make_folds(data, 3, 24, fit)

    ours: list[str] = []
    usual_told: list[np.ndarray] = []
    usual = folds(FRAME, ours, usual_told)
    assert len(set(ours)) == 4
    for number, fold in enumerate(usual):
        theirs: list[str] = []
        changed_told: list[np.ndarray] = []
        folds(altered(int(data.start[fold.test.start]), how), theirs, changed_told)
        assert theirs[: number + 1] == ours[: number + 1]
        upto = slice(0, fold.test.start)
        for one, other in zip(usual_told[: number + 1], changed_told[: number + 1], strict=True):
            assert one[upto].tobytes() == other[upto].tobytes()
        assert theirs[number + 1 :] != ours[number + 1 :] or number == 3


def test_folds_learn_only_from_labels_that_ended_an_embargo_before_them() -> None:
    data, _ = test_analyst.dataset()
    for embargo in (0, 12, 50):
        for fold in make_folds(data, 5, embargo):
            assert data.end[fold.before].max() + embargo < data.start[fold.test.start]
            assert not fold.before[fold.test].any()


def test_the_act_model_learns_from_out_of_sample_sides_only() -> None:
    """Row by row: the side model that spoke on a row had learned nothing as late as the row; where it had, it stops."""
    data, _ = test_analyst.dataset()
    out, folds, learner = test_analyst.walked(data)
    assert (out.learned_to[out.known] < data.start[out.known]).all()
    for fold in folds:
        assert (out.learned_to[fold.test] == data.end[fold.before].max()).all()
    everything, record, binned = np.ones(len(data), bool), ActRecord.of(learner, out, folds, 7), BinnedRows.of(data.x)
    assert record.fitted(binned, learner, out, everything, 7) is not None
    in_sample = replace(out, learned_to=data.end)
    with pytest.raises(AssertionError, match="out of sample"):
        record.fitted(binned, learner, in_sample, everything, 7)
    with pytest.raises(AssertionError, match="out of sample"):
        fit_side(binned, learner, in_sample, everything, 7)


def test_the_act_model_reads_named_columns() -> None:
    assert usual_model().act is not None
    names = usual_model().description("test")["meta_features"]
    assert names == [*usual_model().features, *META_COLUMNS]
    assert usual_model().act.booster.booster.num_feature() == len(names)


# --- in the bundle and the analysis ---


def reloaded(files: dict[str, bytes], description: dict[str, Any]) -> TrainedModel:
    return TrainedModel.from_bundle(files, {**description, "files": {}})


def test_a_bundle_brings_its_families_back() -> None:
    again = reloaded(usual_model().files(), usual_model().description("test"))
    assert again.fitted.digest == usual_model().fitted.digest
    x = X[-40:]
    rows = np.arange(1460, 1500)
    assert again.side.predict(again.widened(BARS, x, rows)).tobytes() == (
        usual_model().side.predict(usual_model().widened(BARS, x, rows)).tobytes()
    )


def test_a_bundle_with_another_encoder_is_refused() -> None:
    other = fit_families(BARS, X[ROWS][:-1], NAMES, ROWS[:-1], TrainingOptions.of(SETTINGS), M15)
    swapped = {**usual_model().files(), "fitted.json": replace(usual_model(), fitted=other).files()["fitted.json"]}
    with pytest.raises(DataInvalid, match="do not match its digest"):
        reloaded(swapped, usual_model().description("test"))
    fewer = FittedFamilies(FittedOptions(), M15, tuple(NAMES))
    narrow = replace(usual_model(), fitted=fewer)
    with pytest.raises(DataInvalid, match="other columns"):
        reloaded(narrow.files(), narrow.description("test"))
    narrow = replace(narrow, features=tuple(NAMES))
    with pytest.raises(DataInvalid, match="other columns"):
        reloaded(narrow.files(), narrow.description("test"))
    with pytest.raises(DataInvalid, match="schema 1"):
        reloaded(usual_model().files(), {**usual_model().description("test"), "schema": 1})


@pytest.mark.parametrize("back", [1, 2, 50])
def test_the_analysis_says_what_the_batch_says(back: int) -> None:
    """From just the bars it needs, the model's probabilities of a row are those of the batch, to the bit."""
    i = 1500 - back
    rows = np.arange(900, 1500)
    batch = usual_model().side.predict(usual_model().widened(BARS, X[rows], rows))
    need = history_bars(M15)
    analysis = analyse(
        test_analyst.given_input(
            bars=BARS.cut(i + 1 - need, i + 1),
            model=usual_model(),
            features=dict(zip(NAMES, X[i].tolist(), strict=True)),
        ),
        AnalysisOptions.of(as_settings({})),
    )
    assert analysis.probabilities is not None
    got = (analysis.probabilities.up, analysis.probabilities.down, analysis.probabilities.flat)
    assert got == tuple(batch[i - 900])
    assert usual_model().fitted.regimes is not None
    assert analysis.regime is not None
    filtered, held = usual_model().fitted.regimes.followed(BARS, M15)
    assert tuple(analysis.regime.values()) == tuple(filtered[i])
    assert analysis.regime_held == tuple(analysis.regime)[held[i]]


def test_levels_and_health_do_not_look_further_back_for_the_filters() -> None:
    usual = partial(test_analyst.given_input, level_bars=300)
    long, short = (
        analyse(usual(bars=bars), AnalysisOptions.of(as_settings({}))) for bars in (BARS, BARS.cut(1200, 1500))
    )
    assert (long.levels, long.health) == (short.levels, short.health)
