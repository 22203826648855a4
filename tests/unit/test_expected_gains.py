"""What sides are worth by their probabilities, how reliable scores are, and from what worth on a trade is taken."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.market.bars import random_bars

from trader_cli.analyst.book import one_at_a_time
from trader_cli.analyst.calibration import fit_slope, logistic
from trader_cli.analyst.decision import Costs, Payoffs, TradeCosts, choose_side
from trader_cli.analyst.expected_gain import (
    LEAST_STRETCH,
    MOST_STRETCH,
    fit_stretch,
    least_worth,
    usual_stretch,
)
from trader_cli.analyst.forecast_quality import promises
from trader_cli.analyst.reliability import FULL_SLOPE, Reliability, full_slope
from trader_cli.analyst.training import make_dataset
from trader_cli.analyst.walk_forward import Dataset, Learner, OutOfSample, make_folds, walk_forward
from trader_cli.core.market.timeframes import Timeframe
from trader_cli.features.bar_arrays import BarSeries
from trader_cli.settings import as_settings

M15 = Timeframe.parse("15m")
OPTIONS = as_settings({}).analyst
FREE = TradeCosts(0.0, 0.0)
SIZE, RATE = st.floats(0.3, 1.5), st.floats(0.3, 0.6)


def told_by(share: float, seen: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Scores of models that had seen these shares, of leads that hold as much noise as they should; what came of them."""
    slopes = Reliability(share).slopes(seen)
    score = rng.normal(0, 0.6, len(seen))
    return score, np.zeros(len(seen)), (rng.random(len(seen)) < logistic(slopes * score)).astype(float)


def test_the_slope_is_that_of_the_model_at_hand_and_not_of_rougher_ones_before() -> None:
    rng, seen = np.random.default_rng(1), np.repeat(np.linspace(0.2, 0.95, 8), 3000)
    for share in (0.3, 0.6):
        given = told_by(share, seen, rng)
        found = Reliability.fit(*given, np.ones(len(seen)), seen)
        assert found.slope == pytest.approx(FULL_SLOPE * share, rel=0.12)
        assert fit_slope(*given, np.ones(len(seen))) < 0.75 * found.slope, "the mean over all ages is too small"
    strong = told_by(1.0, seen, rng)
    assert Reliability.fit(*strong, np.ones(len(seen)), seen).share > 0.9


def test_what_scores_do_not_tell_is_no_slope() -> None:
    rng, seen = np.random.default_rng(2), np.repeat(np.linspace(0.2, 0.95, 8), 500)
    found = []
    for _ in range(20):
        score, offset, rose = told_by(0.0, seen, rng)
        found.append(Reliability.fit(score, offset, rose, np.ones(len(seen)), seen).slope)
    assert np.mean(found) < 0.1
    assert 0.0 in found
    assert Reliability.fit(*(np.empty(0),) * 5) == Reliability(0.0)
    score, offset, rose = told_by(0.0, seen, rng)
    assert Reliability.fit(score, offset, 1 - (score > 0), np.ones(len(seen)), seen) == Reliability(0.0), "wrong ones"


def test_few_rows_show_little() -> None:
    seen = np.repeat([0.3, 0.6, 0.9], 300)
    score, offset, rose = told_by(0.6, seen, np.random.default_rng(7))
    shares = [Reliability.fit(score, offset, rose, np.full(900, rows), seen).share for rows in (0.001, 0.01, 0.1, 1.0)]
    assert shares == sorted(shares)
    assert shares[0] < 0.1
    assert shares[-1] > 0.4


