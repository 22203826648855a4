"""What the market shows at many moments at once is what it shows at each; what is told on the way is told looking back."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_path_runs import BARS, BASE, DRAWS, START_MS, random_tape

from trader_cli.core.market.bars import with_close_time
from trader_cli.core.market.doubtful_rows import doubts_by_row
from trader_cli.core.market.quality import doubtful_bars
from trader_cli.core.market.schemas import TIME
from trader_cli.core.market.timeframes import DAY_MS, HOUR_MS, MINUTE_MS, Timeframe
from trader_cli.core.money.equity_levels import EquityLevels
from trader_cli.core.money.loss_limits import (
    EquityHistory,
    EquityPoint,
    LossLimits,
    breaches,
    limits_broken,
    worth_keeping,
)
from trader_cli.venue.simulated_market.derived_series import index_at, index_price
from trader_cli.venue.simulated_market.intrabar_path import uniform_at, uniforms, uniforms_at
from trader_cli.venue.simulated_market.many_moments import books_at, prices_at
from trader_cli.venue.simulated_market.symbol_market import SymbolMarket
from trader_cli.venue.simulated_market.tape import SymbolTape

M15 = Timeframe.parse("15m")


def moments(seed: int) -> np.ndarray:
    dice = np.random.default_rng(seed)
    return np.sort(START_MS + dice.integers(-BASE.ms, (BARS + 2) * BASE.ms, DRAWS))


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_prices_and_turnover_of_many_moments_are_those_of_each(seed: int) -> None:
    tape, times = random_tape(seed), moments(seed)
    assert prices_at(tape, times).tolist() == [SymbolMarket(tape).last_price(now) for now in times.tolist()]
    shown = [SymbolMarket(tape).day(now).quote_volume for now in times.tolist()]
    assert SymbolMarket(tape).day_quote_volumes(times).tolist() == shown
    assert [SymbolMarket(tape).day_quote_volume(now) for now in times.tolist()] == shown


def plain_book(tape: SymbolTape, now: int, last: float, levels: int) -> list[float]:
    """Best bid and ask of the formula as it was written down for one moment."""
    under_way = int(np.searchsorted(tape.open_ms, now - tape.timeframe.ms, side="right"))
    recent = slice(max(0, under_way - max(1, HOUR_MS // tape.timeframe.ms)), under_way)
    spread = tape.tick
    if under_way:
        spread = max(tape.tick, 0.02 * float((tape.high[recent] - tape.low[recent]).mean()))
    half, gap = max(1, round(spread / (2 * tape.tick))), max(1, round(last * 0.5e-4 / tape.tick))
    return (last - tape.tick * (half + gap * np.arange(levels))).tolist()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_books_of_many_moments_are_those_of_each(seed: int) -> None:
    tape, times = random_tape(seed), moments(seed)
    last = prices_at(tape, times)
    books, market = books_at(tape, times, last, 20), SymbolMarket(tape)
    for at, now in enumerate(times.tolist()):
        sides = [
            list(zip(prices[at].tolist(), sizes[at].tolist(), strict=True))
            for prices, sizes in (books.bids, books.asks)
        ]
        assert (sides[0], sides[1]) == market.book(now, 20)
        assert books.bids[0][at].tolist() == plain_book(tape, now, float(last[at]), 20)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**62))
def test_seeded_numbers_and_the_index_of_one_moment_are_those_of_many(seed: int) -> None:
    keys = np.random.default_rng(seed).integers(-(2**40), 2**62, 20)
    for key, row in zip(keys.tolist(), uniforms(seed, keys, 7).tolist(), strict=True):
        assert uniforms_at(seed, key, 7).tolist() == row
        assert uniform_at(seed, key) == row[0]
    opened = START_MS + 60_000 * np.arange(400)
    prices = np.random.default_rng(seed).uniform(0.001, 90_000, 400)
    alone = [index_at(seed, at, price) for at, price in zip(opened.tolist(), prices.tolist(), strict=True)]
    assert alone == index_price(seed, opened, prices).tolist()


def odd_bars(seed: int, count: int) -> pl.DataFrame:
    """Bars in which each kind of doubt is planted now and then, on a fine or a coarse grid, with holes."""
    dice = np.random.default_rng(seed)
    places = int(dice.integers(0, 4))
    moves = dice.normal(0, 10 ** dice.uniform(-4, -2), count)
    prints = dice.integers(5, count - 5, 4)
    moves[prints] += 0.4
    moves[prints + 1] -= 0.4
    moves[dice.integers(0, count, 1)] += 1.5
    close = 100 * np.exp(np.cumsum(moves))
    opened = np.concatenate([[100.0], close[:-1]])
    frame = {"open": opened, "high": np.maximum(opened, close), "low": np.minimum(opened, close), "close": close}
    volume = dice.uniform(1, 90, count)
    for at in dice.integers(3, count - 8, 3).tolist():
        line = slice(at, at + int(dice.integers(3, 6)))
        for column in (*frame.values(), volume):
            column[line] = np.linspace(column[at - 1], column[at + 6], 8)[1 : 1 + line.stop - line.start]
    for at in dice.integers(3, count - 8, 2).tolist():
        volume[at : at + 4] = 0.0
        for column in frame.values():
            column[at : at + 4] = close[at - 1]
    kept = dice.random(count) > 0.02
    times = pl.Series((np.arange(count, dtype=np.int64) * M15.ms + 1_704_067_200_000)[kept])
    rounded = {name: np.maximum(column.round(places), 10.0**-places)[kept] for name, column in frame.items()}
    rounded["volume"] = volume.round(3)[kept]
    return with_close_time(pl.DataFrame({"open_time": times.cast(TIME), **rounded}), M15)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in (1, 2))])
def test_doubts_by_row_are_those_of_each_row(seed: int) -> None:
    bars, window = odd_bars(seed, 400), 330
    told = {
        row: found
        for row in range(bars.height)
        if (found := doubtful_bars(bars[max(0, row + 1 - window) : row + 1], M15, 3))
    }
    assert told
    assert doubts_by_row(bars, M15, window, 3) == told


def test_what_a_look_sees_and_books_in_one_moment_counts_once() -> None:
    """An exit that a look makes is in the wallet it sees: what it brought is not added to that."""
    levels, now = EquityLevels(Decimal(1000)), 1_704_067_200_000
    levels.book([(now, Decimal(50))])
    levels.keep(EquityPoint(now, Decimal(1050), Decimal(1050)))
    later = EquityPoint(now + 10_000, Decimal(1050), Decimal(1040))
    assert levels.peak(later) == Decimal(1050)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_levels_told_on_the_way_are_those_told_looking_back(seed: int) -> None:
    """Looks in bursts and hours apart, bookings between them and before any look."""
    dice = np.random.default_rng(seed)
    limits, levels, seen = LossLimits(0.03, 0.1), EquityLevels(Decimal(10_000)), list[EquityPoint]()
    now, wallet, flows = 1_704_067_200_000 + int(dice.integers(DAY_MS)), Decimal(10_000), list[tuple[int, Decimal]]()
    for _ in range(120):
        now += int(dice.choice([10_000, 10_000, MINUTE_MS, HOUR_MS, DAY_MS // 3]))
        fresh = []
        for _ in range(int(dice.integers(0, 3))):
            amount = Decimal(int(dice.integers(-30_000, 30_000))).scaleb(-2)
            fresh.append((now - int(dice.choice([0, 700, 5_000])), amount))
            wallet += amount
        flows += sorted(fresh, key=lambda flow: flow[0])
        flows.sort(key=lambda flow: flow[0])
        levels.book(sorted(fresh, key=lambda flow: flow[0]))
        look = EquityPoint(now, wallet, wallet + Decimal(int(dice.integers(-50_000, 50_000))).scaleb(-2))
        history = EquityHistory(seen)
        expected = breaches(flows, look.wallet, look.equity - look.wallet, limits, now, history=history)
        opened, peak = levels.opened(now // DAY_MS * DAY_MS, look), levels.peak(look)
        assert limits_broken(opened, peak, look.equity, limits, now) == expected
        levels.keep(look)
        if worth_keeping(history, look):
            seen.append(look)
