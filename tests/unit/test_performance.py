"""Figures of a run: what is known of them without computing them the same way."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trader_cli.backtest.performance import risk_of, trade_figures

HOUR_MS = 3_600_000
YEAR = 8766
returns = st.lists(st.floats(-0.2, 0.2), min_size=2, max_size=60)


@given(returns)
def test_drawdown_is_between_minus_one_and_zero_and_no_step_is_deeper(moves: list[float]) -> None:
    equity = 100 * np.cumprod(1 + np.array(moves))
    found = risk_of(equity, 100.0, HOUR_MS)
    path = [100.0, *equity.tolist()]
    deepest = min(path[j] / path[i] - 1 for i in range(len(path)) for j in range(i, len(path)))
    assert found.drawdown == pytest.approx(deepest, abs=1e-12)
    assert 0 <= found.drawdown_ms <= len(path) * HOUR_MS


@given(returns, st.floats(0.1, 1000))
def test_money_in_other_units_changes_no_figure(moves: list[float], scale: float) -> None:
    equity = 100 * np.cumprod(1 + np.array(moves))
    one, other = risk_of(equity, 100.0, HOUR_MS), risk_of(equity * scale, 100.0 * scale, HOUR_MS)
    assert one.total_return == pytest.approx(other.total_return, abs=1e-9)
    assert one.drawdown == pytest.approx(other.drawdown, abs=1e-9)


def test_a_year_of_known_returns() -> None:
    """One up, one down, in turns: mean and deviation by hand."""
    moves = np.tile([0.02, -0.01], YEAR // 2)
    found = risk_of(100 * np.cumprod(1 + moves), 100.0, HOUR_MS)
    spread = 0.015 * math.sqrt(YEAR / (YEAR - 1))
    assert found.sharpe == pytest.approx(0.005 / spread * math.sqrt(365 * 24))
    assert found.sharpe_252 == pytest.approx(0.005 / spread * math.sqrt(252 * 24))
    assert found.sortino == pytest.approx(0.005 / (0.01 / math.sqrt(2)) * math.sqrt(365 * 24))
    assert found.annual_return == pytest.approx((1.02 * 0.99) ** (YEAR / 2) - 1)
    assert found.drawdown == pytest.approx(-0.01)
    assert not found.is_short


def test_a_year_is_not_told_of_a_day() -> None:
    found = risk_of(np.array([101.0, 102.0]), 100.0, HOUR_MS)
    assert (found.annual_return, found.calmar, found.is_short) == (None, None, True)


def test_what_has_no_value_is_none() -> None:
    flat = risk_of(np.full(100, 100.0), 100.0, HOUR_MS)
    assert (flat.sharpe, flat.sortino, flat.drawdown, flat.drawdown_ms) == (None, None, 0.0, 0)
    assert trade_figures(np.array([])).win_rate is None
    assert trade_figures(np.array([1.0, 2.0])).profit_factor is None


def test_the_interval_of_the_expectancy_holds_the_truth_as_often_as_it_says() -> None:
    held = 0
    for seed in range(200):
        net = np.random.default_rng(seed).normal(1.0, 5.0, 200)
        found = trade_figures(net, seed)
        assert found.expectancy_low is not None
        assert found.expectancy_high is not None
        held += found.expectancy_low <= 1.0 <= found.expectancy_high
    assert 0.88 < held / 200 < 0.99


def test_trades_that_hang_together_make_it_wider() -> None:
    rng = np.random.default_rng(1)
    apart = rng.normal(0, 1, 1000)
    together = np.repeat(rng.normal(0, 1, 100), 10)

    def width(net: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
        found = trade_figures(net)
        assert found.expectancy_low is not None
        assert found.expectancy_high is not None
        return found.expectancy_high - found.expectancy_low

    assert width(together) > 1.8 * width(apart)
