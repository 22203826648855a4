"""Frames of a backtest on bare bars: the money of its trades, told fill by fill and bar by bar."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from support.backtest.bar_tapes import MINUTE_MS, odd_bars, odd_signals, odd_terms

from trader_cli.backtest.bar_engine import backtest_bars
from trader_cli.backtest.bar_frames import frames_of
from trader_cli.backtest.bar_values import Reason
from trader_cli.backtest.costs import costs_by_kind
from trader_cli.backtest.records import SHAPES
from trader_cli.core.market.schemas import milliseconds


def test_fills_trades_and_equity_tell_the_same_money() -> None:
    met = np.zeros(len(Reason), dtype=int)
    for seed in range(150):
        rng = np.random.default_rng(seed)
        count = int(rng.integers(2, 400))
        bars, signals, terms = odd_bars(rng, count), odd_signals(rng, count), odd_terms(rng)
        done = backtest_bars(bars, signals, terms)
        frames = frames_of(done, bars, terms, "ETHUSDT", MINUTE_MS)
        assert {name: dict(frame.schema) for name, frame in frames.items()} == {n: dict(s) for n, s in SHAPES.items()}
        fills, trades, equity = frames["fills"], frames["trades"], frames["equity"]
        closed = trades.filter(pl.col("closed").is_not_null())
        assert fills["time"].is_sorted()
        assert fills.height == trades.height + closed.height
        assert closed["closed"].ge(closed["opened"]).all()
        assert fills["fee"].sum() == pytest.approx(trades["fees"].sum(), abs=1e-9)
        assert fills["realised"].sum() == pytest.approx(trades["realised"].sum(), abs=1e-9)
        assert fills.filter(pl.col("maker"))["reason"].to_list() == ["target"] * int(fills["maker"].sum())
        assert fills.filter(pl.col("reason") == "target")["maker"].all()
        costs = costs_by_kind(fills, trades)
        assert costs.fees + costs.funding == pytest.approx((trades["fees"] + trades["funding"]).sum(), abs=1e-9)
        assert costs.liquidation == pytest.approx(0.0, abs=1e-9)
        assert costs.slippage >= -1e-9, "slippage is never in our favour"
        assert equity["wallet"][-1] == pytest.approx(terms.wallet + closed["net"].sum(), rel=1e-9, abs=1e-9)
        flat = (equity["exposure"] == 0).to_numpy()
        assert equity["equity"].to_numpy()[flat] == pytest.approx(equity["wallet"].to_numpy()[flat], rel=1e-9, abs=1e-9)
        assert equity["exposure"].ge(0).all()
        assert np.array_equal(milliseconds(equity["time"]), bars.open_ms + MINUTE_MS - 1)
        met += np.bincount(done.trades.reason, minlength=len(Reason))
    assert (met > 5).all(), "every way to end was met"


def test_what_never_trades_has_no_rows_but_equity() -> None:
    rng = np.random.default_rng(0)
    bars, signals, terms = odd_bars(rng, 50), odd_signals(rng, 50), odd_terms(rng)
    signals.side[:] = 0
    frames = frames_of(backtest_bars(bars, signals, terms), bars, terms, "ETHUSDT", MINUTE_MS)
    assert {name: frame.height for name, frame in frames.items()} == {**dict.fromkeys(SHAPES, 0), "equity": 50}
    assert set(frames["equity"]["wallet"]) == {terms.wallet}
