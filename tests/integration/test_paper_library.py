"""A library order in paper lands in the account that the command line has, and `flatten` finds it there."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from support.commands.command_line import CommandLine
from support.hosts.tape_host import playing_now, serving

from trader_cli.exchange.binance import BinanceExchange
from trader_cli.execution.accounts import exchange_of
from trader_cli.settings.workspace import workspace_of
from trader_cli.venue.simulated_market.synthetic import synthetic_tape

pytestmark = pytest.mark.slow
SYMBOL = "ETHUSDT"


def test_an_order_of_the_library_in_paper_is_found_by_flatten(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tape = synthetic_tape((SYMBOL,), 6, 0.5, 3)
    with serving(playing_now(tape)) as url:
        environment = {
            "TRADER_BINANCE_EXCHANGE__BASE_URL": url,
            "TRADER_BINANCE_EXCHANGE__API_KEY": "a-real-key",
            "TRADER_BINANCE_EXCHANGE__API_SECRET": "a-real-secret",
            "TRADER_STATE_DIR": str(tmp_path / "state"),
        }
        for name, value in environment.items():
            monkeypatch.setenv(name, value)

        async def order() -> Any:
            exchange = BinanceExchange({})
            await exchange.initialize()
            try:
                return await exchange.create_order(SYMBOL, "BUY", "MARKET", "0.5")
            finally:
                await exchange.close()

        async def held() -> list[str]:
            exchange = exchange_of(workspace_of({}))
            await exchange.initialize(protection=True)
            try:
                return [f"{p.symbol} {p.amount}" for p in await exchange.protection.positions()]
            finally:
                await exchange.close()

        answer = asyncio.run(order())
        assert answer, answer
        assert asyncio.run(held()) == [f"{SYMBOL} 0.5"]
        ran = CommandLine(tmp_path).run("flatten", **environment)
        assert ran.code == 0, ran.out + ran.err
        assert asyncio.run(held()) == []
