"""Levels to read: where the market turned more than once, none wider than half an average range, recent turns first."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from support.market.bars import random_bars

from trader_cli.analyst.price_levels import Level, price_levels, support_and_resistance
from trader_cli.features.bar_arrays import BarSeries
from trader_cli.features.families.levels import average_range

BAR_MS = 3_600_000
HALF_LIFE = 100


def bars_through(turns: list[float], apart: int = 8) -> BarSeries:
    """Bars that go straight from one turn to the next, with a narrow range each."""
    close = np.concatenate([np.linspace(a, b, apart, endpoint=False) for a, b in zip(turns, turns[1:], strict=False)])
    return bars_of(close, close + 0.01, close - 0.01)


def bars_of(close: NDArray[np.float64], high: NDArray[np.float64], low: NDArray[np.float64]) -> BarSeries:
    return BarSeries(np.arange(len(close)) * BAR_MS, close, high, low, close, np.ones(len(close)))


def test_turns_at_two_prices_are_support_and_resistance_and_their_strength_is_recency() -> None:
    bars = bars_through([105, 100, 110, 100.001, 110.001, 100, 110, 105])
    told = support_and_resistance(bars)
    assert told["support"] == pytest.approx(100, abs=0.02)
    assert told["resistance"] == pytest.approx(110, abs=0.02)
    ages = [len(bars) - 1 - 3 - 8 * turn for turn in (1, 3, 5)]
    assert told["support_strength"] == pytest.approx(sum(2 ** (-age / HALF_LIFE) for age in ages))
    assert (told["resistance_strength"] or 0) > (told["support_strength"] or 0), "its turns are the more recent ones"


def test_turns_in_small_steps_are_not_one_level() -> None:
    """Each turn lies well within the radius of the one before it; the last is far above the first."""
    turns = [point for step in range(40) for point in (100 + 0.2 * step, 105 + 0.2 * step)]
    bars = bars_through(turns)
    radius = average_range(bars)[-1] / 2
    assert radius > 0.2
    levels = price_levels(bars)
    assert max(level.touches for level in levels) <= 2 * (2 * radius / 0.2 + 1), "lows and highs each 0.2 apart"
    assert len(levels) > 10


def test_a_price_turned_at_once_is_no_level_and_no_turn_is_none() -> None:
    nothing = dict.fromkeys(("support", "support_strength", "resistance", "resistance_strength"))
    assert support_and_resistance(bars_through([105, 100, 110, 104])) == nothing
    assert support_and_resistance(bars_through([100, 101])) == nothing


def test_a_turn_counts_from_the_third_bar_after_it() -> None:
    bars = bars_through([105, 100, 110, 100, 105])
    assert support_and_resistance(bars.cut(0, 27))["support"] is None
    assert support_and_resistance(bars.cut(0, 28))["support"] == pytest.approx(100, abs=0.02)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(8, 900))
def test_no_turn_counts_twice_and_the_strongest_level_is_first(seed: int, n: int) -> None:
    levels = price_levels(BarSeries.of(random_bars(n, seed=seed)))
    assert sum(level.touches for level in levels) <= n // 2
    assert all(0 < level.strength <= level.touches and level.touches >= 2 for level in levels)
    assert [level.strength for level in levels] == sorted((level.strength for level in levels), reverse=True)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_levels_scale_with_prices_and_are_mirrored_with_them(seed: int) -> None:
    bars = BarSeries.of(random_bars(700, seed=seed))
    levels = price_levels(bars)
    scaled = price_levels(bars_of(bars.close * 1024, bars.high * 1024, bars.low * 1024))
    assert scaled == [Level(level.price * 1024, level.touches, level.strength) for level in levels]
    top = 2**13
    mirrored = price_levels(bars_of(top - bars.close, top - bars.low, top - bars.high))
    assert [top - level.price for level in mirrored] == pytest.approx([level.price for level in levels])
