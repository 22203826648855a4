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

    async def refresh(self, symbol: str, timeframe: Timeframe) -> None:
        """Bars and features up to now. Raises what the stages raise."""
        await fetch_in(self.market, self.settings, symbol, timeframe)
        features(self.settings, symbol, timeframe)

    def analysis(self, symbol: str, timeframe: Timeframe) -> Analysis:
        """The analysis of the last stored bar."""
        return analyze(self.settings, symbol, timeframe, self.market.exchange.server_now_ms()).analysis

    async def assess(self, symbol: str, timeframe: str) -> Analysis:
        """The analysis of the last closed bar. Raises what the stages raise."""
        parsed = Timeframe.parse(timeframe)
        await self.refresh(symbol, parsed)
        return self.analysis(symbol, parsed)
