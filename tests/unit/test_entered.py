"""What an entry came to, in words."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest
from support.trading.desk import plan_at

from trader_cli.cli.commands.enter import _plan
from trader_cli.core.market.timeframes import Timeframe
from trader_cli.core.money.plans import Approved
from trader_cli.execution.entry_result import EntryResult
from trader_cli.settings import as_settings


@pytest.mark.parametrize(
    ("average", "words"),
    [
        ("2000.10", "long 1 at 2000.10"),
        ("2000.133333333333333333333333", "long 1 at 2000.13"),
        ("0.00001234", "long 1 at 0.00001234"),
        ("2000.5", "long 1 at 2000.5"),
        ("0", "long 1 at a price that is not booked yet"),
    ],
)
def test_the_price_is_short_and_no_price_is_none(average: str, words: str) -> None:
    plan = plan_at(as_settings({"mode": "demo"}), Decimal(2000), 1_700_000_000_000)
    assert EntryResult(plan, None, Decimal(1), Decimal(average), None, 0, fresh=True).filled == words


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_plan_is_read_as_any_shell_has_written_it(tmp_path: Path, encoding: str) -> None:
    settings = as_settings({"mode": "demo"})
    plan, file = plan_at(settings, Decimal(2000), 1_700_000_000_000), tmp_path / "plan.json"
    file.write_text(json.dumps({"kind": "plan", "plan": plan.as_dict()}), encoding)
    assert _plan(settings, plan.symbol, Timeframe.parse("15m"), file) == Approved(plan)
