"""What settings mean is resolved once, into a value that does not change."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from trader_cli.settings import as_settings
from trader_cli.settings.source_names import file_source
from trader_cli.settings.workspace import SIM_KEYS, workspace_of
from trader_cli.venue.server.authentication import KEYS
from trader_cli.venue.simulated_market.synthetic import synthetic_tape


def test_resolved_once_it_is_itself(tmp_path: Path) -> None:
    workspace = workspace_of({"mode": "sim", "state_dir": str(tmp_path), "cache_dir": "~/artifacts"})
    assert workspace_of(workspace) is workspace
    assert workspace_of(workspace.settings) == workspace
    assert workspace.cache_dir == Path.home() / "artifacts"
    assert workspace.ledger_path == tmp_path / "ledgers" / workspace.source / (
        f"{workspace.account.fingerprint}-sim.sqlite"
    )
    with pytest.raises(FrozenInstanceError):
        workspace.lineage = "another"  # type: ignore[misc]


def test_the_ledger_that_was_found_stays_the_one_in_use(tmp_path: Path) -> None:
    settings = as_settings({"mode": "live", "state_dir": str(tmp_path)})
    today, earlier = workspace_of(settings).ledgers.files("live")
    earlier.parent.mkdir(parents=True)
    earlier.touch()
    workspace = workspace_of(settings)
    assert workspace.ledger_path == earlier
    today.parent.mkdir(parents=True)
    today.touch()
    assert workspace.ledger_path == earlier
    assert workspace_of(settings).ledger_path == today


def test_a_synthetic_market_is_named_as_its_tape_is(tmp_path: Path) -> None:
    settings = as_settings({"mode": "sim", "state_dir": str(tmp_path)})
    sim, workspace = settings.sim, workspace_of(settings)
    tape = synthetic_tape(sim.symbols, sim.days, sim.planted_lead, settings.seed)
    assert workspace.source == workspace.lineage == tape.source


def test_a_tape_is_named_by_its_bytes_and_trials_are_counted_on_them_alone(tmp_path: Path) -> None:
    path = tmp_path / "bars.parquet"
    path.write_bytes(b"whatever its bars are")
    one, other = (workspace_of({"mode": "sim", "seed": seed, "sim": {"tape": str(path)}}) for seed in (1, 2))
    assert one.source == file_source(path, 1)
    assert one.source != other.source
    assert one.lineage == other.lineage


def test_the_keys_of_the_simulated_exchange_are_those_it_knows() -> None:
    assert set(SIM_KEYS) == KEYS.keys()
    for key in SIM_KEYS:
        given = {"mode": "sim", "binance_exchange": {"api_key": key, "api_secret": "sim-secret"}}
        assert (workspace_of(given).account == workspace_of({"mode": "sim"}).account) == (key == "sim-key")
