"""Watches over a model: evidence against forecasts that may be looked at at any time, and features that have moved."""

from __future__ import annotations

import json

import numpy as np
import pytest
import test_analyst
from hypothesis import given, settings
from hypothesis import strategies as st

from trader_cli.analyst.feature_bins import BINS, FeatureBins, stability_index
from trader_cli.analyst.forecast_evidence import Bets, betting_factors, evidence
from trader_cli.analyst.forecast_quality import outcomes_of_three
from trader_cli.analyst.model_watch import Watched, doubt_of
from trader_cli.settings import as_settings

BASE = np.array([0.48, 0.47, 0.05])


def forecasts(rng: np.random.Generator, n: int, spread: float) -> np.ndarray:
    """Probabilities of up, down and flat, (n, 3), that differ from base rates by so much in log-odds."""
    odds = np.log(BASE[0] / BASE[1]) + rng.normal(0, spread, n)
    up = (1 - BASE[2]) / (1 + np.exp(-odds))
    return np.column_stack([up, 1 - BASE[2] - up, np.full(n, BASE[2])])


def outcomes(rng: np.random.Generator, p: np.ndarray) -> np.ndarray:
    """Drawn from probabilities (n, 3)."""
    kind = (rng.random(len(p))[:, None] > np.cumsum(p, axis=1)).sum(axis=1)
    return outcomes_of_three(np.array([1, -1, 0])[kind].astype(np.int8))


def overlapping(rng: np.random.Generator, p: np.ndarray, horizon: int) -> np.ndarray:
    """The same, rows within a horizon sharing their luck."""
    luck = rng.random(len(p) // horizon + 1).repeat(horizon)[: len(p)]
    kind = (luck[:, None] > np.cumsum(p, axis=1)).sum(axis=1)
    return outcomes_of_three(np.array([1, -1, 0])[kind].astype(np.int8))


@pytest.mark.parametrize("horizon", [1, 6, 24])
@pytest.mark.parametrize("spread", [0.1, 0.5])
def test_right_forecasts_are_hardly_ever_accused_however_often_they_are_looked_at(horizon: int, spread: float) -> None:
    rng, streams, alpha = np.random.default_rng([horizon, int(10 * spread)]), 400, 0.1
    fired = 0
    for _ in range(streams):
        p = forecasts(rng, 600, spread)
        found = evidence(betting_factors(p, BASE, overlapping(rng, p, horizon)), horizon)
        assert (found > -1e-9).all()
        fired += found.max() >= 1 / alpha
    assert fired <= streams * alpha + 2 * np.sqrt(streams * alpha * (1 - alpha))


def test_the_mean_stake_stays_one_under_right_forecasts() -> None:
    rng = np.random.default_rng(3)
    ends = []
    for _ in range(4000):
        p = forecasts(rng, 40, 0.3)
        ends.append(evidence(betting_factors(p, BASE, outcomes(rng, p)), 4)[-1])
    assert np.mean(ends) == pytest.approx(1.0, abs=4 * np.std(ends) / np.sqrt(len(ends)))


def test_forecasts_of_which_nothing_is_left_are_accused_the_sooner_the_bolder_they_were() -> None:
    rng, when = np.random.default_rng(5), {}
    for spread in (0.3, 0.6):
        p = forecasts(rng, 4000, spread)
        found = evidence(betting_factors(p, BASE, outcomes(rng, np.tile(BASE, (4000, 1)))), 1)
        assert found.max() >= 100
        when[spread] = int(np.argmax(found >= 100))
    assert when[0.6] < when[0.3]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 30), st.integers(0, 90), st.integers(0, 2**32 - 1))
