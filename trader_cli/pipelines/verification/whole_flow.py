"""One pass from bars to a closed position on a simulated exchange, and all that was seen of it."""

from __future__ import annotations

import io
import logging
import shutil
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from trader_cli.core.money.plans import Approved
from trader_cli.pipelines.live_trading_pipeline import LiveTradingPipeline
from trader_cli.pipelines.trading.iterations import EventSink
from trader_cli.pipelines.trading.run_summary import summary
from trader_cli.pipelines.trading.run_values import Money
from trader_cli.pipelines.verification.checks import Unexpected
from trader_cli.pipelines.verification.lab import SYMBOL, TIMEFRAME
from trader_cli.pipelines.verification.worlds import BALANCE, in_world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from decimal import Decimal
    from pathlib import Path

    from trader_cli.core.json_values import JsonObject
    from trader_cli.core.money.plans import TradePlan
    from trader_cli.pipelines.trading.iterations import Iteration
    from trader_cli.pipelines.verification.lab import Lab
    from trader_cli.pipelines.verification.worlds import World


_MOST_BARS_TO_A_SIGNAL = 96


_MOST_S = 3 * 86_400.0


@dataclass(frozen=True)
class Flow:
    """One pass over the market with a lead: what was done, and what exchange and ledger say of it afterwards."""

    done: Iteration
    held: Decimal
    resting: int
    earned: Decimal
    booked: Decimal
    exchange_fills: list[tuple[int, Decimal, Decimal, Decimal, Decimal]]
    ledger_fills: list[tuple[int, Decimal, Decimal, Decimal, Decimal]]
    unjournalled: list[str]
    entries: list[str]
    exit_reason: str
    journal: str
    folder: Path
    told: str

    @property
    def plan(self) -> TradePlan:
        """The plan that was carried out."""
        if not isinstance(self.done.outcome, Approved):
            raise Unexpected(f"no plan: {self.done.outcome}")
        return self.done.outcome.plan


def flow_once(lab: Lab) -> Flow:
    """A pass from the lab's start, with a copy of the trained study's artifacts."""
    name = lab.folder()
    plain = lab.settings(name)
    settings = plain.model_copy(update={"analyst": plain.analyst.model_copy(update={"allow_unproven": True})})
    shutil.copytree(lab.study.settings.cache_dir, settings.cache_dir)
    with _overheard() as heard:

        async def work(world: World) -> Flow:
            pipeline = LiveTradingPipeline(
                world.settings,
                exchange=world.exchange,
                ledger=world.ledger,
                source=lab.tape.source,
                sink=EventSink(report=world.reports.append),
            )
            done = await pipeline.run_once(SYMBOL, TIMEFRAME, wait=_MOST_BARS_TO_A_SIGNAL)
            told = [pipeline.get_trading_status(), world.exchange.get_exchange_status(), world.reports, world.settings]
            heard.write(f"{_summary(world, done)} {told}")
            return _flowed(world, done, lab.root / name)

        flow = in_world(lab, lab.tape, work, settings=settings, at_ms=lab.start_ms, most_s=_MOST_S)
    return replace(flow, told=heard.getvalue())


def _summary(world: World, done: Iteration) -> JsonObject:
    money = Money(world.ledger.net_income(), world.account.wallet - BALANCE)
    return summary(world.workspace, world.executor, done, TIMEFRAME, money).as_dict()


def _flowed(world: World, done: Iteration, folder: Path) -> Flow:
    books = world.account
    sent = [*(o.client_id for o in books.orders.values()), *(a.client_id for a in books.algos.values())]
    return Flow(
        done,
        world.held,
        world.open_count,
        books.wallet - BALANCE,
        world.ledger.net_income(),
        [(f.trade_id, f.price, f.quantity, f.commission, f.realized) for f in books.fills],
        [(f.trade_id, f.price, f.quantity, f.commission, f.realized) for f in world.ledger.fills()],
        [client_id for client_id in sent if world.ledger.intent(client_id) is None],
        [order.client_id for order in world.entries],
        world.last_exit(),
        world.ledger.journal_digest(),
        folder,
        "",
    )


@contextmanager
def _overheard() -> Iterator[io.StringIO]:
    """Everything printed and logged meanwhile, at every level."""
    heard, root = io.StringIO(), logging.getLogger()
    handler, level = logging.StreamHandler(heard), root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        with redirect_stdout(heard), redirect_stderr(heard):
            yield heard
    finally:
        root.setLevel(level)
        root.removeHandler(handler)
