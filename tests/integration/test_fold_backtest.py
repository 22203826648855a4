"""`trader backtest --folds`: the trades behind a claim, made again by the fast engine, and what is said where it cannot."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.commands.command_line import SMALL_SIM
from support.commands.in_process import Inside
from support.trading.sim_folder import QUARTER, SYMBOL, trained_copy

from trader_cli.analyst.bundled import from_bundle
from trader_cli.analyst.fold_models import FoldModel, folds_of, said_again
from trader_cli.analyst.statistics import sharpe
from trader_cli.analyst.trained_model import FOLDS_FILE, TrainedModel
from trader_cli.backtest.ideal_backtest import filled_of, trade_ideally
from trader_cli.core.errors import DataMissing, ExitCode
from trader_cli.core.identity.digests import canonical_json
from trader_cli.pipelines.backtests.backtest_store import find
from trader_cli.pipelines.backtests.fold_backtest import _terms, fold_trading
from trader_cli.pipelines.stages.book_maker import book_maker
from trader_cli.pipelines.stages.model_life import current_model
from trader_cli.settings.workspace import Workspace
from trader_cli.storage.artifacts import ArtifactStore, stage_key
from trader_cli.storage.bundles import BundleStore
from trader_cli.storage.state import TrialLedger

pytestmark = pytest.mark.slow


@pytest.fixture
def workspace(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return trained_copy(tmp_path, tmp_path_factory)


@pytest.fixture
def sim(workspace: Workspace, tmp_path: Path) -> Inside:
    assert workspace.cache_dir
    return Inside(tmp_path, ("--profile", "sim"))


def bundles_of(workspace: Workspace) -> BundleStore:
    return BundleStore(ArtifactStore(workspace.cache_dir).root / "models")


def altered(workspace: Workspace, change: dict[str, bytes | None], **told: object) -> str:
    """A copy of the current bundle with other files, or that describes itself otherwise; without a file: None."""
    files, description = bundles_of(workspace).load(current_model(workspace, SYMBOL, QUARTER))
    del description["files"]
    kept = {name: content for name, content in {**files, **change}.items() if content is not None}
    return bundles_of(workspace).save(kept, {**description, **told})


def test_the_trades_of_the_claim_are_made_again_by_the_fast_engine(workspace: Workspace) -> None:
    store, digest = ArtifactStore(workspace.cache_dir), current_model(workspace, SYMBOL, QUARTER)
    given = fold_trading(workspace, store, digest)
    account = trade_ideally(SYMBOL, QUARTER, given.bars, given.said, _terms(workspace, given.costs))
    theirs = filled_of(account.records.frames()["fills"], given.bars, QUARTER)
    mine = book_maker(workspace.settings)(given.bars, QUARTER, given.said)
    for name in ("start", "side", "price", "of", "exit_row", "exit_price", "share", "at_open"):
        np.testing.assert_allclose(
            getattr(mine, name).astype(float), getattr(theirs, name).astype(float), rtol=1e-9, err_msg=name
        )
    book, claim = given.book(theirs), given.model.claim
    assert (book.trades, len(book.gains)) == (claim.trades, claim.bars)
    assert sharpe(book.gains) == pytest.approx(claim.sharpe_per_bar, abs=1e-9)
    assert claim.trades > 30


def tried(workspace: Workspace) -> int:
    """How many trials are written down."""
    return len(TrialLedger(workspace.state_dir).looked(workspace.lineage, SYMBOL, 0, 2**50))


def test_the_command_stores_it_and_counts_no_further_try(sim: Inside, workspace: Workspace) -> None:
    before = tried(workspace)
    done = sim.run("backtest", "--folds", "current", SYMBOL, "--timeframe", "15m", "--json", **SMALL_SIM).json
    digest = current_model(workspace, SYMBOL, QUARTER)
    told = done["settings"]["folds"]
    claim = bundles_of(workspace).description(digest)["claim"]
    assert told["trades"] == claim["trades"]
    assert told["sharpe_per_bar"] == pytest.approx(claim["sharpe_per_bar"], abs=1e-9)
    again = sim.run("backtest", "--folds", digest[:16], "--json", **SMALL_SIM).json
    assert again["backtest"] == done["backtest"]
    assert tried(workspace) == before > 0
    kept = find(workspace, ArtifactStore(workspace.cache_dir), done["backtest"])
    assert kept.figures.trades.count + kept.figures.still_open == told["trades"]
    shown = sim.run("backtest", "show", done["backtest"], **SMALL_SIM)
    assert "as the bundle claims" in shown.out


def test_a_bundle_keeps_the_models_of_its_folds_and_gives_them_back(workspace: Workspace) -> None:
    files, description = bundles_of(workspace).load(current_model(workspace, SYMBOL, QUARTER))
    model = from_bundle(files, description)
    assert isinstance(model, TrainedModel)
    kept = folds_of(model.folds)
    assert kept.as_file() == files[FOLDS_FILE]
    assert [fold.judged for fold in kept.models] == [False] + [True] * (len(kept.models) - 1)
    assert all(one.last_ms < two.first_ms for one, two in zip(kept.models, kept.models[1:], strict=False))
    assert FoldModel.from_dict(kept.models[1].as_dict()).as_dict() == kept.models[1].as_dict()
    assert len(files[FOLDS_FILE]) < 2_000_000


def test_a_model_still_trades_no_bar_it_was_trained_on(sim: Inside, workspace: Workspace) -> None:
    digest = current_model(workspace, SYMBOL, QUARTER)
    refused = sim.run("backtest", SYMBOL, "--timeframe", "15m", "--model", digest, **SMALL_SIM)
    assert (refused.code, "it has seen" in refused.err) == (ExitCode.USAGE, True)


def test_what_chooses_otherwise_than_the_bundle_is_refused(sim: Inside, workspace: Workspace) -> None:
    digest = current_model(workspace, SYMBOL, QUARTER)
    for other in (["--since", "2024-01-01"], ["--model", "current"], ["--on-bars"], [SYMBOL]):
        refused = sim.run("backtest", "--folds", digest, *other, **SMALL_SIM)
        assert (refused.code, other[0] in refused.err) == (ExitCode.USAGE, True)


def test_a_bundle_without_folds_one_that_was_changed_and_an_older_one_are_refused(
    sim: Inside, workspace: Workspace
) -> None:
    without = sim.run("backtest", "--folds", altered(workspace, {FOLDS_FILE: None}), **SMALL_SIM)
    assert (without.code, "keeps no models of its folds" in without.err) == (ExitCode.DATA, True)
    garbled = sim.run("backtest", "--folds", altered(workspace, {FOLDS_FILE: b"{}"}), **SMALL_SIM)
    assert (garbled.code, "cannot be read" in garbled.err) == (ExitCode.DATA, True)
    old = sim.run("backtest", "--folds", altered(workspace, {}, schema=7), **SMALL_SIM)
    assert (old.code, "an earlier version" in old.err) == (ExitCode.DATA, True)
    digest = current_model(workspace, SYMBOL, QUARTER)
    path = bundles_of(workspace).root / digest / FOLDS_FILE
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    changed = sim.run("backtest", "--folds", digest, **SMALL_SIM)
    assert (changed.code, f"{FOLDS_FILE} is not what was written" in changed.err) == (ExitCode.DATA, True)


def test_folds_that_trade_otherwise_than_the_claim_says_are_refused(sim: Inside, workspace: Workspace) -> None:
    files, description = bundles_of(workspace).load(current_model(workspace, SYMBOL, QUARTER))
    told = json.loads(files[FOLDS_FILE])
    told["folds"][2]["side"]["slope"] *= 0.0
    wrong = sim.run("backtest", "--folds", altered(workspace, {FOLDS_FILE: canonical_json(told)}), **SMALL_SIM)
    assert (wrong.code, "trade otherwise than for the claim" in wrong.err) == (ExitCode.DATA, True)
    assert description["claim"]


def test_where_the_bars_of_the_folds_are_gone_it_says_so(sim: Inside, workspace: Workspace) -> None:
    store, digest = ArtifactStore(workspace.cache_dir), current_model(workspace, SYMBOL, QUARTER)
    bars = store.current(stage_key(workspace.mode, SYMBOL, QUARTER, "bars"))
    assert bars is not None
    (store.root / "manifests" / f"{bars.digest}.json").unlink()
    gone = sim.run("backtest", "--folds", digest, **SMALL_SIM)
    assert (gone.code, "are not there any more" in gone.err) == (ExitCode.DATA, True)
    assert "train" in gone.err


def test_rows_of_a_fold_that_are_lacking_are_refused(workspace: Workspace) -> None:
    given = fold_trading(workspace, ArtifactStore(workspace.cache_dir), current_model(workspace, SYMBOL, QUARTER))
    fitting, kept = given.fitting, folds_of(given.model.folds)
    moved = replace(kept.models[3], first_ms=kept.models[3].first_ms + 1)
    costs = given.costs.of_trades(fitting.data.start, given.model.horizon_bars)
    with pytest.raises(DataMissing, match="bars of the bundle's folds are not there"):
        said_again([*kept.models[:3], moved], fitting.bars, fitting.data, costs, by_act=False)


def test_what_frictions_are_worth_is_named_one_by_one(sim: Inside, workspace: Workspace) -> None:
    """Exchanged alone each makes the second backtest's part of the first; together they add up to the difference."""
    digest = current_model(workspace, SYMBOL, QUARTER)
    every = [part for name in ("latency", "impact", "compounding") for part in ("--friction", name)]
    plain, rough = (
        sim.run("backtest", "--folds", digest, *more, "--json", **SMALL_SIM).json["backtest"] for more in ([], every)
    )
    done = sim.run("backtest", "compare", plain, rough, "--json", **SMALL_SIM).json
    assert [one["cause"] for one in done["causes"]] == ["latency", "impact", "compounding"]
    assert all(one["refused"] is None for one in done["causes"])
    worths = {one["cause"]: one["worth"] for one in done["causes"]}
    assert worths["impact"] != 0
    assert worths["compounding"] != 0
    assert sum(worths.values()) + done["interaction"] == pytest.approx(done["difference"])
    assert [one["differences"] for one in done["causes"]] == [[f"{name} off → on"] for name in worths]
    stressed = sim.run("stress", plain, **SMALL_SIM)
    assert (stressed.code, "without --folds" in stressed.err) == (ExitCode.USAGE, True)


def test_a_friction_is_one_of_three_and_goes_with_folds(sim: Inside, workspace: Workspace) -> None:
    digest = current_model(workspace, SYMBOL, QUARTER)
    wrong = sim.run("backtest", "--folds", digest, "--friction", "rain", **SMALL_SIM)
    assert (wrong.code, "'rain' is no friction" in wrong.err) == (ExitCode.USAGE, True)
    without = sim.run("backtest", SYMBOL, "--timeframe", "15m", "--friction", "latency", **SMALL_SIM)
    assert (without.code, "goes with --folds" in without.err) == (ExitCode.USAGE, True)
