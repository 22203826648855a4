"""The quick engine on two years of minute bars, and the command around it, beside a process that only reads the bars.

SMA 20/50 cross, long, filled at the next open; fees, funding each eight hours, stops, targets and liquidation on. First
its trades, wallet and equity are compared with those of a plain loop over every bar: to the bit.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.children import EXTRAS
from benchmarks.timing import median_seconds, report
from benchmarks.versions import ROOT
from trader_cli.backtest.bar_engine import backtest_bars, trade_bars
from trader_cli.backtest.bar_values import Bars, BarTerms
from trader_cli.backtest.performance import risk_of
from trader_cli.core.market.timeframes import Timeframe
from trader_cli.features.rule import BarSignals, NamedRule, RuleBars
from trader_cli.features.rule_series import rule_signals
from trader_cli.features.rules.sma_cross import SmaCross

COUNT = 1_051_200
FUNDED_EACH = 480
MINUTE = Timeframe.parse("1m")
RULE = NamedRule("sma_cross", "of the package", SmaCross(stop=0.01, target=0.02, short=False))
TERMS = BarTerms(leverage=20.0, share=0.05)
COLUMNS = ("open_time", "open", "high", "low", "close")
READING = f"import numpy, polars; polars.read_parquet('FILE', columns={list(COLUMNS)})"
SYMBOL, BEGAN_MS = "ETHUSDT", 1_672_531_200_000
COMMAND = (
    *(sys.executable, "-m", "trader_cli", "backtest", SYMBOL, "--timeframe", "1m", "--since", "2023-01-01"),
    *("--rule", "sma_cross", "--set", "stop=0.01", "--set", "target=0.02", "--set", "short=false"),
    *("--on-bars", "--stake", "0.05", "--leverage", "20"),
)
FRAME = """
import pandas, polars
read = polars.read_parquet('FILE')
bars = pandas.DataFrame({name: read[name].to_numpy() for name in read.columns})
bars.index = pandas.to_datetime(bars.pop('open_time'), unit='ms')
"""
RIVALS = {
    "vectorbt, naive index, next open, 4 bps, without funding and liquidation": FRAME
    + """
import vectorbt
close = bars['close']
over = close.rolling(20).mean() > close.rolling(50).mean()
turns = over.astype(int).diff().shift(1)
done = vectorbt.Portfolio.from_signals(
    close, turns > 0, turns < 0, price=bars['open'], fees=0.0004, sl_stop=0.01, tp_stop=0.02, freq='1min'
)
print(done.trades.count(), 'trades', done.total_return(), done.sharpe_ratio(), done.max_drawdown())
""",
    "backtesting.py, 4 bps, without funding and liquidation": FRAME
    + """
import warnings
warnings.simplefilter('ignore')
from backtesting import Backtest, Strategy
bars.columns = [name.capitalize() for name in bars.columns]
class Cross(Strategy):
    def init(self):
        close = pandas.Series(self.data.Close)
        self.over = self.I(lambda: (close.rolling(20).mean() > close.rolling(50).mean()).astype(float), plot=False)
    def next(self):
        if self.over[-1] > self.over[-2]:
            price = self.data.Close[-1]
            self.buy(size=0.9, sl=price * 0.99, tp=price * 1.02)
        elif self.over[-1] < self.over[-2]:
            self.position.close()
