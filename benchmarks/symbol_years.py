"""`trader backtest` by bundles on years of minute bars, beside a process that only reads the same files.

Bars are synthetic and stored as a fetch leaves them, with their flows and funding; features, certificates and models
are made before anything is measured. First a week is traded at both speeds, whose artifacts are equal to the byte.

`python -m benchmarks.symbol_years rare often ten` measures just these.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from benchmarks.timing import report
from benchmarks.versions import ROOT, compiled, spent, told

if TYPE_CHECKING:
    from trader_cli.settings import Workspace
    from trader_cli.venue.simulated_market.tape import SymbolTape

LEARNT_DAYS, LEAD, SEED = 120, 0.5, 11
PART_DAYS = 97
"""Over years a planted lead takes a price anywhere, down to its last tick: it is made in parts of so many days."""
NAMES = tuple(f"{letter * 3}USDT" for letter in "ABCDEFGHIJ")
READING = """
import sys, pathlib, numpy, polars, lightgbm
rows = 0
for path in sorted(pathlib.Path(sys.argv[1]).glob('**/chunks/**/*.parquet')):
    rows += polars.read_parquet(path).height
"""


@dataclass(frozen=True)
class Case:
    """Symbols traded over so many days after those their models are of, and settings that say how often."""

    symbols: tuple[str, ...]
    days: int
    settings: dict[str, Any]
    asked_s: str


RARE = {"costs": {"taker_fee_bps": 45}, "analyst": {"horizon_bars": 64}}
"""Costs at which a model of the planted lead hardly ever acts."""
OFTEN = {"analyst": {"horizon_bars": 10}}
CASES = {
    "rare": Case(NAMES[:1], 365, RARE, "4 s at some 500 trades"),
    "often": Case(NAMES[:1], 365, OFTEN, "10 s at 5,000 trades"),
    "one": Case(NAMES[:1], 730, RARE, "a tenth of ten, within 20 %"),
    "ten": Case(NAMES, 730, RARE, "90 s"),
}


def run(names: tuple[str, ...] = tuple(CASES)) -> None:
    """Print CPU seconds and memory of each case."""
    compiled(ROOT)
    for name in names:
        with tempfile.TemporaryDirectory(prefix="trader-years-") as folder:
            measure(name, CASES[name], Path(folder))


def measure(name: str, case: Case, folder: Path) -> None:
    """Prepare a case, compare both speeds over a week of it, and print what the whole of it takes.

    It is prepared in a process of its own: what a process ever held its children are said to have held as well.
    """
    subprocess.run(
        [sys.executable, "-m", "benchmarks.symbol_years", "prepare", name, str(folder)], cwd=ROOT, check=True
    )
    week = [_traded(case, folder, 7, speed)[2] for speed in ("fast", "faithful")]
    same = week[0]["figures"] == week[1]["figures"] and week[0]["backtest"] == week[1]["backtest"]
    assert same, "the two speeds differ"
    reading, _ = _spent([sys.executable, "-c", READING, str(folder / "cache")], folder)
    cpu_s, peak, said = _traded(case, folder, case.days, "fast")
    trades, years = said["figures"]["trades"]["count"], len(case.symbols) * case.days / 365
    print(f"{name}: {years:g} symbol-years, {trades} trades, a week of it equal at both speeds", flush=True)
    report("  trader backtest (process, CPU)", cpu_s, reading, "s", case.asked_s)
    print(f"    {cpu_s / years:.2f} s a symbol-year, at most {peak / 2**20:.0f} MiB (asked: under 1 GB)", flush=True)


def prepare(case: Case, folder: Path) -> None:
    """Bars, features and models of a case, as the stages leave them."""
    from trader_cli.core.market.timeframes import DAY_MS, Timeframe
    from trader_cli.pipelines.stages.model_stages import features, training_data
    from trader_cli.pipelines.stages.model_training import train_on
    from trader_cli.settings import load_settings, workspace_of
    from trader_cli.storage.artifacts import ArtifactStore, stage_key
    from trader_cli.venue.simulated_market.synthetic import START_MS

    (folder / "settings.yaml").write_text(json.dumps(settings_of(case)))
    places = {"cache_dir": str(folder / "cache"), "state_dir": str(folder / "state")}
    workspace = workspace_of(load_settings("paper", folder / "settings.yaml", overrides=places))
    store, quarter = ArtifactStore(workspace.cache_dir), Timeframe.parse("15m")
    for symbol in case.symbols:
        store_bars(workspace, store, long_tape(symbol, case.days + LEARNT_DAYS))
        features(workspace, symbol, quarter)
        given = training_data(workspace, store, symbol, quarter)
        made = train_on(workspace, store, given, until_ms=START_MS + LEARNT_DAYS * DAY_MS)
        store.point(stage_key(workspace.mode, symbol, quarter, "model"), made.digest, market=workspace.source)


def settings_of(case: Case) -> dict[str, Any]:
    """What all cases share, and the case's own."""
    shared: dict[str, Any] = {
        "analyst": {"learners": 1},
        "tactician": {"max_daily_loss": 0.9, "max_drawdown": 0.9},
    }
    return {name: {**shared.get(name, {}), **case.settings.get(name, {})} for name in {*shared, *case.settings}}


