"""Resamples, costs by kind and the same exposure held: by what must hold of them."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trader_cli.backtest.costs import cost_per_bar, costs_by_kind
from trader_cli.backtest.exposure_held import Closes, exposure_book
from trader_cli.backtest.figures import Figures
from trader_cli.backtest.records import EQUITY, FILLS, TRADES
from trader_cli.backtest.resampling import (
    DRAWS,
    MOST_PERIODS,
    block_length,
    drawdowns,
    drawn_blocks,
    intervals_of,
    joined_returns,
    paths,
    shuffled,
)
from trader_cli.core.errors import DataInvalid
from trader_cli.core.market.timeframes import Timeframe

HOUR = Timeframe.parse("1h")
START_MS = 1_704_067_200_000
walks = st.lists(st.floats(-0.2, 0.2), min_size=1, max_size=3000).map(np.array)


def times(count: int) -> list[int]:
    """Closes of so many hours."""
    return [START_MS + (n + 1) * HOUR.ms for n in range(count)]


def equity_of(levels: list[float]) -> pl.DataFrame:
    rows = [(at, level, level, 0.0) for at, level in zip(times(len(levels)), levels, strict=True)]
    return pl.DataFrame(rows, schema=EQUITY, orient="row")


def fill(at_ms: int, side: str, quantity: float, **told: object) -> tuple[object, ...]:
    row = {"time": at_ms, "symbol": "ETHUSDT", "plan": "p", "purpose": "entry", "side": side, "price": 100.0}
    row |= {"quantity": quantity, "fee": 0.0, "realised": 0.0, "reason": "entry", "maker": False, "reference": 100.0}
    return tuple((row | told).values())


def fills_of(*rows: tuple[object, ...]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=FILLS, orient="row")


@given(walks)
def test_joined_returns_come_to_the_same(returns: np.ndarray) -> None:
    joined = joined_returns(returns)
    assert len(joined) <= MOST_PERIODS
    assert np.prod(1 + joined) == pytest.approx(np.prod(1 + returns))


@given(st.integers(1, 400), st.integers(0, 5))
def test_blocks_are_whole_and_begin_everywhere(count: int, seed: int) -> None:
    drawn, length = drawn_blocks(np.arange(float(count)), seed, 40), block_length(count)
    assert drawn.shape == (40, count)
    steps = np.diff(drawn, axis=1) % count
    inside = (np.arange(1, count) % length) != 0
    assert np.all(steps[:, inside] == 1 % count)


@given(walks)
def test_other_orders_hold_the_same_trades(net: np.ndarray) -> None:
    assert np.all(np.sort(shuffled(net, 1, 5), axis=1) == np.sort(net))


@given(walks)
def test_a_path_falls_no_deeper_than_its_lowest(returns: np.ndarray) -> None:
    levels = paths(returns[None, :])
    found = drawdowns(levels)[0]
    assert -1 <= found <= 0
    assert found <= levels[0].min() / levels[0].max() - 1 + 1e-12 or levels[0].argmin() < levels[0].argmax()


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    held = 0
    for seed in range(120):
        returns = np.random.default_rng(seed).normal(0.001, 0.01, 400)
        found = intervals_of(returns, 1.0, seed).sharpe
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 0.1 <= found.high
    assert 0.85 < held / 120 < 0.995


def test_figures_of_another_version_are_refused() -> None:
    with pytest.raises(DataInvalid, match="another version"):
        Figures.from_dict({"risk": {}})


def test_too_little_has_no_interval() -> None:
    assert intervals_of(np.full(5, 0.01), 1.0).total_return.low is None
    assert DRAWS >= 500


def test_slippage_is_what_prices_were_worse_than_asked_whichever_side() -> None:
    rows = fills_of(
        fill(times(1)[0], "BUY", 2.0, price=101.0, fee=1.0),
        fill(times(2)[1], "SELL", 2.0, price=99.5, fee=0.5, maker=True),
    )
    trade = (times(1)[0], times(2)[1], "ETHUSDT", "p", "long", 2.0, 101.0, 99.5, -3.0, 1.8, -0.4, -4.4, "stop", 0)
    trades = pl.DataFrame([trade], schema=TRADES, orient="row")
    found = costs_by_kind(rows, trades)
    assert (found.taker_fees, found.maker_fees, found.slippage, found.funding) == (1.0, 0.5, 3.0, -0.4)
    assert found.liquidation == pytest.approx(0.3)
    assert found.fees == pytest.approx(1.8)
    equity = equity_of([1000.0] * 5)
    assert cost_per_bar(rows, equity).sum() == pytest.approx(found.slippage + 1.5 - 3.0)  # the first is before all rows


def test_holding_all_along_is_holding_the_same_exposure() -> None:
    """One unit bought at the beginning, its worth being the whole equity: nothing was earned beyond it."""
    close = 100 * np.cumprod(1 + np.random.default_rng(3).normal(0, 0.01, 300))
    bars = pl.DataFrame(
        {"open_time": [at - HOUR.ms for at in times(300)], "close": close},
        schema_overrides={"open_time": EQUITY["time"]},
    )
    book = exposure_book(
        equity_of(close.tolist()), fills_of(fill(START_MS, "BUY", 1.0)), {"ETHUSDT": Closes.of(bars, HOUR)}
    )
    assert np.allclose(book.net, 1)
    assert np.allclose(book.gross, 1)
    assert np.allclose(book.gains, book.held)


@given(st.floats(0.01, 5), st.sampled_from(["BUY", "SELL"]))
def test_a_mirrored_position_is_mirrored_exposure(quantity: float, side: str) -> None:
    close, equity = np.linspace(90, 120, 50), equity_of([1000.0] * 50)
    bars = pl.DataFrame(
        {"open_time": [at - HOUR.ms for at in times(50)], "close": close},
        schema_overrides={"open_time": EQUITY["time"]},
    )
    other = "SELL" if side == "BUY" else "BUY"
    closes = {"ETHUSDT": Closes.of(bars, HOUR)}
    one, two = (exposure_book(equity, fills_of(fill(times(9)[8], s, quantity)), closes) for s in (side, other))
    assert np.allclose(one.net, -two.net)
    assert np.allclose(one.gross, two.gross)
    assert np.all(one.net[:8] == 0)
    assert (one.net[-1] > 0) == (side == "BUY")


def test_a_position_that_was_closed_leaves_nothing() -> None:
    bars = pl.DataFrame(
        {"open_time": [at - HOUR.ms for at in times(30)], "close": np.full(30, 100.0)},
        schema_overrides={"open_time": EQUITY["time"]},
    )
    rows = fills_of(*(fill(times(3)[2], "BUY", 0.1) for _ in range(3)), fill(times(9)[8], "SELL", 0.30000000000000004))
    book = exposure_book(equity_of([1000.0] * 30), rows, {"ETHUSDT": Closes.of(bars, HOUR)})
    assert np.all(book.net[8:] == 0)
    assert np.all(book.net[2:8] > 0)
