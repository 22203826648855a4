"""Backtests at both speeds beside `run --forever` on one market, bundle and span: CPU seconds, equal fills first."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from trader_cli.core.market.timeframes import Timeframe
from trader_cli.pipelines.backtests.backtest_request import CURRENT, BacktestRequest, Speed
from trader_cli.pipelines.backtests.backtest_run import run_backtest
from trader_cli.pipelines.market_access import sim_tape
from trader_cli.pipelines.trading.trading_run import run_forever
from trader_cli.settings import load_settings, workspace_of
from trader_cli.storage.artifacts import ArtifactStore
from trader_cli.storage.ledger_reading import LedgerReading

SYMBOL, HOURS = "ETHUSDT", 12
SPEEDS: tuple[Speed, ...] = ("faithful", "fast")


def run() -> None:
    """Print CPU seconds a virtual hour of both, and their ratio."""
    quarter = Timeframe.parse("15m")
    with tempfile.TemporaryDirectory(prefix="trader-backtest-") as name:
        overrides = {"cache_dir": f"{name}/cache", "state_dir": f"{name}/state", "analyst": {"learners": 1}}
        workspace = workspace_of(load_settings("sim", overrides=overrides))
        began = sim_tape(workspace).at(workspace.settings.sim.start)
        run_forever(workspace, [SYMBOL], quarter, for_s=1)  # bars, features, certificate, model: in neither figure
        at = time.process_time()
        run_forever(workspace, [SYMBOL], quarter, for_s=HOURS * 3600)
        slow, spent = time.process_time() - at, dict[str, float]()
        for speed in SPEEDS:
            request = BacktestRequest((SYMBOL,), quarter, began, began + HOURS * 3_600_000, CURRENT, 1, speed)
            at = time.process_time()
            done = run_backtest(workspace, request)
            spent[speed] = time.process_time() - at
        fills = done.part(ArtifactStore(Path(name) / "cache"), "fills")
        with LedgerReading.shown(workspace.ledger_path) as ledger:
            booked = [] if ledger is None else [(f.side, float(f.price), float(f.quantity)) for f in ledger.fills()]
    assert fills is not None
    same = booked == fills.select("side", "price", "quantity").rows()
    held = done.figures.time_in_market
    print(f"{HOURS} virtual hours, held {held:.0%} of them: {len(booked)} fills, equal: {same}", flush=True)
    for speed, quick in spent.items():
        ours = f"{speed} backtest {quick / HOURS:.4f}; {slow / quick:.0f} times less"
        print(f"    CPU s an hour, loading counted: run --forever {slow / HOURS:.3f}, {ours}", flush=True)
