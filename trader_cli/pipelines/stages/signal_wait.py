"""Analysing again at each close, until there is a signal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trader_cli.core.ports import silent
from trader_cli.pipelines.market_access import run_in_market
from trader_cli.pipelines.stages.up_to_date import analyze
from trader_cli.storage.artifacts import ArtifactStore

if TYPE_CHECKING:
    from trader_cli.analyst.rule_process import RuleProcess
    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.core.ports import Progress
    from trader_cli.pipelines.market_access import Market
    from trader_cli.pipelines.stages.stage_results import Analysed
    from trader_cli.settings import Workspace


def analyze_until_signal(
    workspace: Workspace, symbol: str, timeframe: Timeframe, bars: int, progress: Progress = silent
) -> Analysed:
    """Analyse now, and after each newly closed bar, until there is a signal or `bars` more bars have closed.

    Where bars are waited for, the market is connected to once. A rule of one's own is asked in a process beside, as in
    `run`: one that fails or does not end abstains.
    """
    if workspace.settings.rule.name is None:
        return _until_signal(workspace, symbol, timeframe, bars, progress)
    from trader_cli.analyst.rule_process import rule_beside

    with rule_beside(workspace.settings.rule) as process:
        return _until_signal(workspace, symbol, timeframe, bars, progress, process)


def _until_signal(
    workspace: Workspace,
    symbol: str,
    timeframe: Timeframe,
    bars: int,
    progress: Progress,
    process: RuleProcess | None = None,
) -> Analysed:
    first = analyze(workspace, symbol, timeframe, process)
    if first.analysis.signal is not None or bars == 0:
        return first
    from trader_cli.pipelines.stages import model_stages
    from trader_cli.pipelines.stages.fetching import FetchOptions, remember_fetched
    from trader_cli.pipelines.stages.newest_bars import refresh_series

    async def work(market: Market) -> Analysed:
        analysed, store = first, ArtifactStore(workspace.cache_dir)
        async with market.with_archive() as one_archive:
            for waited in range(1, bars + 1):
                progress("waiting for a signal", waited, bars)
                options = FetchOptions(next_close=True)
                await refresh_series(one_archive, workspace, store, symbol, timeframe, options)
                analysed = model_stages.analyze(workspace, symbol, timeframe, market.clock.now_ms(), store, process)
                if analysed.analysis.signal is not None:
                    break
        return analysed

    try:
        return run_in_market(workspace, work)
    finally:
        remember_fetched(workspace, symbol, timeframe)
