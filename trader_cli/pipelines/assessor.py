"""The analyst as an `Assessor`: the monitor's opinion comes from the same stages as a signal does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trader_cli.core.timeframes import Timeframe
from trader_cli.pipelines.fetch import fetch_in
from trader_cli.pipelines.stages import analyze, features

if TYPE_CHECKING:
    from trader_cli.core.types import Analysis
    from trader_cli.pipelines.market import Market
    from trader_cli.settings import Settings


@dataclass(frozen=True)
class StageAssessor:
    """Fetches the newest bars, builds their features and analyses the last one, in a connected market."""

    settings: Settings
    market: Market

    async def assess(self, symbol: str, timeframe: str) -> Analysis:
        """The analysis of the last closed bar. Raises what the stages raise."""
        parsed = Timeframe.parse(timeframe)
        with self.market.clock.held():
            await fetch_in(self.market, self.settings, symbol, parsed)
            features(self.settings, symbol, parsed)
            return analyze(self.settings, symbol, parsed, self.market.exchange.server_now_ms()).analysis
