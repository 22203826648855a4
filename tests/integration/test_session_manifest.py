"""What a trading session went by is written down however it ends, and what cannot be written stops nothing."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.commands.command_line import CommandLine
from support.commands.in_process import Inside

from trader_cli.core.errors import DataInvalid
from trader_cli.pipelines.trading import session_manifest
from trader_cli.storage.inventory import SESSION

pytestmark = pytest.mark.slow
SERIES = ("ETHUSDT", "--timeframe", "15m")


@pytest.fixture
def planned(sim: CommandLine, made_once: dict[str, Path]) -> Inside:
    """A plan that can be entered."""
    import shutil

    shutil.copytree(made_once["train"], sim.folder, dirs_exist_ok=True)
    inside = Inside(sim.folder, sim.base)
    assert inside.run("analyze", *SERIES, "--wait", "96").code == 0
    assert inside.run("tactics", *SERIES).code == 0
    return inside


def sessions(inside: Inside) -> list[Path]:
    return sorted((inside.folder / "cache" / "refs").rglob(f"{SESSION}*.json"))


def test_enter_and_monitors_over_one_position_are_one_session(planned: Inside) -> None:
    assert planned.run("enter", *SERIES).code == 0
    (entered,) = sessions(planned)
    for _ in range(2):
        planned.run("monitor", "--for", "1m")
        assert sessions(planned) == [entered]
    digest = json.loads(entered.read_text())["digest"]
    manifest = json.loads((planned.folder / "cache" / "manifests" / f"{digest}.json").read_text())
    assert {name.split()[0] for name in manifest["inputs"]} == {"bars", "features", "model"}
    assert len(manifest["notes"]["plans"]) == 1
    secret = (planned.folder / "cache" / "manifests" / f"{digest}.json").read_text()
    assert "sim-secret" not in secret


def test_a_cache_that_takes_nothing_stops_no_entry(planned: Inside) -> None:
    folder = planned.folder / "cache" / "manifests"
    folder.rename(planned.folder / "cache" / "aside")
    folder.write_text("a file stands in its place")
    done = planned.run("enter", *SERIES)
    assert done.code == 0, done.err
    assert "could not be written down" in done.err
    assert sessions(planned) == []


FAULTS = [KeyError("bars"), sqlite3.OperationalError("database is locked"), RuntimeError(), DataInvalid("It is torn.")]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
def test_whatever_the_note_of_a_session_fails_by_the_session_ends_as_it_did(
    fault: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_given: object) -> None:
        raise fault

    monkeypatch.setattr(session_manifest, "keep_session", fail)
    owned: Any = SimpleNamespace(market=SimpleNamespace(clock=SimpleNamespace(now_ms=lambda: 0)), ledger=None)
    workspace: Any = None
    said: list[str] = []
    with session_manifest.kept_session(workspace, owned, said.append):
        pass
    with pytest.raises(ZeroDivisionError), session_manifest.kept_session(workspace, owned, said.append):
        raise ZeroDivisionError
    assert len(said) == 2
    assert all(str(fault) in line or repr(fault) in line for line in said)


def test_an_entry_that_is_done_is_done_whatever_its_note_fails_by(
    planned: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_given: object) -> None:
        raise KeyError("bars")

    monkeypatch.setattr(session_manifest, "keep_session", fail)
    done = planned.run("enter", *SERIES)
    assert done.code == 0, done.err
    assert "KeyError('bars')" in done.err