@given(SIZE, SIZE, RATE, RATE, st.floats(LEAST_STRETCH, MOST_STRETCH), st.floats(0.05, 0.9))
@settings(max_examples=200, deadline=None)
def test_stretched_gains_move_so_much_more_with_the_probability_and_are_worth_the_same_at_base_rates(
    win: float, loss: float, up: float, down: float, factor: float, p: float
) -> None:
    up, down = up / max(1.0, up + down), down / max(1.0, up + down)
    base, plain = np.array([up, down, 1 - up - down]), Payoffs(win, loss, win, loss)
    wide = plain.stretched(factor, base)
    assert min(wide.long_win, wide.long_loss, wide.short_win, wide.short_loss) >= 0
    inside = min(wide.long_win, wide.long_loss, wide.short_win, wide.short_loss) > 0
    if inside:
        np.testing.assert_allclose(wide.worth(base), plain.worth(base), atol=1e-12)
        excess = (p - up) * (win + loss)
        worth = p * wide.long_win - (1 - p) * wide.long_loss
        assert worth == pytest.approx(plain.worth(base)[0] + factor * excess, abs=1e-12)
        choice = choose_side(np.array([[p, 0.0, 1 - p]]), base, wide, np.ones(1), TradeCosts(0.1, 9.0))
        even = float(choice.break_even[0])
        assert even * wide.long_win - (1 - even) * wide.long_loss == pytest.approx(0.1, abs=1e-9)
        turned = plain.stretched(factor, base[[1, 0, 2]])
        assert (turned.long_win, turned.long_loss) == (wide.short_win, wide.short_loss)
    assert plain.stretched(1.0, base).long_win == pytest.approx(win, abs=1e-12)


def test_a_small_drift_stretches_gains_by_as_much_as_few_trades_end_at_barriers() -> None:
    rng = np.random.default_rng(3)
    moves, ones = rng.normal(size=200_000), np.ones(200_000)
    assert usual_stretch(moves, ones) == pytest.approx(math.pi / 2, rel=0.01)
    assert usual_stretch(np.sign(moves), ones) == 1.0
    assert usual_stretch(np.zeros(3), np.ones(3)) == 1.0
    drift = 0.05
    moved = np.clip(moves + drift, -1.6, 1.6)
    still = np.clip(moves, -1.6, 1.6)
    more = (np.mean(moved > 0) - np.mean(still > 0)) * 2 * np.abs(still).mean()
    assert (moved.mean() - still.mean()) / more == pytest.approx(usual_stretch(still, ones), rel=0.05)


def test_a_stretch_is_found_where_rows_show_it_and_kept_within_limits() -> None:
    rng = np.random.default_rng(4)
    excess, ones = rng.normal(0, 0.1, 40_000), np.ones(40_000)
    for true in (0.8, 1.4, 1.9):
        assert fit_stretch(excess, true * excess + rng.normal(size=40_000), ones, 1.3) == pytest.approx(true, abs=0.12)
    assert fit_stretch(excess, 5 * excess, ones, 1.3) == MOST_STRETCH
    assert fit_stretch(excess, -5 * excess, ones, 1.3) == LEAST_STRETCH
    few = slice(0, 50)
    assert fit_stretch(excess[few], rng.normal(size=50), ones[few], 1.3) == pytest.approx(1.3, abs=0.3)
    assert fit_stretch(np.zeros(5), np.zeros(5), np.ones(5), 1.3) == 1.3


def test_no_other_least_worth_gives_a_book_a_better_sharpe_ratio() -> None:
    worth = np.random.default_rng(5).normal(0, 0.05, 50_000)
    gained = {least: worth[worth > least] for least in (least_worth(worth), 0.0, 0.015, 0.06, 0.08)}
    ratios = [taken.sum() / math.sqrt(len(taken)) for taken in gained.values()]
    assert ratios[0] == max(ratios)
    assert ratios[0] > 1.1 * ratios[1], "trades of little worth are better left"
    assert least_worth(worth[worth < 0]) == least_worth(np.empty(0)) == 0.0
    assert least_worth(np.full(50, 0.1)) == pytest.approx(0.05)


def led(seed: int, lead: float, n: int = 3000) -> Dataset:
    """Rows of one bar each whose move is led by the first of five columns; barriers at 1.6 σ."""
    rng = np.random.default_rng([seed, 17])
    x, sigma = rng.normal(size=(n, 5)).astype(np.float32), np.full(n, 0.01)
    moves = np.clip(lead * x[:, 0] + math.sqrt(1 - lead**2) * rng.normal(size=n), -1.6, 1.6) * sigma
    rows = np.arange(n)
    return Dataset(x, np.sign(moves).astype(np.int8), rows, rows + 1, np.ones(n), sigma, moves, -moves)


