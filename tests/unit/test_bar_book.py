"""The claim's book trades as the fast engine does on an ideal market: every entry, every fill, every gain of a bar."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields, replace

import numpy as np
import pytest
from support.backtest.odd_forecasts import OddForecasts, odd_forecasts

from trader_cli.analyst.book import FilledTrades, Forecasts, filled_book
from trader_cli.analyst.decision import Costs
from trader_cli.backtest.bar_book import BarBook
from trader_cli.backtest.ideal_backtest import filled_of, trade_ideally
from trader_cli.core.market.timeframes import Timeframe
from trader_cli.features.bar_arrays import BarSeries
from trader_cli.pipelines.stages.book_maker import book_maker
from trader_cli.settings import as_settings
from trader_cli.settings.room_options import ManagementOptions
from trader_cli.venue.simulated_market.ideal_market import way_of

HOUR = Timeframe.parse("1h")
FREE = Costs(0.0, 0.0)


def by_the_book(odd: OddForecasts) -> FilledTrades:
    return book_maker(odd.settings)(odd.bars, odd.timeframe, odd.said)


def assert_same(mine: FilledTrades, theirs: FilledTrades) -> None:
    for column in fields(FilledTrades):
        one, other = getattr(mine, column.name), getattr(theirs, column.name)
        np.testing.assert_allclose(one.astype(np.float64), other.astype(np.float64), rtol=1e-9, err_msg=column.name)


@pytest.mark.parametrize("seed", [*range(14), 194, 205, 316])
def test_the_book_trades_as_the_fast_engine_on_an_ideal_market(seed: int) -> None:
    odd = odd_forecasts(seed)
    account = trade_ideally("ETHUSDT", odd.timeframe, odd.bars, odd.said, odd.terms)
    theirs = filled_of(account.records.frames()["fills"], odd.bars, odd.timeframe)
    mine = by_the_book(odd)
    assert_same(mine, theirs)
    span = int(odd.said.rows[0]) + 1, len(odd.bars) - 1
    both = [filled_book(trades, odd.bars.close, span, Costs(0.0007, 1e-6)) for trades in (mine, theirs)]
    np.testing.assert_allclose(both[0].gains, both[1].gains, rtol=0, atol=1e-9)
    assert both[0].trades == both[1].trades == len(mine)


def test_the_cases_hold_every_way_in_which_a_position_ends() -> None:
    seen: Counter[str] = Counter()
    for seed in range(12):
        odd = odd_forecasts(seed)
        account = trade_ideally("ETHUSDT", odd.timeframe, odd.bars, odd.said, odd.terms)
        seen.update(account.records.frames()["fills"]["reason"].to_list())
        levels = account.records.frames()["levels"]
        seen["tightened"] += levels.filter(levels["purpose"] == "stop").height - len(by_the_book(odd))
    ends = {"stop", "take_profit", "time", "high_risk", "medium_risk", "tightened"}
    assert all(seen[end] > 5 for end in ends), seen


@pytest.mark.parametrize("seed", range(8))
def test_gains_of_bars_add_up_to_what_the_trades_made(seed: int) -> None:
    odd = odd_forecasts(seed)
    trades = by_the_book(odd)
    book = filled_book(trades, odd.bars.close, (0, len(odd.bars) - 1), FREE)
    left = np.ones(len(trades))
    np.subtract.at(left, trades.of, trades.share)
    made = trades.side * left * (odd.bars.close[-1] / trades.price - 1)
    np.add.at(
        made, trades.of, trades.share * trades.side[trades.of] * (trades.exit_price / trades.price[trades.of] - 1)
    )
    assert book.gains.sum() == pytest.approx(made.sum(), abs=1e-9)
    assert (np.abs(book.exposure) <= 1 + 1e-12).all()


@pytest.mark.parametrize("seed", range(8))
def test_costs_only_ever_take(seed: int) -> None:
    odd = odd_forecasts(seed)
    trades, span = by_the_book(odd), (0, len(odd.bars) - 1)
    sums = [filled_book(trades, odd.bars.close, span, Costs(side, 0.0)).gains.sum() for side in (0.0, 0.001, 0.002)]
    assert sums[0] - sums[1] == pytest.approx(sums[1] - sums[2])
    assert sums[1] < sums[0]


@pytest.mark.parametrize("seed", range(6))
def test_what_comes_later_changes_no_trade_that_has_ended(seed: int) -> None:
    odd = odd_forecasts(seed)
    whole, cut = by_the_book(odd), len(odd.bars) * 2 // 3
    seen = odd.said.rows < cut
    said = Forecasts(
        *(getattr(odd.said, name)[seen] for name in ("rows", "probabilities", "side", "wanted", "barrier")),
        odd.said.horizon_bars,
    )
    part = book_maker(odd.settings)(odd.bars.cut(0, cut), odd.timeframe, said)
    done = whole.exit_row < cut - 1
    kept = part.exit_row < cut - 1
    for name in ("of", "exit_row", "exit_price", "share"):
        assert getattr(whole, name)[done].tolist() == getattr(part, name)[kept].tolist()


def bars_of(prices: list[tuple[float, float, float, float]]) -> BarSeries:
    opened, high, low, close = (np.array(column) for column in zip(*prices, strict=True))
    times = np.arange(len(prices), dtype=np.int64) * HOUR.ms
    return BarSeries(times, opened, high, low, close, np.ones(len(prices)))


def one_long(bars: BarSeries, barrier: float = 0.05, horizon: int = 3) -> FilledTrades:
    said = Forecasts(
        np.array([0]),
        np.array([[0.6, 0.4, 0.0]]),
        np.ones(1, np.int8),
        np.ones(1, np.bool_),
        np.array([barrier]),
        horizon,
    )
    settings = as_settings({})
    maker = BarBook(ManagementOptions.of(settings), settings.tactician)
    return maker(bars, HOUR, said)


FLAT = (100.0, 100.0, 100.0, 100.0)


def test_a_bar_that_falls_holds_its_high_first_so_a_target_comes_before_the_stop() -> None:
    falling = bars_of([FLAT, (100.0, 106.0, 94.0, 95.0), *[FLAT] * 4])
    rising = bars_of([FLAT, (100.0, 106.0, 94.0, 105.0), *[FLAT] * 4])
    assert one_long(falling).exit_price.tolist() == [pytest.approx(105.127, abs=1.0)]
    assert one_long(rising).exit_price[0] < 100
    assert way_of(falling)[1].tolist() == [100.0, 106.0, 94.0, 95.0]


def test_it_is_entered_at_the_next_open_and_left_at_the_open_behind_its_horizon() -> None:
    made = one_long(bars_of([FLAT, (101.0, 101.0, 101.0, 101.0), FLAT, FLAT, (102.0, 102.0, 102.0, 102.0), FLAT]))
    assert (made.start.tolist(), made.price.tolist()) == ([0], [101.0])
    assert (made.exit_row.tolist(), made.exit_price.tolist(), made.at_open.tolist()) == ([4], [102.0], [True])


def test_a_gap_beyond_the_stop_is_filled_at_the_open_and_one_beyond_the_drift_is_not_entered() -> None:
    gap = one_long(bars_of([FLAT, FLAT, (80.0, 80.0, 80.0, 80.0), FLAT, FLAT]))
    assert gap.exit_price.tolist() == [80.0]
    assert len(one_long(bars_of([FLAT, (98.0, 98.0, 98.0, 98.0), FLAT, FLAT]))) == 0


def test_nothing_that_is_not_wanted_is_traded() -> None:
    odd = odd_forecasts(3)
    none = replace(odd.said, wanted=np.zeros(len(odd.said.rows), np.bool_))
    assert len(book_maker(odd.settings)(odd.bars, odd.timeframe, none)) == 0