print(Backtest(bars, Cross, cash=1e7, commission=0.0004, finalize_trades=True).run()['# Trades'], 'trades')
""",
}
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
    """Long while the mean of 20 closes is above that of 50, as the program asks the rule that ships."""
    return rule_signals(RULE, RuleBars(bars.open_ms, {"close": bars.close}), MINUTE)


def of_file(path: str) -> None:
    """What the measured process does: read, run, equity, figures."""
    bars = bars_of(pl.read_parquet(path, columns=list(COLUMNS)))
    risk_of(backtest_bars(bars, crossed(bars), TERMS).equity, TERMS.wallet, MINUTE.ms)


def run() -> None:
    """Print the engine's speed, hot and as a process, and that of the command around it."""
    bars = bars_of(made())
    _require_equal(bars)
    trades, whole = median_seconds(
        lambda: trade_bars(bars, crossed(bars), TERMS),
        lambda: risk_of(backtest_bars(bars, crossed(bars), TERMS).equity, TERMS.wallet, MINUTE.ms),
        cpu=True,
    )
    print(f"{COUNT} bars hot, CPU: {COUNT / trades / 1e6:.1f} M bars/s with signals (asked: 20)", flush=True)
    print(f"    with equity and figures {COUNT / whole / 1e6:.1f} M bars/s (asked: 12)", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "bars.parquet"
        made().write_parquet(file, compression="lz4")
        stored_in(Path(folder), made())
        reading, ours, command = median_seconds(
            lambda: _process([sys.executable, "-c", READING.replace("FILE", str(file))]),
            lambda: _process([sys.executable, "-c", RUNNING.replace("FILE", str(file))]),
            lambda: _process([*COMMAND], Path(folder)),
        )
    report("read, trade, equity, figures (process)", ours, reading, "s", "1.7 times reading alone")
    report("trader backtest --on-bars, artifact and trial (process)", command, ours, "s", "2.5 times that process")
    print(f"    {command / reading:.2f} times reading alone", flush=True)
    for name, script in RIVALS.items():
        _rival(name, script)


def stored_in(folder: Path, frame: pl.DataFrame) -> None:
    """The bars and their funding as a fetch leaves them: a chunk a month, under manifests."""
    from trader_cli.core.identity.manifests import Manifest
    from trader_cli.core.market.bars import with_close_time
    from trader_cli.core.market.schemas import BARS, TIME, check_schema
    from trader_cli.settings import workspace_of
    from trader_cli.storage.artifacts import ArtifactStore, span_of, stage_key

    workspace = workspace_of({"cache_dir": str(folder / "cache"), "state_dir": str(folder / "state")})
    store, times = ArtifactStore(workspace.cache_dir), pl.Series(frame["open_time"] + BEGAN_MS).cast(TIME)
    flows = {name: pl.lit(None, pl.Float64) for name in ("quote_volume", "taker_buy_base", "taker_buy_quote")}
    bars = frame.with_columns(times, pl.lit(1.0).alias("volume"), pl.lit(None, pl.Int64).alias("trades"), **flows)
    bars = check_schema(with_close_time(bars, MINUTE), BARS)
    paid = times[::FUNDED_EACH].alias("time")
    funding = pl.DataFrame(paid).with_columns(
        pl.lit(1e-4).alias("funding_rate"), pl.lit(None, pl.Float64).alias("mark_price")
    )
    for stage, rows in (("bars", bars), ("funding", funding)):
        month = pl.col(rows.columns[0]).dt.truncate("1mo").alias("month")
        parts = rows.with_columns(month).partition_by("month", maintain_order=True)
        chunks = tuple(store.put_rows(stage, part.select(rows.columns)) for part in parts)
        count, first, last = span_of(chunks)
        manifest = Manifest(
            stage, "benchmark", workspace.source, SYMBOL, MINUTE.name, "", {}, chunks, count, first, last
        )
        store.publish(stage_key(workspace.mode, SYMBOL, MINUTE, stage), manifest)


def _process(command: list[str], folder: Path = ROOT) -> None:
    places = {"TRADER_CACHE_DIR": str(folder / "cache"), "TRADER_STATE_DIR": str(folder / "state")}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **(places if folder != ROOT else {})}
    subprocess.run(command, cwd=folder, check=True, env=environment, stdout=subprocess.DEVNULL)


def _rival(name: str, script: str) -> None:
    """Another engine on the same bars, as a process of its own, where it is installed (`make .bench/vectorbt`)."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "bars.parquet"
        made().write_parquet(file, compression="lz4")
        environment = {**os.environ, "PYTHONPATH": str(EXTRAS / "vectorbt")}
        command = [sys.executable, "-c", script.replace("FILE", str(file))]
        began = time.perf_counter()
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        taken = time.perf_counter() - began
    said = ran.stdout.strip() if ran.returncode == 0 else "not installed: " + ran.stderr.strip().splitlines()[-1]
    print(f"    {name}: {taken:.1f} s; {said}", flush=True)


def _require_equal(bars: Bars) -> None:
    sys.path.insert(0, str(ROOT / "tests"))
    from support.backtest.plain_bar_loop import COLUMNS as TRADE_COLUMNS
    from support.backtest.plain_bar_loop import plain

    quick, slow = backtest_bars(bars, crossed(bars), TERMS), plain(bars, crossed(bars), TERMS)
    for name in TRADE_COLUMNS:
        assert np.array_equal(getattr(quick.trades, name), getattr(slow.trades, name)), name
    assert np.array_equal(quick.equity, slow.equity)
    print(f"{len(quick.trades)} trades and the equity equal a plain loop's, to the bit", flush=True)
