"""A rule of one's own through the whole path: its claim, its analyses, its backtest, and the run that trades by it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.trading.sim_folder import QUARTER, SYMBOL, sim_settings, trained_folder
from support.training.rule_sources import LEAD

from trader_cli.analyst.bundled import from_bundle
from trader_cli.analyst.trained_rule import TrainedRule
from trader_cli.core.errors import DataMissing, DataStale, UsageError, VerificationFailed
from trader_cli.core.types import Abstention, Signal
from trader_cli.pipelines.backtests.backtest_request import CURRENT, WALK_FORWARD, BacktestRequest, Speed
from trader_cli.pipelines.backtests.backtest_run import run_backtest
from trader_cli.pipelines.backtests.backtest_store import StoredBacktest
from trader_cli.pipelines.market_access import sim_tape
from trader_cli.pipelines.stages.model_stages import analyze, train, training_data
from trader_cli.pipelines.stages.model_training import has_model
from trader_cli.pipelines.stages.rule_training import prepare_rule
from trader_cli.pipelines.stages.signal_wait import analyze_until_signal
from trader_cli.pipelines.trading.iterations import EventSink
from trader_cli.pipelines.trading.trading_run import run_forever
from trader_cli.settings import Workspace, workspace_of
from trader_cli.storage.artifacts import ArtifactStore, stage_key
from trader_cli.storage.bundles import BundleStore
from trader_cli.storage.ledger_reading import LedgerReading
from trader_cli.venue.simulated_market.many_moments import prices_at

pytestmark = pytest.mark.slow
HOUR_MS = 3_600_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fetched bars and features, and a rule."""
    made = tmp_path_factory.mktemp("ruled")
    shutil.copytree(trained_folder(tmp_path_factory), made, dirs_exist_ok=True)
    (made / "lead.py").write_text(LEAD)
    return made


def workspace(folder: Path, name: str = "lead.py", **changes: object) -> Workspace:
    name = str(folder / name) if name.endswith(".py") else name
    return workspace_of(sim_settings(folder, **{"rule": {"name": name}, **changes}))


@pytest.fixture(scope="module")
def ruled(folder: Path) -> Workspace:
    """With the claim of the rule."""
    made = workspace(folder)
    train(made, SYMBOL, QUARTER)
    return made


def judged(made: Workspace) -> TrainedRule:
    store = ArtifactStore(made.cache_dir)
    digest = store.pointed(stage_key(made.mode, SYMBOL, QUARTER, "model"))
    assert digest is not None
    found = from_bundle(*BundleStore(store.root / "models").load(digest))
    assert isinstance(found, TrainedRule)
    return found


def test_its_claim_is_a_bundle_without_boosters_and_found_again(ruled: Workspace) -> None:
    again, found = train(ruled, SYMBOL, QUARTER), judged(ruled)
    assert again.cached
    assert again.claim == found.claim
    assert found.files() == {}
    assert found.rule["parameters"] == {"bars": 3, "stop": 0.01}
    assert found.claim.trades > 100


def test_another_parameter_is_another_trial_and_the_same_one_is_none(folder: Path, ruled: Workspace) -> None:
    first = train(ruled, SYMBOL, QUARTER).claim.trials
    other = workspace(folder, rule={"name": str(folder / "lead.py"), "parameters": {"bars": 5}})
    assert train(other, SYMBOL, QUARTER).claim.trials == first + 1
    assert train(ruled, SYMBOL, QUARTER).claim.trials in {first, first + 1}
    assert train(other, SYMBOL, QUARTER).claim.trials == first + 1
    train(ruled, SYMBOL, QUARTER)


def test_its_last_word_is_that_of_the_whole_series(ruled: Workspace) -> None:
    store = ArtifactStore(ruled.cache_dir)
    series = training_data(ruled, store, SYMBOL, QUARTER)
    said = prepare_rule(ruled, store, series).signals
    analysis = analyze(ruled, SYMBOL, QUARTER).analysis
    last = int(said.side[-1])
    assert analysis.held == {1: "long", 0: "nothing"}[last]
    if last in {0, int(said.side[-2])}:
        assert isinstance(analysis.outcome, Abstention)
        assert analysis.outcome.code in {"no_word", "word_stands"}
    else:
        assert isinstance(analysis.outcome, Signal | Abstention)


def test_without_its_claim_nothing_is_said(folder: Path, ruled: Workspace) -> None:
    changed = [
        workspace(folder, rule={"name": str(folder / "lead.py"), "parameters": {"bars": 4}}),
        workspace(folder, costs={"taker_fee_bps": 9}),
        workspace(folder, "sma_cross"),
        workspace_of(sim_settings(folder)),
    ]
    for made in changed:
        with pytest.raises((DataStale, DataMissing)):
            analyze(made, SYMBOL, QUARTER)
    analyze(ruled, SYMBOL, QUARTER)


