"""Keys that change a result: each is turned, and the result looked at. The table is docs/key_effects.yaml."""

from __future__ import annotations

import ast
import asyncio
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import test_analyst
import yaml
from support.market.bars import random_bars

from trader_cli.analyst.analysis import analyse
from trader_cli.analyst.analyst import Analyst
from trader_cli.analyst.feature_engineering_orchestrator import FeatureEngineeringOrchestrator
from trader_cli.analyst.learner_shapes import shapes
from trader_cli.analyst.training import TrainingInput, train
from trader_cli.core.market.snapshot import MarketSnapshot
from trader_cli.core.market.timeframes import DAY_MS, Timeframe
from trader_cli.core.types import Abstention, Tries
from trader_cli.features.bar_arrays import BarSeries
from trader_cli.settings import as_settings
from trader_cli.settings.load import key_paths
from trader_cli.settings.room_options import AnalysisOptions, TrainingOptions
from trader_cli.venue.clocks import FixedClock

ROOT = Path(__file__).parents[2]
M15 = Timeframe.parse("15m")


def test_every_key_has_a_row_and_every_row_a_test_that_exists() -> None:
    rows = yaml.safe_load((ROOT / "docs" / "key_effects.yaml").read_text())
    assert sorted(rows) == sorted(".".join(path) for path in key_paths())
    for key, row in rows.items():
        effect, test = row.split(" | ")
        if not test:
            assert effect.startswith("later: "), key
            continue
        file, _, name = test.partition("::")
        names = {n.name for n in ast.walk(ast.parse((ROOT / file).read_text())) if isinstance(n, ast.FunctionDef)}
        assert name in names, f"{key}: {test}"


@pytest.mark.parametrize(
    ("key", "value"),
    [("wavelets", ["db2"]), ("wavelet_levels", 3), ("wavelet_window", 32), ("higher_timeframes", ["30m"])],
)
def test_feature_keys_change_the_columns(tmp_path: Path, key: str, value: Any) -> None:
    bars = random_bars(1000)
    off = {"cache_enabled": False, "cache_dir": str(tmp_path)}
    usual, changed = (
        FeatureEngineeringOrchestrator({"feature_engineering_orchestrator": {"wavelet_cache": off, **keys}}).build(
            bars, M15
        )
        for keys in ({}, {key: value})
    )
    assert not usual.equals(changed)


BARS = random_bars(1500, seed=3)
FEATURES = FeatureEngineeringOrchestrator(
    {"feature_engineering_orchestrator": {"enable_advanced_features": False}}
).build(BARS, M15)
QUICK: dict[str, Any] = {"trees": 10, "walk_forward_folds": 3, "learners": 1}


def trained(**keys: Any) -> Any:
    settings = as_settings({"analyst": {**QUICK, **keys}})
    return train(TrainingInput("k", "tape", "E", M15, BARS, FEATURES, {}), TrainingOptions.of(settings), Tries.alone)


@cache
def usual() -> Any:
    return trained()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("horizon_bars", 12),
        ("embargo_bars", 60),
        ("barrier_width", 0.6),
        ("volatility_span", 32),
        ("walk_forward_folds", 4),
        ("trees", 12),
        ("leaves", 8),
        ("learning_rate", 0.2),
        ("learners", 2),
    ],
)
def test_training_keys_change_the_model(key: str, value: Any) -> None:
    changed = trained(**{key: value})
    assert (changed.files(), changed.claim) != (usual().files(), usual().claim)


def test_every_learner_is_a_trial() -> None:
    three = trained(learners=3, horizon_bars=12, enable_dual_model_system=False).claim
    assert 1 < three.trials <= 3
    assert 1 < trained(learners=3, horizon_bars=[2, 4, 8], enable_dual_model_system=False).claim.trials <= 6
    one = trained(learners=1, horizon_bars=12, enable_dual_model_system=False).claim
    assert one.trials == 1
    assert (
        len(
            {
                tuple(sorted(o.model_dump().items(), key=str))
                for o in shapes(as_settings({"analyst": {"learners": 3, "horizon_bars": [4, 24]}}).analyst)
            }
        )
        == 3
    )


