"""`trader models`: which are there, which is current, how one comes and goes, and how one leaves the store."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from support.commands.command_line import SMALL_SIM
from support.commands.in_process import Inside
from support.trading.sim_folder import QUARTER, SYMBOL, trained_copy

from trader_cli.analyst.analyst import Analyst
from trader_cli.core.errors import DataInvalid, ExitCode
from trader_cli.core.identity.digests import canonical_json, digest_bytes
from trader_cli.core.market.timeframes import DAY_MS
from trader_cli.core.types import Abstention, Analysis
from trader_cli.pipelines.stages.model_life import bundles_of, current_model, export, promote, retire
from trader_cli.pipelines.stages.model_stages import training_data
from trader_cli.pipelines.stages.model_training import has_model, train_on
from trader_cli.pipelines.stages.tried_configurations import tried_on
from trader_cli.settings.workspace import Workspace
from trader_cli.storage.artifacts import ArtifactStore, stage_key
from trader_cli.storage.bundle_files import take_in
from trader_cli.storage.bundles import BundleStore
from trader_cli.storage.inventory import mark, take_inventory
from trader_cli.storage.sweeping import unreferenced
from trader_cli.venue.clocks import FixedClock

pytestmark = pytest.mark.slow
SERIES = (SYMBOL, "--timeframe", "15m")


@pytest.fixture
def workspace(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return trained_copy(tmp_path, tmp_path_factory)


@pytest.fixture
def sim(workspace: Workspace, tmp_path: Path) -> Inside:
    assert workspace.cache_dir
    return Inside(tmp_path, ("--profile", "sim"))


def altered(workspace: Workspace, **changes: object) -> str:
    """A copy of the current bundle that describes itself otherwise."""
    bundles = BundleStore(ArtifactStore(workspace.cache_dir).root / "models")
    files, description = bundles.load(current_model(workspace, SYMBOL, QUARTER))
    del description["files"]
    return bundles.save(files, {**description, **changes})


def asked(workspace: Workspace, late_ms: int = 0) -> Analysis:
    """The analysis of the last bar, so much after its close."""
    store = ArtifactStore(workspace.cache_dir)
    bars = store.current(stage_key(workspace.mode, SYMBOL, QUARTER, "bars"))
    assert bars is not None
    now = (bars.last_ms or 0) + QUARTER.ms + late_ms
    return Analyst(workspace, store=store, clock=FixedClock(now)).analyse(SYMBOL, QUARTER)


def test_the_current_model_is_listed_shown_and_told_by_status(sim: Inside, workspace: Workspace) -> None:
    digest = current_model(workspace, SYMBOL, QUARTER)
    altered(workspace, schema=4)
    bundles = BundleStore(Path(workspace.cache_dir) / "models")
    files, described = bundles.load(digest)
    del described["files"]
    bundles.save(files, {"symbol": SYMBOL})
    found = {one["bundle"]: one for one in sim.run("models", "list", "--json", **SMALL_SIM).json["models"]}
    assert len(found) == 3
    assert (found[digest]["state"], found[digest]["card"]["outdated"]) == ("current", None)
    others = [one for name, one in found.items() if name != digest]
    assert {one["state"] for one in others} == {"loose"}
    assert any("an earlier version" in str(one["card"]["outdated"]) for one in others if one["card"])
    assert any(one["card"] is None and one["problem"] for one in others)
    shown = sim.run("models", "list", **SMALL_SIM).out
    assert digest[:12] in shown
    card = sim.run("models", "show", digest[:8], "--json", **SMALL_SIM).json
    assert card == sim.run("models", "show", SYMBOL, "--timeframe", "15m", "--json", **SMALL_SIM).json
    assert card["bundle"] == digest
    assert card["valid_until_ms"] == card["learned_to_ms"] + 45 * DAY_MS
    assert {"brier", "log_loss", "slope", "ece", "auc"} <= set(card["metrics"])
    assert card["claim"]["trials"] > 1
    assert card["data"]["bars"]
    assert card["made_with"]["libraries"]["lightgbm"]
    for_people = sim.run("models", "show", **SMALL_SIM).out
    assert "valid until" in for_people
    assert "act model" in for_people
    series = sim.run("status", "--json", **SMALL_SIM).json["series"][0]
    assert series["trained"]["digest"] == digest
    assert series["trained"]["valid_until_ms"] == card["valid_until_ms"]
    assert series["trained"]["learned_to_ms"] == card["learned_to_ms"]
    assert f"model {digest[:8]}…, trained on" in sim.run("status", **SMALL_SIM).out
    assert series["trained"]["watched"] is None
    asked(workspace)
    told = sim.run("status", "--json", **SMALL_SIM).json["series"][0]["trained"]["watched"]
    assert told["evidence"] >= 1
    assert "evidence against" in sim.run("status", **SMALL_SIM).out


def test_what_was_retired_opens_nothing_until_it_is_promoted(sim: Inside, workspace: Workspace) -> None:
    digest = current_model(workspace, SYMBOL, QUARTER)
    before = asked(workspace)
    gone = sim.run("models", "retire", *SERIES, "--json", **SMALL_SIM)
    assert (gone.code, gone.json["retired"]) == (0, digest)
    said = asked(workspace)
    assert isinstance(said.outcome, Abstention)
    assert said.outcome.code == "model_retired"
    assert "trader train ETHUSDT --timeframe 15m" in said.outcome.sentence
    assert said.probabilities is None, "the last opinion of what is held fades"
    assert has_model(workspace, SYMBOL, QUARTER, 0), "`run` does not train what a person took away"
    ran = sim.run("analyze", *SERIES, **SMALL_SIM)
    assert (ran.code, "model_retired" in ran.out) == (ExitCode.ABSTAINED, True)
    assert sim.run("models", "retire", *SERIES, **SMALL_SIM).code == ExitCode.DATA
    root = Path(workspace.cache_dir)
    assert not [
        one for one in unreferenced(take_inventory(root), mark(root, lambda _: True, 0), 0) if one.name == digest
    ]
    back = sim.run("models", "promote", digest[:10], *SERIES, "--json", **SMALL_SIM)
    assert (back.code, back.json["current"], back.json["former"]) == (0, digest, None)
    assert asked(workspace).outcome == before.outcome


def test_only_a_model_of_the_series_and_of_this_version_becomes_current(sim: Inside, workspace: Workspace) -> None:
    digest, other = current_model(workspace, SYMBOL, QUARTER), altered(workspace, seed=99)
    assert promote(workspace, other, SYMBOL, QUARTER) == digest
    states = {one["bundle"]: one["state"] for one in sim.run("models", "list", "--json", **SMALL_SIM).json["models"]}
    assert states == {other: "current", digest: "former"}
    refusals = {
        "of BTCUSDT 15m, not of ETHUSDT 15m": altered(workspace, symbol="BTCUSDT"),
        "of ETHUSDT 1h, not of ETHUSDT 15m": altered(workspace, timeframe="1h"),
        "made by an earlier version of trader (schema 4": altered(workspace, schema=4),
        "was trained on binance-um": altered(workspace, source="binance-um"),
    }
    for said, refused in refusals.items():
        tried = sim.run("models", "promote", refused, *SERIES, **SMALL_SIM)
        assert (tried.code, said in tried.err) == (ExitCode.DATA, True), tried.err
    assert current_model(workspace, SYMBOL, QUARTER) == other
    unknown = sim.run("models", "promote", "f" * 32, *SERIES, **SMALL_SIM)
    assert (unknown.code, "no model bundle" in unknown.err) == (ExitCode.DATA, True)


@pytest.mark.parametrize("out", ["taken", "taken.zip"])
def test_an_exported_model_is_read_again_and_one_changed_byte_is_seen(
    sim: Inside, workspace: Workspace, tmp_path: Path, out: str
) -> None:
    digest, place = current_model(workspace, SYMBOL, QUARTER), tmp_path / out
    written = sim.run("models", "export", digest, "--out", out, "--json", **SMALL_SIM)
    assert written.json == {"model": digest, "out": out}
    assert sim.run("models", "export", digest, "--out", out, **SMALL_SIM).code == ExitCode.USAGE, "never over another"
    shutil.rmtree(Path(workspace.cache_dir) / "models")
    assert sim.run("models", "show", f"./{out}", "--json", **SMALL_SIM).json["bundle"] == digest
    assert current_model(workspace, SYMBOL, QUARTER) == digest, "it is stored again under its name"
    assert asked(workspace).claim
    if place.is_dir():
        assert json.loads((place / "card.json").read_bytes())["bundle"] == digest
        for file in sorted(place.glob("[!c]*")):
            whole = file.read_bytes()
            at = len(whole) // 2
            file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
            seen = sim.run("models", "show", f"./{out}", **SMALL_SIM)
            assert seen.code == ExitCode.DATA, file
            file.write_bytes(whole)
    else:
        place.write_bytes(place.read_bytes()[:-40])
        assert sim.run("models", "show", out, **SMALL_SIM).code == ExitCode.DATA


@pytest.mark.parametrize("seed", range(3))
def test_a_damaged_archive_is_refused_in_a_sentence_or_is_whole(
    workspace: Workspace, tmp_path: Path, seed: int
) -> None:
    """Single bits at random places, and at those where a zip says how its files are packed."""
    digest, place = current_model(workspace, SYMBOL, QUARTER), tmp_path / "made.zip"
    export(workspace, digest, place)
    whole, dice = place.read_bytes(), np.random.default_rng(seed)
    heads = [at for at in range(len(whole)) if whole[at : at + 4] in {b"PK\x01\x02", b"PK\x03\x04"}]
    near = [head + int(dice.integers(4, 30)) for head in heads for _ in range(6)]
    bundles, refused = bundles_of(workspace), 0
    for at in [*near, *dice.integers(0, len(whole), 40).tolist()]:
        changed = bytearray(whole)
        changed[at] ^= 1 << int(dice.integers(8))
        place.write_bytes(changed)
        refused += 1
        with suppress(DataInvalid):
            assert take_in(bundles, place) == digest
            refused -= 1
    assert refused > 30


def test_a_bundle_from_outside_names_no_file_elsewhere(sim: Inside, tmp_path: Path) -> None:
    place = tmp_path / "made-up"
    place.mkdir()
    secret = tmp_path / "secret"
    secret.write_bytes(b"key")
    index = {"schema": 5, "files": {"../secret": digest_bytes(b"key")}}
    (place / "bundle.json").write_bytes(canonical_json(index))
    seen = sim.run("models", "show", "./made-up", **SMALL_SIM)
    assert (seen.code, "no file of a bundle" in seen.err) == (ExitCode.DATA, True)


def test_training_again_leaves_the_former_model_known(workspace: Workspace, sim: Inside) -> None:
    digest = current_model(workspace, SYMBOL, QUARTER)
    again = sim.run("train", *SERIES, "--json", **SMALL_SIM, TRADER_ANALYST__WALK_FORWARD_FOLDS="5")
    store = ArtifactStore(workspace.cache_dir)
    assert again.code == 0, again.err
    assert store.pointed(stage_key("sim", SYMBOL, QUARTER, "model-former")) == digest


def test_a_retired_model_is_said_by_status(workspace: Workspace, sim: Inside) -> None:
    retire(workspace, SYMBOL, QUARTER)
    series = sim.run("status", "--json", **SMALL_SIM).json["series"][0]
    assert (series["model"], series["trained"]) == ("retired", None)


@pytest.fixture
def earlier(workspace: Workspace) -> str:
    """A model of the first part of the bars."""
    store = ArtifactStore(workspace.cache_dir)
    data = training_data(workspace, store, SYMBOL, QUARTER)
    cut = int(data.bars["open_time"].to_physical()[data.bars.height * 3 // 4])
    return train_on(workspace, store, data, until_ms=cut).digest


def dulled(workspace: Workspace, digest: str) -> str:
    """The same bundle, its booster told to be worth nothing."""
    bundles = BundleStore(Path(workspace.cache_dir) / "models")
    files, description = bundles.load(digest)
    numbers = json.loads(files["calibration.json"])
    numbers["side"]["slope"] = 0.0
    del description["files"]
    return bundles.save({**files, "calibration.json": canonical_json(numbers)}, description)


def test_models_are_compared_on_bars_that_neither_has_learned_from(
    sim: Inside, workspace: Workspace, earlier: str
) -> None:
    dull = dulled(workspace, earlier)
    better = sim.run("models", "compare", dull, earlier, "--json", **SMALL_SIM).json
    worse = sim.run("models", "compare", earlier, dull, "--json", **SMALL_SIM).json
    assert better["better"], better
    assert not worse["better"]
    assert better["champion"] == worse["challenger"]
    assert better["mean_difference_bps"] == pytest.approx(-worse["mean_difference_bps"])
    assert better["champion"]["trades"] == 0 < better["challenger"]["trades"]
    assert better["challenger"]["brier"] < better["challenger"]["brier_base_rates"]
    learned = sim.run("models", "show", earlier, "--json", **SMALL_SIM).json["learned_to_ms"]
    assert better["first_ms"] == learned + QUARTER.ms
    same = sim.run("models", "compare", earlier, earlier, "--json", **SMALL_SIM).json
    assert (same["alike"], same["mean_difference_bps"], same["chance_no_better"]) == (1.0, 0.0, 1.0)
    near = {**SMALL_SIM, "TRADER_MONITOR__TRAIL_DISTANCE": "0.2"}
    closer = sim.run("models", "compare", dull, earlier, "--json", **near).json
    assert closer["challenger"]["gain"] != better["challenger"]["gain"], "trades end by the exit rules of live"
    shown = sim.run("models", "compare", dull, earlier, **SMALL_SIM).out
    assert "B is better" in shown
    too_late = sim.run("models", "compare", current_model(workspace, SYMBOL, QUARTER), earlier, **SMALL_SIM)
    assert (too_late.code, "30 are needed" in too_late.err) == (ExitCode.DATA, True)
    (tried,) = tried_on(workspace, SYMBOL)
    compared = {one.name for one in tried.tried if one.means == "model compared"}
    assert compared == {earlier, dull}, "each counts: the best of many may be promoted"
    other = sim.run("models", "compare", earlier, altered(workspace, symbol="BTCUSDT"), **SMALL_SIM)
    assert (other.code, "one series" in other.err) == (ExitCode.USAGE, True)


def test_a_backtest_by_an_exported_model_ends_its_trades_when_that_is_too_old(
    sim: Inside, workspace: Workspace, earlier: str
) -> None:
    assert sim.run("models", "export", earlier, "--out", "taken.zip", **SMALL_SIM).code == 0
    learned = sim.run("models", "show", earlier, "--json", **SMALL_SIM).json["learned_to_ms"]
    since = f"{datetime.fromtimestamp(learned // DAY_MS * DAY_MS / 1000 + 86_400, UTC):%Y-%m-%d}"
    asked_of = ("backtest", *SERIES, "--model", "taken.zip", "--since", since, "--json")
    young = sim.run(*asked_of, **SMALL_SIM)
    old = sim.run(*asked_of, **SMALL_SIM, TRADER_ANALYST__MAX_MODEL_AGE="2")
    assert (young.code, old.code) == (0, 0), old.err
    assert "model_expired" not in young.out
    assert "model_expired" in old.out
    old_trades, young_trades = (one.json["figures"]["trades"]["count"] for one in (old, young))
    assert 0 < old_trades < young_trades
    assert sim.run("report", old.json["backtest"], "--out", "old.html", **SMALL_SIM).code == 0
    page = (Path(workspace.cache_dir).parent / "old.html").read_text()
    assert earlier[:12] in page[page.index('<section id="models">') :]
    assert "out of sample. Whiskers" in page


def test_a_bundle_of_an_earlier_version_opens_nothing_and_names_the_training(sim: Inside, workspace: Workspace) -> None:
    store, older = ArtifactStore(workspace.cache_dir), altered(workspace, schema=8)
    store.point(stage_key("sim", SYMBOL, QUARTER, "model"), older)
    ran = sim.run("analyze", *SERIES, **SMALL_SIM)
    assert (ran.code, "an earlier version of trader (schema 8; this one reads 9)" in ran.err) == (ExitCode.DATA, True)
    assert "trader train ETHUSDT --timeframe 15m" in ran.err
    with pytest.raises(DataInvalid):  # `tactician.position_management` keeps the last opinion then, and stops stay
        asked(workspace)
    listed = sim.run("models", "list", **SMALL_SIM).out
    assert "edge, made by an earlier version" in listed
    assert sim.run("train", *SERIES, "--json", **SMALL_SIM).json["cached"] is False
