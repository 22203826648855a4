"""What an entry came to, in words."""

from __future__ import annotations

from decimal import Decimal

import pytest
from desk import plan_at

from trader_cli.execution.entered import Entered
from trader_cli.settings import as_settings


@pytest.mark.parametrize(
    ("average", "words"),
    [("2000.10", "long 1 at 2000.10"), ("2000.133333333333333333333333", "long 1 at 2000.133333"),
     ("0.00001234", "long 1 at 0.00001234"), ("0", "long 1 at a price that is not booked yet")],
)  # fmt: skip
def test_the_price_is_short_and_no_price_is_none(average: str, words: str) -> None:
    plan = plan_at(as_settings({"mode": "demo"}), Decimal(2000), 1_700_000_000_000)
    assert Entered(plan, None, Decimal(1), Decimal(average), None, 0, fresh=True).filled == words
