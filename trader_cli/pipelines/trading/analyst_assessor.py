"""The analyst as an `Assessor`: the monitor's opinion comes from the same stages as a signal does."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trader_cli.core.errors import ConfigurationError
from trader_cli.core.market.timeframes import SETTLE_MS, Timeframe
from trader_cli.storage.artifacts import ArtifactStore

if TYPE_CHECKING:
    from trader_cli.analyst.rule_process import RuleProcess
    from trader_cli.core.types import Analysis
    from trader_cli.pipelines.market_access import Market
    from trader_cli.settings import Workspace

_LOOK_S = 0.05
"""Between two looks at whether a rule is loaded."""


@dataclass
class StageAssessor:
    """Fetches the newest bars, builds their features and analyses the last one, in a connected market.

    Asked again about the same bar it says the same again. The stages are loaded when it is asked first. A rule of one's
    own is loaded meanwhile; where time is real the loop turns until it is.
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
        """Bars and features up to now, and the rule that is to be asked about them. Raises what the stages raise."""
        from trader_cli.pipelines.stages.newest_bars import refresh_series

        rule = self._rule_beside()
        if rule is not None:
            with suppress(ConfigurationError):  # told where it is asked
                rule.begin()
        await refresh_series(self.market, self.workspace, self.store, symbol, timeframe)

    async def ready(self) -> None:
        """Let others go on until there is nothing to wait for: a rule is loaded, or will not be.

        Where time is virtual it stands still until the rule answers.
        """
        rule = self._rule_beside()
        while self.market.threads and rule is not None and not rule.is_ready():
            await self.market.clock.sleep(_LOOK_S)

    def analysis(self, symbol: str, timeframe: Timeframe) -> Analysis:
        """The analysis of the last stored bar."""
        from trader_cli.pipelines.stages.model_stages import analyze

        now = self.market.exchange.server_now_ms()
        return analyze(self.workspace, symbol, timeframe, now, self.store, self._rule_beside()).analysis

    def _rule_beside(self) -> RuleProcess | None:
        """The process of a rule of one's own: who waits for it here looks after positions."""
        if self._rule_process is None and self.workspace.settings.rule.name is not None:
            from trader_cli.analyst.rule_process import RuleProcess

            self._rule_process = RuleProcess(self.workspace.settings.rule, waits=not self.market.threads)
        return self._rule_process

    async def assess(self, symbol: str, timeframe: str) -> Analysis:
        """The analysis of the last bar that has closed and settled. Raises what the stages raise."""
        from trader_cli.pipelines.stages.newest_bars import deciding_frame

        parsed = Timeframe.parse(timeframe)
        said, decides = self._said.get((symbol, timeframe)), deciding_frame(self.workspace, parsed)
        if said is None or said.decision_time_ms < decides.floor(self.market.exchange.server_now_ms() - SETTLE_MS):
            await self.refresh(symbol, parsed)
            await self.ready()
            said = self._said[symbol, timeframe] = self.analysis(symbol, parsed)
        return said
