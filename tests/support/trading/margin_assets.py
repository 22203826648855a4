"""One account at a simulated exchange with contracts of several margin assets, and what trades for it. For tests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from support.trading.desk import engine_of
from support.trading.virtual_venue import settings_at

from trader_cli.core.market.timeframes import HOUR_MS
from trader_cli.core.money.plans import Approved, Refused, TradePlan
from trader_cli.exchange.binance import BinanceExchange
from trader_cli.execution.entry_result import EntryResult
from trader_cli.execution.executor import Executor
from trader_cli.settings import Settings
from trader_cli.settings.room_options import ExecutionOptions
from trader_cli.settings.workspace import workspace_of
from trader_cli.storage.ledger import Ledger
from trader_cli.venue.clocks import VirtualClock, run_virtual
from trader_cli.venue.engine.books import Account, Income
from trader_cli.venue.engine.engine import Engine
from trader_cli.venue.server.server import VenueServer
from trader_cli.venue.simulated_market.rule_changes import RuleChange
from trader_cli.venue.simulated_market.synthetic import synthetic_tape

D = Decimal
SYMBOLS = ("ETHUSDT", "BNBUSDT", "ETHUSDC", "BNBUSDC", "BTCUSDT", "ETHBTC")
TAPE = synthetic_tape(SYMBOLS, 3, 0.5, 3)
TRADED = ("ETHUSDT", "ETHUSDC", "ETHBTC")


@dataclass
class Place:
    """One account at a simulated exchange, and what trades for it."""

    settings: Settings
    venue: VenueServer
    exchange: BinanceExchange
    clock: VirtualClock
    ledger: Ledger
    opened: dict[str, Decimal]

    @property
    def engine(self) -> Engine:
        return engine_of(self.venue, self.clock)

    @property
    def books(self) -> Account:
        return self.engine.account

    def earn(self, kind: str, amount: str, asset: str) -> None:
        """Income that no order of ours has led to."""
        self.books.earn(Income(kind, "", D(amount), self.clock.now_ms(), asset=asset))

    async def plan(self, symbol: str, side: str = "long", quantity: str = "1", stop: str = "0.05") -> TradePlan:
        mark, now = self.engine.mark(symbol), self.clock.now_ms()
        away, tick = mark * D(stop) * (1 if side == "long" else -1), self.exchange.symbol_rules(symbol).price_down
        made: dict[str, Any] = {
            "account": workspace_of(self.settings).account.fingerprint,
            "mode": "demo",
            "symbol": symbol,
            "timeframe": "15m",
            "side": side,
            "lineage": "test",
            "decision_ms": now,
            "created_ms": now,
            "expires_ms": now + 900_000,
            "exit_by_ms": now + 30 * HOUR_MS,
            "price": mark,
            "quantity": D(quantity),
            "leverage": 2,
            "stop_price": tick(mark - away),
            "backstop_price": tick(mark - away * D("1.5")),
            "take_profit_price": tick(mark + away),
            "max_drift": mark / 50,
            "risk_quote": D(1),
            "expected_value_bps": 1.0,
            "liquidation_probability": 0.0,
            "binding": "test",
        }
        return TradePlan(**made)

    async def enter(self, symbol: str, **wanted: str) -> EntryResult | Refused:
        return await self.executor.enter(Approved(await self.plan(symbol, **wanted)))

    @property
    def executor(self) -> Executor:
        return Executor(self.exchange, self.ledger, ExecutionOptions.of(workspace_of(self.settings)))

    def moved(self) -> dict[str, Decimal]:
        """What happened to each wallet, transfers left out."""
        sums: dict[str, Decimal] = {}
        for income in self.books.income:
            if income.kind != "TRANSFER":
                sums[income.asset] = sums.get(income.asset, D(0)) + income.amount
        carried = {i.asset: D(0) for i in self.books.income}
        for income in self.books.income:
            carried[income.asset] += income.amount
        assert all(
            self.books.balance(a) == self.opened.get(a, D(0)) + carried.get(a, D(0)) for a in self.books.assets()
        )
        return {asset: amount for asset, amount in sums.items() if amount}


def at_exchange(
    work: Callable[[Place], Awaitable[Any]],
    folder: Path,
    *,
    changes: tuple[RuleChange, ...] = (),
    start_ms: int = TAPE.at(0.3),
    **settings: Any,
) -> Any:
    clock = VirtualClock(start_ms)

    async def main() -> Any:
        async with VenueServer(TAPE, clock, changes=changes) as venue:
            made = settings_at(venue.url, folder, **settings)
            exchange = BinanceExchange(made, clock=clock)
            await exchange.initialize()
            try:
                with Ledger.opened(workspace_of(made).ledger_path) as ledger:
                    books = engine_of(venue, clock).account
                    opened = {asset: books.balance(asset) for asset in books.assets()}
                    return await work(Place(made, venue, exchange, clock, ledger, opened))
            finally:
                await exchange.close()

    return run_virtual(main, clock)


def nets(place: Place) -> dict[str, Decimal]:
    return {asset: amount for asset, amount in place.ledger.nets().items() if amount}
