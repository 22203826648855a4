"""Bars and features of a series up to now, and of the faster bars that time its entries, where a fast frame is set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trader_cli.analyst.fast_frame import fast_frame
from trader_cli.core.market.timeframes import SETTLE_MS
from trader_cli.pipelines.stages.fetching import fetch_in
from trader_cli.pipelines.stages.model_stages import refresh_features
from trader_cli.storage.artifacts import stage_key

if TYPE_CHECKING:
    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.pipelines.market_access import Market
    from trader_cli.pipelines.stages.fetching import FetchOptions
    from trader_cli.settings import Workspace
    from trader_cli.storage.artifacts import ArtifactStore


def deciding_frame(workspace: Workspace, timeframe: Timeframe) -> Timeframe:
    """At whose closes something is decided of a series: its own, or those of the fast frame that times entries."""
    settings = workspace.settings
    return fast_frame(settings.analyst, settings.rule.name, timeframe) or timeframe


async def refresh_series(
    market: Market,
    workspace: Workspace,
    store: ArtifactStore,
    symbol: str,
    timeframe: Timeframe,
    options: FetchOptions | None = None,
) -> None:
    """Fetch what has closed and make its features; `options` are those of fetching the bars that decide.

    Where fast bars time entries, the slow ones are asked for only once one has closed that is not there, and first:
    they are there where the fast ones fail.
    """
    fast = deciding_frame(workspace, timeframe)
    if fast == timeframe:
        await _refresh(market, workspace, store, symbol, timeframe, options)
        return
    await _refresh_if_due(market, workspace, store, symbol, timeframe)
    await _refresh(market, workspace, store, symbol, fast, options)
    await _refresh_if_due(market, workspace, store, symbol, timeframe)  # the fast bars may have been waited for


async def _refresh_if_due(
    market: Market, workspace: Workspace, store: ArtifactStore, symbol: str, timeframe: Timeframe
) -> None:
    if not _is_whole(market, workspace, store, symbol, timeframe):
        await _refresh(market, workspace, store, symbol, timeframe, None)


async def _refresh(
    market: Market,
    workspace: Workspace,
    store: ArtifactStore,
    symbol: str,
    timeframe: Timeframe,
    options: FetchOptions | None,
) -> None:
    if options is None:
        await fetch_in(market, workspace, symbol, timeframe, store=store)
    else:
        await fetch_in(market, workspace, symbol, timeframe, options, store=store)
    refresh_features(workspace, store, symbol, timeframe)


def _is_whole(market: Market, workspace: Workspace, store: ArtifactStore, symbol: str, timeframe: Timeframe) -> bool:
    """Whether the last bar that has closed and settled is stored, with its features."""
    made = [store.current(stage_key(workspace.mode, symbol, timeframe, stage)) for stage in ("bars", "features")]
    closed_ms = timeframe.floor(market.exchange.server_now_ms() - SETTLE_MS)
    return all(one is not None and (one.last_ms or 0) + timeframe.ms >= closed_ms for one in made)
