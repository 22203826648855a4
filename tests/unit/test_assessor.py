"""What a monitor's look is told of a bar that has only just closed: nothing, until it has settled."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from trader_cli.core.market.timeframes import SETTLE_MS, Timeframe
from trader_cli.core.types import Abstention, Analysis, Claim
from trader_cli.pipelines.trading.analyst_assessor import StageAssessor
from trader_cli.settings import as_settings
from trader_cli.settings.workspace import workspace_of

QUARTER = Timeframe.parse("15m")
CLOSE_MS = 1_704_067_200_000
CLAIM = Claim(True, "made up", 1.0, 1.0, 0.1, 0.1, 1, 1000, 100_000, 0.0)


@pytest.mark.parametrize(("after_ms", "is_asked"), [(0, False), (SETTLE_MS - 1, False), (SETTLE_MS, True)])
def test_a_bar_is_asked_for_once_it_has_settled(after_ms: int, is_asked: bool) -> None:
    exchange = SimpleNamespace(server_now_ms=lambda: CLOSE_MS + after_ms)
    market: Any = SimpleNamespace(exchange=exchange)
    outcome = Abstention("no_edge", "made up")
    before = Analysis("ETHUSDT", "15m", CLOSE_MS - QUARTER.ms, 1.0, outcome, None, CLAIM, {})
    assessor, asked = StageAssessor(workspace_of(as_settings({})), market), list[str]()
    assessor._said["ETHUSDT", "15m"] = before

    async def refresh(symbol: str, _timeframe: Timeframe) -> None:
        asked.append(symbol)
        raise LookupError

    assessor.refresh = refresh  # type: ignore[method-assign]
    if is_asked:
        with pytest.raises(LookupError):
            asyncio.run(assessor.assess("ETHUSDT", "15m"))
    else:
        assert asyncio.run(assessor.assess("ETHUSDT", "15m")) is before
    assert bool(asked) == is_asked
