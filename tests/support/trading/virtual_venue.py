"""A venue, an exchange client and a ledger in virtual time, and plans made by hand, for tests of the trading path."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

from aiohttp import web

from trader_cli.core.money.plans import TradePlan
from trader_cli.exchange.account.paper_exchange import PaperExchange
from trader_cli.exchange.binance import BinanceExchange
from trader_cli.settings import Settings, as_settings
from trader_cli.settings.workspace import workspace_of
from trader_cli.storage.ledger import Ledger
from trader_cli.venue.clocks import VirtualClock, run_virtual
from trader_cli.venue.server.server import VenueServer
from trader_cli.venue.simulated_market.synthetic import synthetic_tape
from trader_cli.venue.simulated_market.tape import Tape

TAPE = synthetic_tape(("ETHUSDT", "BTCUSDT"), 6, 0.5, 3)
SYMBOL = "ETHUSDT"
V = TypeVar("V", bound=VenueServer)
Work = Callable[[BinanceExchange, Ledger, "DownVenue"], Awaitable[Any]]


class DownVenue(VenueServer):
    """A real venue of which chosen routes are down until a moment."""

    down: dict[tuple[str, str], int]

    async def _answer(self, request: web.Request) -> web.Response:
        if self._clock.now_ms() < self.down.get((request.method, request.path), 0):
            return web.Response(text="Service Unavailable", status=503)
        return await super()._answer(request)


def settings_at(url: str, folder: Path, **changes: Any) -> Settings:
    """Settings of the demo mode at this venue."""
    exchange = {"base_url": url, "api_key": "sim-key", "api_secret": "sim-secret", "max_retries": 0}
    tree = {"mode": "demo", "cache_dir": str(folder / "cache"), "state_dir": str(folder / "state"), "record": False}
    return as_settings({**tree, "binance_exchange": exchange, **changes})


def trading(folder: Path, work: Work, tape: Tape = TAPE, share: float = 0.5, **changes: Any) -> Any:
    """Run `work` in virtual time and return what it returns."""
    clock = VirtualClock(tape.at(share))

    async def main() -> Any:
        venue = DownVenue(tape, clock, folder=folder / "venue")
        venue.down = {}
        async with venue:
            settings = settings_at(venue.url, folder, **changes)
            exchange = BinanceExchange(settings, clock=clock)
            await exchange.initialize()
            try:
                with Ledger.opened(workspace_of(settings).ledger_path) as ledger:
                    return await work(exchange, ledger, venue)
            finally:
                await exchange.close()

    return run_virtual(main, clock)


async def plan_now(
    exchange: BinanceExchange, *, side: str = "long", quantity: str = "0.5", **changes: Any
) -> TradePlan:
    """A plan at the mark price: stop 1 %, backstop 1.5 %, target 1 % away, valid for an hour."""
    mark = Decimal(str((await exchange.get_premium_index(SYMBOL))["mark_price"]))
    now, sign, tick = exchange.server_now_ms(), 1 if side == "long" else -1, exchange.symbol_rules(SYMBOL).price_down
    made: dict[str, Any] = {
        "account": workspace_of(exchange.settings).account.fingerprint,
        "mode": exchange.settings.mode,
        "symbol": SYMBOL,
        "timeframe": "15m",
        "side": side,
        "lineage": "test",
        "decision_ms": now,
        "created_ms": now,
        "expires_ms": now + 3_600_000,
        "exit_by_ms": now + 6 * 3_600_000,
        "price": mark,
        "quantity": Decimal(quantity),
        "leverage": 2,
        "stop_price": tick(mark * (1 - sign * Decimal("0.01"))),
        "backstop_price": tick(mark * (1 - sign * Decimal("0.015"))),
        "take_profit_price": tick(mark * (1 + sign * Decimal("0.01"))),
        "max_drift": mark * Decimal("0.0025"),
        "risk_quote": Decimal(1),
        "expected_value_bps": 1.0,
        "liquidation_probability": 0.0,
        "binding": "test",
    }
    return TradePlan(**{**made, **changes})


def at_paper(
    venue_of: Callable[[VirtualClock], V],
    work: Callable[[PaperExchange, V], Awaitable[Any]],
    clock: VirtualClock,
    folder: Path | None = None,
    *,
    retries: int = 0,
    **settings: Any,
) -> Any:
    """Run `work` with a paper account that looks at a venue, in virtual time, and return what it returns."""

    async def main() -> Any:
        async with venue_of(clock) as venue:
            keys = {"base_url": venue.url, "max_retries": retries}
            exchange = PaperExchange({"binance_exchange": keys, **settings}, clock=clock, folder=folder)
            await exchange.initialize()
            try:
                return await work(exchange, venue)
            finally:
                await exchange.close()

    return run_virtual(main, clock)
