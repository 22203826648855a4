"""A backtest over real bars ends with a result that adds up, or says that there are too few; a run on them trades alike."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.trading.sim_folder import sim_settings
from support.training.rule_sources import LEAD

from trader_cli.core.errors import DataError
from trader_cli.core.market.timeframes import Timeframe
from trader_cli.pipelines.backtests.backtest_request import CURRENT, WALK_FORWARD, BacktestRequest
from trader_cli.pipelines.backtests.backtest_run import run_backtest
from trader_cli.pipelines.market_access import sim_tape
from trader_cli.pipelines.stages.fetching import fetch
from trader_cli.pipelines.stages.model_stages import features, train
from trader_cli.pipelines.trading.trading_run import run_forever
from trader_cli.settings import Workspace, workspace_of
from trader_cli.storage.artifacts import ArtifactStore
from trader_cli.storage.ledger_reading import LedgerReading
from trader_cli.venue.simulated_market.tape_loading import load_bars_file

pytestmark = pytest.mark.slow
FOLDERS = ("um", "spot")
YEARS_MS, HOUR_MS = 3650 * 86_400_000, 3_600_000
TURNING = (
    LEAD.replace(
        "close[self.bars :] > close[: -self.bars]", "np.where(close[self.bars :] > close[: -self.bars], 1, -1)"
    )
    .replace("parameter(3,", "parameter(4,")
    .replace("parameter(0.01,", "parameter(0.004,")
)
"""With the last bars, always in."""


def outcome(folder: Path, file: Path) -> str:
    """What came of a backtest over the newer half of a file's last bars, at both speeds the same."""
    found = max(load_bars_file(file), key=lambda one: one.bars["open_time"][-1])  # a panel holds some that ended before
    timeframe = max(found.timeframe, Timeframe.parse("15m"), key=lambda one: one.ms)
    changes = {"tape": str(file), "symbols": [found.symbol], "start": 0.999}
    settings = sim_settings(
        folder, sim=changes, fetch={"history_bars": 2100, "allow_gaps": True}, analyst={"allow_unproven": True}
    )
    workspace: Workspace = workspace_of(settings)
    try:
        fetch(workspace, found.symbol, timeframe)
        features(workspace, found.symbol, timeframe)
        asked = (found.symbol,), timeframe, None, None, WALK_FORWARD, YEARS_MS
        fast, faithful = (run_backtest(workspace, BacktestRequest(*asked, speed)) for speed in ("fast", "faithful"))
    except DataError as error:
        return str(error)
    assert fast.manifest.chunks == faithful.manifest.chunks
    assert fast.figures.final_equity > 0
    return "traded"


@pytest.mark.parametrize(
    "name", ["um/SOLUSDT-5m-2025.parquet", pytest.param("um/BTCUSDT-5m-2025.parquet", marks=pytest.mark.long)]
)
def test_real_bars_are_traded(name: str, tmp_path: Path, market_data: Path) -> None:
    assert outcome(tmp_path, market_data / "klines" / name) == "traded"


@pytest.mark.long
@pytest.mark.parametrize("number", range(60))
def test_every_file_of_real_bars_is_traded_or_too_short(number: int, tmp_path: Path, market_data: Path) -> None:
    files = [file for name in FOLDERS for file in sorted((market_data / "klines" / name).glob("*.parquet"))]
    if number >= len(files):
        pytest.skip("no such file")
    said = outcome(tmp_path, files[number])
    assert said == "traded" or "bars" in said, files[number].name


@pytest.mark.parametrize(
    ("hours", "name", "start"),
    [
        (4, "BTCUSDT-5m-2025", 0.8),
        pytest.param(24, "BTCUSDT-5m-2025", 0.8, marks=pytest.mark.long),
        pytest.param(72, "BTCUSDT-5m-2025", 0.8, marks=pytest.mark.long),
        pytest.param(720, "ETHUSDT-5m-2023", 0.27, marks=pytest.mark.long),
    ],
)
def test_a_run_on_real_bars_trades_as_its_backtest_does(
    hours: int, name: str, start: float, tmp_path: Path, market_data: Path
) -> None:
    """A rule that is always in: stops, targets, times and turns of the side, on one real tape."""
    symbol, file = name.partition("-")[0], market_data / "klines" / "um" / f"{name}.parquet"
    (tmp_path / "turning.py").write_text(TURNING)
    settings = sim_settings(
        tmp_path,
        sim={"tape": str(file), "symbols": [symbol], "start": start},
        fetch={"history_bars": 2500, "allow_gaps": True},
        analyst={"allow_unproven": True},
        rule={"name": str(tmp_path / "turning.py")},
        tactician={"max_drawdown": 1.0, "max_daily_loss": 1.0},
        execution={"max_entries_per_hour": 60, "max_entries_per_day": 1000},
    )
    workspace, quarter = workspace_of(settings), Timeframe.parse("15m")
    fetch(workspace, symbol, quarter)
    features(workspace, symbol, quarter)
    train(workspace, symbol, quarter)
    begin = sim_tape(workspace).at(workspace.settings.sim.start)
    until = begin + hours * HOUR_MS
    run_forever(workspace, [symbol], quarter, for_s=(until - begin) // 1000 + 2 * quarter.ms // 1000)
    done = run_backtest(workspace, BacktestRequest((symbol,), quarter, begin, until, CURRENT, YEARS_MS, "fast"))
    fills = done.part(ArtifactStore(workspace.cache_dir), "fills")
    assert fills is not None
    with LedgerReading.shown(workspace.ledger_path) as ledger:
        assert ledger is not None
        booked = [fill for fill in ledger.fills() if fill.time_ms < until]
    names = ("time", "purpose", "side", "price", "quantity", "fee", "realised")
    expected = [(int(time.timestamp() * 1000 + 0.5), *rest) for time, *rest in fills.select(names).iter_rows()]
    assert len(expected) > hours / 3
    assert {"entry", "exit", *(("stop",) if hours >= 24 else ())} <= {purpose for _, purpose, *_ in expected}
    assert [
        (f.time_ms, f.purpose, f.side, float(f.price), float(f.quantity), float(f.commission), float(f.realized))
        for f in booked
    ] == expected
