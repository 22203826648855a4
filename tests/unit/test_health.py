"""Market health: each part by its own past, at every row as alone, and what is missing is unhealthy."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from support.market.bars import random_bars

from trader_cli.analyst.health import (
    HEALTH_COLUMNS,
    combined,
    freshness,
    from_bars_by_row,
    from_book,
    market_health,
    score_about,
)
from trader_cli.core.market.snapshot import MarketSnapshot
from trader_cli.core.market.timeframes import Timeframe
from trader_cli.core.types import Health
from trader_cli.features.bar_arrays import BarSeries

M15 = Timeframe.parse("15m")
WINDOW = 720
FRAME = random_bars(1600)
COLUMNS = tuple(HEALTH_COLUMNS.values())
BASIS, INTEREST, FUNDING = COLUMNS
MARKET = MarketSnapshot("tape", 0, 1440 * 50_000.0, ((99.99, 500.0),), ((100.01, 500.0),), 0.0001)


def beside(bars: BarSeries, **columns: NDArray[np.float64]) -> BarSeries:
    return replace(bars, extra=MappingProxyType(columns))


def told(seed: int = 1) -> dict[str, NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=FRAME.height) for name in COLUMNS}


def health(bars: BarSeries, snapshot: MarketSnapshot | None = MARKET) -> Health:
    return market_health(bars, M15.ms, snapshot, 1.0, 900)


def test_every_row_is_as_healthy_as_alone() -> None:
    """With holes in the bars, and in what lies beside them: open interest begins late, the basis is lost for a while."""
    columns = told()
    columns[INTEREST][:1000] = np.nan
    columns[BASIS][1200:1300] = np.nan
    columns[FUNDING] = np.round(columns[FUNDING])
    kept = np.ones(FRAME.height, dtype=bool)
    kept[[300, 1100, 1101, 1102, 1500]] = False
    bars = beside(
        BarSeries.of(FRAME.filter(pl.Series(kept))), **{name: values[kept] for name, values in columns.items()}
    )
    rows = np.array([5, 100, 400, 718, 719, 720, 990, 1005, 1102, 1190, 1250, 1400, len(bars) - 1])
    together = from_bars_by_row(bars, rows, WINDOW, M15.ms)
    seen: set[str] = set()
    for at, row in enumerate(rows.tolist()):
        alone = health(bars.cut(max(0, row + 1 - WINDOW), row + 1))
        mine = {name: float(values[at]) for name, values in together.items()}
        known = {name: value for name, value in mine.items() if not np.isnan(value)}
        assert known == {name: value for name, value in alone.components.items() if name in mine}
        seen |= set(mine) - set(known)
        assert (alone.components["basis"] == 0) == (1196 <= row < 1296), "it was told, and is not"
    assert seen == {"open_interest"}


@pytest.mark.parametrize("name", HEALTH_COLUMNS)
def test_the_further_from_its_usual_size_the_unhealthier_in_either_direction(name: str) -> None:
    bars, columns = BarSeries.of(FRAME), told()
    found = []
    for size in (0.0, 0.5, -1.0, 2.0, -9.0):
        changed = columns[HEALTH_COLUMNS[name]].copy()
        changed[-1] = size
        parts = health(beside(bars, **{**columns, HEALTH_COLUMNS[name]: changed})).components
        found.append(parts[name])
    assert found == sorted(found, reverse=True)
    assert (found[0] > 0.99, found[-1] < 0.01) == (True, True)


def test_missing_bars_are_unhealthy_the_more_of_them() -> None:
    bars = BarSeries.of(FRAME)
    found = [health(gapped(bars, missing)).components["gaps"] for missing in (0, 1, 12, 48)]
    assert found[0] == 1
    assert found == sorted(found, reverse=True)
    assert found[2] == 0.5
    assert health(gapped(bars, 48, back=120)).components["gaps"] == 1, "more than a day of bars ago"


def gapped(bars: BarSeries, missing: int, back: int = 20) -> BarSeries:
    keep = np.ones(len(bars), dtype=bool)
    keep[len(bars) - back - missing : len(bars) - back] = False
    return BarSeries.of(FRAME.filter(pl.Series(keep)))


@pytest.mark.parametrize(
    "book",
    [{"bids": ()}, {"asks": ()}, {"bids": ((100.01, 5.0),)}, {"bids": ((100.5, 5.0),)}],
    ids=["no bids", "no asks", "locked", "crossed"],
)
def test_an_empty_or_crossed_book_vetoes(book: dict[str, Any]) -> None:
    assert health(BarSeries.of(FRAME), replace(MARKET, **book)).score == 0


def test_about_the_score_is_about_the_score() -> None:
    rng = np.random.default_rng(4)
    n = 60
    bid = rng.uniform(99, 100, n)
    ask = bid + rng.choice([-0.01, 0.0, 0.01, 0.2], n)
    near = rng.choice([0.0, 1e3, 1e5], n), rng.choice([0.0, 1e3, 1e5], n)
    volume, rate = rng.uniform(1e6, 1e9, n), rng.normal(0, 1e-3, n)
    from_bars = {"volatility": rng.random(n), "basis": np.where(rng.random(n) < 0.5, np.nan, rng.random(n))}
    about = score_about(from_bars, (bid, ask), near, volume, rate)
    for at in range(n):
        best, around = (float(bid[at]), float(ask[at])), (float(near[0][at]), float(near[1][at]))
        parts = {name: float(values[at]) for name, values in from_bars.items()}
        book = from_book(best, around, float(volume[at]), float(rate[at]))
        exact = combined({**parts, **book, "freshness": freshness(0.0, 1.0)}).score
        assert about[at] == pytest.approx(exact, abs=1e-9)