def test_evidence_of_a_beginning_does_not_change_with_what_follows(horizon: int, n: int, seed: int) -> None:
    factors = np.exp(np.random.default_rng(seed).normal(0, 0.2, n))
    whole, half = evidence(factors, horizon), evidence(factors[: n // 2], horizon)
    np.testing.assert_allclose(whole[: n // 2], half, rtol=1e-12)
    by_hand = [
        np.mean([np.prod(factors[:stop][start::horizon]) for start in range(horizon)]) for stop in range(1, n + 1)
    ]
    np.testing.assert_allclose(whole, by_hand, rtol=1e-9)
    bets, first = Bets.begun(horizon).played(factors[: n // 3])
    later, second = bets.played(factors[n // 3 :])
    assert np.array_equal(np.append(first, second), whole), "in parts it is the same to the bit"
    assert later.largest == max([1.0, *whole])


def test_what_is_not_known_bets_nothing() -> None:
    p = np.array([[np.nan] * 3, [0.6, 0.35, 0.05], [0.6, 0.35, 0.05]])
    told = np.array([[1.0, 0, 0], [0, 0, 0], [1, 0, 0]])
    np.testing.assert_allclose(betting_factors(p, BASE, told), [1.0, 1.0, 0.48 / 0.6])


def test_limits_of_the_watches_decide_what_is_believed() -> None:
    def code(known: Watched, **options: float) -> str | None:
        found = doubt_of(test_analyst.MODEL, known, as_settings({"analyst": options}).analyst)
        return found.code if found else None

    accused, moved = Watched(0, 60.0, 200, 0.0), Watched(0, 1.0, 200, 0.4)
    assert (code(accused), code(accused, forecast_alarm=0.02)) == (None, "forecasts_wrong")
    assert (code(moved), code(moved, max_moved_features=0.3)) == (None, "features_moved")
    assert code(Watched(0, 1.0, 0, 1.0), max_moved_features=1.0) is None


def of(x: np.ndarray, gains: np.ndarray | None = None) -> FeatureBins:
    names = [f"f{at}" for at in range(x.shape[1])]
    return FeatureBins.of(names, np.ones(x.shape[1]) if gains is None else gains, x)


def test_an_equal_distribution_has_an_index_of_nothing() -> None:
    shares = np.random.default_rng(0).dirichlet(np.ones(BINS + 1), 5)
    assert (stability_index(shares, shares) == 0).all()
    x = np.random.default_rng(1).normal(size=(800, 3))
    bins = of(x)
    np.testing.assert_allclose(bins.indices(bins.binned(x[::-1])), 0, atol=1e-9)
    assert bins.moved(bins.binned(x)) == 0.0


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([np.exp, np.arctan, lambda v: v**3, lambda v: 1e6 * v - 5]))
def test_an_index_is_the_same_in_any_unit(seed: int, change: object) -> None:
    rng = np.random.default_rng(seed)
    x, later = rng.normal(size=(600, 2)), rng.normal(0.5, 1.5, size=(600, 2))
    x[rng.random(x.shape) < 0.1] = np.nan
    ours, theirs = of(x), of(change(x))  # type: ignore[operator]
    a, b = ours.indices(ours.binned(later)), theirs.indices(theirs.binned(change(later)))  # type: ignore[operator]
    np.testing.assert_allclose(a, b, atol=1e-9)
    assert (a > 0.1).all()


def test_only_what_never_happened_in_training_has_moved_and_only_what_the_model_reads_counts() -> None:
    rng = np.random.default_rng(2)
    wandering = np.repeat(rng.normal(size=40), 100)
    x = np.column_stack([rng.normal(size=4000), wandering, rng.normal(size=4000)])
    bins = of(x, np.array([3.0, 1.0, 0.0]))
    assert bins.names == ("f0", "f1")
    assert bins.weights.sum() == pytest.approx(1)
    recent = x[-500:, :2].copy()
    assert bins.moved(bins.binned(recent)) == 0.0, "wandering is usual there"
    recent[:, 0] += 3
    assert bins.moved(bins.binned(recent)) == pytest.approx(0.75)
    unknown = np.full((500, 2), np.nan)
    assert bins.moved(bins.binned(unknown)) == pytest.approx(1.0), "what is not known any more has moved, too"
    assert bins.moved(bins.binned(recent[:400])) == 0.0, "a window that is not full tells nothing"


def test_bins_are_plain_numbers_and_come_back_as_they_were() -> None:
    x = np.random.default_rng(4).normal(size=(700, 4))
    x[:, 3] = np.round(x[:, 3])
    bins = of(x)
    again = FeatureBins.from_dict(json.loads(json.dumps(bins.as_dict())))
    assert again.names == bins.names
    later = bins.binned(x * 1.3)
    np.testing.assert_array_equal(again.binned(x * 1.3), later)
    np.testing.assert_array_equal(again.indices(later), bins.indices(later))
    none = FeatureBins.of(["a"], np.zeros(1), x[:, :1])
    assert FeatureBins.from_dict(none.as_dict()).moved(none.binned(np.empty((500, 0)))) == 0.0
