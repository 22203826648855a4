"""A week of virtual time of `trader run --forever` on three symbols: minutes of work, so not part of `make bench`."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from trader_cli.core.market.timeframes import Timeframe
from trader_cli.pipelines.trading.trading_run import run_forever
from trader_cli.settings import load_settings
from trader_cli.settings.workspace import workspace_of

SYMBOLS = ("ETHUSDT", "BTCUSDT", "SOLUSDT")
DAYS = 7


def run() -> None:
    """Print what the week came to: trades, what is open and protected, ledger against account."""
    with tempfile.TemporaryDirectory(prefix="trader-week-") as name:
        folder = Path(name)
        overrides = {"cache_dir": str(folder / "cache"), "state_dir": str(folder / "state")}
        settings = load_settings("sim", overrides=overrides)
        began = time.perf_counter()
        done = run_forever(workspace_of(settings), SYMBOLS, Timeframe.parse("15m"), for_s=DAYS * 86_400)
        print(f"a week of {len(SYMBOLS)} symbols: {time.perf_counter() - began:.0f} s, {done['trades']} trades")
        print(f"  ledger {done['profit']['ledger']}, account {done['profit']['account']}")
        for sentence in done["still_open"].values():
            print(f"  {sentence}")
