"""What a model is fitted on, calibrated on, and judged after: by changing just what it must not, or must, depend on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import test_analyst
import test_keys
from hypothesis import given, settings
from hypothesis import strategies as st

from trader_cli.analyst.act_model import worthwhile
from trader_cli.analyst.decision import Costs, TradeCosts
from trader_cli.analyst.training import TrainingInput, make_dataset, train
from trader_cli.analyst.walk_forward import Dataset, Learner, OutOfSample, make_folds, walk_forward
from trader_cli.core.types import Tries
from trader_cli.features.bar_arrays import BarSeries
from trader_cli.settings import as_settings
from trader_cli.settings.room_options import TrainingOptions

N, SPAN = 900, 20
OPTIONS = test_analyst.SMALL.model_copy(update={"horizon_bars": (SPAN,), "embargo_bars": 30})


def rows(seed: int) -> Dataset:
    """Labels that span 20 bars each, a bar apart."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(N, 3))
    outcome = np.where(x[:, 0] + rng.normal(size=N) > 0, 1, -1).astype(np.int8)
    start, even = np.arange(N, dtype=np.int64), np.ones(N)
    return Dataset(x, outcome, start, start + SPAN, even, 0.01 * even, 0.01 * outcome, -0.01 * outcome)


def walked(data: Dataset) -> OutOfSample:
    learner, folds = Learner.of(data, OPTIONS, Costs(0.0, 0.0)), make_folds(data, 4, OPTIONS.embargo)
    return walk_forward([learner], folds, 7)[0]


def turned(data: Dataset, first: int, stop: int) -> Dataset:
    outcome = data.outcome.copy()
    outcome[first:stop] *= -1
    return replace(data, outcome=outcome)


@pytest.mark.parametrize("seed", range(3))
def test_what_is_said_of_a_segment_rests_on_nothing_that_reaches_within_an_embargo_of_it(seed: int) -> None:
    usual = rows(seed)
    said = walked(usual)
    for fold in make_folds(usual, 4, OPTIONS.embargo)[1:]:
        first, upto = fold.test.start, slice(0, fold.test.stop)
        near = walked(turned(usual, first - SPAN - OPTIONS.embargo, N))
        assert np.array_equal(near.score[upto], said.score[upto], equal_nan=True)
        assert np.array_equal(near.probabilities[upto], said.probabilities[upto], equal_nan=True)
        one_earlier = walked(turned(usual, first - SPAN - OPTIONS.embargo - 1, N))
        assert not np.array_equal(one_earlier.probabilities[fold.test], said.probabilities[fold.test])


@pytest.mark.parametrize("seed", range(3))
def test_probabilities_are_calibrated_on_what_was_said_of_rows_that_were_not_known(seed: int) -> None:
    """Where what was said came out the other way round, the base rate is said next."""
    usual = rows(seed)
    folds = make_folds(usual, 4, OPTIONS.embargo)
    before, after = folds[1].test, folds[2].test
    said, wrong = walked(usual), walked(turned(usual, before.start, before.stop))
    assert np.array_equal(said.score[before], wrong.score[before])
    assert np.ptp(said.probabilities[after][:, 0]) > 0.02
    assert np.ptp(wrong.score[after]) > 0.02
    np.testing.assert_allclose(wrong.probabilities[after], wrong.base_rates[after])


sides = st.lists(st.sampled_from([-1, 1]), min_size=1, max_size=40)


@settings(max_examples=60, deadline=None)
@given(sides, st.integers(0, 1000), st.floats(0, 0.02), st.floats(0.001, 0.02))
def test_the_act_model_learns_what_is_left_after_costs_whichever_the_side(
    side: list[int], seed: int, cost: float, more: float
) -> None:
    n, rng = len(side), np.random.default_rng(seed)
    data, _ = test_analyst.dataset(300)
    long, short = rng.normal(0, 0.02, (2, n))
    one = replace(
        data,
        x=data.x[:n],
        outcome=data.outcome[:n],
        start=data.start[:n],
        end=data.end[:n],
        uniqueness=data.uniqueness[:n],
        sigma=data.sigma[:n],
        gain_long=long,
        gain_short=short,
    )
    other = replace(one, gain_long=short, gain_short=long)

    def worth(data_: Dataset, signs: np.ndarray, costs: TradeCosts) -> np.ndarray:
        out = replace(OutOfSample.nothing(n), side=signs.astype(np.int8))
        return worthwhile(Learner(data_, test_analyst.SMALL, costs), out)

    signs, costs = np.array(side), TradeCosts(cost, cost + more)
    mirrored = worth(other, -signs, TradeCosts(cost + more, cost))
    assert (worth(one, signs, costs) == mirrored).all(), "the other side of the mirrored market"
    dearer = TradeCosts(cost + more, cost + 2 * more)
    assert (worth(one, signs, dearer) <= worth(one, signs, costs)).all()
    best = max(float(np.where(signs > 0, long, short).max()), 0.0) + 1e-9
    assert not worth(one, signs, TradeCosts(best, best)).any()
    lifted = replace(one, gain_long=long + more, gain_short=short + more)
    assert (worth(lifted, signs, dearer) == worth(one, signs, costs)).all(), "a cost is so much less gain"


def test_a_training_row_is_of_the_bar_that_its_label_is_of() -> None:
    number = test_keys.FEATURES.select("open_time", "decision_time").with_row_index("number")
    bars = BarSeries.of(test_keys.BARS)
    data, _ = make_dataset(bars, number, as_settings({}).analyst, test_keys.M15.ms)
    assert np.array_equal(data.x[:, 0], data.start)
    came = bars.close[data.end] / bars.close[data.start] - 1
    assert np.corrcoef(data.gain_long, came)[0, 1] > 0.8
    assert (np.sign(data.gain_long) == data.outcome)[data.outcome != 0].all()


def test_a_claim_at_doubled_costs_is_worse_just_where_there_are_costs() -> None:
    def claim(**costs: float) -> object:
        options = as_settings({"analyst": test_keys.QUICK | {"allow_unproven": False}, "costs": costs})
        given_ = TrainingInput("k", "tape", "E", test_keys.M15, test_keys.BARS, test_keys.FEATURES, {})
        return train(given_, TrainingOptions.of(options), Tries.alone).claim

    free = claim(taker_fee_bps=0, slippage_bps=0, funding_bps=0)
    assert free.doubled_cost_sharpe_per_bar == free.sharpe_per_bar  # type: ignore[attr-defined]
    for name in ("taker_fee_bps", "slippage_bps", "funding_bps"):
        dear = claim(**{"taker_fee_bps": 0, "slippage_bps": 0, "funding_bps": 0, name: 0.01})
        assert dear.trades > 0  # type: ignore[attr-defined]
        assert dear.doubled_cost_sharpe_per_bar < dear.sharpe_per_bar  # type: ignore[attr-defined]
