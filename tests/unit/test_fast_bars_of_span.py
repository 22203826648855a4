"""Bars that time entries must reach over what there is of a symbol in the span that is traded, and no further."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from trader_cli.core.errors import DataMissing
from trader_cli.core.market.schemas import TIME
from trader_cli.core.market.timeframes import HOUR_MS, Timeframe
from trader_cli.pipelines.backtests.backtest_run import _refuse_short

SLOW, FAST = Timeframe.parse("1h"), Timeframe.parse("5m")
SPAN = 1000 * HOUR_MS, 2000 * HOUR_MS


def bars(timeframe: Timeframe, first_ms: int, stop_ms: int) -> Any:
    opened = pl.Series("open_time", range(first_ms, stop_ms, timeframe.ms)).cast(TIME)
    return SimpleNamespace(timeframe=timeframe, bars=pl.DataFrame({"open_time": opened}))


def series(slow: tuple[int, int], fast: tuple[int, int]) -> Any:
    (first, stop), times = slow, [at * HOUR_MS for at in fast]
    own = bars(SLOW, first * HOUR_MS, stop * HOUR_MS)
    return SimpleNamespace(symbol="OLDUSDT", timeframe=SLOW, bars=own.bars, fast=bars(FAST, *times))


@pytest.mark.parametrize("span", [(900, 2100), (900, 1500), (1200, 2100)])
def test_a_symbol_may_end_or_begin_within_the_span(span: tuple[int, int]) -> None:
    _refuse_short([series(span, span)], SPAN)


@pytest.mark.parametrize(("slow", "fast"), [((900, 2100), (1100, 2100)), ((900, 1500), (900, 1400))])
def test_fast_bars_that_end_sooner_or_begin_later_than_the_symbols_own_are_refused(
    slow: tuple[int, int], fast: tuple[int, int]
) -> None:
    with pytest.raises(DataMissing, match="which time entries"):
        _refuse_short([series(slow, fast)], SPAN)
