"""The fast backtest and the faithful one are the same backtest: every fill, decision, trade and row of equity."""

from __future__ import annotations

from pathlib import Path

import pytest
from polars.testing import assert_frame_equal
from support.backtest.two_speeds import faithfully, fast, odd_market

from trader_cli.backtest.backtest_account import BacktestAccount


def assert_same(one: BacktestAccount, other: BacktestAccount) -> None:
    a, b = one.venue.engine.account, other.venue.engine.account
    assert a.fills == b.fills
    assert a.income == b.income
    assert (a.wallet, a.positions, a.orders, a.algos) == (b.wallet, b.positions, b.orders, b.algos)
    assert one.halted == other.halted
    for name, frame in one.records.frames().items():
        assert_frame_equal(frame, other.records.frames()[name], check_exact=True)


@pytest.mark.parametrize("seed", range(12))
def test_both_speeds_trade_the_same(tmp_path: Path, seed: int) -> None:
    market = odd_market(seed)
    assert_same(faithfully(market, tmp_path), fast(market, tmp_path))