def long_tape(symbol: str, days: int) -> SymbolTape:
    """Parts of a synthetic market one after the other, mirrored where the price would leave half to twice its first."""
    from trader_cli.core.market.timeframes import DAY_MS, MINUTE_MS
    from trader_cli.venue.simulated_market.synthetic import synthetic_tape
    from trader_cli.venue.simulated_market.tape import TapeBars

    count, level, logs, volumes = days * DAY_MS // MINUTE_MS, 0.0, [], []
    for number in range(-(-days // PART_DAYS)):
        tape = synthetic_tape((symbol,), PART_DAYS, LEAD, SEED + number).symbols[symbol]
        paths = np.stack([tape.open, tape.high, tape.low, tape.close])
        logs.append(np.log(paths / tape.open[0]) + level)
        volumes.append(tape.volume)
        level = float(logs[-1][3, -1])
    reach, path = np.log(2), np.concatenate(logs, axis=1)[:, :count]
    mirrored = reach - np.abs((path + reach) % (4 * reach) - 2 * reach)
    prices = np.round(np.round(tape.open[0] * np.exp(mirrored) / tape.tick) * tape.tick, 8)
    times = tape.start_ms + MINUTE_MS * np.arange(count, dtype=np.int64)
    volume = np.concatenate(volumes)[:count]
    return tape.playing(TapeBars(times, prices[0], prices.max(axis=0), prices.min(axis=0), prices[3], volume))


def store_bars(workspace: Workspace, store: Any, tape: SymbolTape) -> None:
    """Minute bars and quarter hours with all their columns, and funding each eight hours, as a fetch leaves them."""
    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.venue.simulated_market.derived_series import FUNDING_INTERVAL_MS, derived_funding_rate
    from trader_cli.venue.simulated_market.symbol_market import SymbolMarket

    stamps = np.arange(tape.start_ms, tape.end_ms, FUNDING_INTERVAL_MS, dtype=np.int64)
    rates = [derived_funding_rate(tape.seed, at) for at in stamps.tolist()]
    paid = pl.DataFrame(
        {"time": stamps, "funding_rate": rates, "mark_price": pl.Series([None] * len(rates), dtype=pl.Float64)}
    )
    market = SymbolMarket(tape)
    for name in ("1m", "15m"):
        timeframe = Timeframe.parse(name)
        shown = market.closed_bars("last", timeframe, tape.start_ms, tape.end_ms)
        _publish(workspace, store, (tape.symbol, timeframe, "bars"), _bars_frame(shown, timeframe))
        _publish(workspace, store, (tape.symbol, timeframe, "funding"), paid)


def _bars_frame(shown: dict[str, Any], timeframe: Any) -> pl.DataFrame:
    from trader_cli.core.market.bars import with_close_time
    from trader_cli.core.market.schemas import BARS, TIME, check_schema

    times = pl.Series("open_time", shown["open_ms"].astype(np.int64)).cast(TIME)
    rest = {name: column for name, column in shown.items() if name != "open_ms"}
    return check_schema(with_close_time(pl.DataFrame({"open_time": times, **rest}), timeframe), BARS)


def _publish(workspace: Workspace, store: Any, what: tuple[str, Any, str], rows: pl.DataFrame) -> None:
    from trader_cli.core.identity.manifests import Manifest
    from trader_cli.core.market.schemas import TIME
    from trader_cli.storage.artifacts import span_of, stage_key

    (symbol, timeframe, stage), first = what, rows.columns[0]
    rows = rows.with_columns(pl.col(first).cast(TIME))
    parts = rows.with_columns(pl.col(first).dt.truncate("1mo").alias("month")).partition_by(
        "month", maintain_order=True
    )
    chunks = tuple(store.put_rows(stage, part.select(rows.columns)) for part in parts)
    count, first_ms, last_ms = span_of(chunks)
    manifest = Manifest(
        stage, "benchmark", workspace.source, symbol, timeframe.name, "", {}, chunks, count, first_ms, last_ms
    )
    store.publish(stage_key(workspace.mode, symbol, timeframe, stage), manifest)


def _traded(case: Case, folder: Path, days: int, speed: str) -> tuple[float, int, dict[str, Any]]:
    """(CPU s, peak bytes, what it says) of the command over so many days."""
    from datetime import UTC, datetime, timedelta

    from trader_cli.venue.simulated_market.synthetic import START_MS

    since = datetime.fromtimestamp(START_MS / 1000, UTC) + timedelta(days=LEARNT_DAYS)
    until = since + timedelta(days=days - 1)
    command = [
        sys.executable,
        "-m",
        "trader_cli",
        "backtest",
        *case.symbols,
        "--timeframe",
        "15m",
        "--model",
        "current",
    ]
    command += ["--since", f"{since:%Y-%m-%d}", "--until", f"{until:%Y-%m-%d}", "--speed", speed]
    command += ["--config", str(folder / "settings.yaml"), "--json"]
    return *_spent(command, folder), told(folder)


def _spent(command: list[str], folder: Path) -> tuple[float, int]:
    """(CPU seconds, peak bytes) of a process; what it says is in the file `said`."""
    places = {"TRADER_CACHE_DIR": str(folder / "cache"), "TRADER_STATE_DIR": str(folder / "state")}
    return spent(command, folder, {"PYTHONPATH": str(ROOT), **places})


if __name__ == "__main__":
    if sys.argv[1:2] == ["prepare"]:
        prepare(CASES[sys.argv[2]], Path(sys.argv[3]))
    else:
        run(tuple(sys.argv[1:]) or tuple(CASES))
