"""What `run` does with a position of ours that it finds open: bare, it is covered before a signal is heard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.trading.virtual_venue import SYMBOL, plan_now, settings_at, trading

from trader_cli.core.money.plans import Approved
from trader_cli.exchange.binance import BinanceExchange
from trader_cli.execution.entry_result import EntryResult
from trader_cli.execution.executor import Executor
from trader_cli.pipelines.live_trading_pipeline import LiveTradingPipeline
from trader_cli.pipelines.market_access import Market
from trader_cli.pipelines.trading.iterations import EventSink, Trader
from trader_cli.settings.room_options import ExecutionOptions
from trader_cli.settings.workspace import workspace_of
from trader_cli.storage.ledger import Ledger

pytestmark = pytest.mark.slow


def test_before_anything_else_it_is_covered(tmp_path: Path) -> None:
    """All its stops were taken away by hand; the first question whether anything is held brings them back."""

    async def work(exchange: BinanceExchange, ledger: Ledger, venue: Any) -> tuple[bool, int, int]:
        workspace = workspace_of(settings_at(venue.url, tmp_path))
        executor = Executor(exchange, ledger, ExecutionOptions.of(workspace))
        assert isinstance(await executor.enter(Approved(await plan_now(exchange))), EntryResult)
        for stop in await exchange.private.open_stops(SYMBOL):
            await exchange.private.cancel_stop(SYMBOL, stop.client_id)
        bare = len(await exchange.private.open_stops(SYMBOL))
        trader = Trader(workspace, Market(exchange, exchange.clock, workspace.source), ledger, EventSink())
        holds = await LiveTradingPipeline._holds(trader, SYMBOL)
        return holds, bare, len([s for s in await exchange.private.open_stops(SYMBOL) if s.kind == "stop"])

    holds, bare, stops = trading(tmp_path, work)
    assert holds
    assert bare == 0
    assert stops == 2
