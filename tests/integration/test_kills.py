"""`kill -9` at random moments, for real: commands in processes of their own against a venue in another, by the wall clock.

Three kills of `enter` and three of `monitor` here; TRADER_KILLS=30 makes thirty of each.
"""

from __future__ import annotations

import os
import random
import signal
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from support.commands.command_line import CommandLine
from support.commands.in_process import Inside
from support.hosts.venue_process import Place, plan_file, venue_process
from support.trading.desk import SYMBOL

from trader_cli.core.money.orders import OrderRequest, StopState
from trader_cli.core.money.plans import TradePlan
from trader_cli.exchange.binance import BinanceExchange
from trader_cli.storage.ledger_reading import LedgerReading

pytestmark = pytest.mark.slow

_SOON = {"TRADER_POSITION_MONITORING_INTERVAL": "0.2"}


@pytest.fixture(scope="module")
def kills() -> int:
    """How many of each command; read before the environment is emptied for tests."""
    return int(_ASKED)


_ASKED = os.environ.get("TRADER_KILLS", "3")


def outside(folder: Path) -> CommandLine:
    """A command line with a state of its own; what is to be killed is started as a process."""
    folder.mkdir()
    return Inside(folder, ("--profile", "demo"))


def kill_at(cli: CommandLine, after_s: float, *arguments: str, **environment: str) -> bool:
    """Start a command and kill it so many seconds later; whether it was still running."""
    process = cli.begin(*arguments, **environment)
    time.sleep(after_s)
    return process.ended(signal.SIGKILL).code == -signal.SIGKILL


class Seen:
    """What the exchange shows of the account."""

    def __init__(self, place: Place, plan: TradePlan) -> None:
        async def look(exchange: BinanceExchange) -> Any:
            private = exchange.private
            held = next((p.amount for p in await private.positions()), Decimal(0))
            trades = await private.trades(SYMBOL, start_ms=plan.created_ms)
            return (
                held,
                await private.open_stops(SYMBOL),
                await private.open_orders(SYMBOL),
                trades,
                (await private.account()).wallet,
            )

        self.held, self.stops, self.orders, self.trades, self.wallet = place.by_hand(look)

    def entries(self, plan: TradePlan) -> int:
        """How many orders traded on the plan's side."""
        side = "BUY" if plan.side == "long" else "SELL"
        return len({trade.order_id for trade in self.trades if trade.side == side})

    @property
    def is_protected(self) -> bool:
        """Whether stops for the whole position rest, and nothing but stops that reduce."""
        stops: list[StopState] = [s for s in self.stops if s.kind == "stop" and s.by_mark_price]
        whole = any(s.close_position for s in stops) or sum(s.quantity for s in stops) >= abs(self.held)
        right = all(s.side == ("SELL" if self.held > 0 else "BUY") for s in self.stops)
        return whole and right and all(s.close_position or s.reduce_only for s in self.stops)


def check(place: Place, cli: CommandLine, plan: TradePlan, wallet: Decimal) -> Seen:
    """One order at most, flat or protected, and the ledger equal to the exchange."""
    seen = Seen(place, plan)
    with LedgerReading.shown(place.ledger(cli.folder / "state", place.key)) as ledger:
        assert ledger is not None
        assert ledger.holding(SYMBOL).amount == seen.held
        assert ledger.net_income() == seen.wallet - wallet
    assert seen.entries(plan) <= 1
    assert seen.orders == []
    assert seen.is_protected if seen.held else seen.stops == []
    return seen


def wallet_of(place: Place) -> Decimal:
    """The wallet balance."""

    async def ask(exchange: BinanceExchange) -> Decimal:
        return (await exchange.private.account()).wallet

    return Decimal(place.by_hand(ask))


def test_killed_anywhere_it_ends_as_intended(tmp_path: Path, kills: int) -> None:
    rng, struck = random.Random(7), {"enter": 0, "monitor": 0}
    with venue_process(tmp_path) as place:
        environment = {**place.environment(), **_SOON}
        took = _usual_times(place, outside(tmp_path / "first"), environment)
        for number in range(kills):
            cli, mine = outside(tmp_path / str(number)), Place(place.url, f"sim-key-kill{number}")
            environment = {**mine.environment(mine.key), **_SOON}
            wallet, plan = wallet_of(mine), mine.plan(mine.key, side=rng.choice(["long", "short"]), lineage=str(number))
            entering = ("enter", SYMBOL, "--timeframe", "15m", "--plan", plan_file(plan, cli.folder))
            struck["enter"] += kill_at(cli, rng.uniform(0.45, 0.95) * took["enter"], *entering, **environment)
            entered = cli.run(*entering, **environment)
            assert entered.code == 0 or "unprotected" in entered.out, entered.out + entered.err
            check(mine, cli, plan, wallet)
            if number % 2:
                _reduce_by_hand(mine, plan)
            struck["monitor"] += kill_at(cli, rng.uniform(0.4, 1) * took["monitor"], "monitor", **environment)
            assert cli.run("monitor", "--for", "1s", **environment).code == 0
            check(mine, cli, plan, wallet)
            struck["monitor"] += _killed_while_flattening(cli, rng, took, environment) if number % 3 == 2 else 0
            assert cli.run("flatten", **environment).code == 0
            assert check(mine, cli, plan, wallet).held == 0
    print(f"killed while running: {struck} of {kills} each")
    assert sum(struck.values()) > 0


def _usual_times(place: Place, cli: CommandLine, environment: dict[str, str]) -> dict[str, float]:
    """How long an entry takes from its start to its end, and a monitor until it has looked a few times."""
    plan = place.plan(lineage="first")
    entering = ("enter", SYMBOL, "--timeframe", "15m", "--plan", plan_file(plan, cli.folder))
    began = time.monotonic()
    assert cli.begin(*entering, **environment).code(60) == 0
    took = time.monotonic() - began
    assert cli.run("flatten", **environment).code == 0
    return {"enter": took, "monitor": took + 1}


def _reduce_by_hand(place: Place, plan: TradePlan) -> None:
    """A person closes a part, so that the monitor has something to book."""

    async def work(exchange: BinanceExchange) -> None:
        if await exchange.private.positions():
            side = "SELL" if plan.side == "long" else "BUY"
            await exchange.private.place(OrderRequest("hand", SYMBOL, side, Decimal("0.3"), reduce_only=True))  # type: ignore[arg-type]

    place.by_hand(work)


def _killed_while_flattening(
    cli: CommandLine, rng: random.Random, took: dict[str, float], environment: dict[str, str]
) -> bool:
    return kill_at(cli, rng.uniform(0.5, 1.0) * took["enter"], "flatten", **environment)
