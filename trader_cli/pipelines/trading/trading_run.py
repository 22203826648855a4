"""`trader run`: one pass or for weeks, in the market of the settings."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from trader_cli.core.errors import ExchangeRejected, ExchangeUnavailable, TraderError
from trader_cli.core.money.assets import margin_asset_of
from trader_cli.execution.executor import Executor
from trader_cli.execution.shutdown import until_time_is_up
from trader_cli.pipelines.live_trading_pipeline import LiveTradingPipeline
from trader_cli.pipelines.trading.iterations import EventSink
from trader_cli.pipelines.trading.ledger_ownership import run_owning
from trader_cli.pipelines.trading.run_summary import booked_since, summary
from trader_cli.pipelines.trading.run_values import Money, RunForever, RunOnce
from trader_cli.pipelines.trading.session_manifest import kept_session
from trader_cli.pipelines.trading.trading_stages import left, proved
from trader_cli.settings.room_options import ExecutionOptions
from trader_cli.storage.artifacts import ArtifactStore
from trader_cli.storage.ledger_books import anything_open

if TYPE_CHECKING:
    from collections.abc import Sequence
    from decimal import Decimal

    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.pipelines.market_access import Market
    from trader_cli.pipelines.trading.ledger_ownership import LedgerOwnership
    from trader_cli.settings import Workspace

_WALLET_S = 2.0


def _pipeline(
    workspace: Workspace, owned: LedgerOwnership, *, live: bool, sink: EventSink | None
) -> LiveTradingPipeline:
    """The pipeline over a market and a ledger that this process owns."""
    market, ledger = owned.market, owned.ledger
    return LiveTradingPipeline(
        workspace, exchange=market.exchange, ledger=ledger, source=market.source, live=live, sink=sink
    )


def run_once(
    workspace: Workspace,
    symbol: str,
    timeframe: Timeframe,
    *,
    wait: int = 0,
    for_s: float | None = None,
    live: bool = False,
    sink: EventSink | None = None,
) -> RunOnce:
    """One pass from bars to a closed position; its summary."""
    say = (sink or EventSink()).say

    async def work(owned: LedgerOwnership) -> RunOnce:
        market, ledger = owned.market, owned.ledger
        pipeline = _pipeline(workspace, owned, live=live, sink=sink)
        if symbol not in ledger.symbols():
            market.exchange.require_listed(symbol)
        began, booked = market.exchange.server_now_ms(), ledger.flows()
        before = (await market.exchange.private.account()).wallets
        ArtifactStore(workspace.cache_dir).remember_series(workspace.mode, symbol, timeframe.name)
        with kept_session(workspace, owned, say):
            done = await pipeline.run_once(symbol, timeframe, wait=wait, for_s=for_s)
        after = (await market.exchange.private.account()).wallets
        executor = Executor(market.exchange, ledger, ExecutionOptions.of(workspace), say=say)
        moved = booked_since(booked, ledger.flows(), began)
        money = Money.between(({}, moved), (before, after), margin_asset_of(symbol))
        body = summary(workspace, executor, done, timeframe, money, began)
        return RunOnce(body, await left(executor), (await proved(executor, workspace.ledgers)).sentence)

    return run_owning(workspace, work, symbols=(symbol,), say=say, protection=anything_open, for_s=for_s)


def run_forever(
    workspace: Workspace,
    symbols: Sequence[str],
    timeframe: Timeframe,
    *,
    for_s: float | None = None,
    live: bool = False,
    sink: EventSink | None = None,
) -> RunForever:
    """Trade symbols for so long, or until a signal; what is open at the end, and the money."""
    say = (sink or EventSink()).say

    async def work(owned: LedgerOwnership) -> RunForever:
        market, ledger = owned.market, owned.ledger
        pipeline = _pipeline(workspace, owned, live=live, sink=sink)
        if not anything_open(ledger):
            market.exchange.require_listed(*symbols)
        began, booked = market.exchange.server_now_ms(), ledger.flows()
        before = await _wallets(market)
        with until_time_is_up(), kept_session(workspace, owned, say):
            await pipeline.run_forever(symbols, timeframe, for_s=for_s)
        executor = Executor(market.exchange, ledger, ExecutionOptions.of(workspace), say=say)
        with suppress(TraderError):  # what is not booked by now is booked by the next command
            for symbol in ledger.symbols():
                await executor.view(symbol)
        after = await _wallets(market)
        shown = None if before is None or after is None else (before, after)
        moved = booked_since(booked, ledger.flows(), began)
        money = Money.between(({}, moved), shown or ({}, {}), margin_asset_of(symbols[0]))
        return RunForever(
            trades=sum(len(ledger.entries(symbol)) for symbol in symbols),
            profit=money,
            is_account_known=shown is not None,
            still_open=await left(executor),
            account=(await proved(executor, workspace.ledgers)).sentence,
            refusals=ledger.counted_refusals(),
            halted=ledger.halted(),
            ledger=str(ledger.path),
            journal=ledger.journal_digest(),
        )

    return run_owning(workspace, work, symbols=symbols, say=say, protection=anything_open, for_s=for_s)


async def _wallets(market: Market) -> dict[str, Decimal] | None:
    """The account's wallets by asset; `None` where it is not told: care of what is open must not wait for it."""
    try:
        async with asyncio.timeout(market.clock.loop_s(_WALLET_S)):
            return (await market.exchange.protection.account()).wallets
    except (ExchangeUnavailable, ExchangeRejected, TimeoutError):
        return None
