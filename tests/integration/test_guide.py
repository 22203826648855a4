"""Every Python block of the guide runs as written, in order, in virtual time against the venue; so do its commands."""

from __future__ import annotations

import ast
import asyncio
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from trader_cli.core.market.timeframes import Timeframe
from trader_cli.pipelines.market_access import Market
from trader_cli.pipelines.stages.model_stages import train
from trader_cli.pipelines.trading.analyst_assessor import StageAssessor
from trader_cli.settings import as_settings
from trader_cli.settings.workspace import workspace_of
from trader_cli.storage.ledger_reading import LedgerReading
from trader_cli.venue.clocks import VirtualClock, run_virtual
from trader_cli.venue.server.server import VenueServer
from trader_cli.venue.simulated_market.synthetic import synthetic_tape

pytestmark = pytest.mark.slow

GUIDE = Path(__file__).parents[2] / "docs" / "live-trading-guide.md"
TAPE = synthetic_tape(("ETHUSDT",), 150, 0.5, 7)
IMPORTS = """
from trader_cli.exchange.binance import BinanceExchange
from trader_cli.analyst.feature_engineering_orchestrator import FeatureEngineeringOrchestrator
from trader_cli.analyst.analyst import Analyst
from trader_cli.tactician.tactician import Tactician
from trader_cli.tactician.position_monitor import PositionMonitor
from trader_cli.pipelines.live_trading_pipeline import LiveTradingPipeline
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE.read_text("utf-8"), re.DOTALL)


async def executed(block: str, names: dict[str, Any]) -> None:
    code = compile(block, "guide", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    result = eval(code, names)  # noqa: S307
    if inspect.isawaitable(result):
        await result


def test_the_guide_in_docs_is_the_one_that_was_given() -> None:
    given = Path(os.environ.get("SEED_GUIDE", GUIDE.parents[2] / "shared" / "seed-guide.md"))
    if not given.is_file():
        pytest.skip(f"no guide at {given}; set SEED_GUIDE")
    wanted = given.read_text("utf-8").replace("src/", "trader_cli/").replace("from src.", "from trader_cli.")
    assert GUIDE.read_text("utf-8") == wanted


def test_every_python_block_runs_in_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clock = VirtualClock(TAPE.at(0.75))

    async def main() -> dict[str, Any]:
        async with VenueServer(TAPE, clock, folder=tmp_path / "venue") as venue:
            return await run_the_guide(venue.url, tmp_path)

    names = run_virtual(main, clock)
    printed = capsys.readouterr().out
    assert "wavelet features" in printed
    assert "Position entered" in printed
    assert names["order"]["executedQty"] == "0.1"
    assert names["monitor_status"] == {"position_id": "position_id", "state": "unknown"}
    assert names["trading_result"]["code"] == "market_data_stale"
    with LedgerReading.shown(workspace_of(as_settings(names["config"])).ledger_path) as ledger:
        assert ledger is not None
        assert ledger.holding("ETHUSDT").amount == 0
        assert [i.purpose for i in ledger.intents()][:4] == ["entry", "backstop", "stop", "take_profit"]
        assert sum(i.purpose == "entry" for i in ledger.intents()) == 1


async def run_the_guide(url: str, folder: Path) -> dict[str, Any]:
    config = {
        "mode": "demo",
        "cache_dir": str(folder / "cache"),
        "state_dir": str(folder / "state"),
        "binance_exchange": {"base_url": url, "api_key": "sim-key", "api_secret": "sim-secret"},
        "analyst": {"learners": 1, "allow_unproven": True},
        "fetch": {"history_bars": 2600},
        "feature_engineering_orchestrator": {"wavelet_cache": {"cache_dir": str(folder / "cache" / "wavelet")}},
    }
    names: dict[str, Any] = {"config": config}
    exec(IMPORTS, names)  # noqa: S102
    await prepare(config, names)
    for number, block in enumerate(blocks("python")):
        await executed(block, names)
        if number == 0:
            names["market_data"] = names["klines_data"] = names["klines"]
        if "Step 4" not in block and "tactics_result" in names and names["tactics_result"]:
            names["position_size"] = 0.1
    await asyncio.gather(*(names[n].close() for n in ("exchange", "tactician", "position_monitor", "live_pipeline")))
    return names


async def prepare(config: dict[str, Any], names: dict[str, Any]) -> None:
    """The guide's checklist: models trained. And the variables its blocks take from elsewhere."""
    settings, exchange = as_settings(config), names["BinanceExchange"](config)
    await exchange.initialize()
    hour = Timeframe.parse("1h")
    stages = StageAssessor(workspace_of(settings), Market(exchange, exchange.clock, workspace_of(settings).source))
    await stages.refresh("ETHUSDT", hour)
    train(workspace_of(settings), "ETHUSDT", hour)
    names |= {
        "trades_data": await exchange.get_agg_trades("ETHUSDT"),
        "futures_data": None,
        "support_resistance_levels": None,
        "current_price": (await exchange.get_ticker("ETHUSDT"))["last"],
        "position_size": 0.1,
        "entry_price": 1.0,
        "entry_time": "2024-01-01T00:00:00Z",
        "analyst_confidence": 0.7,
        "should_exit_position": True,
    }
    await exchange.close()


def test_the_debug_commands_run() -> None:
    (commands,) = [block for block in blocks("bash") if "python -c" in block]
    for line in commands.splitlines():
        if line.startswith("python -c"):
            script = re.findall(r'python -c "(.*)"', line)[0]
            ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
            assert ran.stdout.strip().endswith("OK"), ran.stderr
