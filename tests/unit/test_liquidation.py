"""How likely mark touches liquidation: against paths, as uncertain as volatility is, by the symbol's own bracket."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from numpy.typing import NDArray

from trader_cli.analyst.labels import trailing_volatility
from trader_cli.analyst.sigma_uncertainty import LEAST, MOST, measured_uncertainty
from trader_cli.core.money.liquidation import liquidation_price, touch_probability
from trader_cli.core.types import Side
from trader_cli.features.bar_arrays import BarSeries

Floats = NDArray[np.float64]
BAR_MS = 3_600_000
PATHS, STEPS = 100_000, 4
DAY = 0.8 / math.sqrt(365)
"""σ of a day at 80 % a year."""


def bridged(distance: float, uncertainty: float, sign: int) -> tuple[float, float]:
    """(P, its standard error) that paths with a σ each touch a log price so far away, between their steps by bridges."""
    rng = np.random.default_rng(7)
    spread = rng.permutation([NormalDist().inv_cdf((k + 0.5) / PATHS) for k in range(PATHS)])
    sigma = DAY * np.exp(uncertainty * spread - 0.5 * uncertainty**2)
    step = sigma / math.sqrt(STEPS)
    at, missed = np.zeros(PATHS), np.ones(PATHS)
    for _ in range(STEPS):
        then = at + sign * step * rng.normal(size=PATHS)
        near, far = distance - at, distance - then
        missed *= np.where((near > 0) & (far > 0), -np.expm1(-2 * near * far / step**2), 0.0)
        at = then
    touched = 1 - missed
    return float(touched.mean()), float(touched.std() / math.sqrt(PATHS))


@pytest.mark.parametrize("side", ["long", "short"])
@pytest.mark.parametrize("uncertainty", [0.0, 0.3, 0.45, 0.6, 0.9])
def test_it_is_what_paths_with_bridges_come_to(side: Side, uncertainty: float) -> None:
    for leverage in (2, 3, 5, 10, 20, 50):
        level = liquidation_price(1.0, leverage, side, 0.004)
        found, error = bridged(abs(math.log(level)), uncertainty, 1 if side == "short" else -1)
        assert touch_probability(1.0, level, DAY, uncertainty) == pytest.approx(found, abs=max(3 * error, 1e-5))


def bars_whose_volatility_varies(uncertainty: float, n: int = 40_000) -> BarSeries:
    """Bars of 60 steps each; ln σ is another every 24 bars."""
    rng = np.random.default_rng(3)
    sigma = 0.001 * np.exp(uncertainty * np.repeat(rng.normal(size=n // 24 + 1), 24)[:n])
    steps = rng.normal(size=(n, 60)) * sigma[:, None]
    inside = np.cumsum(steps, axis=1)
    before = np.concatenate([[0.0], np.cumsum(inside[:-1, -1])])
    path = before[:, None] + inside
    open_, high, low = before, np.maximum(before, path.max(axis=1)), np.minimum(before, path.min(axis=1))
    prices = (100 * np.exp(one) for one in (open_, high, low, path[:, -1]))
    return BarSeries(np.arange(n) * BAR_MS, *prices, volume=np.ones(n))


@pytest.mark.parametrize("horizon", [4, 24])
def test_with_the_measured_uncertainty_levels_are_touched_as_often_as_they_were(horizon: int) -> None:
    bars = bars_whose_volatility_varies(0.3)
    measured = measured_uncertainty(bars, horizon, 64, BAR_MS)
    starts = np.arange(64, len(bars) - horizon, horizon)
    sigma = trailing_volatility(bars.close, 64)[starts] * math.sqrt(horizon)
    windows = np.lib.stride_tricks.sliding_window_view(bars.high, horizon)
    highest = np.log(windows[starts + 1].max(axis=1) / bars.close[starts])
    for away in (2.0, 3.0):
        seen = (highest >= away * sigma).mean()
        error = math.sqrt(seen * (1 - seen) / len(starts))
        assert touch_probability(1.0, math.exp(away), 1.0, measured) == pytest.approx(seen, abs=4 * error)


def test_calm_bars_are_less_uncertain_and_few_bars_as_uncertain_as_is_supposed() -> None:
    calm, wild = (measured_uncertainty(bars_whose_volatility_varies(u), 4, 64, BAR_MS) for u in (0.0, 0.9))
    assert LEAST <= calm < 0.25
    assert 0.7 < wild <= MOST < 1
    assert measured_uncertainty(bars_whose_volatility_varies(0.0, 48), 24, 64, BAR_MS) == pytest.approx(0.6, abs=1e-3)


def test_windows_across_a_gap_are_left_out() -> None:
    bars = bars_whose_volatility_varies(0.3, 960)
    behind = np.arange(len(bars)) >= 492
    prices = (one * np.where(behind, 3.0, 1.0) for one in (bars.open, bars.high, bars.low, bars.close))
    gapped = BarSeries(bars.open_ms + BAR_MS * behind, *prices, volume=bars.volume)
    assert measured_uncertainty(gapped, 24, 24, BAR_MS) <= measured_uncertainty(bars, 24, 24, BAR_MS)
