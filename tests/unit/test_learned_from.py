"""What a model is fitted on, calibrated on, and judged after: by changing just what it must not, or must, depend on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import test_analyst
import test_keys
from hypothesis import given, settings
from hypothesis import strategies as st

from trader_cli.analyst.boosting import CALIBRATION_SHARE, Rows, fit_calibrated
from trader_cli.analyst.decision import Choice, TradeCosts
from trader_cli.analyst.training import TrainingInput, make_dataset, train
from trader_cli.features.bar_arrays import BarSeries
from trader_cli.settings import as_settings
from trader_cli.settings.room_options import TrainingOptions

N, SPAN = 800, 60
EDGE = int(N * (1 - CALIBRATION_SHARE))


def rows(seed: int) -> Rows:
    """Labels that span 60 bars each, a bar apart."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(N, 3))
    classes = (x[:, 0] + rng.normal(size=N) > 0).astype(np.int64)
    start = np.arange(N, dtype=np.int64)
    return Rows(x, classes, np.ones(N), start, start + SPAN)


def fitted(given_: Rows) -> tuple[str, list[tuple[float, float]]]:
    made = fit_calibrated(given_, 2, test_analyst.SMALL, 7)
    assert made is not None
    return made.booster.model_to_string(), made.maps


def turned(given_: Rows, first: int, stop: int) -> Rows:
    classes = given_.classes.copy()
    classes[first:stop] = 1 - classes[first:stop]
    return replace(given_, classes=classes)


@pytest.mark.parametrize("seed", range(3))
def test_trees_know_nothing_of_the_rows_they_are_calibrated_on_nor_of_what_reaches_into_them(seed: int) -> None:
    usual = rows(seed)
    trees, maps = fitted(usual)
    reaching = turned(usual, EDGE - SPAN, EDGE)
    assert fitted(reaching) == (trees, maps), "labels that end in the last quarter"
    late_trees, late_maps = fitted(turned(usual, EDGE, N))
    assert late_trees == trees
    assert late_maps != maps, "the last quarter is what probabilities are calibrated on"
    assert fitted(turned(usual, 0, EDGE - SPAN))[0] != trees


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
        barrier=data.barrier[:n],
        gain_long=long,
        gain_short=short,
    )
    other = replace(one, gain_long=short, gain_short=long)
    p = np.full((n, 3), 1 / 3)

    def worth(rows_: object, signs: np.ndarray, costs: TradeCosts) -> np.ndarray:
        return np.asarray(rows_.meta_rows(p, Choice(signs.astype(np.int8), np.zeros(n), np.zeros(n)), costs).classes)  # type: ignore[attr-defined]

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
    moved = np.where(data.outcome == 0, data.gain_long, np.sign(data.outcome) * data.barrier)
    came = bars.close[data.end] / bars.close[data.start] - 1
    assert np.corrcoef(moved, came)[0, 1] > 0.8


def test_a_claim_at_doubled_costs_is_worse_just_where_there_are_costs() -> None:
    def claim(**costs: float) -> object:
        options = as_settings({"analyst": test_keys.QUICK | {"allow_unproven": False}, "costs": costs})
        given_ = TrainingInput("k", "tape", "E", test_keys.M15, test_keys.BARS, test_keys.FEATURES, {})
        return train(given_, TrainingOptions.of(options), list).claim

    free = claim(taker_fee_bps=0, slippage_bps=0, funding_bps=0)
    assert free.doubled_cost_sharpe_per_bar == free.sharpe_per_bar  # type: ignore[attr-defined]
    for name in ("taker_fee_bps", "slippage_bps", "funding_bps"):
        dear = claim(**{"taker_fee_bps": 0, "slippage_bps": 0, "funding_bps": 0, name: 1})
        assert dear.trades > 0  # type: ignore[attr-defined]
        assert dear.doubled_cost_sharpe_per_bar < dear.sharpe_per_bar  # type: ignore[attr-defined]
