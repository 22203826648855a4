"""Small worlds for single checks: a market whose prices go where the check wants them, a venue that can fail, an
executor and a ledger of their own. What the exchange has is read from the venue itself, past our own client."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import polars as pl

from trader_cli.core.market.bars import with_close_time
from trader_cli.core.market.schemas import TIME
from trader_cli.core.market.timeframes import MINUTE_MS, Timeframe
from trader_cli.core.money.plans import Approved, TradePlan
from trader_cli.execution.entry_result import EntryResult
from trader_cli.execution.executor import Executor
from trader_cli.pipelines.market_access import connected
from trader_cli.pipelines.verification.checks import Unexpected
from trader_cli.pipelines.verification.lab import KEY, SYMBOL, at_venue
from trader_cli.settings.room_options import ExecutionOptions
from trader_cli.settings.workspace import workspace_of
from trader_cli.storage.ledger import Ledger
from trader_cli.tactician.position_monitor import PositionMonitor
from trader_cli.venue.clocks import VirtualClock, run_virtual
from trader_cli.venue.server.faulty_venue import FaultyVenue
from trader_cli.venue.simulated_market.tape import Tape
from trader_cli.venue.simulated_market.tape_loading import make_symbol_tape

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trader_cli.core.ports import Assessor
    from trader_cli.core.types import Side
    from trader_cli.exchange.binance import BinanceExchange
    from trader_cli.pipelines.verification.lab import Lab
    from trader_cli.settings import Settings, Workspace
    from trader_cli.tactician.monitor_reports import Report
    from trader_cli.venue.engine.books import Account, AlgoOrder, Order
    from trader_cli.venue.server.faulty_venue import Fault, Route

T = TypeVar("T")
OPENS_MS = 1_704_067_200_000 + 450 * MINUTE_MS  # 2024-01-01 07:30 UTC: half an hour before a funding time
PRICE, BALANCE = 2000.0, Decimal(10_000)
_MOST_S = 2 * 3600.0
_CALM_MINUTES, _AFTER_MINUTES = 20, 60
ENTRY: Route = ("POST", "/fapi/v1/order")
STOP: Route = ("POST", "/fapi/v1/algoOrder")
POSITIONS: Route = ("GET", "/fapi/v3/positionRisk")


def scripted(*legs: tuple[int, float]) -> Tape:
    """A tape that is calm at 2000 for twenty minutes, then goes in straight lines: (minutes, share of 2000) each.

    It stays an hour at its last price.
    """
    minutes, shares = [0, _CALM_MINUTES], [1.0, 1.0]
    for length, share in (*legs, (_AFTER_MINUTES, legs[-1][1] if legs else 1.0)):
        minutes.append(minutes[-1] + length)
        shares.append(share)
    close = np.round(PRICE * np.interp(np.arange(1, minutes[-1] + 1), minutes, shares), 2)
    opened = np.concatenate([[PRICE + 0.01], close[:-1]])
    frame = pl.DataFrame(
        {
            "open_time": pl.Series(OPENS_MS + np.arange(len(close), dtype=np.int64) * MINUTE_MS).cast(TIME),
            "open": opened,
            "high": np.maximum(opened, close),
            "low": np.minimum(opened, close),
            "close": close,
            "volume": np.full(len(close), 5000.123),
        }
    )
    minute = Timeframe.parse("1m")
    return Tape(
        "scripted", "scripted", {SYMBOL: make_symbol_tape(SYMBOL, minute, with_close_time(frame, minute), 1, {})}
    )


@dataclass
class World:
    """One account on one venue, and what acts for it."""

    workspace: Workspace
    venue: FaultyVenue
    exchange: BinanceExchange
    clock: VirtualClock
    key: str
    _ledgers: ExitStack
    ledger: Ledger
    reports: list[Report]

    @property
    def settings(self) -> Settings:
        """The settings of its workspace."""
        return self.workspace.settings

    @property
    def executor(self) -> Executor:
        """A new executor, as a process that has just started has."""
        return Executor(self.exchange, self.ledger, ExecutionOptions.of(self.workspace))

    def restart(self) -> None:
        """Close the ledger and open it again, as another process would."""
        self._ledgers.close()
        self.ledger = self._ledgers.enter_context(Ledger.opened(self.workspace.ledger_path))

    def monitor(self, assessor: Assessor | None = None) -> PositionMonitor:
        """A new monitor; what it says is in `reports`."""
        return PositionMonitor(
            self.settings, exchange=self.exchange, ledger=self.ledger, assessor=assessor, report=self.reports.append
        )

    async def enter(self, plan: TradePlan) -> EntryResult:
        """The plan carried out; a refusal is an error here."""
        entered = await self.executor.enter(Approved(plan))
        if not isinstance(entered, EntryResult):
            raise Unexpected(f"the entry was refused: {entered.sentence} ({entered.code})")
        return entered

    async def plan(
        self,
        side: Side = "long",
        *,
        quantity: str = "0.5",
        stop: float = 0.01,
        target: float = 0.05,
        hold_minutes: float = 600,
        timeframe: str = "15m",
    ) -> TradePlan:
        """A plan made by hand at the mark price now; distances are shares of price."""
        mark = Decimal(str((await self.exchange.get_premium_index(SYMBOL))["mark_price"]))
        now, sign = self.exchange.server_now_ms(), 1 if side == "long" else -1
        rules = self.exchange.symbol_rules(SYMBOL)

        def level(distance: float) -> Decimal:
            return rules.price_down(mark * Decimal(str(1 + sign * distance)))

        return TradePlan(
            account=self.workspace.account.fingerprint,
            mode=self.settings.mode,
            symbol=SYMBOL,
            timeframe=timeframe,
            side=side,
            lineage="verification",
            decision_ms=now,
            created_ms=now,
            expires_ms=now + 15 * MINUTE_MS,
            exit_by_ms=now + round(hold_minutes * MINUTE_MS),
            price=mark,
            quantity=Decimal(quantity),
            leverage=5,
            stop_price=level(-stop),
            backstop_price=level(-1.5 * stop),
            take_profit_price=level(target),
            max_drift=mark * Decimal("0.005"),
            risk_quote=mark * Decimal(quantity) * Decimal(str(stop)),
            expected_value_bps=1.0,
            liquidation_probability=0.0,
            binding="verification",
        )

    # --- what the exchange itself has ---

    @property
    def account(self) -> Account:
        """The account's books at the exchange, now."""
        return self.venue.account(self.key)

    @property
    def held(self) -> Decimal:
        """The position at the exchange."""
        return self.account.position(SYMBOL).amount

    @property
    def entries(self) -> list[Order]:
        """Every order at the exchange that could open something."""
        return [order for order in self.account.orders.values() if not order.reduce_only and not order.close_position]

    @property
    def stops(self) -> list[AlgoOrder]:
        """Every quantity stop the exchange ever had, oldest first."""
        return [a for a in self.account.algos.values() if a.type == "STOP_MARKET" and not a.close_position]

    @property
    def backstops(self) -> list[AlgoOrder]:
        """Every close-position stop the exchange ever had."""
        return [a for a in self.account.algos.values() if a.type == "STOP_MARKET" and a.close_position]

    @property
    def open_count(self) -> int:
        """Orders and conditional orders that rest at the exchange."""
        return len(self.account.open_orders(SYMBOL)) + len(self.account.open_algos(SYMBOL))

    def last_exit(self) -> str:
        """Why our last position ended, by the ledger."""
        return self.executor.exit_reason(SYMBOL)


def in_world(
    lab: Lab,
    tape: Tape,
    work: Callable[[World], Awaitable[T]],
    *,
    faults: dict[Route, list[Fault]] | None = None,
    key: str = KEY,
    settings: Settings | None = None,
    at_ms: int | None = None,
    most_s: float = _MOST_S,
) -> T:
    """`work` in a fresh world, in virtual time, from `at_ms` on: ten minutes into the tape if not said.

    Raises `TimeoutError` once it has taken `most_s` seconds of that time: a product that waits for ever is broken.
    """
    clock = VirtualClock(tape.start_ms + 10 * MINUTE_MS if at_ms is None else at_ms)
    options = settings or lab.settings(lab.folder())

    async def main() -> T:
        with ExitStack() as ledgers:
            venue = FaultyVenue(tape, clock, balance=BALANCE, faults=faults)
            async with venue:
                inside = workspace_of(at_venue(options, venue.url))
                async with connected(inside, clock, venue_url=venue.url) as exchange:
                    ledger = ledgers.enter_context(Ledger.opened(inside.ledger_path))
                    async with asyncio.timeout(most_s):
                        return await work(World(inside, venue, exchange, clock, key, ledgers, ledger, []))

    return run_virtual(main, clock)
