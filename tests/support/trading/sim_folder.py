"""The small synthetic market: its settings, and a folder with its bars, features and a model."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from support.commands.shared_folders import made_for_all

from trader_cli.core.market.timeframes import Timeframe
from trader_cli.settings import Settings, as_settings
from trader_cli.settings.workspace import Workspace, workspace_of

SYMBOL = "ETHUSDT"
QUARTER = Timeframe.parse("15m")


def sim_settings(folder: Path, **changes: Any) -> Settings:
    tree: dict[str, Any] = {
        "mode": "sim",
        "cache_dir": str(folder / "cache"),
        "state_dir": str(folder / "state"),
        "analyst": {"learners": 1},
        "sim": {"days": 40, "symbols": [SYMBOL]},
        "feature_engineering_orchestrator": {"wavelet_cache": {"cache_dir": str(folder / "cache" / "wavelet")}},
    }
    for section, value in changes.items():
        tree[section] = {**tree.get(section, {}), **value} if isinstance(value, dict) else value
    return as_settings(tree)


def trained_folder(factory: pytest.TempPathFactory) -> Path:
    """Fetched bars, features and a model with an edge: to be copied."""

    def make(folder: Path) -> None:
        from trader_cli.pipelines.stages.fetching import fetch
        from trader_cli.pipelines.stages.model_stages import features, train

        workspace = workspace_of(sim_settings(folder))
        fetch(workspace, SYMBOL, QUARTER)
        features(workspace, SYMBOL, QUARTER)
        assert train(workspace, SYMBOL, QUARTER).claim.edge

    return made_for_all(factory, "trained-quarter-hours", make)[0]


def trained_copy(folder: Path, factory: pytest.TempPathFactory) -> Workspace:
    """That folder, copied here."""
    shutil.copytree(trained_folder(factory), folder, dirs_exist_ok=True)
    return workspace_of(sim_settings(folder))


HOURS = 6


def traded_folder(factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """(That folder after so many hours of `run --forever`, to be copied; its trades, difference of money and journal)."""

    def make(folder: Path) -> dict[str, Any]:
        from trader_cli.pipelines.trading.trading_run import run_forever

        shutil.copytree(trained_folder(factory), folder, dirs_exist_ok=True)
        done = run_forever(workspace_of(sim_settings(folder)), [SYMBOL], QUARTER, for_s=HOURS * 3600)
        return {"trades": done.trades, "difference": float(done.profit.difference), "journal": done.journal}

    return made_for_all(factory, "traded-six-hours", make)
