"""A venue in a process of its own at the wall clock, what a person sees and does there, and commands that trade on it."""

from __future__ import annotations

import asyncio
import http.client
import json
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from support.commands.command_line import CommandLine
from support.trading.desk import SYMBOL, plan_at

from trader_cli.core.errors import ExitCode
from trader_cli.core.money.plans import TradePlan
from trader_cli.exchange.binance import BinanceExchange
from trader_cli.settings import Settings, load_settings
from trader_cli.settings.workspace import workspace_of
from trader_cli.venue.clocks import WallClock
from trader_cli.venue.server.faults import Fault, FaultPlan

SECRET = "sim-secret"


@contextmanager
def serving_venue(cli: CommandLine, *options: str, **market: str) -> Iterator[str]:
    """`trader venue serve` in a process until the block ends; gives its URL."""
    server = cli.begin("venue", "serve", "--port", "0", "--json", *options, **market)
    try:
        yield str(json.loads(server.first_line())["url"])
    finally:
        left = server.ended(signal.SIGINT)
    assert left.code == ExitCode.INTERRUPTED, left.err


@contextmanager
def venue_process(folder: Path, faults: FaultPlan | None = None) -> Iterator[Place]:
    """`trader venue serve --clock wall` until the block ends; with a file of faults if there are any."""
    market = {"TRADER_SIM__DAYS": "12", "TRADER_SIM__SYMBOLS": f'["{SYMBOL}"]'}
    bent: tuple[str, ...] = ()
    if faults is not None:
        file = folder / "faults.json"
        file.write_text(json.dumps(faults.as_dict()))
        bent = ("--faults", str(file))
    with serving_venue(CommandLine(folder), "--clock", "wall", *bent, **market) as url:
        yield Place(url)


@dataclass(frozen=True)
class Place:
    """Where a venue is reached, and as whom things are done by hand."""

    url: str
    key: str = "sim-key"

    def environment(self, key: str = "sim-key", secret: str = SECRET) -> dict[str, str]:
        """What a command needs to trade there."""
        named = {"BASE_URL": self.url, "API_KEY": key, "API_SECRET": secret}
        return {f"TRADER_BINANCE_EXCHANGE__{name}": value for name, value in named.items()}

    def by_hand(self, work: Callable[[BinanceExchange], Awaitable[Any]]) -> Any:
        """What a person with the same account sees or does."""

        async def done() -> Any:
            keys = {"base_url": self.url, "api_key": self.key, "api_secret": SECRET}
            exchange = BinanceExchange({"mode": "demo", "binance_exchange": keys})
            await exchange.initialize()
            try:
                return await work(exchange)
            finally:
                await exchange.close()

        return asyncio.run(done())

    def _asked(self, method: str, path: str, body: str | None = None) -> Any:
        """One request of `venue.server.control_routes`, or a public one."""
        there = http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=30)
        try:
            there.request(method, path, body)
            reply = there.getresponse()
            assert reply.status == 200, reply.read()
            return json.loads(reply.read())
        finally:
            there.close()

    def books(self, key: str = "sim-key") -> dict[str, Any]:
        """The venue's own books of an account (`venue.server.control_routes`)."""
        return dict(self._asked("GET", f"/venue/books?key={key}"))

    def requests(self, after: int = 0) -> list[dict[str, Any]]:
        """What arrived at the venue after this number."""
        return list(self._asked("GET", f"/venue/requests?after={after}"))

    def bend(self, *faults: Fault, seed: int = 0, when: str = "") -> None:
        """Let these faults hold from now on, or from the next request of the route `when` on."""
        self._asked("PUT", "/venue/faults", json.dumps({**FaultPlan(faults, seed).as_dict(), "when": when}))

    def bend_rows(self, *rows: dict[str, Any], when: str = "") -> None:
        """As `bend`, of rows that may count seconds (`from_s`, `to_s`)."""
        self._asked("PUT", "/venue/faults", json.dumps({"faults": rows, "when": when}))

    def quick_plan(self, key: str, **changes: Any) -> TradePlan:
        """As `plan`, by one request."""
        mark = Decimal(self._asked("GET", f"/fapi/v1/premiumIndex?symbol={SYMBOL}")["markPrice"])
        return plan_at(self.settings(key), mark, WallClock().now_ms(), **changes)

    def settings(self, key: str = "sim-key", **more: Any) -> Settings:
        """Settings of a client in the demo profile."""
        keys = {"base_url": self.url, "api_key": key, "api_secret": SECRET}
        return load_settings("demo", None, {"binance_exchange": keys, **more})

    def plan(self, key: str = "sim-key", **changes: Any) -> TradePlan:
        """A plan for an account, at the mark price now."""

        async def mark(exchange: BinanceExchange) -> Decimal:
            return Decimal(str((await exchange.get_premium_index(SYMBOL))["mark_price"]))

        return plan_at(self.settings(key), self.by_hand(mark), WallClock().now_ms(), **changes)

    def ledger(self, state: Path, key: str = "sim-key") -> Path:
        """Where commands with this state directory keep their ledger."""
        return workspace_of(self.settings(key, state_dir=str(state))).ledger_path


def plan_file(plan: TradePlan, folder: Path) -> str:
    """The plan as `tactics --json` prints it."""
    file = folder / f"plan-{plan.plan_id}.json"
    file.write_text(json.dumps({"kind": "plan", "plan": plan.as_dict()}))
    return str(file)
