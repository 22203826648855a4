"""Two backtests held against each other: change one thing, and it is named, with its money and its first decision."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from support.trading.sim_folder import QUARTER, SYMBOL, sim_settings, trained_folder

from trader_cli.backtest.exposure_held import Closes, book_frame
from trader_cli.core.errors import UsageError
from trader_cli.core.market.gaps import utc_text
from trader_cli.core.market.timeframes import HOUR_MS, Timeframe
from trader_cli.pipelines.backtests.backtest_comparison import Comparison, compare, first_changed
from trader_cli.pipelines.backtests.backtest_recipe import CAUSES, Recipe, prepare
from trader_cli.pipelines.backtests.backtest_request import CURRENT, WALK_FORWARD, BacktestRequest
from trader_cli.pipelines.backtests.backtest_run import run_backtest
from trader_cli.pipelines.backtests.backtest_store import StoredBacktest, find
from trader_cli.pipelines.backtests.prepared_backtest import trade
from trader_cli.pipelines.market_access import sim_tape
from trader_cli.pipelines.stages.fetching import fetch
from trader_cli.pipelines.stages.model_stages import features
from trader_cli.settings import Workspace, workspace_of
from trader_cli.storage.artifacts import ArtifactStore, stage_key
from trader_cli.storage.bundles import BundleStore
from trader_cli.storage.state import TrialLedger, VenueState

pytestmark = pytest.mark.slow
HOURS = 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bars, features and a model, and the market as a tape of its own."""
    made = tmp_path_factory.mktemp("compared")
    shutil.copytree(trained_folder(tmp_path_factory), made, dirs_exist_ok=True)
    go_on(workspace(made))
    return made


def go_on(at: Workspace) -> None:
    """Some hours later: what has closed since is fetched, and its features made; the model is of before."""
    tape = sim_tape(at)
    VenueState(at.state_dir).save_time(tape.source, tape.at(at.settings.sim.start) + (HOURS + 2) * HOUR_MS)
    for stage in (fetch, features):
        stage(at, SYMBOL, QUARTER)


def workspace(folder: Path, **changes: Any) -> Workspace:
    return workspace_of(sim_settings(folder, **changes))


def backtested(at: Workspace, model: str = CURRENT, **changes: Any) -> StoredBacktest:
    begin = sim_tape(at).at(at.settings.sim.start)
    request = BacktestRequest((SYMBOL,), QUARTER, begin, begin + HOURS * HOUR_MS, model, HOUR_MS)
    return run_backtest(at, replace(request, **changes))


def compared(at: Workspace, one: StoredBacktest, two: StoredBacktest) -> Comparison:
    return compare(at, ArtifactStore(at.cache_dir), one, two)


def adds_up(found: Comparison) -> None:
    told = sum(cause.worth or 0.0 for cause in found.causes) + found.interaction
    assert told == pytest.approx(found.profits[1] - found.profits[0], abs=1e-8)


@pytest.fixture(scope="module")
def first(folder: Path) -> StoredBacktest:
    return backtested(workspace(folder))


def test_made_from_its_own_parts_it_is_the_same(folder: Path, first: StoredBacktest) -> None:
    at = workspace(folder, tactician={"risk_per_trade": 0.05}, costs={"taker_fee_bps": 9.0})
    store = ArtifactStore(at.cache_dir)
    prepared = prepare(Recipe.of(first.manifest), at, store)
    frames = trade(prepared).records.frames()
    closes = {symbol: Closes.of(history.bars, history.timeframe) for symbol, history in prepared.histories.items()}
    frames["book"] = book_frame(frames["equity"], frames["fills"], closes)
    for name, frame in frames.items():
        stored = first.part(store, name)
        assert frame.is_empty() if stored is None else frame.equals(stored), name


def test_what_is_the_same_has_no_cause(folder: Path, first: StoredBacktest) -> None:
    found = compared(workspace(folder), first, first)
    assert (found.causes, found.interaction, found.first_decision, found.other_code) == ((), 0.0, None, None)
    assert found.remark is None


