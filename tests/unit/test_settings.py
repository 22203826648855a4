"""Settings: the guide's keys, overlays, environment, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from trader_cli.core.errors import ConfigurationError
from trader_cli.settings import Settings, as_settings, load, load_settings
from trader_cli.settings.load import PROFILES, key_paths, package_yaml

ROOT = Path(__file__).parents[2]

GUIDE = """
binance_exchange: {api_key: "your_api_key", api_secret: "your_api_secret", use_testnet: true, timeout: 30, max_retries: 3}
feature_engineering_orchestrator:
  enable_advanced_features: true
  enable_autoencoder_features: true
  enable_legacy_features: true
  wavelet_cache: {cache_enabled: true, cache_dir: "data/wavelet_cache"}
analyst:
  enable_dual_model_system: true
  enable_market_health_analysis: true
  enable_liquidation_risk_analysis: true
  enable_feature_engineering: true
  enable_ml_predictions: true
  enable_regime_classification: true
tactician:
  tactics_interval: 30
  max_history: 100
  enable_position_sizing: true
  enable_leverage_optimization: true
  enable_risk_management: true
position_monitoring_interval: 10
max_assessment_history: 1000
high_risk_threshold: 0.8
medium_risk_threshold: 0.6
low_risk_threshold: 0.3
"""


def test_the_guides_configuration_is_accepted_as_a_dict() -> None:
    settings = as_settings(yaml.safe_load(GUIDE))
    assert settings.binance_exchange.use_testnet
    assert settings.feature_engineering_orchestrator.wavelet_cache.cache_dir == "data/wavelet_cache"
    assert settings.high_risk_threshold == 0.8


def test_default_yaml_holds_every_key_and_no_other() -> None:
    tree = yaml.safe_load(package_yaml("default.yaml"))

    def paths(part: Any, prefix: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
        return {
            p
            for k, v in part.items()
            for p in (paths(v, (*prefix, k)) if isinstance(v, dict) and v else {(*prefix, k)})
        }

    assert paths(tree) == set(key_paths())


@pytest.mark.parametrize("name", ["default.yaml", *(f"profiles/{name}.yaml" for name in PROFILES)])
def test_the_files_for_people_equal_those_in_the_package(name: str) -> None:
    assert (ROOT / "configs" / name).read_text() == package_yaml(name)


@pytest.mark.parametrize("name", ["default.yaml", *(f"profiles/{name}.yaml" for name in PROFILES)])
def test_shipped_files_hold_no_key_twice_and_say_to_libyaml_what_they_say_to_python(name: str) -> None:
    assert load._shipped(name) == load._parsed(package_yaml(name), name, load._UniqueKeys)


def test_later_sources_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("binance_exchange:\n  timeout: 7\n  max_retries: 1\nseed: 11\n")
    monkeypatch.setenv("TRADER_BINANCE_EXCHANGE__TIMEOUT", "5")
    monkeypatch.setenv("TRADER_SIM__SYMBOLS", '["AAAUSDT"]')
    settings = load_settings("sim", mine, {"seed": 12})
    assert (settings.mode, settings.binance_exchange.timeout, settings.binance_exchange.max_retries) == ("sim", 5, 1)
    assert (settings.seed, settings.sim.symbols) == (12, ("AAAUSDT",))


def test_profile_and_file_may_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "c.yaml").write_text("seed: 3\n")
    monkeypatch.setenv("TRADER_PROFILE", "sim")
    monkeypatch.setenv("TRADER_CONFIG", str(tmp_path / "c.yaml"))
    assert (load_settings().mode, load_settings().seed) == ("sim", 3)


def test_an_unknown_key_names_itself_its_file_and_the_nearest(tmp_path: Path) -> None:
    file = tmp_path / "typo.yaml"
    file.write_text("binance_exchange:\n  timeuot: 3\n")
    with pytest.raises(
        ConfigurationError, match=r"'binance_exchange.timeuot' in .*typo.yaml.*'binance_exchange.timeout'"
    ):
        load_settings(config=file)
    with pytest.raises(ConfigurationError, match=r"'analist' in the given dict.*'analyst'"):
        as_settings({"analist": {}})


def test_an_unknown_variable_names_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADER_SIM__TAEP", "x")
    with pytest.raises(ConfigurationError, match=r"TRADER_SIM__TAEP.*TRADER_SIM__TAPE"):
        load_settings()


def test_a_secret_in_a_file_is_refused_and_never_shown(tmp_path: Path) -> None:
    file = tmp_path / "secret.yaml"
    file.write_text("binance_exchange:\n  api_secret: hunter2\n")
    with pytest.raises(ConfigurationError, match="TRADER_BINANCE_EXCHANGE__API_SECRET") as error:
        load_settings(config=file)
    assert "hunter2" not in str(error.value)
    assert "hunter2" not in repr(as_settings({"binance_exchange": {"api_secret": "hunter2"}}))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: [", "not valid YAML"),
        ("- 1\n", "must be a mapping"),
        ("sim: 3\n", "must hold keys of its own"),
        ("seed: -1\n", "'seed': a number of at least 0 is wanted; found -1"),
        ("mode: yolo\n", "'mode'.*'yolo'"),
    ],
)
def test_bad_files_are_explained(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=message):
        load_settings(config=file)
    with pytest.raises(ConfigurationError, match="Cannot read"):
        load_settings(config=tmp_path / "absent.yaml")
    with pytest.raises(ConfigurationError, match=r"Unknown profile 'siim'.*Did you mean sim"):
        load_settings("siim")


@pytest.mark.parametrize(
    "key",
    [
        "tactician.enable_risk_management",
        "analyst.enable_market_health_analysis",
        "analyst.enable_liquidation_risk_analysis",
    ],
)
def test_risk_management_cannot_be_off_in_live(key: str) -> None:
    section, name = key.split(".")
    with pytest.raises(ConfigurationError, match=key):
        load_settings("live", overrides={section: {name: False}})
    assert isinstance(load_settings("sim", overrides={section: {name: False}}), Settings)


def test_state_may_not_lie_where_everything_may_be_deleted() -> None:
    with pytest.raises(ConfigurationError, match="lies inside cache_dir"):
        as_settings({"state_dir": "cache/state"})


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("BACKTEST__FEE_TIER", "12", "'backtest.fee_tier': a row of backtest.fee_tiers is wanted, 0 to 9; found 12."),
        ("BACKTEST__FEE_TIER", "vip", "'backtest.fee_tier': a whole number is wanted; found 'vip'."),
        ("BACKTEST__FEE_TIER", "1.5", "'backtest.fee_tier': a whole number is wanted; found '1.5'."),
        ("BACKTEST__FEE_TIER", "-1", "'backtest.fee_tier': a number of at least 0 is wanted; found '-1'."),
        ("BACKTEST__LATENCY_MS", "soon", "'backtest.latency_ms': a number is wanted; found 'soon'."),
        ("TACTICIAN__RISK_PER_TRADE", "0", "'tactician.risk_per_trade': a number above 0 is wanted; found '0'."),
        ("TACTICIAN__RISK_PER_TRADE", "1", "'tactician.risk_per_trade': a number of at most 0.1 is wanted; found '1'."),
        ("ANALYST__ALLOW_UNPROVEN", "maybe", "'analyst.allow_unproven': true or false is wanted; found 'maybe'."),
        ("SIM__SYMBOLS", "[]", "'sim.symbols': a list of at least 1 is wanted; found []."),
        ("MODE", "yolo", "'mode': 'paper', 'sim', 'demo' or 'live' is wanted; found 'yolo'."),
    ],
)
def test_a_value_is_refused_in_words_of_ours(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, sentence: str
) -> None:
    monkeypatch.setenv(f"TRADER_{variable}", value)
    with pytest.raises(ConfigurationError) as refused:
        load_settings()
    assert str(refused.value) == f"Setting {sentence}"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("TRADER_COSTS__TAKER_FEE_BPS", "inf"),
        ("TRADER_BINANCE_EXCHANGE__TIMEOUT", "inf"),
        ("TRADER_ANALYST__MAX_BAR_AGE", "nan"),
        ("TRADER_BINANCE_EXCHANGE__BASE_URL", "foo"),
        ("TRADER_BINANCE_EXCHANGE__BASE_URL", "http://u:pw@host"),
        ("TRADER_SIM__SYMBOLS", "ETHUSDT"),
    ],
)
def test_values_that_make_no_sense_are_refused(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError):
        load_settings()


def test_a_key_written_twice_is_refused_and_a_known_one_elsewhere_is_named(tmp_path: Path) -> None:
    (tmp_path / "twice.yaml").write_text("seed: 1\nseed: 2\n")
    with pytest.raises(ConfigurationError, match="'seed' is written twice"):
        load_settings(config=tmp_path / "twice.yaml")
    with pytest.raises(ConfigurationError, match=r"'binance_exchange\.api_key'"):
        as_settings({"api_key": "x"})


def test_an_empty_variable_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADER_SIM__TAPE", "")
    assert load_settings().sim.tape is None


@pytest.mark.parametrize("given", [24, "24", [24]])
def test_one_horizon_is_a_list_of_one(given: object) -> None:
    assert as_settings({"analyst": {"horizon_bars": given}}).analyst.horizon_bars == (24,)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"embargo_bars": 23}, "at least the longest of horizon_bars"),
        ({"horizon_bars": [4, 4]}, "each horizon once"),
        ({"horizon_bars": []}, "horizon_bars"),
        ({"horizon_bars": [0]}, "horizon_bars"),
    ],
)
def test_horizons_and_embargo_that_make_no_sense_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        as_settings({"analyst": changes})
