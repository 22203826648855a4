"""What was asked for explicitly wins: two answers to "which market, whose money" are refused, whichever comes later."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import pytest
from support.commands.command_line import CommandLine

from trader_cli.core.errors import ConfigurationError
from trader_cli.settings import as_settings, load_settings
from trader_cli.settings.load import PROFILES

PAIRS = list(permutations(PROFILES, 2))


@pytest.mark.parametrize(("asked", "elsewhere"), PAIRS)
def test_a_profile_and_another_mode_are_refused(
    asked: str, elsewhere: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(f"mode: {elsewhere}\n")
    with pytest.raises(ConfigurationError, match=f"--profile {asked} says {asked}, .*mine.yaml says {elsewhere}"):
        load_settings(asked, file)
    monkeypatch.setenv("TRADER_MODE", elsewhere)
    with pytest.raises(ConfigurationError, match=f"--profile {asked} says {asked}, TRADER_MODE .*says {elsewhere}"):
        load_settings(asked)
    monkeypatch.setenv("TRADER_PROFILE", asked)
    with pytest.raises(ConfigurationError, match=f"TRADER_PROFILE={asked} says {asked}"):
        load_settings()
    monkeypatch.setenv("TRADER_MODE", asked)
    assert load_settings().mode == asked
    monkeypatch.delenv("TRADER_PROFILE")
    with pytest.raises(ConfigurationError, match=r"mine\.yaml"):
        load_settings(config=file)


def test_demo_is_at_the_demo_host_and_live_at_the_real_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert as_settings({"mode": "demo"}).binance_exchange.use_testnet
    with pytest.raises(ConfigurationError, match="use_testnet is false"):
        as_settings({"mode": "demo", "binance_exchange": {"use_testnet": False}})
    with pytest.raises(ConfigurationError, match="use_testnet is true"):
        as_settings({"mode": "live", "binance_exchange": {"use_testnet": True}})
    monkeypatch.setenv("TRADER_BINANCE_EXCHANGE__USE_TESTNET", "false")
    with pytest.raises(ConfigurationError, match="The mode is demo"):
        load_settings("demo")
    assert load_settings("demo", None, {"binance_exchange": {"base_url": "http://127.0.0.1:1"}}).mode == "demo"


def test_the_library_honours_the_profile_and_refuses_two_modes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADER_PROFILE", "sim")
    assert (as_settings({}).mode, as_settings({"mode": "paper"}).mode) == ("sim", "paper")
    monkeypatch.setenv("TRADER_MODE", "live")
    with pytest.raises(ConfigurationError, match="TRADER_PROFILE=sim says sim"):
        as_settings({"seed": 1})
    assert as_settings({"mode": "paper"}).mode == "paper"


@pytest.mark.parametrize("command", ["flatten", "status", "monitor", "config"])
def test_the_command_line_refuses_with_exit_code_3(trader: CommandLine, command: str) -> None:
    done = trader.run(command, "--profile", "sim", TRADER_MODE="live")
    assert (done.code, "--profile sim says sim" in done.err) == (3, True), done.err
    assert not (trader.folder / "state").exists()