def test_threads_change_no_model() -> None:
    base = FEATURES.select(usual().base_features).to_numpy()
    x = usual().widened(BarSeries.of(BARS), base, np.arange(len(base)))
    assert np.array_equal(trained(threads=2).side.predict(x), usual().side.predict(x))


@pytest.mark.parametrize("key", ["taker_fee_bps", "slippage_bps", "funding_bps"])
def test_costs_lower_the_expected_value(key: str) -> None:
    usual, dear = (
        analyse(test_analyst.given_input(), AnalysisOptions.of(as_settings({"costs": costs})))
        for costs in ({}, {key: 30})
    )
    assert usual.signal is not None
    assert dear.signal is None or dear.signal.expected_value_bps < usual.signal.expected_value_bps - 20


def test_limits_of_the_analyst_decide_when_it_abstains() -> None:
    def code(given: dict[str, Any], **options: Any) -> str | None:
        outcome = analyse(
            test_analyst.given_input(**given), AnalysisOptions.of(as_settings({"analyst": options}))
        ).outcome
        return outcome.code if isinstance(outcome, Abstention) else None

    assert code({}, min_market_health=0.999) == "unhealthy_market"
    assert (code({"book_age_ms": 60_000}), code({"book_age_ms": 60_000}, max_book_age=30)) == (None, "unhealthy_market")
    assert (code({"bar_age_ms": M15.ms}), code({"bar_age_ms": M15.ms}, max_bar_age=0.5)) == (None, "bars_stale")
    two_days_old = {"model": replace(test_analyst.MODEL, last_ms=test_analyst.MODEL.last_ms - 2 * DAY_MS)}
    assert (code(two_days_old), code(two_days_old, max_model_age=1)) == (None, "model_expired")
    risks = [
        analyse(
            test_analyst.given_input(),
            AnalysisOptions.of(as_settings({"analyst": {"maintenance_margin_rate": r}})),
        ).liquidation_probability
        for r in (0.005, 0.05)
    ]
    assert risks[0]
    assert risks[1]
    assert risks[1]["5x"] > risks[0]["5x"]


def test_liquidation_is_told_by_the_symbols_own_bracket_and_the_models_own_uncertainty() -> None:
    def told(uncertainty: float = 0.6, **bracket: float) -> dict[str, float]:
        market = MarketSnapshot.from_dict({**test_analyst.SNAPSHOT, **({"bracket": bracket} if bracket else {})})
        model = replace(test_analyst.MODEL, sigma_uncertainty=uncertainty)
        options = AnalysisOptions.of(as_settings({"analyst": {"maintenance_margin_rate": 0.01}}))
        found = analyse(test_analyst.given_input(model=model, snapshot=market), options).liquidation_probability
        assert found
        return found

    assert told() == told(maintenance_rate=0.01, max_leverage=125)
    assert list(told(maintenance_rate=0.01, max_leverage=20)) == ["2x", "3x", "5x", "10x", "20x"]
    assert told(maintenance_rate=0.05, max_leverage=125)["10x"] > told()["10x"]
    assert told(0.8)["5x"] > told()["5x"] > told(0.3)["5x"]


def test_only_so_many_results_are_kept() -> None:
    analyst = Analyst({"tactician": {"max_history": 2}}, clock=FixedClock(0))
    assert asyncio.run(analyst.initialize())
    signal = analyse(test_analyst.given_input(), AnalysisOptions.of(as_settings({})))
    analyst._results.extend([signal, replace(signal, outcome=Abstention("c", "s.")), signal])
    assert len(analyst.get_analysis_results()) == 1
    assert analyst.get_analysis_status() == {"initialized": True, "analyses": 2, "signals": 1, "abstentions": {"c": 1}}
