"""A backtest over real bars ends with a result that adds up, or says that there are too few."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.trading.sim_folder import sim_settings

from trader_cli.core.errors import DataError
from trader_cli.core.market.timeframes import Timeframe
from trader_cli.pipelines.backtests.backtest_request import WALK_FORWARD, BacktestRequest
from trader_cli.pipelines.backtests.backtest_run import run_backtest
from trader_cli.pipelines.stages.fetching import fetch
from trader_cli.pipelines.stages.model_stages import features
from trader_cli.settings import Workspace, workspace_of
from trader_cli.venue.simulated_market.tape_loading import load_bars_file

pytestmark = pytest.mark.slow
FOLDERS = ("um", "spot")
YEARS_MS = 3650 * 86_400_000


def outcome(folder: Path, file: Path) -> str:
    """What came of a backtest over the newer half of a file's last bars, at both speeds the same."""
    found = load_bars_file(file)[0]
    timeframe = max(found.timeframe, Timeframe.parse("15m"), key=lambda one: one.ms)
    changes = {"tape": str(file), "symbols": [found.symbol], "start": 0.999}
    settings = sim_settings(
        folder, sim=changes, fetch={"history_bars": 2500, "allow_gaps": True}, analyst={"allow_unproven": True}
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


@pytest.mark.parametrize("name", ["um/BTCUSDT-5m-2025.parquet"])
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