@pytest.mark.parametrize(
    ("cause", "changes", "told"),
    [
        ("setting", {"tactician": {"risk_per_trade": 0.004}}, r"tactician.risk_per_trade 0.01 → 0.004"),
        ("setting", {"sim": {"balance": 5000.0}}, r"balance 10000.0 → 5000.0"),
        ("cost", {"costs": {"taker_fee_bps": 25.0}}, r"costs.taker_fee_bps \d.* → 25.0"),
    ],
    ids=["one setting", "the money at first", "one fee"],
)
def test_one_thing_is_named_with_its_money_and_first_decision(
    folder: Path, first: StoredBacktest, cause: str, changes: dict[str, Any], told: str
) -> None:
    at = workspace(folder, **changes)
    second = backtested(at)
    trials = len(TrialLedger(at.state_dir).overlapping(at.lineage, SYMBOL, 0, 2**62))
    found = compared(at, first, second)
    assert [one.cause for one in found.causes] == [cause]
    (only,) = found.causes
    assert len(only.differences) == 1
    assert re.search(told, only.differences[0])
    assert only.worth == pytest.approx(found.difference, abs=1e-8)
    assert found.interaction == pytest.approx(0, abs=1e-8)
    assert only.first_decision == found.first_decision is not None
    assert found.first_decision.before != found.first_decision.after
    assert len(TrialLedger(at.state_dir).overlapping(at.lineage, SYMBOL, 0, 2**62)) == trials
    adds_up(found)


def test_one_byte_of_a_model_is_named(folder: Path, first: StoredBacktest) -> None:
    at = workspace(folder)
    bundles = BundleStore(ArtifactStore(at.cache_dir).root / "models")
    digest = next(iter(Recipe.of(first.manifest).models.values()))
    files, description = bundles.load(digest)
    counts = re.search(rb"leaf_count=([\d ]+)", files["side.txt"])
    assert counts is not None
    of_leaves = [int(count) for count in counts[1].split()]
    before = rb"(?:\S+ )" + b"{%d}" % of_leaves.index(max(of_leaves))
    leaf = re.search(rb"leaf_value=" + before + rb"-?0\.(\d)", files["side.txt"])
    assert leaf is not None, "the leaf that most rows fall into"
    digit = b"8" if leaf[1] != b"8" else b"1"
    changed = files["side.txt"][: leaf.start(1)] + digit + files["side.txt"][leaf.end(1) :]
    other = bundles.save({**files, "side.txt": changed}, description)
    found = compared(at, first, backtested(at, other))
    (only,) = found.causes
    assert only.cause == "model"
    assert digest[:12] in only.differences[0]
    assert "(side.txt)" in only.differences[0]
    assert only.first_decision == found.first_decision is not None
    adds_up(found)


def on_tape(folder: Path, change: Callable[[pl.DataFrame], pl.DataFrame], name: str) -> Workspace:
    """The market of the folder as Parquet bars, changed, fetched and its features made: beside what is there."""
    bars = sim_tape(workspace(folder)).symbols[SYMBOL].bars
    columns = {n: getattr(bars, n) for n in ("open", "high", "low", "close", "volume")}
    frame = pl.DataFrame({"open_time": bars.open_ms, **columns}).with_columns(
        pl.col("open_time").cast(pl.Datetime("ms", "UTC"))
    )
    (folder / name).mkdir(exist_ok=True)
    file = folder / name / f"{SYMBOL}-1m.parquet"
    change(frame).write_parquet(file)
    at = workspace(folder, sim={"tape": str(file)})
    go_on(at)
    return at


