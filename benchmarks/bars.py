"""The quick engine on two years of minute bars, beside a process that only imports and reads what it reads.

SMA 20/50 cross, long, filled at the next open; fees, funding each eight hours, stops, targets and liquidation on. First
its trades, wallet and equity are compared with those of a plain loop over every bar: to the bit.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from benchmarks.timing import median_seconds, report
from benchmarks.versions import ROOT
from trader_cli.backtest.bar_engine import backtest_bars, trade_bars
from trader_cli.backtest.bar_values import Bars, BarTerms
from trader_cli.backtest.performance import risk_of
from trader_cli.features.rule import BarSignals

if TYPE_CHECKING:
    from numpy.typing import NDArray

COUNT, TICK = 1_051_200, 0.01
FUNDED_EACH = 480
TERMS = BarTerms(leverage=20.0, share=0.05)
COLUMNS = ("open_time", "open", "high", "low", "close")
READING = f"import numpy, polars; polars.read_parquet('FILE', columns={list(COLUMNS)})"
RUNNING = "from benchmarks.bars import of_file; of_file('FILE')"


def made(seed: int = 1) -> pl.DataFrame:
    """Bars of a random walk on ticks."""
    rng = np.random.default_rng(seed)
    close = np.round(3000 * np.exp(np.cumsum(rng.standard_normal(COUNT) * 6e-4)), 2)
    opened = np.concatenate([[3000.0], close[:-1]])
    high = np.round(np.maximum(opened, close) * (1 + rng.random(COUNT) * 4e-4), 2)
    low = np.round(np.minimum(opened, close) * (1 - rng.random(COUNT) * 4e-4), 2)
    times = np.arange(COUNT, dtype=np.int64) * 60_000
    return pl.DataFrame({"open_time": times, "open": opened, "high": high, "low": low, "close": close})


def bars_of(frame: pl.DataFrame) -> Bars:
    """With a funding rate of one basis point at each stamp."""
    rates = np.zeros(frame.height)
    rates[::FUNDED_EACH] = 1e-4
    return Bars(*(frame[name].to_numpy() for name in COLUMNS), rates)


def crossed(bars: Bars) -> BarSignals:
    """Long while the mean of 20 closes is above that of 50, compared in whole ticks."""
    sums = np.concatenate([[0], np.cumsum(np.rint(bars.close / TICK).astype(np.int64))])
    side = np.zeros(len(bars), dtype=np.int8)
    side[49:] = 5 * (sums[50:] - sums[30:-20]) > 2 * (sums[50:] - sums[:-50])
    return BarSignals(side, _all(bars, 0.01), _all(bars, 0.02))


def _all(bars: Bars, value: float) -> NDArray[np.float64]:
    return np.full(len(bars), value)


def of_file(path: str) -> None:
    """What the measured process does: read, run, equity, figures."""
    bars = bars_of(pl.read_parquet(path, columns=list(COLUMNS)))
    risk_of(backtest_bars(bars, crossed(bars), TERMS).equity, TERMS.wallet, 60_000)


def run() -> None:
    """Print the engine's speed, hot and as a process."""
    bars = bars_of(made())
    _require_equal(bars)
    trades, whole = median_seconds(
        lambda: trade_bars(bars, crossed(bars), TERMS),
        lambda: risk_of(backtest_bars(bars, crossed(bars), TERMS).equity, TERMS.wallet, 60_000),
    )
    print(f"{COUNT} bars hot: {COUNT / trades / 1e6:.1f} M bars/s with signals (asked: 20)", flush=True)
    print(f"    with equity and figures {COUNT / whole / 1e6:.1f} M bars/s (asked: 12)", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "bars.parquet"
        made().write_parquet(file, compression="lz4")
        ours, reading = median_seconds(*(lambda s=script: _process(s, file) for script in (RUNNING, READING)))
    report("read, trade, equity, figures (process)", ours, reading, "s", "1.7 times reading alone")


def _process(script: str, file: Path) -> None:
    subprocess.run([sys.executable, "-c", script.replace("FILE", str(file))], cwd=ROOT, check=True)


def _require_equal(bars: Bars) -> None:
    sys.path.insert(0, str(ROOT / "tests"))
    from support.backtest.plain_bar_loop import COLUMNS as TRADE_COLUMNS
    from support.backtest.plain_bar_loop import plain

    quick, slow = backtest_bars(bars, crossed(bars), TERMS), plain(bars, crossed(bars), TERMS)
    for name in TRADE_COLUMNS:
        assert np.array_equal(getattr(quick.trades, name), getattr(slow.trades, name)), name
    assert np.array_equal(quick.equity, slow.equity)
    print(f"{len(quick.trades)} trades and the equity equal a plain loop's, to the bit", flush=True)