def test_a_run_judges_anew_where_the_claim_is_of_another_rule(folder: Path, ruled: Workspace) -> None:
    now = sim_tape(ruled).at(1.0)
    assert has_model(ruled, SYMBOL, QUARTER, now)
    file = str(folder / "lead.py")
    others: list[dict[str, object]] = [{"parameters": {"bars": 4}}, {"name": "sma_cross"}, {"name": None}]
    for rule in others:
        assert not has_model(workspace(folder, rule={"name": file, **rule}), SYMBOL, QUARTER, now), rule
    assert has_model(workspace(folder, rule={"name": file, "parameters": {"bars": 3}}), SYMBOL, QUARTER, now)
    (folder / "lead.py").write_text(LEAD + "\n")
    try:
        assert not has_model(ruled, SYMBOL, QUARTER, now)
    finally:
        (folder / "lead.py").write_text(LEAD)


def test_a_changed_source_has_no_claim(folder: Path, ruled: Workspace) -> None:
    (folder / "lead.py").write_text(LEAD + "\n")
    try:
        with pytest.raises(DataMissing, match="no certificate"):
            analyze(ruled, SYMBOL, QUARTER)
        train(ruled, SYMBOL, QUARTER)
        assert judged(ruled).rule["source"] != ""
    finally:
        (folder / "lead.py").write_text(LEAD)
    with pytest.raises(DataStale, match="the source of the rule lead has changed"):
        analyze(ruled, SYMBOL, QUARTER)
    train(ruled, SYMBOL, QUARTER)


def test_a_rule_that_peeks_is_not_judged(folder: Path) -> None:
    ahead = LEAD.replace(
        "side[self.bars :] = close[self.bars :] > close[: -self.bars]",
        "side[: -self.bars] = close[self.bars :] > close[: -self.bars]",
    )
    (folder / "ahead.py").write_text(ahead)
    with pytest.raises(VerificationFailed, match="The rule lead looks ahead and may not be used"):
        train(workspace(folder, "ahead.py"), SYMBOL, QUARTER)


def start_of(made: Workspace) -> int:
    return sim_tape(made).at(made.settings.sim.start)


def backtested(
    made: Workspace, *, model: str = CURRENT, hours: float = 6, since_h: float = 0, speed: Speed = "fast"
) -> StoredBacktest:
    begin = start_of(made) + round(since_h * HOUR_MS)
    span = (begin, begin + round(hours * HOUR_MS))
    return run_backtest(made, BacktestRequest((SYMBOL,), QUARTER, *span, model, 30 * 24 * HOUR_MS, speed))


TURNS = LEAD.replace("close[self.bars :] > close[: -self.bars]", "np.sign(close[self.bars :] - close[: -self.bars])")


@pytest.mark.long
@pytest.mark.parametrize("source", [LEAD, TURNS], ids=["follows", "turns"])
def test_a_backtest_trades_as_the_run_does(source: str, folder: Path, tmp_path: Path) -> None:
    """One that turns from long to short is left and entered again in one moment; in every run by real bars."""
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "lead.py").write_text(source)
    made = workspace(tmp_path, analyst={"allow_unproven": True})
    train(made, SYMBOL, QUARTER)
    run_forever(made, [SYMBOL], QUARTER, for_s=12.5 * 3600)
    done = backtested(made, hours=12)
    fills = done.part(ArtifactStore(made.cache_dir), "fills")
    assert fills is not None
    with LedgerReading.shown(made.ledger_path) as ledger:
        assert ledger is not None
        until_ms = start_of(made) + 12 * HOUR_MS
        booked = [fill for fill in ledger.fills() if fill.time_ms < until_ms]
    assert len(booked) >= 6
    moments = [fill.time_ms for fill in booked]
    assert source == LEAD or len(set(moments)) < len(moments), "it turned"
    assert "high_risk" in fills["reason"].to_list(), "it left where the word changed"
    assert [(f.time_ms, f.purpose, f.side, float(f.price), float(f.quantity)) for f in booked] == [
        (int(time.timestamp() * 1000 + 0.5), purpose, side, price, quantity)
        for time, purpose, side, price, quantity in fills.select(
            "time", "purpose", "side", "price", "quantity"
        ).iter_rows()
    ]


FAULTS = {
    "raise ValueError('no word')": "ValueError: no word",
    "__import__('os')._exit(1)": "ended its process",
    "__import__('time').sleep(99)": "did not end within 2 s",
}
"""What a rule does, and what is told of it."""


