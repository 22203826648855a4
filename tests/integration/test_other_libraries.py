"""A model trained under other versions of the libraries that compute its columns gives no signal: it is trained again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.commands.command_line import CommandLine

from trader_cli.analyst.claim_basis import library_versions
from trader_cli.core.errors import ExitCode
from trader_cli.core.market.timeframes import Timeframe
from trader_cli.pipelines.stages.model_training import has_model
from trader_cli.settings import load_settings
from trader_cli.settings.workspace import workspace_of
from trader_cli.storage.artifacts import ArtifactStore, stage_key
from trader_cli.storage.bundles import BundleStore

pytestmark = pytest.mark.slow
SERIES = ("ETHUSDT", "--timeframe", "15m")
M15 = Timeframe.parse("15m")
SMALL = {"TRADER_SIM__DAYS": "40", "TRADER_ANALYST__TREES": "10", "TRADER_ANALYST__LEARNERS": "1"}


def test_a_model_of_another_talib_is_refused_and_trained_again(tmp_path: Path) -> None:
    cli = CommandLine(tmp_path, ("--profile", "sim"))
    for words in (("fetch", *SERIES), ("features",), ("train",)):
        ran = cli.run(*words, **SMALL)
        assert ran.code == 0, ran.err
    folders = {"cache_dir": str(tmp_path / "cache"), "state_dir": str(tmp_path / "state")}
    settings = load_settings("sim", None, {**folders, "sim": {"days": 40}})
    store = ArtifactStore(settings.cache_dir)
    bundles, key = BundleStore(store.root / "models"), stage_key(settings.mode, "ETHUSDT", M15, "model")
    trained = str(store.pointed(key))
    files, description = bundles.load(trained)
    assert description["made_with"]["libraries"] == library_versions()
    before: dict[str, Any] = {
        **description,
        "made_with": {**description["made_with"], "libraries": {**library_versions(), "TA-Lib": "0.6.8"}},
        "key": "of another training",
    }
    del before["files"]
    store.point(key, bundles.save(files, before))

    refused = cli.run("analyze", **SMALL)
    assert refused.code == ExitCode.DATA
    said = " ".join(refused.err.split())
    assert "libraries TA-Lib 0.6.8; it is" in said
    assert "trader train ETHUSDT --timeframe 15m" in said
    far = 10**15
    assert not has_model(workspace_of(settings), "ETHUSDT", M15, far), "`run` trains again by itself"
    assert cli.run("train", **SMALL).code == 0
    assert store.pointed(key) == trained
    assert has_model(workspace_of(settings), "ETHUSDT", M15, far)
    assert cli.run("analyze", **SMALL).code in {ExitCode.DONE, ExitCode.ABSTAINED}
