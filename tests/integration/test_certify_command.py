"""`trader features`: certified once, refused with a failure, `--certify` in tables and JSON, `--cost`, and `--profile`."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from support.commands.command_line import SMALL_SIM, CommandLine

from trader_cli.analyst.certificate_store import certificate_key, find_certificate, store_certificate
from trader_cli.analyst.feature_engineering_orchestrator import FeatureEngineeringOrchestrator
from trader_cli.cli.commands.features import _show_certificate
from trader_cli.core.errors import ExitCode
from trader_cli.core.identity.manifests import ArtifactKey
from trader_cli.core.market.timeframes import Timeframe
from trader_cli.features.certificates import Certificate
from trader_cli.features.column_verdicts import AHEAD
from trader_cli.features.feature_spec import FeatureSpec
from trader_cli.features.inputs import ALL_INPUTS
from trader_cli.storage.artifacts import ArtifactStore

pytestmark = pytest.mark.slow

M15 = Timeframe.parse("15m")
SERIES = ("ETHUSDT", "--timeframe", "15m")


@pytest.fixture(scope="module")
def built(made_once: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> CommandLine:
    """Bars and certified features of the small market."""
    folder = tmp_path_factory.mktemp("built") / "here"
    return CommandLine(Path(shutil.copytree(made_once["features"], folder)), ("--profile", "sim"))


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SMALL_SIM.items():
        monkeypatch.setenv(name, value)


def store_of(cli: CommandLine) -> tuple[ArtifactStore, FeatureSpec]:
    store = ArtifactStore(cli.folder / "cache")
    made = store.current(ArtifactKey("sim", "ETHUSDT", "15m", "features"))
    assert made is not None
    return store, FeatureEngineeringOrchestrator({"mode": "sim"}).spec(M15, made.notes["known_inputs"])


def with_a_failure(certificate: Certificate) -> Certificate:
    bad = {"rsi_14": 3, "adx_14": "whole"}
    columns = [replace(c, status=AHEAD, reach=bad[c.name]) if c.name in bad else c for c in certificate.columns]
    return replace(certificate, columns=tuple(columns))


def test_features_are_certified_once_and_name_their_certificate(built: CommandLine, made_once: dict[str, Path]) -> None:
    store, spec = store_of(built)
    said = f"certifying {len(spec.columns)} feature columns, once for these settings"
    assert said in made_once["features"].with_suffix(".said").read_text()
    again = built.run("features", "--json")
    assert "certifying" not in again.err
    certificate = find_certificate(store, spec)
    assert certificate is not None
    assert again.json["certificate"] == certificate.digest
    assert (built.folder / "cache" / "certificates" / f"{certificate_key(spec)}.json").exists()


def test_a_failed_certificate_stops_every_stage_and_certifying_anew_mends_it(built: CommandLine) -> None:
    store, spec = store_of(built)
    certificate = find_certificate(store, spec)
    assert certificate is not None
    store_certificate(store, spec, with_a_failure(certificate))
    for stage in ("features", "train"):
        refused = built.run(stage, "--json")
        assert refused.code == ExitCode.VERIFICATION_FAILED
        assert "adx_14 (looks ahead, the whole block), rsi_14 (looks ahead, 3 bars)" in refused.json["error"]
    mended = built.run("features", "--certify", "--json")
    assert mended.code == 0
    found = mended.json["certificate"]
    assert found["passed"]
    assert [tape["name"] for tape in found["tapes"]] == ["synthetic", "stored"]
    assert {column["status"] for column in found["columns"]} == {"passed"}
    assert len(found["columns"]) == mended.json["columns"] == len(spec.columns)
    assert built.run("features", "--json").json["digest"] == mended.json["digest"]


def test_a_missing_certificate_is_asked_for(built: CommandLine) -> None:
    store, spec = store_of(built)
    path = store.root / "certificates" / f"{certificate_key(spec)}.json"
    kept = path.read_bytes()
    path.unlink()
    refused = built.run("train")
    path.write_bytes(kept)
    assert refused.code == ExitCode.DATA
    assert "There is no certificate" in refused.err
    assert "`trader features ETHUSDT --timeframe 15m --profile sim`" in refused.err


def test_the_table_names_families_and_what_failed(built: CommandLine, capsys: pytest.CaptureFixture[str]) -> None:
    store, spec = store_of(built)
    certificate = find_certificate(store, spec)
    assert certificate is not None
    _show_certificate(certificate)
    assert "all columns passed" in capsys.readouterr().out
    _show_certificate(with_a_failure(certificate))
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split()[:1] == ["technical"] and "2 FAILED" in line for line in lines)
    assert any(line.split()[:1] == ["rsi_14"] and line.split()[-1] == "3" for line in lines)
    assert any(line.split()[:1] == ["adx_14"] and line.split()[-1] == "whole" for line in lines)
    assert lines[-2].startswith("nothing is built")


def test_costs_are_shown(built: CommandLine) -> None:
    columns = len(FeatureEngineeringOrchestrator({"mode": "sim"}).spec(M15, ALL_INPUTS).columns)
    shown = built.run("features", "--cost", "--json").json
    assert sum(family["columns"] for family in shown["families"]) == shown["columns"] == columns
    assert shown["ms_per_new_bar"] == pytest.approx(sum(f["ms_per_new_bar"] for f in shown["families"]))
    table = built.run("features", "--cost").out.splitlines()
    assert "250 ms per new bar are allowed" in table[0]
    assert table[-1].split()[:2] == ["total", str(columns)]


def test_profile_is_the_profile_as_everywhere(built: CommandLine) -> None:
    nameless = CommandLine(built.folder, ()).run("features", "--profile")
    assert (nameless.code, "requires an argument" in nameless.err) == (ExitCode.USAGE, True)
    assert "live_budget_ms" in built.run("features", "--cost", "--profile", "sim", "--json").json


def test_cost_and_certify_together_are_refused(built: CommandLine) -> None:
    assert built.run("features", "--cost", "--certify").code == ExitCode.USAGE


def test_a_run_over_its_budget_is_refused_before_anything_is_traded(built: CommandLine) -> None:
    for words in ((), ("--forever", "--for", "1h")):
        refused = built.run("run", *SERIES, *words, TRADER_FEATURE_ENGINEERING_ORCHESTRATOR__LIVE_BUDGET_MS="0.001")
        assert refused.code == ExitCode.CONFIGURATION
        assert "live_budget_ms allows 0.001. The dearest family is" in refused.err
