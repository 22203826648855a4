"""The analyst as an `Assessor`: the monitor's opinion comes from the same stages as a signal does."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trader_cli.core.market.timeframes import SETTLE_MS, Timeframe
from trader_cli.storage.artifacts import ArtifactStore

if TYPE_CHECKING:
    from trader_cli.analyst.rule_process import RuleProcess
    from trader_cli.core.types import Analysis
    from trader_cli.pipelines.market_access import Market
    from trader_cli.settings import Workspace


@dataclass
class StageAssessor:
    """Fetches the newest bars, builds their features and analyses the last one, in a connected market.

    Asked again about the same bar it says the same again. The stages are loaded when it is asked first.
    """

    workspace: Workspace
    market: Market
    _store: ArtifactStore | None = None
    _rule_process: RuleProcess | None = None
    _said: dict[tuple[str, str], Analysis] = field(default_factory=dict)

    @property
    def store(self) -> ArtifactStore:
        """The artifacts, with what was read of them once."""
        if self._store is None:
            self._store = ArtifactStore(self.workspace.cache_dir)
        return self._store

    async def refresh(self, symbol: str, timeframe: Timeframe) -> None:
        """Bars and features up to now. Raises what the stages raise."""
        from trader_cli.pipelines.stages.fetching import fetch_in
        from trader_cli.pipelines.stages.model_stages import refresh_features

        await fetch_in(self.market, self.workspace, symbol, timeframe, store=self.store)
        refresh_features(self.workspace, self.store, symbol, timeframe)

    def analysis(self, symbol: str, timeframe: Timeframe) -> Analysis:
        """The analysis of the last stored bar."""
        from trader_cli.pipelines.stages.model_stages import analyze

        now = self.market.exchange.server_now_ms()
        return analyze(self.workspace, symbol, timeframe, now, self.store, self._rule_beside()).analysis

    def _rule_beside(self) -> RuleProcess | None:
        """The process of a rule of one's own: who waits for it here looks after positions."""
        if self._rule_process is None and self.workspace.settings.rule.name is not None:
            from trader_cli.analyst.rule_process import RuleProcess

            self._rule_process = RuleProcess(self.workspace.settings.rule)
        return self._rule_process

    async def assess(self, symbol: str, timeframe: str) -> Analysis:
        """The analysis of the last bar that has closed and settled. Raises what the stages raise."""
        parsed = Timeframe.parse(timeframe)
        said = self._said.get((symbol, timeframe))
        if said is None or said.decision_time_ms < parsed.floor(self.market.exchange.server_now_ms() - SETTLE_MS):
            await self.refresh(symbol, parsed)
            said = self._said[symbol, timeframe] = self.analysis(symbol, parsed)
        return said