def test_one_candle_is_named(folder: Path, first: StoredBacktest, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    folder = tmp_path
    start = Recipe.of(first.manifest).span[0]
    at_ms = start + 2 * HOUR_MS
    same = on_tape(folder, lambda bars: bars, "same")
    made_on = dict.fromkeys(("source",), same.source)
    digest = next(iter(Recipe.of(first.manifest).models.values()))
    bundles = BundleStore(ArtifactStore(same.cache_dir).root / "models")
    files, description = bundles.load(digest)
    model = bundles.save(files, {**description, **made_on})
    one = backtested(same, model)

    def higher(bars: pl.DataFrame) -> pl.DataFrame:
        hit = pl.col("open_time").dt.epoch("ms") == at_ms
        return bars.with_columns(pl.when(hit).then(pl.col("high") + 40).otherwise(pl.col("high")).alias("high"))

    changed = on_tape(folder, higher, "changed")
    other = bundles.save(files, {**description, "source": changed.source})
    two = backtested(changed, other)
    found = compared(changed, one, two)
    told = {cause.cause: cause for cause in found.causes}
    assert set(told) == {"bars", "feature", "model"}
    candle = next(line for line in told["bars"].differences if line.startswith(f"bars {SYMBOL}"))
    assert "1 rows of" in candle
    assert re.search(r"high \S+ → \S+", candle)
    assert any("source" in line for line in told["bars"].differences)
    assert found.first_decision is None or found.first_decision.time_ms >= at_ms
    adds_up(found)


def test_several_causes_and_what_they_do_together_add_up(folder: Path, first: StoredBacktest) -> None:
    at = workspace(folder, tactician={"risk_per_trade": 0.004}, costs={"taker_fee_bps": 12.0})
    second = backtested(at, since_ms=Recipe.of(first.manifest).span[0] + HOUR_MS)
    found = compared(at, first, second)
    assert [one.cause for one in found.causes] == [c for c in CAUSES if c in {"span", "setting", "cost"}]
    adds_up(found)
    back = compared(at, second, first)
    assert back.difference == pytest.approx(-found.difference, abs=1e-8)


def test_another_seed_plays_another_path(folder: Path, first: StoredBacktest) -> None:
    at = workspace(folder)
    recipe = Recipe.of(first.manifest)
    one, other = (prepare(r, at, ArtifactStore(at.cache_dir)).tape for r in (recipe, replace(recipe, seed=99)))
    assert one.symbols[SYMBOL].seed != other.symbols[SYMBOL].seed
    assert (one.symbols[SYMBOL].close == other.symbols[SYMBOL].close).all()


def test_a_model_and_a_rule_are_compared_though_neither_fits_the_other(folder: Path, first: StoredBacktest) -> None:
    at = workspace(folder, rule={"name": "sma_cross"})
    ruled = backtested(at, model=WALK_FORWARD)
    for pair in ((first, ruled), (ruled, first)):
        found = compared(at, *pair)
        refused = {one.cause: one.refused for one in found.causes}
        assert refused["model"], refused
        assert refused["setting"], refused
        adds_up(found)


def test_spans_alone_are_said_to_differ_in_a_sentence_with_both(folder: Path, first: StoredBacktest) -> None:
    at, span = workspace(folder), first.request
    assert span.until_ms is not None
    shorter = backtested(at, until_ms=span.until_ms - HOUR_MS)
    found = compared(at, shorter, first)
    assert [cause.cause for cause in found.causes] == ["span"]
    (told,) = re.findall(r"^They differ in nothing but their span, (.+): both trade (.+)\.$", found.remark or "")
    ends = [
        f"{utc_text(span.since_ms or 0)} to {utc_text(until)}" for until in (span.until_ms - HOUR_MS, span.until_ms)
    ]
    assert told == (f"{ends[0]} and {ends[1]}", ends[0])
    adds_up(found)


def test_other_symbols_or_bars_are_refused(folder: Path, first: StoredBacktest) -> None:
    at = workspace(folder)
    request = first.request.as_dict() | {"timeframe": Timeframe.parse("1h").name}
    other = StoredBacktest("other", replace(first.manifest, notes={**first.manifest.notes, "request": request}))
    with pytest.raises(UsageError, match="nothing of one fits the other"):
        compared(at, first, other)


def test_the_first_decision_is_found_where_one_has_more(folder: Path, first: StoredBacktest) -> None:
    decided = first.part(ArtifactStore(workspace(folder).cache_dir), "decisions")
    assert decided is not None
    assert first_changed(decided, decided) is None
    missing = pl.concat([decided[:3], decided[4:]])
    found = first_changed(decided, missing)
    assert found is not None
    assert (found.time_ms, found.after) == (int(decided["time"].dt.epoch("ms")[3]), "nothing")
    shorter = first_changed(decided[:-1], decided)
    assert shorter is not None
    assert (shorter.before, shorter.time_ms) == ("nothing", int(decided["time"].dt.epoch("ms")[-1]))
    assert first_changed(decided[:0], decided[:0]) is None


def test_a_comparison_stores_nothing(folder: Path, first: StoredBacktest) -> None:
    at = workspace(folder)
    store = ArtifactStore(at.cache_dir)
    before = sorted(store.root.rglob("*"))
    compared(at, first, first)
    assert sorted(store.root.rglob("*")) == before
    assert find(at, store, first.name) == first
    assert store.current(stage_key(at.mode, SYMBOL, QUARTER, f"backtest-{first.name}")) == first.manifest


def test_a_parameter_of_a_rule_is_a_setting(folder: Path) -> None:
    """Rules of one's own are made again with what they were given."""
    unproven = {"analyst": {"allow_unproven": True}}
    one, two = (
        workspace(folder, rule={"name": "sma_cross", "parameters": {"fast": fast}}, **unproven) for fast in (10, 12)
    )
    first, second = (backtested(at, WALK_FORWARD, refit_ms=1000 * HOUR_MS) for at in (one, two))
    store = ArtifactStore(one.cache_dir)
    frames = trade(prepare(Recipe.of(first.manifest), workspace(folder), store)).records.frames()
    stored = first.part(store, "decisions")
    assert stored is not None
    assert frames["decisions"].equals(stored)
    found = compared(workspace(folder), first, second)
    assert "rule.fast 10 → 12" in next(one for one in found.causes if one.cause == "setting").differences
    adds_up(found)
