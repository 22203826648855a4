"""What counts as a trial of a backtest: what could be chosen to look better, once, whatever the span or the order."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from support.trading.sim_folder import QUARTER, sim_settings

from trader_cli.cli.options import rule_named
from trader_cli.core.errors import UsageError
from trader_cli.core.market.timeframes import DAY_MS
from trader_cli.pipelines.backtests.backtest_request import CURRENT, ON_BARS, BacktestRequest
from trader_cli.pipelines.backtests.backtest_store import _count_trial
from trader_cli.settings import Workspace, workspace_of
from trader_cli.storage.state import Looked, counted, rule_trial

A, B = "AAAUSDT", "BBBUSDT"


def request(*symbols: str, first: int = 0, last: int = 10) -> BacktestRequest:
    return BacktestRequest(symbols, QUARTER, first * DAY_MS, last * DAY_MS, CURRENT, DAY_MS)


@pytest.fixture
def at(tmp_path: Path) -> Workspace:
    return workspace_of(sim_settings(tmp_path))


def test_symbols_in_another_order_are_the_same_trial_and_both_are_told_of_it(at: Workspace) -> None:
    for number in range(20):
        _count_trial(at, request(A, B), f"settings {number}", None, 0.1)
    assert _count_trial(at, request(B, A), "settings 19", None, 0.1).number == 20
    assert _count_trial(at, request(B), "settings 19", None, 0.1).number == 21
    assert _count_trial(at, request("CCCUSDT"), "settings 19", None, 0.1).number == 1


def test_another_span_is_no_other_trial_and_counts_all_that_were_tried_on_it(at: Workspace) -> None:
    for number in range(5):
        for first in (0, 100):
            _count_trial(at, request(A, first=first, last=first + 10), f"settings {number}", None, 0.1)
    for first, last in ((0, 10), (5, 8), (100, 101)):
        assert _count_trial(at, request(A, first=first, last=last), "settings 0", None, 0.1).number == 5
    all_of_it = _count_trial(at, request(A, first=0, last=200), "settings 0", None, 0.1)
    looks = 4 * 2 + 1 + math.log2(20)
    assert (len(all_of_it.sharpes), all_of_it.number) == (5, pytest.approx(looks)), "and pays for what it is looked at"
    assert len(_count_trial(at, replace(request(A), top=2), "settings 0", None, 0.1).sharpes) == 6


def test_a_parameter_without_a_rule_is_refused() -> None:
    with pytest.raises(UsageError, match="none is named"):
        rule_named(None, ["fast=10"])
    assert rule_named("sma_cross", ["fast=10"]) == {"rule": {"name": "sma_cross", "parameters": {"fast": 10}}}


def test_one_rule_tried_by_three_means_is_one_trial_and_its_variants_are_more(tmp_path: Path) -> None:
    one, other = "the rule", "another rule"

    def sharpes(found: dict[str, float]) -> list[float]:
        return list(counted(Looked(name, sharpe, 1.0) for name, sharpe in found.items()).sharpes)

    names = {rule_trial(means, "as it is", one): 0.1 for means in ("judged", "backtest", "bars")}
    assert len(sharpes(names)) == 1
    assert sharpes({**names, "some-model-0": 0.3, rule_trial("judged", "as it is", other): 0.2}) == [0.3, 0.1, 0.2]
    variants = {rule_trial("backtest", f"settings {number}", one): number / 10 for number in range(4)}
    assert sharpes({**names, **variants}) == [0.1, 0.0, 0.1, 0.2, 0.3], "as often as the means that tried most"
    universe = {f"{rule_trial('judged', 'x', one)}:{symbol}": 0.1 for symbol in (A, B)}
    assert len(sharpes(universe)) == 1, "of each symbol of a universe, and once"
    at = workspace_of(sim_settings(tmp_path))
    assert len(_count_trial(at, request(A), "x", one, 0.1).sharpes) == 1
    assert len(_count_trial(at, replace(request(A), model=ON_BARS), "y", one, 0.1).sharpes) == 1
    assert len(_count_trial(at, request(A), "z", one, 0.1).sharpes) == 2
