"""Intervals for what price does by the horizon hold as often as they say, in calm and in wild markets."""

from __future__ import annotations

import numpy as np
import pytest

from trader_cli.analyst import return_interval
from trader_cli.analyst.return_interval import LEVEL, ReturnInterval, coverage, fitted_interval, measured_interval
from trader_cli.features.bar_arrays import BarSeries

STEP_MS, SPAN = 3_600_000, 64


def bars_of(close: np.ndarray) -> BarSeries:
    n = len(close)
    times = np.arange(n, dtype=np.int64) * STEP_MS
    volume = np.ones(n)
    return BarSeries(times, close, close, close, close, volume)


def clustered(seed: int, n: int) -> BarSeries:
    """GARCH(1, 1): its volatility clusters, and comes back to its mean."""
    rng, variance, returns = np.random.default_rng(seed), 1e-4, np.empty(n)
    for at in range(n):
        returns[at] = np.sqrt(variance) * rng.standard_normal()
        variance = 2e-6 + 0.10 * returns[at] ** 2 + 0.88 * variance
    return bars_of(np.exp(np.cumsum(returns)))


@pytest.mark.parametrize("horizon", [1, 12])
def test_it_holds_nine_in_ten_in_calm_and_wild_markets(horizon: int) -> None:
    """Pooled over markets: within 3 points in each fifth of volatility. In proportion to σ it would not."""
    told = [coverage(clustered(seed, 12_000), horizon, SPAN, STEP_MS) for seed in range(4)]
    for name in told[0]:
        assert abs(np.mean([one[name] for one in told]) - LEVEL) < 0.03, name


def test_a_power_of_nothing_and_of_all_is_found() -> None:
    rng = np.random.default_rng(1)
    sigma = np.exp(rng.normal(-4, 0.7, 20_000))
    noise = np.abs(rng.standard_normal(20_000))
    apart, alike = fitted_interval(noise * 0.01, sigma), fitted_interval(noise * sigma, sigma)
    assert apart is not None
    assert alike is not None
    assert apart.exponent < 0.05
    assert alike.exponent > 0.95
    assert alike.quantile == pytest.approx(1.645, rel=0.15)


def test_the_rank_counts_one_more_alike() -> None:
    """Of 200 moves of one σ it is the 181st that is not exceeded: ⌈201 · 0.9⌉."""
    size = np.arange(1.0, 201.0)
    assert fitted_interval(size, np.ones(200)) == ReturnInterval(1.0, 181.0)
    assert fitted_interval(size[:199], np.ones(199)) is None


def test_units_of_time_and_price_change_nothing() -> None:
    bars = clustered(5, 3000)
    shifted = BarSeries(bars.open_ms + 7 * STEP_MS, *(1000 * bars.close for _ in range(4)), bars.volume)
    one, other = (measured_interval(each, 4, SPAN, STEP_MS) for each in (bars, shifted))
    assert one is not None
    assert other is not None
    assert other.exponent == pytest.approx(one.exponent)
    assert other.quantile == pytest.approx(one.quantile)


def test_each_part_is_judged_by_what_had_ended_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten parts behind the first 18.5 %; the moves that a bar's own overlaps are not known at it."""
    learned: list[int] = []

    def noted(size: np.ndarray, sigma: np.ndarray) -> ReturnInterval | None:
        learned.append(len(size))
        return fitted_interval(size, sigma)

    monkeypatch.setattr(return_interval, "fitted_interval", noted)
    n, horizon = 4000, 12
    coverage(clustered(9, n), horizon, SPAN, STEP_MS)
    moves = n - horizon - SPAN
    begins = np.linspace(int(moves * 0.185), moves, 11).astype(int)[:-1]
    assert learned == (begins - horizon + 1).tolist()


def test_moves_across_a_gap_are_left_out() -> None:
    bars = clustered(3, 2000)
    times, leaps = bars.open_ms.copy(), np.ones(2000)
    for at in range(10, 2000, 5):
        times[at:] += STEP_MS
        leaps[at] = 1.5 if at % 2 else 1 / 1.5
    leap = bars.close * np.cumprod(leaps)
    held = measured_interval(BarSeries(times, leap, leap, leap, leap, bars.volume), 1, SPAN, STEP_MS)
    assert held is not None
    assert held.reach(np.array([0.2]))[0] < 0.1


def test_too_few_moves_tell_nothing() -> None:
    assert measured_interval(clustered(1, 200), 24, SPAN, STEP_MS) is None
    assert coverage(clustered(1, 30), 24, SPAN, STEP_MS) == {}