def walked(data: Dataset, cost: float) -> tuple[Learner, OutOfSample]:
    options = OPTIONS.model_copy(update={"horizon_bars": (1,), "walk_forward_folds": 6})
    learner = Learner.of(data, options, Costs(cost / 2, 0.0))
    return learner, walk_forward([learner], make_folds(data, 6, 1), 7)[0]


@pytest.mark.slow
def test_trades_keep_what_they_were_taken_for_and_mean_wins_and_losses_would_promise_less() -> None:
    missed, plain, errors = [], [], []
    for seed in range(8):
        learner, out = walked(led(seed, 0.3), 0.001)
        told = promises(learner, out)
        missed.append(told["promised_bps"] - told["kept_bps"])
        errors.append(told["promise_error_bps"])
        taken = one_at_a_time(learner.data.start, learner.data.end, out.acted)
        up = np.where(out.side > 0, out.probabilities[:, 0], out.probabilities[:, 1])[taken]
        size = float(np.abs(learner.data.gain_long).mean())
        plain.append(float(((2 * up - 1) * size - 0.001).mean()) * 1e4 - told["kept_bps"])
    error = math.sqrt(np.square(errors).sum()) / len(errors)
    assert abs(np.mean(missed)) < 3 * error
    assert np.mean(plain) < -4 * error


@pytest.mark.slow
def test_rows_without_a_lead_are_hardly_acted_on_after_costs() -> None:
    acted = [float(out.acted.mean()) for seed in range(4) for _, out in [walked(led(seed, 0.0), 0.002)]]
    assert np.mean(acted) < 0.05


def test_the_order_of_columns_is_not_asked_for() -> None:
    """Trees draw their cuts column by column, and of equal ones the first is taken: columns are read by name."""
    bars = random_bars(900, seed=3)
    rng = np.random.default_rng(6)
    columns = {name: rng.normal(size=900) for name in ("delta", "alpha", "echo", "bravo")}
    keys = bars.select("open_time", decision_time="close_time")
    features = keys.with_columns(**{name: pl.Series(values) for name, values in columns.items()})
    turned = features.select("open_time", "decision_time", *reversed(list(columns)))
    one, two = (make_dataset(BarSeries.of(bars), frame, OPTIONS, M15.ms) for frame in (features, turned))
    assert one[1] == two[1] == ["alpha", "bravo", "delta", "echo"]
    assert one[0].x.tobytes() == two[0].x.tobytes()
    at = one[0].start
    np.testing.assert_array_equal(one[0].x[:, 2], columns["delta"][at].astype(np.float32))


def test_payoffs_of_a_segment_are_those_of_its_own_model() -> None:
    learner, out = walked(led(1, 0.3, 1500), 0.0)
    late = replace(learner.data, gain_long=learner.data.gain_long.copy(), gain_short=learner.data.gain_short.copy())
    late.gain_long[-200:] *= 3
    late.gain_short[-200:] *= 3
    again = walked(late, 0.0)[1]
    told = [(one and one.payoffs, two and two.payoffs) for one, two in zip(out.models, again.models, strict=True)]
    assert len(told) == 7
    assert all(ours == theirs for ours, theirs in told[:-1]), "later rows are not seen"
    assert told[1][0] is not None


@pytest.mark.parametrize("factor", [0.7, 1.3])
def test_a_market_of_another_slope_is_learned_where_there_are_rows(factor: float) -> None:
    """Models that have seen almost everything, scores without noise: only the slope without noise is another."""
    rng = np.random.default_rng(3)
    score = rng.normal(0, 0.9, 20_000)
    rose = (rng.random(len(score)) < logistic(factor * FULL_SLOPE * score)).astype(float)
    seen = np.repeat([0.5, 1.0], 10_000)
    found = Reliability.fit(score, np.zeros(len(score)), rose, np.ones(len(score)), seen)
    assert found.slope == pytest.approx(factor * FULL_SLOPE, rel=0.06)


def test_fewer_or_smaller_steps_leave_more_of_the_way() -> None:
    assert full_slope(60, 0.02) == FULL_SLOPE
    assert full_slope(10, 0.02) > 3 * FULL_SLOPE
    assert full_slope(60, 0.01) > full_slope(60, 0.02) > full_slope(600, 0.02)
