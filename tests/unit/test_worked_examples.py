"""`trader verify`'s worked examples hold, also by the quick tests; and they, and its look at the settings, can fail."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.market.bars import random_bars

from trader_cli.analyst import act_model, decision
from trader_cli.analyst.feature_engineering_orchestrator import FeatureEngineeringOrchestrator
from trader_cli.core.market.timeframes import Timeframe
from trader_cli.core.money import sizing
from trader_cli.features.bar_arrays import BarSeries
from trader_cli.pipelines.verification import (
    own_settings,
    worked_claims,
    worked_exchange,
    worked_exits,
    worked_features,
    worked_models,
    worked_plans,
    worked_records,
    worked_training,
)
from trader_cli.pipelines.verification.checks import Check, CheckResult, carry_out
from trader_cli.pipelines.verification.lab import TIMEFRAME, Lab
from trader_cli.settings import as_settings
from trader_cli.settings.load import shipped_settings

NEED_A_MARKET = {"columns_by_definition", "claims_pay_their_costs", "funding_by_its_sign"}
MODULES = (worked_exchange, worked_features, worked_models, worked_plans, worked_training)
WORKED = [
    *(c for module in MODULES for c in module.CHECKS if c.name not in NEED_A_MARKET),
    *worked_records.CHECKS,
    *worked_records.STORED,
]
KNOWN = {check.name: check for check in (*WORKED, *own_settings.CHECKS)}


def carried_out(check: Check, folder: Path, **changes: Any) -> CheckResult:
    """A check in a lab that verifies the shipped configuration with changes, its folders under `folder`."""
    config = {"cache_dir": str(folder / "cache"), "state_dir": str(folder / "state"), **changes}
    return carry_out(check, Lab(folder / "lab", as_settings(config), lambda *_: None))


@pytest.mark.parametrize("check", WORKED, ids=lambda check: check.name)
def test_the_worked_example_holds(check: Check, tmp_path: Path) -> None:
    result = carried_out(check, tmp_path)
    assert result.passed, (result.expected, result.found)


@pytest.mark.parametrize("frame", ["1h", "4h"])
def test_columns_of_random_bars_are_what_their_definitions_say(frame: str) -> None:
    bars = random_bars(2400)
    orchestrator = FeatureEngineeringOrchestrator({"feature_engineering_orchestrator": {"higher_timeframes": [frame]}})
    features = orchestrator.build(bars, TIMEFRAME)
    orchestrator.close()
    series = BarSeries.of(bars)
    for back in (1, 2, 97):
        upto, row = series.cut(0, len(series) - back + 1), features.row(-back, named=True)
        wanted = worked_features.row_by_definition(upto, None)
        wanted |= worked_features.higher_by_definition(upto, Timeframe.parse(frame))
        for name, value in wanted.items():
            assert row[name] == pytest.approx(value, abs=1e-6), name


def test_a_fee_that_is_earned_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    true = decision.Costs.of_trades
    monkeypatch.setattr(
        decision.Costs, "of_trades", lambda self, *of: true(replace(self, per_side=-self.per_side), *of)
    )
    assert not carried_out(KNOWN["costs_by_hand"], tmp_path).passed


def test_act_labels_without_a_cost_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_cost = act_model.worthwhile
    free = decision.TradeCosts(0.0, 0.0)
    monkeypatch.setattr(worked_claims, "worthwhile", lambda learner, out: with_cost(replace(learner, costs=free), out))
    assert not carried_out(KNOWN["act_labels_by_hand"], tmp_path).passed


def test_the_target_taken_for_the_stop_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    true = sizing.caps

    def turned(setting: sizing.SizingInputs, *rest: Any, **named: Any) -> dict[str, float]:
        stop, target = setting.target_distance, setting.stop_distance
        return true(replace(setting, stop_distance=stop, target_distance=target), *rest, **named)

    monkeypatch.setattr(worked_plans, "caps", turned)
    monkeypatch.setattr(sizing, "caps", turned)
    assert not carried_out(KNOWN["sizes_by_hand"], tmp_path).passed
    assert not carried_out(KNOWN["plans_by_hand"], tmp_path).passed


def test_a_daily_limit_that_is_forgotten_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    true = worked_exits.breaches
    forgetful = lambda *given, **named: {k: v for k, v in true(*given, **named).items() if k == "drawdown"}  # noqa: E731
    monkeypatch.setattr(worked_exits, "breaches", forgetful)
    assert not carried_out(KNOWN["loss_limits_by_hand"], tmp_path).passed


@pytest.mark.parametrize("check", own_settings.CHECKS, ids=lambda check: check.name)
def test_as_shipped_everything_can_be_written_and_risk_management_is_on(
    check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    result = carry_out(check, Lab(tmp_path / "lab", shipped_settings(), lambda *_: None))
    assert result.passed, (result.expected, result.found)


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("tactician", "enable_risk_management", False),
        ("analyst", "enable_market_health_analysis", False),
        ("analyst", "enable_liquidation_risk_analysis", False),
        ("tactician", "max_daily_loss", 1.0),
        ("tactician", "max_drawdown", 1.0),
    ],
)
def test_risk_management_that_is_off_fails(tmp_path: Path, section: str, key: str, value: object) -> None:
    check = KNOWN["risk_management_is_on"]
    assert carried_out(check, tmp_path).passed
    off = carried_out(check, tmp_path, **{section: {key: value}})
    assert (off.passed, key in off.expected) == (False, True)


def test_folders_that_can_be_written_are_left_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    result = carried_out(KNOWN["folders_take_what_is_written"], tmp_path)
    assert result.passed, result.found
    assert [path.name for path in tmp_path.rglob("*")] == ["state"]


@pytest.mark.parametrize("key", ["cache_dir", "state_dir"])
def test_a_folder_that_cannot_be_written_fails_and_is_named(tmp_path: Path, key: str) -> None:
    (tmp_path / "taken").write_text("a file")
    for folder in (Path("/proc/nowhere"), tmp_path / "taken" / "below"):
        result = carried_out(KNOWN["folders_take_what_is_written"], tmp_path, **{key: str(folder)})
        assert (result.passed, key in result.expected) == (False, True)


def test_a_file_where_a_folder_of_the_store_belongs_fails(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "manifests").write_text("a file")
    result = carried_out(KNOWN["folders_take_what_is_written"], tmp_path)
    assert not result.passed
    assert "manifests" in result.found
