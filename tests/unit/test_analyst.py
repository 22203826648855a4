"""Labels, calibration, claims, regimes, health, and the analysis as a pure function."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.market.bars import random_bars

from trader_cli.analyst.analysis import AnalysisInput, analyse
from trader_cli.analyst.boosting import Rows, fit_calibrated
from trader_cli.analyst.calibration import apply_classes, apply_platt, fit_classes, fit_platt
from trader_cli.analyst.claim import make_claim
from trader_cli.analyst.decision import Costs, TradeCosts, acts, choose_side
from trader_cli.analyst.fitted_families import FittedFamilies, FittedOptions
from trader_cli.analyst.health import market_health
from trader_cli.analyst.labels import average_uniqueness, trailing_volatility, triple_barrier
from trader_cli.analyst.price_levels import support_and_resistance
from trader_cli.analyst.statistics import (
    expected_best_sharpe,
    probabilistic_sharpe,
    probability_of_overfitting,
    sharpe,
)
from trader_cli.analyst.technical_summary import candlestick_patterns
from trader_cli.analyst.trained_model import TrainedModel
from trader_cli.analyst.walk_forward import Dataset, book_gains, walk_forward
from trader_cli.core.market.snapshot import MarketSnapshot
from trader_cli.core.market.timeframes import Timeframe
from trader_cli.core.types import Abstention, Analysis, Claim, Signal
from trader_cli.features.bar_arrays import BarSeries
from trader_cli.features.regimes import RegimeModel, fit_regimes
from trader_cli.settings import as_settings
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
    return 0, t + horizon, gain, -gain


@pytest.mark.parametrize(("horizon", "width"), [(6, 0.5), (24, 1.0), (3, 0.05)])
def test_labels_equal_those_read_bar_by_bar(horizon: int, width: float) -> None:
    labels = triple_barrier(BARS, horizon, width, 64, M15.ms)
    assert not labels.valid[:64].any()
    assert not labels.valid[-horizon:].any()
    assert labels.valid[64:-horizon].all()
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


def test_platt_recovers_a_known_distortion_and_leaves_the_calibrated_alone() -> None:
    rng = np.random.default_rng(0)
    truth = rng.uniform(0.05, 0.95, 20_000)
    y = (rng.random(20_000) < truth).astype(float)
    logit = np.log(truth / (1 - truth))
    a, b = fit_platt(1 / (1 + np.exp(-(2 * logit + 0.5))), y, np.ones(20_000))
    assert (a, b) == (pytest.approx(0.5, abs=0.03), pytest.approx(-0.25, abs=0.05))
    assert fit_platt(truth, y, np.ones(20_000))[0] == pytest.approx(1.0, abs=0.04)
    noise = fit_platt(rng.uniform(0.05, 0.95, 20_000), y, np.ones(20_000))
    assert apply_platt(np.array([0.1, 0.9]), noise) == pytest.approx(y.mean(), abs=0.02)
    assert fit_platt(np.empty(0), np.empty(0), np.empty(0)) == (1.0, 0.0)


def test_calibrated_classes_sum_to_one() -> None:
    rng = np.random.default_rng(1)
    p = rng.dirichlet([1, 1, 1], 500)
    maps = fit_classes(p, rng.integers(0, 3, 500), np.ones(500))
    np.testing.assert_allclose(apply_classes(p, maps).sum(axis=1), 1.0)


P = st.floats(0.01, 0.98)


@given(P, P, st.floats(0.001, 0.2), st.floats(0, 0.02))
@settings(max_examples=200, deadline=None)
def test_a_mirrored_market_mirrors_the_side(up: float, down: float, barrier: float, cost: float) -> None:
    total = up + down + 0.5
    p = np.array([[up / total, down / total, 0.5 / total]])
    ours, theirs = (choose_side(q, np.array([barrier]), TradeCosts(cost, cost)) for q in (p, p[:, [1, 0, 2]]))
    if abs(up - down) > 0.3:
        assert ours.side[0] == -theirs.side[0] == (1 if up > down else -1)
    dearer = choose_side(p, np.array([barrier]), TradeCosts(cost + 0.01, cost + 0.01))
    assert dearer.expected_value[0] < ours.expected_value[0]
    assert dearer.break_even[0] > ours.break_even[0]


@given(P, st.floats(0.001, 0.2), st.floats(0, 0.02))
@settings(max_examples=100, deadline=None)
def test_break_even_is_where_a_two_way_bet_returns_nothing(p: float, barrier: float, cost: float) -> None:
    choice = choose_side(np.array([[1.0, 0.0, 0.0]]), np.array([barrier]), TradeCosts(cost, 9.0))
    win, lose = math.expm1(barrier), -math.expm1(-barrier)
    even = float(choice.break_even[0])
    assert even * win - (1 - even) * lose - cost == pytest.approx(0, abs=1e-12)
    assert acts(choice, np.array([p]))[0] == (choice.expected_value[0] > 0 and p > even)


def test_where_prices_stand_still_no_side_is_taken_and_nothing_is_said_of_a_division() -> None:
    p = np.array([[1.0, 0.0, 0.0], [0.2, 0.7, 0.1], [0.6, 0.3, 0.1]])
    with np.errstate(all="raise"):
        choice = choose_side(p, np.array([0.0, 0.0, 0.01]), TradeCosts(0.0, np.zeros(3)))
    assert choice.break_even[:2].tolist() == [math.inf, math.inf]
    assert acts(choice, np.ones(3)).tolist() == [False, False, True]
    assert np.isnan(choose_side(p[:1], np.array([np.nan]), TradeCosts(0.0, 0.0)).break_even).all()


def test_sharpe_statistics_obey_their_identities() -> None:
    rng = np.random.default_rng(2)
    gains = rng.normal(0.02, 1.0, 200_000)
    ratio = sharpe(gains)
    z = ratio * math.sqrt(len(gains) - 1) / math.sqrt(1 + ratio**2 / 2)
    assert probabilistic_sharpe(gains) == pytest.approx(0.5 * (1 + math.erf(z / math.sqrt(2))), abs=1e-3)
    assert probabilistic_sharpe(gains, ratio) == pytest.approx(0.5)
    assert probabilistic_sharpe(np.zeros(100)) == 0.0
    assert expected_best_sharpe([0.1], 1000) == 0.0
    best = [max(rng.normal(0, 1 / math.sqrt(1000), 40)) for _ in range(2000)]
    assert expected_best_sharpe(list(rng.normal(0, 1 / math.sqrt(1000), 40)), 1000) == pytest.approx(
        np.mean(best), rel=0.35
    )
    assert expected_best_sharpe([0.1] * 10, 1000) < expected_best_sharpe([0.1] * 100, 1000)


def test_overfitting_is_a_coin_toss_on_noise_and_rare_with_one_skilled_choice() -> None:
    rng = np.random.default_rng(8)
    noise = [probability_of_overfitting(rng.normal(size=(800, 12))) for _ in range(30)]
    assert 0.35 < np.mean(noise) < 0.65
    skilled = rng.normal(size=(2000, 12))
    skilled[:, 5] += 0.15
    assert probability_of_overfitting(skilled) < 0.1
    assert probability_of_overfitting(skilled[:, :1]) == 1.0


def test_a_claim_needs_every_condition() -> None:
    rng = np.random.default_rng(3)
    good = rng.normal(0.08, 1, 4000)
    flat, market = np.zeros(4000), rng.normal(0, 1, 4000)
    yes = make_claim((good, flat, market), good - 0.02, 100, [sharpe(good)], 0.95)
    assert yes.edge
    assert not make_claim((good, flat, market), good - 0.2, 100, [sharpe(good)], 0.95).edge
    assert not make_claim((good, flat, market), good, 5, [sharpe(good)], 0.95).edge
    assert not make_claim((rng.normal(0, 1, 4000), flat, market), good, 100, [0.0], 0.95).edge
    many = make_claim(
        (good * 0 + rng.normal(0.03, 1, 4000), flat, market), good, 100, list(rng.normal(0, 0.03, 500)), 0.95
    )
    assert not many.edge
    drift = rng.normal(0.08, 1, 4000)
    held = make_claim((drift, np.ones(4000), drift), drift, 100, [sharpe(drift)], 0.95)
    assert not held.edge
    assert "holding" in held.reason
    assert not make_claim((np.empty(0), np.empty(0), np.empty(0)), np.empty(0), 0, [0.0], 0.95).edge


def dataset(n: int = 1200, seed: int = 0) -> tuple[Dataset, np.ndarray]:
    rng = np.random.default_rng(seed)
    bars = BarSeries.of(random_bars(n + 100, seed=seed))
    labels = triple_barrier(bars, 12, 1.0, 64, M15.ms)
    rows = np.flatnonzero(labels.valid)
    x = rng.normal(size=(len(rows), 6))
    uniqueness = average_uniqueness(rows, labels.end[rows], len(bars))
    data = Dataset(
        x,
        labels.outcome[rows],
        rows,
        labels.end[rows],
        uniqueness,
        labels.barrier[rows],
        labels.gain_long[rows],
        labels.gain_short[rows],
    )
    return data, np.diff(bars.close, prepend=bars.close[0]) / np.concatenate([bars.close[:1], bars.close[:-1]])


SMALL = OPTIONS.model_copy(update={"horizon_bars": 12, "trees": 10, "walk_forward_folds": 4})
COSTS = Costs(0.0005, 0.0)


def test_walk_forward_never_learns_from_what_has_not_ended() -> None:
    """Changing outcomes that end inside or after a segment changes nothing predicted before or in it."""
    data, _ = dataset()
    ours = walk_forward(data, SMALL, COSTS, 7)
    edge = int(np.linspace(len(data) * 0.25, len(data), 5)[3])
    late = data.end >= data.start[edge]
    changed = replace(
        data,
        outcome=np.where(late, -data.outcome, data.outcome).astype(np.int8),
        gain_long=np.where(late, -data.gain_long, data.gain_long),
    )
    theirs = walk_forward(changed, SMALL, COSTS, 7)
    stop = int(np.linspace(len(data) * 0.25, len(data), 5)[4])
    assert np.array_equal(ours.probabilities[:stop], theirs.probabilities[:stop], equal_nan=True)
    assert np.array_equal(ours.probability_act[:edge], theirs.probability_act[:edge], equal_nan=True)


def test_the_same_training_twice_is_the_same_to_the_bit() -> None:
    data, _ = dataset()
    one, two = (walk_forward(data, SMALL, COSTS, 7) for _ in range(2))
    assert one.probabilities.tobytes() == two.probabilities.tobytes()
    assert one.probability_act.tobytes() == two.probability_act.tobytes()


def test_the_book_charges_what_it_turns_and_doubling_costs_never_helps() -> None:
    data, returns = dataset()
    out = walk_forward(data, SMALL.model_copy(update={"enable_dual_model_system": False}), COSTS, 7)
    out.acted[:] = out.judged
    free, exposure, market = book_gains(data, out, returns, 12, Costs(0.0, 0.0))
    once, _, _ = book_gains(data, out, returns, 12, COSTS)
    twice, _, _ = book_gains(data, out, returns, 12, Costs(0.001, 0.0))
    np.testing.assert_allclose(free, exposure * market)
    np.testing.assert_allclose(free - once, once - twice, atol=1e-15)
    assert (twice <= once).all()
    assert np.abs(exposure).max() <= 1.0


def test_a_model_learns_what_is_there_and_nothing_from_noise() -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=(6000, 5))
    span = np.arange(6000)
    for strength, low, high in ((1.5, 0.7, 1.0), (0.0, 0.45, 0.55)):
        y = (rng.random(6000) < 1 / (1 + np.exp(-strength * x[:, 2]))).astype(np.int64)
        model = fit_calibrated(Rows(x[:4000], y[:4000], np.ones(4000), span[:4000], span[:4000]), 2, OPTIONS, 7)
        assert model is not None
        hit = ((model.predict(x[4000:])[:, 1] > 0.5) == y[4000:]).mean()
        assert low < hit < high


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


def fitted(edge: bool = True) -> TrainedModel:
    rng = np.random.default_rng(6)
    x, span = rng.normal(size=(2000, 3)), np.arange(2000)
    classes = np.where(x[:, 0] > 0.5, 0, np.where(x[:, 0] < -0.5, 1, 2)).astype(np.int64)
    side = fit_calibrated(Rows(x, classes, np.ones(2000), span, span), 3, OPTIONS, 7)
    wide = np.column_stack([x, rng.normal(size=(2000, 4))])
    meta = fit_calibrated(Rows(wide, (x[:, 1] > -1).astype(np.int64), np.ones(2000), span, span), 2, OPTIONS, 7)
    assert side
    assert meta
    claim = Claim(edge, "measured", 0.99, 0.99, 0.05, 0.04, 3, 1000, 100, 0.1)
    families = FittedFamilies(FittedOptions(), M15, ("a", "b", "c"), regimes=fit_regimes(BARS, M15))
    return TrainedModel(
        key="key",
        source="tape",
        symbol="ETHUSDT",
        timeframe="15m",
        features=("a", "b", "c"),
        side=side,
        meta=meta,
        fitted=families,
        claim=claim,
        horizon_bars=24,
        barrier_width=1.0,
        volatility_span=64,
        first_ms=0,
        last_ms=1,
    )


MODEL = fitted()
MARKET = MarketSnapshot.from_dict(SNAPSHOT)


def given_input(**changes: Any) -> AnalysisInput:
    base = AnalysisInput(
        "ETHUSDT", M15, BARS, {"a": 2.0, "b": 1.0, "c": 0.0}, MODEL, MARKET, bar_age_ms=0, book_age_ms=0, digests={}
    )
    return replace(base, **changes)


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


ABSTENTIONS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "bars_stale": ({"bar_age_ms": 3 * M15.ms}, {}),
    "data_quality": ({"doubts": {"bad_print": 1}}, {}),
    "ml_predictions_off": ({"model": None}, {"enable_ml_predictions": False}),
    "meta_model_absent": ({"model": replace(MODEL, meta=None)}, {}),
    "features_incomplete": ({"features": {"a": 1.0, "b": None, "c": None}}, {}),
    "unhealthy_market": ({"snapshot": None, "book_age_ms": None}, {}),
    "no_edge": ({"model": fitted(edge=False)}, {}),
    "no_expected_value": ({"features": {"a": 0.0, "b": 1.0, "c": 0.0}}, {}),
    "meta_veto": ({"features": {"a": 2.0, "b": -2.5, "c": 0.0}}, {}),
}


@pytest.mark.parametrize("code", ABSTENTIONS)
def test_every_abstention_has_its_code_and_a_sentence(code: str) -> None:
    changes, options = ABSTENTIONS[code]
    outcome = analyse(given_input(**changes), AnalysisOptions.of(as_settings({"analyst": options}))).outcome
    assert isinstance(outcome, Abstention)
    assert outcome.code == code
    assert outcome.sentence.endswith(".")


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


def test_a_bundle_brings_the_same_model_back() -> None:
    again = TrainedModel.from_bundle(MODEL.files(), {**MODEL.description("test"), "files": {}})
    x = np.random.default_rng(7).normal(size=(20, 3))
    assert again.side.predict(x).tobytes() == MODEL.side.predict(x).tobytes()
    assert (again.claim, again.features, again.key) == (MODEL.claim, MODEL.features, MODEL.key)


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
