"""Labels, calibration, claims, regimes, health, and the analysis as a pure function."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.market.bars import random_bars

from trader_cli.analyst.act_model import ActModel, ActRecord, ActVerdict
from trader_cli.analyst.analysis import AnalysisInput, analyse
from trader_cli.analyst.book import Book, one_at_a_time, traded_book
from trader_cli.analyst.boosting import BinnedRows
from trader_cli.analyst.calibration import base_rate, fit_slope, logistic, logit
from trader_cli.analyst.claim import make_claim
from trader_cli.analyst.decision import Costs, Payoffs, TradeCosts, acts, choose_side
from trader_cli.analyst.feature_bins import FeatureBins
from trader_cli.analyst.fitted_families import FittedFamilies, FittedOptions
from trader_cli.analyst.forecast_quality import area_under_curve, quality
from trader_cli.analyst.health import market_health
from trader_cli.analyst.labels import average_uniqueness, trailing_volatility, triple_barrier
from trader_cli.analyst.price_levels import support_and_resistance
from trader_cli.analyst.return_interval import ReturnInterval
from trader_cli.analyst.side_model import SideModel
from trader_cli.analyst.statistics import (
    chance_of_no_gain,
    expected_best_sharpe,
    fading,
    independent_share,
    probabilistic_sharpe,
    probability_of_overfitting,
    sharpe,
    smallest_found_sharpe,
)
from trader_cli.analyst.technical_summary import candlestick_patterns
from trader_cli.analyst.trained_model import TrainedModel
from trader_cli.analyst.walk_forward import Dataset, Fold, Learner, OutOfSample, make_folds, walk_forward
from trader_cli.core.market.snapshot import MarketSnapshot
from trader_cli.core.market.timeframes import DAY_MS, Timeframe
from trader_cli.core.types import Abstention, Analysis, Claim, Signal, Tries
from trader_cli.features.bar_arrays import BarSeries
from trader_cli.features.regimes import RegimeModel, fit_regimes
from trader_cli.settings import as_settings
from trader_cli.settings.analyst_section import AnalystSettings
from trader_cli.settings.room_options import AnalysisOptions

M15 = Timeframe.parse("15m")
BARS = BarSeries.of(random_bars(1500))
OPTIONS = as_settings({}).analyst


def by_hand(bars: BarSeries, t: int, horizon: int, barrier: float) -> tuple[int, int, float, float]:
    """Outcome, end row and gains of both sides, read bar by bar."""
    up, down = bars.close[t] * math.exp(barrier), bars.close[t] * math.exp(-barrier)
    for u in range(t + 1, t + horizon + 1):
        high, low = bars.high[u] >= up, bars.low[u] <= down
        if high and low:
            return 0, u, math.expm1(-barrier), -math.expm1(barrier)
        if high or low:
            gain = math.expm1(barrier) if high else math.expm1(-barrier)
            return (1 if high else -1), u, gain, -gain
    gain = bars.close[t + horizon] / bars.close[t] - 1
    return int(np.sign(gain)), t + horizon, gain, -gain


@pytest.mark.parametrize(("horizon", "width"), [(6, 0.5), (24, 1.0), (3, 0.05), (1, 1.0)])
def test_labels_equal_those_read_bar_by_bar(horizon: int, width: float) -> None:
    labels = triple_barrier(BARS, horizon, width, 64, M15.ms)
    assert not labels.valid[:64].any()
    assert not labels.valid[-horizon:].any()
    assert labels.valid[64:-horizon].all()
    sigma = trailing_volatility(BARS.close, 64)
    np.testing.assert_allclose(labels.sigma[64:-horizon], (sigma * math.sqrt(horizon))[64:-horizon])
    nearest = np.maximum(width * math.sqrt(horizon), math.sqrt(8 / math.pi)) * sigma
    np.testing.assert_allclose(labels.barrier[64:-horizon], nearest[64:-horizon])
    for t in range(64, 1500 - horizon, 7):
        outcome, end, long, short = by_hand(BARS, t, horizon, float(labels.barrier[t]))
        assert (labels.outcome[t], labels.end[t]) == (outcome, end)
        assert (labels.gain_long[t], labels.gain_short[t]) == (pytest.approx(long), pytest.approx(short))


def test_a_label_that_has_ended_does_not_change_with_the_future() -> None:
    cut = 900
    other = BarSeries.of(pl.concat([random_bars(1500)[:cut], random_bars(1500, seed=5)[cut:]]))
    ours, theirs = (triple_barrier(b, 24, 1.0, 64, M15.ms) for b in (BARS, other))
    done = ours.valid & (ours.end < cut)
    assert done.sum() > 700
    assert np.array_equal(ours.outcome[done], theirs.outcome[done])
    assert np.array_equal(ours.gain_long[done], theirs.gain_long[done])


def test_mirrored_prices_mirror_the_labels() -> None:
    mirrored = BarSeries(BARS.open_ms, 1e6 / BARS.open, 1e6 / BARS.low, 1e6 / BARS.high, 1e6 / BARS.close, BARS.volume)
    ours, theirs = (triple_barrier(b, 24, 1.0, 64, M15.ms) for b in (BARS, mirrored))
    assert np.array_equal(ours.outcome, -theirs.outcome)


def test_no_label_crosses_a_gap() -> None:
    holed = BarSeries.of(pl.concat([random_bars(1500)[:700], random_bars(1500)[703:]]))
    valid = triple_barrier(holed, 24, 1.0, 64, M15.ms).valid
    assert not valid[676:700].any()
    assert valid[675]


def test_uniqueness_counts_the_labels_alive() -> None:
    start, end = np.array([0, 0, 2, 10]), np.array([2, 4, 4, 12])
    got = average_uniqueness(start, end, 20)
    np.testing.assert_allclose(got, [1 / 2, 1 / 2, 1 / 2, 1.0])
    apart = average_uniqueness(np.arange(0, 100, 5), np.arange(0, 100, 5) + 5, 120)
    np.testing.assert_allclose(apart, 1.0)


def test_a_slope_recovers_a_known_distortion_and_is_nothing_for_noise() -> None:
    rng = np.random.default_rng(0)
    n, base = 20_000, np.full(20_000, logit(0.4))
    score = rng.normal(0, 0.8, n)
    y = (rng.random(n) < logistic(base + score)).astype(float)
    ones = np.ones(n)
    assert fit_slope(score, base, y, ones) == pytest.approx(1.0, abs=0.05)
    assert fit_slope(2 * score, base, y, ones) == pytest.approx(0.5, abs=0.03)
    assert fit_slope(-score, base, y, ones) == 0.0, "a score that is wrong says nothing"
    assert fit_slope(rng.normal(0, 0.8, n), base, y, ones) < 0.05
    few = slice(0, 40)
    assert fit_slope(score[few], base[few], y[few], ones[few] / 10) < 0.5, "of four rows little is known"
    assert fit_slope(*(np.empty(0),) * 4) == 0.0
    many = slice(0, 400)
    tenfold = fit_slope(10 * score[many], base[many], y[many], ones[many])
    assert tenfold == pytest.approx(fit_slope(score[many], base[many], y[many], ones[many]) / 10), "in any unit"


def test_base_rates_rest_on_what_was_seen_and_on_a_half_where_little_was() -> None:
    assert base_rate(np.ones(4), np.ones(4)) == pytest.approx(14 / 24)
    assert base_rate(np.ones(4000), np.ones(4000)) > 0.99
    assert base_rate(np.empty(0), np.empty(0)) == 0.5
    assert base_rate(np.ones(200), np.ones(200), 2000) == pytest.approx(1200 / 2200)


P = st.floats(0.01, 0.98)


PAYS = Payoffs(0.9, 0.7, 0.9, 0.7)
EVEN = np.array([0.4, 0.4, 0.2])


@given(P, P, st.floats(0.001, 0.2), st.floats(0, 0.02))
@settings(max_examples=200, deadline=None)
def test_a_mirrored_market_mirrors_the_side(up: float, down: float, sigma: float, cost: float) -> None:
    total = up + down + 0.5
    p, costs = np.array([[up / total, down / total, 0.5 / total]]), TradeCosts(cost, cost)
    ours, theirs = (choose_side(q, EVEN, PAYS, np.array([sigma]), costs) for q in (p, p[:, [1, 0, 2]]))
    if abs(up - down) > 0.01:
        assert ours.side[0] == -theirs.side[0] == (1 if up > down else -1)
    dearer = choose_side(p, EVEN, PAYS, np.array([sigma]), TradeCosts(cost + 0.01, cost + 0.01))
    assert dearer.expected_value[0] < ours.expected_value[0]


@given(P, st.floats(0.001, 0.2), st.floats(0, 0.02))
@settings(max_examples=200, deadline=None)
def test_break_even_is_where_a_side_returns_nothing(p: float, sigma: float, cost: float) -> None:
    choice = choose_side(np.array([[p, 0.0, 1 - p]]), EVEN, PAYS, np.array([sigma]), TradeCosts(cost, 9.0))
    win, lose, even = 0.9 * sigma, 0.7 * sigma, float(choice.break_even[0])
    assert even * win - (1 - even) * lose - cost == pytest.approx(0, abs=1e-12)
    assert (float(choice.win[0]), float(choice.loss[0])) == (pytest.approx(win), pytest.approx(lose))
    assert acts(choice)[0] == (choice.expected_value[0] > 0 and p > 0.4)
    asked = choose_side(np.array([[p, 0.0, 1 - p]]), EVEN, PAYS, np.array([sigma]), TradeCosts(cost, 9.0), 0.1)
    assert acts(asked)[0] == (choice.expected_value[0] > 0.1 * sigma and p > 0.4)
    assert (choice.expected_value[0] > 0) == (p > even)
    assert acts(choice, np.array([even + 0.01]))[0] == acts(choice)[0]
    assert not acts(choice, np.array([even - 0.01]))[0]


def test_where_prices_stand_still_no_side_is_taken_and_nothing_is_said_of_a_division() -> None:
    p = np.array([[1.0, 0.0, 0.0], [0.2, 0.7, 0.1], [0.9, 0.05, 0.05]])
    with np.errstate(all="raise"):
        choice = choose_side(p, EVEN, PAYS, np.array([0.0, 0.0, 0.01]), TradeCosts(0.0, np.zeros(3)))
    assert choice.break_even[:2].tolist() == [math.inf, math.inf]
    assert acts(choice, np.ones(3)).tolist() == [False, False, True]
    assert np.isnan(choose_side(p[:1], EVEN, PAYS, np.array([np.nan]), TradeCosts(0.0, 0.0)).break_even).all()


def test_payoffs_are_mean_gains_of_each_outcome_and_the_usual_move_where_few_are_known() -> None:
    rng = np.random.default_rng(9)
    outcome = rng.choice([1, -1, 0], 5000, p=[0.5, 0.4, 0.1]).astype(np.int8)
    sigma = rng.uniform(0.01, 0.03, 5000)
    long = np.where(outcome > 0, 0.8, np.where(outcome < 0, -0.6, -1.0)) * sigma
    short = np.where(outcome < 0, 0.6, np.where(outcome > 0, -0.8, -1.0)) * sigma
    found = Payoffs.of(outcome, (long, short), sigma, np.ones(5000))
    win, loss = (0.8 + 0.6) / 2, ((0.4 * 0.6 + 0.1) / 0.5 + (0.5 * 0.8 + 0.1) / 0.6) / 2
    told = [found.long_win, found.long_loss, found.short_win, found.short_loss]
    np.testing.assert_allclose(told, [win, loss, win, loss], atol=0.02, err_msg="of both sides together")
    few = Payoffs.of(outcome[:4], (long[:4], short[:4]), sigma[:4], np.ones(4))
    usual = float(np.abs(long[:4] / sigma[:4]).mean())
    np.testing.assert_allclose([few.long_win, few.short_loss], usual, atol=0.1)
    mirrored = Payoffs.of(-outcome, (short, long), sigma, np.ones(5000))
    assert mirrored == found, "a market upside down pays the same"


def test_sharpe_statistics_obey_their_identities() -> None:
    rng = np.random.default_rng(2)
    gains = rng.normal(0.02, 1.0, 200_000)
    ratio = sharpe(gains)
    z = ratio * math.sqrt(len(gains) - 1) / math.sqrt(1 + ratio**2 / 2)
    assert probabilistic_sharpe(gains) == pytest.approx(0.5 * (1 + math.erf(z / math.sqrt(2))), abs=1e-3)
    assert probabilistic_sharpe(gains, ratio) == pytest.approx(0.5)
    assert probabilistic_sharpe(np.zeros(100)) == 0.0
    assert expected_best_sharpe(1, 1000) == 0.0
    best = [max(rng.normal(0, 1 / math.sqrt(1000), 40)) for _ in range(2000)]
    assert expected_best_sharpe(40, 1000) == pytest.approx(np.mean(best), rel=0.05)
    ratios = [expected_best_sharpe(trials, 1000) for trials in (1, 1.5, 2, 2.5, 10, 100)]
    assert ratios == sorted(ratios)
    assert expected_best_sharpe(1.5, 1000) == pytest.approx(ratios[2] / 2)


def test_what_would_be_found_is_found_nine_times_in_ten() -> None:
    rng, n = np.random.default_rng(6), 2000
    smallest = smallest_found_sharpe(5, n, 0.95)
    bar = expected_best_sharpe(5, n)
    found = [probabilistic_sharpe(rng.normal(smallest, 1, n), bar) >= 0.95 for _ in range(600)]
    assert 0.86 < np.mean(found) < 0.94
    assert smallest_found_sharpe(5, 1, 0.95) == 0.0


def test_what_fades_is_seen_at_its_level() -> None:
    rng = np.random.default_rng(7)
    steady = np.array([fading(rng.normal(0.05, 1, 3000)) for _ in range(400)])
    assert abs(steady.mean()) < 0.2
    assert steady.std() == pytest.approx(1.0, abs=0.12)
    gone = np.concatenate([rng.normal(0.15, 1, 2000), rng.normal(-0.05, 1, 1000)])
    assert fading(gone) < -2.33
    assert fading(np.zeros(100)) == fading(np.empty(0)) == 0.0


def test_records_that_are_alike_count_as_fewer() -> None:
    rng = np.random.default_rng(8)
    one = rng.normal(size=2000)
    copies = np.column_stack([one, one, one])
    assert independent_share(copies) * 3 == pytest.approx(1.0)
    assert independent_share(rng.normal(size=(2000, 3))) == pytest.approx(1.0, abs=0.05)
    assert independent_share(np.column_stack([one, one, np.zeros(2000)])) * 3 == pytest.approx(2.0)
    assert independent_share(np.empty((0, 2))) == independent_share(one[:, None]) == 1.0


def test_chance_of_no_gain_is_small_for_a_gain_and_even_for_none() -> None:
    rng = np.random.default_rng(11)
    assert chance_of_no_gain(rng.normal(0.1, 1, 3000), 50) < 0.01
    noise = [chance_of_no_gain(rng.normal(0, 1, 1000), 30) for _ in range(60)]
    assert 0.4 < np.mean(noise) < 0.6
    assert chance_of_no_gain(np.zeros(1000), 30) == chance_of_no_gain(np.ones(10), 30) == 1.0


def test_overfitting_is_a_coin_toss_on_noise_and_rare_with_one_skilled_choice() -> None:
    rng = np.random.default_rng(8)
    noise = [probability_of_overfitting(rng.normal(size=(800, 12))) for _ in range(30)]
    assert 0.35 < np.mean(noise) < 0.65
    skilled = rng.normal(size=(2000, 12))
    skilled[:, 5] += 0.15
    assert probability_of_overfitting(skilled) < 0.1
    assert probability_of_overfitting(skilled[:, :1]) == 1.0


def claimed(gains: np.ndarray, doubled: np.ndarray, trades: int = 100, trials: float = 1, **more: np.ndarray) -> Claim:
    zeros = np.zeros(len(gains))
    book = Book(gains, more.get("exposure", zeros), more.get("market", zeros), trades)
    return make_claim(book, replace(book, gains=doubled), Tries(trials, (0.1, 0.2)), 0.95)


def test_a_claim_needs_every_condition() -> None:
    rng = np.random.default_rng(3)
    good = rng.normal(0.08, 1, 4000)
    assert claimed(good, good - 0.02).edge
    assert not claimed(good, good - 0.2).edge
    assert not claimed(good, good, trades=5).edge
    assert not claimed(rng.normal(0, 1, 4000), good).edge
    weak = rng.normal(0.03, 1, 4000) * 0 + rng.normal(0.03, 1, 4000)
    weak += 0.035 - weak.mean()
    assert claimed(weak, weak).edge
    assert not claimed(weak, weak, trials=500).edge
    drift = rng.normal(0.08, 1, 4000)
    held = claimed(drift, drift, exposure=np.ones(4000), market=drift)
    assert not held.edge
    assert "holding" in held.reason
    faded = np.concatenate([rng.normal(0.15, 1, 2667), rng.normal(-0.02, 1, 1333)])
    gone = claimed(faded, faded)
    assert (gone.edge, gone.deflated_sharpe_probability > 0.95) == (False, True)
    assert "last third" in gone.reason
    nothing = claimed(np.empty(0), np.empty(0), trades=0)
    assert (nothing.edge, nothing.smallest_sharpe_found) == (False, 0.0)
    assert claimed(weak, weak, trials=500).smallest_sharpe_found > claimed(weak, weak).smallest_sharpe_found > 0


def test_an_honest_retraining_a_day_does_not_bury_a_good_book() -> None:
    rng = np.random.default_rng(12)
    gains = rng.normal(0, 1, 4000 + 24 * 365)
    gains += 4 / math.sqrt(len(gains)) - gains.mean()
    looks = 1 + math.log2(len(gains) / 4000)
    assert claimed(gains, gains, trials=3 * looks).deflated_sharpe_probability >= 0.98


def dataset(n: int = 1200, seed: int = 0) -> tuple[Dataset, np.ndarray]:
    rng = np.random.default_rng(seed)
    bars = BarSeries.of(random_bars(n + 100, seed=seed))
    labels = triple_barrier(bars, 12, 1.0, 64, M15.ms)
    rows = np.flatnonzero(labels.valid)
    x = rng.normal(size=(len(rows), 6))
    uniqueness = average_uniqueness(rows, labels.end[rows], len(bars))
    cut = (labels.sigma[rows], labels.gain_long[rows], labels.gain_short[rows])
    return Dataset(x, labels.outcome[rows], rows, labels.end[rows], uniqueness, *cut), bars.close


SMALL = OPTIONS.model_copy(update={"horizon_bars": (12,), "trees": 10, "walk_forward_folds": 4})
COSTS = Costs(0.0005, 0.0)


def walked(data: Dataset, options: AnalystSettings = SMALL) -> tuple[OutOfSample, list[Fold], Learner]:
    learner, folds = Learner.of(data, options, COSTS), make_folds(data, options.walk_forward_folds, options.embargo)
    return walk_forward([learner], folds, 7)[0], folds, learner


def test_walk_forward_never_learns_from_what_has_not_ended() -> None:
    """Changing outcomes that end inside or after a segment, or an embargo before, changes nothing predicted in it."""
    data, _ = dataset()
    ours, folds, learner = walked(data)
    for fold in folds[1:]:
        late = data.end + 12 >= data.start[fold.test.start]
        changed = replace(
            data,
            outcome=np.where(late, -data.outcome, data.outcome).astype(np.int8),
            gain_long=np.where(late, data.gain_long * 2, data.gain_long),
        )
        theirs, _, other = walked(changed)
        upto = slice(0, fold.test.stop)
        for name in ("probabilities", "base_rates", "side", "acted"):
            assert np.array_equal(getattr(ours, name)[upto], getattr(theirs, name)[upto], equal_nan=True), name
        one, two = (ActRecord.of(*given, folds, 7) for given in ((learner, ours), (other, theirs)))
        assert np.array_equal(one.probability[upto], two.probability[upto], equal_nan=True)


def test_a_model_learns_from_all_that_ended_an_embargo_before() -> None:
    data, _ = dataset()
    ours, folds, _ = walked(data)
    fold = folds[2]
    latest = int(np.flatnonzero(data.end + 12 < data.start[fold.test.start])[-1])
    early = data.end <= data.end[latest]
    changed = replace(
        data, outcome=np.where(early & (np.arange(len(data)) > latest - 100), -data.outcome, data.outcome)
    )
    assert not np.array_equal(ours.score[fold.test], walked(changed)[0].score[fold.test])


def test_the_same_training_twice_is_the_same_to_the_bit() -> None:
    data, _ = dataset()
    one, two = (walked(data) for _ in range(2))
    assert one[0].probabilities.tobytes() == two[0].probabilities.tobytes()
    first, second = (ActRecord.of(learner, out, folds, 7) for out, folds, learner in (one, two))
    assert first.probability.tobytes() == second.probability.tobytes()


def test_learners_that_share_their_bins_say_what_each_says_alone() -> None:
    data, _ = dataset()
    other = replace(data, outcome=np.roll(data.outcome, 5))
    folds = make_folds(data, 4, 12)
    both = walk_forward([Learner.of(one, SMALL, COSTS) for one in (data, other)], folds, 7)
    for one, out in zip((data, other), both, strict=True):
        alone = walk_forward([Learner.of(one, SMALL, COSTS)], folds, 7)[0]
        assert alone.probabilities.tobytes() == out.probabilities.tobytes()


def test_at_least_seven_rows_in_ten_are_judged() -> None:
    data, _ = dataset()
    out, _, _ = walked(data)
    assert out.judged.mean() > 0.8
    assert not out.acted[~out.judged].any()


def test_the_book_holds_one_position_at_a_time_and_doubling_costs_never_helps() -> None:
    data, close = dataset()
    out, _, _ = walked(data)
    trades = data.trades(out.side, out.judged)
    span = int(data.start[0]) + 1, len(close) - 1
    free, once, twice = (traded_book(trades, close, span, Costs(side, 0.0)) for side in (0.0, 0.0005, 0.001))
    assert (trades.start[1:] >= trades.end[:-1]).all()
    assert free.gains.sum() == pytest.approx(trades.gain.sum())
    np.testing.assert_allclose(free.gains - once.gains, once.gains - twice.gains, atol=1e-15)
    assert (twice.gains <= once.gains).all()
    assert set(np.unique(free.exposure)) <= {-1.0, 0.0, 1.0}
    assert (free.gains - once.gains).sum() == pytest.approx(2 * 0.0005 * len(trades))
    none = traded_book(data.trades(out.side, np.zeros(len(data), bool)), close, span, COSTS)
    assert (none.trades, np.abs(none.gains).max()) == (0, 0.0)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=40), st.data())
@settings(max_examples=100, deadline=None)
def test_entered_is_the_first_that_is_wanted_once_the_one_before_has_ended(
    lasts: list[int], data: st.DataObject
) -> None:
    start = np.arange(len(lasts))
    end, wanted = (
        start + np.array(lasts),
        np.array(data.draw(st.lists(st.booleans(), min_size=len(lasts), max_size=len(lasts)))),
    )
    free, by_hand = 0, []
    for row in range(len(lasts)):
        if wanted[row] and row >= free:
            by_hand.append(row)
            free = int(end[row])
    assert one_at_a_time(start, end, wanted).tolist() == by_hand


def test_a_model_learns_what_is_there_and_nothing_from_noise() -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=(6000, 5))
    for strength, low, high in ((1.5, 0.7, 1.0), (0.0, 0.45, 0.55)):
        y = (rng.random(6000) < 1 / (1 + np.exp(-strength * x[:, 2]))).astype(float)
        model = BinnedRows.of(x[:4000]).fit(y[:4000], np.ones(4000), OPTIONS, 7)
        assert model is not None
        assert low < area_under_curve(model.score(x[4000:]), y[4000:] > 0) < high
        np.testing.assert_allclose(model.predict(x[4000:]), model.base, err_msg="without a slope it is the base rate")
    assert BinnedRows.of(x).fit(np.ones(6000), np.ones(6000), OPTIONS, 7) is None, "one outcome only"
    assert (
        BinnedRows.of(np.full((600, 2), np.nan)).fit(rng.integers(0, 2, 600) * 1.0, np.ones(600), OPTIONS, 7)
        is not None
    )


def test_quality_is_told_beside_what_was_known_and_what_right_ones_would_show() -> None:
    rng, n = np.random.default_rng(13), 4000
    score = rng.normal(0, 0.6, n)
    p = logistic(score)
    up = rng.random(n) < p
    data = Dataset(
        np.zeros((n, 1)), np.where(up, 1, -1).astype(np.int8), np.arange(n), np.arange(n) + 1, *(np.ones(n),) * 4
    )
    out = replace(
        OutOfSample.nothing(n),
        probabilities=np.column_stack([p, 1 - p, np.zeros(n)]),
        base_rates=np.tile([0.5, 0.5, 0.0], (n, 1)),
        score=score,
        judged=np.ones(n, bool),
    )
    right = quality(data, out, 1)
    assert right["slope"] == pytest.approx(1.0, abs=0.15)
    assert right["ece"] < right["ece_floor"] + 0.01
    assert right["brier"] < right["brier_base_rates"] == pytest.approx(0.5)
    assert right["brier_up"] == pytest.approx(right["brier"] / 2)
    assert right["log_loss"] < right["log_loss_base_rates"] == pytest.approx(math.log(2))
    bold = logistic(3 * score)
    wrong = quality(data, replace(out, probabilities=np.column_stack([bold, 1 - bold, np.zeros(n)])), 1)
    assert wrong["slope"] == pytest.approx(1 / 3, abs=0.06)
    assert wrong["ece"] > wrong["ece_floor"] + 0.05
    assert wrong["auc"] == right["auc"]
    assert "brier" not in quality(data, OutOfSample.nothing(n), 1)


def test_regimes_are_filtered_and_never_smoothed() -> None:
    model = fit_regimes(BARS, M15)
    assert model is not None
    whole = model.filtered(BARS, M15)
    assert np.array_equal(model.filtered(BARS.cut(0, 1000), M15), whole[:1000], equal_nan=True)
    np.testing.assert_allclose(whole[600:].sum(axis=1), 1.0)
    again = RegimeModel.from_dict(model.as_dict())
    assert np.array_equal(again.filtered(BARS, M15), whole, equal_nan=True)
    assert (np.diff(model.means[:, 0]) > 0).all()
    assert fit_regimes(BARS.cut(0, 100), M15) is None


def test_regimes_find_a_calm_and_a_stressed_market() -> None:
    rng = np.random.default_rng(5)
    sigma = np.where(np.arange(3000) // 500 % 2 == 0, 0.001, 0.01)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 1, 3000) * sigma))
    bars = BarSeries(np.arange(3000) * M15.ms, close, close, close, close, rng.lognormal(0, 0.3, 3000))
    model = fit_regimes(bars, M15)
    assert model is not None
    filtered = model.filtered(bars, M15)
    assert filtered[1400:1480, 0].mean() > 0.5 > filtered[1900:1980, 0].mean()


SNAPSHOT: dict[str, Any] = {
    "source": "tape",
    "fetched_ms": 0,
    "ticker": {"quote_volume": 1440 * 50_000.0},
    "book": {"bids": [[99.99, 500.0], [99.95, 500.0]], "asks": [[100.01, 500.0], [100.05, 500.0]]},
    "premium": {"funding_rate": 0.0001},
}


def health(snapshot: dict[str, Any] | None = SNAPSHOT, age_s: float | None = 1.0) -> Any:
    return market_health(BARS, M15.ms, None if snapshot is None else MarketSnapshot.from_dict(snapshot), age_s, 900)


def test_health_falls_with_every_cause_and_one_dead_part_vetoes() -> None:
    base = health()
    assert 0 < base.score < 1
    wide = {**SNAPSHOT, "book": {"bids": [[99.0, 500.0]], "asks": [[101.0, 500.0]]}}
    stressed = {**SNAPSHOT, "premium": {"funding_rate": -0.003}}
    lopsided = {**SNAPSHOT, "book": {"bids": [[99.99, 5000.0]], "asks": [[100.01, 5.0]]}}
    assert health(wide).components["spread"] < base.components["spread"]
    assert health(stressed).components["funding"] < base.components["funding"]
    assert health(lopsided).components["imbalance"] < base.components["imbalance"]
    assert health(None, None).score == 0
    assert health(age_s=901).score == 0
    assert health(age_s=901).binding == "freshness"
    assert all(0 <= v <= 1 for v in base.components.values())


def test_patterns_and_levels_know_only_the_past() -> None:
    levels = support_and_resistance(BARS.cut(0, 800))
    assert levels["support"] is None or levels["support"] < BARS.close[799]
    assert levels["resistance"] is None or levels["resistance"] > BARS.close[799]
    assert all(abs(value) in {80, 100, 200} for value in candlestick_patterns(BARS).values())


def fitted(edge: bool = True, decides: bool = True) -> TrainedModel:
    rng = np.random.default_rng(6)
    options = OPTIONS.model_copy(update={"learning_rate": 0.1})
    x, ones = rng.normal(size=(2000, 3)), np.ones(2000)
    booster = BinnedRows.of(x).fit((x[:, 0] > 0).astype(float), ones, options, 7)
    wide = np.column_stack([x, rng.normal(size=(2000, 4))])
    acting = BinnedRows.of(wide).fit((x[:, 1] > -1).astype(float), ones, options, 7)
    assert booster
    assert acting
    side = SideModel(replace(booster, slope=1.0), 0.05, Payoffs(0.9, 0.7, 0.9, 0.7), 0.001)
    verdict = ActVerdict(None if decides else "of no use", 1.0, 400.0, 0.01)
    act = ActModel(replace(acting, slope=1.0), verdict)
    claim = Claim(edge, "measured", 0.99, 0.99, 0.05, 0.04, 3, 1000, 100, 0.1)
    families = FittedFamilies(FittedOptions(), M15, ("a", "b", "c"), regimes=fit_regimes(BARS, M15))
    return TrainedModel(
        key="key",
        source="tape",
        symbol="ETHUSDT",
        timeframe="15m",
        features=("a", "b", "c"),
        side=side,
        act=act,
        fitted=families,
        bins=FeatureBins.of(("a", "b", "c"), np.ones(3), x),
        claim=claim,
        horizon_bars=24,
        barrier_width=1.0,
        volatility_span=64,
        first_ms=0,
        last_ms=int(BARS.open_ms[-1]),
        interval=ReturnInterval(0.8, 0.7),
    )


MODEL = fitted()
MARKET = MarketSnapshot.from_dict(SNAPSHOT)


def given_input(**changes: Any) -> AnalysisInput:
    base = AnalysisInput(
        "ETHUSDT", M15, BARS, {"a": 2.0, "b": 1.0, "c": 0.0}, MODEL, MARKET, bar_age_ms=0, book_age_ms=0, digests={}
    )
    return replace(base, **changes)


def test_an_interval_is_of_the_horizon_and_goes_through_the_bundle() -> None:
    """Half of it, in log price, is what the model learned of σ over its horizon."""
    analysis = analyse(given_input(), AnalysisOptions.of(as_settings({})))
    told = analysis.return_interval
    assert told is not None
    sigma = trailing_volatility(BARS.close, 64)[-1] * np.sqrt(24)
    assert told["high"] == pytest.approx(np.expm1(0.7 * sigma**0.8))
    assert (1 + told["low"]) * (1 + told["high"]) == pytest.approx(1)
    description = json.loads(json.dumps(MODEL.description("test")))
    assert TrainedModel.from_bundle(MODEL.files(), description).interval == MODEL.interval
    assert Analysis.from_dict(analysis.as_dict()).return_interval == told


def test_a_clear_case_is_a_signal_and_its_mirror_the_other_side() -> None:
    config = as_settings({})
    long, short = (
        analyse(given_input(), AnalysisOptions.of(config)),
        analyse(given_input(features={"a": -2.0, "b": 1.0, "c": 0.0}), AnalysisOptions.of(config)),
    )
    assert isinstance(long.outcome, Signal)
    assert isinstance(short.outcome, Signal)
    assert (long.outcome.side, short.outcome.side) == ("long", "short")
    assert long.outcome.stop_price < long.price < long.outcome.take_profit_price
    assert short.outcome.stop_price > short.price > short.outcome.take_profit_price
    assert long.probabilities
    assert long.probabilities.up + long.probabilities.down + long.probabilities.flat == pytest.approx(1)
    assert max(long.explanation, key=lambda name: abs(long.explanation[name])) == "a"
    assert Analysis.from_dict(long.as_dict()) == long


def untold(payoffs: Payoffs) -> TrainedModel:
    """A model that tells nothing beyond base rates."""
    return replace(MODEL, side=replace(MODEL.side, booster=replace(MODEL.side.booster, slope=0.0), payoffs=payoffs))


ABSTENTIONS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "bars_stale": ({"bar_age_ms": 3 * M15.ms}, {}),
    "data_quality": ({"doubts": {"bad_print": 1}}, {}),
    "ml_predictions_off": ({"model": None}, {"enable_ml_predictions": False}),
    "meta_model_absent": ({"model": replace(MODEL, act=None)}, {}),
    "features_incomplete": ({"features": {"a": 1.0, "b": None, "c": None}}, {}),
    "unhealthy_market": ({"snapshot": None, "book_age_ms": None}, {}),
    "no_edge": ({"model": fitted(edge=False)}, {}),
    "model_expired": ({"model": replace(MODEL, last_ms=int(BARS.open_ms[-1]) - DAY_MS - 1)}, {"max_model_age": 1}),
    "forecasts_wrong": ({"drifted": Abstention("forecasts_wrong", "They are worse than base rates.")}, {}),
    "features_moved": ({"drifted": Abstention("features_moved", "They lie elsewhere.")}, {}),
    "no_expected_value": ({"model": untold(Payoffs(0.7, 0.7, 0.7, 0.7))}, {}),
    "no_expected_value_enough": ({"model": replace(MODEL, side=replace(MODEL.side, least=9.0))}, {}),
    "base_rate": ({"model": untold(Payoffs(1.5, 0.7, 1.5, 0.7))}, {}),
    "meta_veto": ({"features": {"a": 2.0, "b": -2.5, "c": 0.0}}, {}),
}


@pytest.mark.parametrize("code", ABSTENTIONS)
def test_every_abstention_has_its_code_and_a_sentence(code: str) -> None:
    changes, options = ABSTENTIONS[code]
    outcome = analyse(given_input(**changes), AnalysisOptions.of(as_settings({"analyst": options}))).outcome
    assert isinstance(outcome, Abstention)
    assert outcome.code == code.removesuffix("_enough")
    assert outcome.sentence.endswith(".")


def test_a_claim_holds_until_its_age_is_reached_and_opinions_go_on() -> None:
    options = AnalysisOptions.of(as_settings({"analyst": {"max_model_age": 1}}))
    last = int(BARS.open_ms[-1])
    at_the_end, too_old = (
        analyse(given_input(model=replace(MODEL, last_ms=last - DAY_MS - late)), options) for late in (0, 1)
    )
    assert isinstance(at_the_end.outcome, Signal)
    assert isinstance(too_old.outcome, Abstention)
    assert "trader train ETHUSDT --timeframe 15m" in too_old.outcome.sentence
    assert too_old.probabilities == at_the_end.probabilities, "what is held is cared for by them"
    unproven = AnalysisOptions.of(as_settings({"analyst": {"max_model_age": 1, "allow_unproven": True}}))
    watched = analyse(given_input(model=replace(MODEL, last_ms=last - DAY_MS - 1)), unproven).outcome
    assert isinstance(watched, Signal)
    assert watched.unproven, "an edge that is too old is none that is claimed"


def test_of_what_is_not_believed_only_base_rates_are_told() -> None:
    options = AnalysisOptions.of(as_settings({}))
    doubt = Abstention("forecasts_wrong", "They are worse than base rates.")
    believed, doubted = (analyse(given_input(drifted=drifted), options) for drifted in (None, doubt))
    assert believed.signal is not None
    assert doubted.signal is None
    assert doubted.probabilities
    assert doubted.probabilities != believed.probabilities
    aged = replace(MODEL, last_ms=int(BARS.open_ms[-1]) - 46 * DAY_MS)
    both = analyse(given_input(model=aged, drifted=doubt), options)
    assert (both.outcome, both.probabilities) == (doubted.outcome, doubted.probabilities), "no less wrong for its age"
    told = (doubted.probabilities.up, doubted.probabilities.down, doubted.probabilities.flat)
    np.testing.assert_allclose(told, MODEL.side.base_rates)


KEYS: dict[str, Any] = {
    "enable_market_health_analysis": lambda a: a.health,
    "enable_liquidation_risk_analysis": lambda a: a.liquidation_probability,
    "enable_regime_classification": lambda a: a.regime,
    "enable_ml_predictions": lambda a: a.probabilities,
    "enable_dual_model_system": lambda a: a.dual_score,
}


@pytest.mark.parametrize("key", KEYS)
def test_each_switch_of_the_analyst_changes_the_analysis(key: str) -> None:
    on, off = (
        analyse(given_input(), AnalysisOptions.of(as_settings({"analyst": {key: value}}))) for value in (True, False)
    )
    assert KEYS[key](on) is not None
    assert KEYS[key](off) is None


def test_an_act_model_that_was_dropped_is_shown_and_decides_nothing() -> None:
    """It would say no here."""
    doubtful: dict[str, Any] = {"features": {"a": 2.0, "b": -2.5, "c": 0.0}}
    asked, dropped = (
        analyse(given_input(**doubtful, model=fitted(decides=decides)), AnalysisOptions.of(as_settings({})))
        for decides in (True, False)
    )
    assert isinstance(asked.outcome, Abstention)
    assert asked.outcome.code == "meta_veto"
    assert dropped.signal is not None
    assert dropped.dual_score == asked.dual_score
    assert dropped.probabilities is not None
    assert dropped.signal.probability_act == dropped.probabilities.up
    assert fitted(decides=False).act.sentence == "dropped (of no use)"  # type: ignore[union-attr]


def test_a_bundle_brings_the_same_model_back() -> None:
    again = TrainedModel.from_bundle(MODEL.files(), {**MODEL.description("test"), "files": {}})
    x = np.random.default_rng(7).normal(size=(20, 3))
    assert again.side.predict(x).tobytes() == MODEL.side.predict(x).tobytes()
    assert (again.claim, again.features, again.key) == (MODEL.claim, MODEL.features, MODEL.key)
    assert again.act is not None
    assert MODEL.act is not None
    assert again.act.verdict == MODEL.act.verdict
    assert (again.side.payoffs, again.side.least) == (MODEL.side.payoffs, MODEL.side.least)


def test_volatility_is_trailing_and_restartable() -> None:
    whole = trailing_volatility(BARS.close, 64)
    assert trailing_volatility(BARS.close[:500], 64).tobytes() == whole[:500].tobytes()
    np.testing.assert_allclose(trailing_volatility(BARS.close[300:], 64)[64:], whole[364:], rtol=1e-12)


def test_live_levels_are_the_barriers_that_labels_have() -> None:
    """The same bars with a future behind them: what training would look for is what a signal asks for."""
    given = given_input()
    said = analyse(given, AnalysisOptions.of(as_settings({})))
    assert said.signal is not None
    n, horizon = len(given.bars), said.signal.horizon_bars
    later = given.bars.open_ms[-1] + M15.ms * np.arange(1, horizon + 1)
    still = np.full(horizon, given.bars.close[-1])
    bars = BarSeries(
        np.append(given.bars.open_ms, later),
        *(np.append(getattr(given.bars, name), still) for name in ("open", "high", "low", "close")),
        np.append(given.bars.volume, np.ones(horizon)),
    )
    model = given.model
    assert model is not None
    barrier = triple_barrier(bars, horizon, model.barrier_width, model.volatility_span, M15.ms).barrier[n - 1]
    levels = sorted((said.signal.stop_price, said.signal.take_profit_price))
    assert levels == [pytest.approx(said.price * math.exp(-barrier)), pytest.approx(said.price * math.exp(barrier))]
