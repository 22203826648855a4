"""`trader trials`: what was tried on which data, and what it counts as when the next claim is made."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from support.trading.sim_folder import sim_settings

from trader_cli.pipelines.stages.tried_configurations import tried_on
from trader_cli.settings.workspace import Workspace, workspace_of
from trader_cli.storage.state import Trial, TrialLedger, counted, rule_trial

DAY_MS = 86_400_000


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return workspace_of(sim_settings(tmp_path))


def tried(workspace: Workspace, name: str, days: tuple[int, int], sharpe: float = 0.1, symbol: str = "ETHUSDT") -> None:
    span = days[0] * DAY_MS, days[1] * DAY_MS
    TrialLedger(workspace.state_dir).record(Trial.of_span(name, workspace.lineage, symbol, span, sharpe))


def test_each_configuration_is_told_once_with_what_it_counts_as(workspace: Workspace) -> None:
    for last in (100, 200, 400):
        tried(workspace, "abc123-0", (0, last), last / 1000)
    tried(workspace, "backtest-def456:ETHUSDT", (50, 90))
    tried(workspace, f"{rule_trial('judged', 'ghi', 'sma')}:ETHUSDT", (0, 90))
    tried(workspace, f"{rule_trial('bars', 'jkl', 'sma')}:ETHUSDT", (0, 90))
    (found,) = tried_on(workspace, None)
    assert [(one.means, one.name, one.looks) for one in found.tried] == [
        ("learner 0", "abc123", 3),
        ("backtest", "def456", 1),
        ("rule judged", "sma", 1),
        ("backtest on bare bars", "sma", 1),
    ]
    assert found.tried[0].counts == pytest.approx(3), "twice as long, twice"
    assert found.tried[0].yearly_sharpe == pytest.approx(0.4 * math.sqrt(365)), "of the last look"
    assert (found.tried[0].first_ms, found.tried[0].last_ms) == (0, 400 * DAY_MS)
    assert found.counts == pytest.approx(5), "a rule is one choice, by whichever means"


def test_what_is_told_is_what_a_claim_over_all_of_it_counts(workspace: Workspace) -> None:
    for number in range(7):
        tried(workspace, f"abc{number}-0", (number, 100 + 40 * number))
        tried(workspace, f"abc{number}-0", (number, 300 + 40 * number))
    (found,) = tried_on(workspace, "ETHUSDT")
    ledger = TrialLedger(workspace.state_dir)
    looked = ledger.looked(workspace.lineage, "ETHUSDT", 0, 1000 * DAY_MS)
    assert found.counts == pytest.approx(counted(looked).number)


def test_other_symbols_and_other_data_are_told_apart(workspace: Workspace) -> None:
    tried(workspace, "xyz-0", (0, 10), symbol="BTCUSDT")
    tried(workspace, "abc-0", (0, 10))
    other = Trial.of_span("zzz-0", "other data", "ETHUSDT", (0, DAY_MS), 0.1)
    TrialLedger(workspace.state_dir).record(other)
    assert [(one.symbol, len(one.tried)) for one in tried_on(workspace, None)] == [("BTCUSDT", 1), ("ETHUSDT", 1)]
    (nothing,) = tried_on(workspace, "SOLUSDT")
    assert (nothing.tried, nothing.counts) == ((), 0)