def test_a_run_goes_on_where_a_rule_raises_crashes_or_hangs(folder: Path, tmp_path: Path) -> None:
    """At one bar after the other, which no certificate has tried: each by name, and what is open is watched all along."""
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    symbol = sim_tape(workspace(tmp_path)).symbols[SYMBOL]
    begin = start_of(workspace(tmp_path))
    closes = prices_at(symbol, begin + np.arange(-3, 40) * QUARTER.ms)
    first = next(at for at in range(4, 40) if closes[at] > closes[at - 3])  # held from here on
    faulty = ""
    for at, fault in enumerate(FAULTS, first + 1):
        pair = np.round(closes[at - 1 : at + 1], 6).tolist()
        faulty += f"        if np.round(bars['close'][-2:], 6).tolist() == {pair}:\n            {fault}\n"
    (tmp_path / "lead.py").write_text(LEAD.replace("        close, side", f"{faulty}        close, side"))
    made = workspace(tmp_path, analyst={"allow_unproven": True})
    train(made, SYMBOL, QUARTER)
    told: list[str] = []
    ran = run_forever(made, [SYMBOL], QUARTER, for_s=(first + 6) * 900, sink=EventSink(say=told.append))
    assert ran.trades >= 1
    for words in FAULTS.values():
        assert any("The rule gave no word" in line and words in line for line in told), (words, told)
    with LedgerReading.shown(made.ledger_path) as ledger:
        assert ledger is not None
        looks = [line.at_ms for line in ledger.assessments(SYMBOL)]
    gaps = np.diff([at for at in looks if at > begin + (first - 2) * QUARTER.ms])
    assert len(gaps) > 30, "it was held while the rule failed"
    assert gaps.max() <= 10_000


def test_an_analysis_by_itself_waits_for_a_rule_no_longer_than_a_run_does(folder: Path, tmp_path: Path) -> None:
    """It abstains by name, and what the rule has begun is ended with it."""
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    gate = tmp_path / "hang"
    hanging = f"        while __import__('os').path.exists({str(gate)!r}): pass\n"
    (tmp_path / "lead.py").write_text(LEAD.replace("        close, side", f"{hanging}        close, side"))
    made = workspace(tmp_path, rule={"name": str(tmp_path / "lead.py"), "time_limit": 60})
    train(made, SYMBOL, QUARTER)
    quick = workspace(tmp_path, rule={"name": str(tmp_path / "lead.py"), "time_limit": 0.5})
    gate.touch()
    outcome = analyze_until_signal(quick, SYMBOL, QUARTER, 0).analysis.outcome
    assert isinstance(outcome, Abstention)
    assert outcome.code == "rule_failed"
    assert "did not end within 0.5 s" in outcome.sentence
    gate.unlink()
    outcome = analyze_until_signal(made, SYMBOL, QUARTER, 0).analysis.outcome
    assert not isinstance(outcome, Abstention) or outcome.code != "rule_failed"


def test_fast_and_faithful_trade_a_rule_alike(folder: Path) -> None:
    """One that turns from long to short and back at a close, which ends a trade and opens the next."""
    assert TURNS != LEAD
    (folder / "turns.py").write_text(TURNS)
    made = workspace(folder, "turns.py", analyst={"allow_unproven": True})
    both = [backtested(made, model=WALK_FORWARD, hours=14, since_h=-20, speed=speed) for speed in ("fast", "faithful")]
    store = ArtifactStore(made.cache_dir)
    for part in ("decisions", "fills", "trades", "levels", "equity"):
        fast, faithful = (one.part(store, part) for one in both)
        assert fast is not None
        assert faithful is not None
        assert fast.equals(faithful), part
    assert both[0].figures.trades.count > 5


def test_in_a_backtest_its_claim_is_of_what_came_before(ruled: Workspace) -> None:
    done = backtested(ruled, model=WALK_FORWARD, hours=2, since_h=-20)
    assert [name for name in done.manifest.inputs if name.startswith("model ")]
    with pytest.raises(UsageError, match="it has seen"):
        backtested(ruled, hours=2, since_h=-24)


def test_the_rules_parameters_are_part_of_the_trial(folder: Path, ruled: Workspace) -> None:
    first = backtested(ruled, model=WALK_FORWARD, hours=2, since_h=-20)
    longer = backtested(ruled, model=WALK_FORWARD, hours=3, since_h=-20).figures.claim.trials
    assert 0 <= longer - first.figures.claim.trials < 1, "a longer look at what was tried"
    other = workspace(folder, rule={"name": str(folder / "lead.py"), "parameters": {"bars": 6}})
    later = backtested(other, model=WALK_FORWARD, hours=2, since_h=-20)
    assert later.figures.claim.trials > first.figures.claim.trials
    assert later.name != first.name
    assert np.isfinite(replace(later).figures.final_equity)
