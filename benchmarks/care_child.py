"""What one version of the product does, measured from inside: run as a file, with that version on PYTHONPATH.

Only what both versions have in common is used here. `entries URL`: an entry per line read, answered by a line of JSON.
`looks N`: the requests of quiet looks at N positions. `open URL`: a position whose ledger is lost.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from trader_cli.core.money.plans import Approved, TradePlan
from trader_cli.exchange.binance import BinanceExchange
from trader_cli.execution.executor import EntryResult, Executor
from trader_cli.settings import Settings, as_settings
from trader_cli.settings.room_options import ExecutionOptions
from trader_cli.settings.workspace import workspace_of
from trader_cli.storage.ledger import Ledger
from trader_cli.tactician.position_monitor import PositionMonitor
from trader_cli.venue.clocks import VirtualClock, run_virtual
from trader_cli.venue.request_weights import request_weight
from trader_cli.venue.server.server import VenueServer
from trader_cli.venue.simulated_market.synthetic import synthetic_tape

SYMBOLS = ("ETHUSDT", "BTCUSDT", "SOLUSDT")
LOOKS = 30


class Heard:
    """Every request of this process: method, path, parameters, and when it began and was answered."""

    def __init__(self) -> None:
        import aiohttp

        self.requests: list[tuple[str, str, dict[str, str], float, float]] = []
        plain = aiohttp.ClientSession._request

        async def heard(session: Any, method: str, url: Any, **rest: Any) -> Any:
            began, parts, body = time.perf_counter(), urlsplit(str(url)), rest.get("data")
            text = body.decode() if isinstance(body, bytes) else body if isinstance(body, str) else ""
            given = dict(parse_qsl(f"{parts.query}&{text}"))
            try:
                return await plain(session, method, url, **rest)
            finally:
                self.requests.append((method, parts.path, given, began, time.perf_counter()))

        aiohttp.ClientSession._request = heard  # type: ignore[method-assign, assignment]

    def routes(self, since: int = 0) -> Counter[str]:
        """How often each endpoint was asked, from a request on."""
        return Counter(f"{method} {path}" for method, path, *_ in self.requests[since:])

    def weight(self, since: int = 0) -> int:
        """The weight of it."""
        return sum(request_weight(p, given) if m == "GET" else 1 for m, p, given, *_ in self.requests[since:])


def settings_at(url: str) -> Settings:
    """The demo mode at this venue, without a brake."""
    keys = {"base_url": url, "api_key": "sim-key", "api_secret": "sim-secret"}
    known = type(as_settings({}).execution).model_fields
    brakes = {n: 10_000 for n in ("max_entries_per_hour", "max_entries_per_day") if n in known}
    return as_settings({"mode": "demo", "record": False, "binance_exchange": keys, "execution": brakes})


async def plan_now(exchange: BinanceExchange, symbol: str, stop: str) -> TradePlan:
    """A long plan at the mark price, its stop so far away, its backstop and its target half as far again."""
    mark = Decimal(str((await exchange.get_premium_index(symbol))["mark_price"]))
    now, rules, away = exchange.server_now_ms(), exchange.symbol_rules(symbol), mark * Decimal(stop)
    return TradePlan(
        account=workspace_of(exchange.settings).account.fingerprint,
        mode=exchange.settings.mode,
        symbol=symbol,
        timeframe="15m",
        side="long",
        lineage="bench",
        decision_ms=now,
        created_ms=now,
        expires_ms=now + 3_600_000,
        exit_by_ms=now + 6 * 3_600_000,
        price=mark,
        quantity=rules.quantity_down(1000 / mark),
        leverage=2,
        stop_price=rules.price_down(mark - away),
        backstop_price=rules.price_down(mark - away * Decimal("1.5")),
        take_profit_price=rules.price_down(mark + away * Decimal("1.5")),
        max_drift=mark / 100,
        risk_quote=Decimal(1),
        expected_value_bps=1.0,
        liquidation_probability=0.0,
        binding="bench",
    )


def protected_ms(heard: Heard, since: int) -> float:
    """From the send of the entry to the answer to the second stop."""
    ordered = sorted(heard.requests[since:], key=lambda r: r[3])
    sent = next(began for m, p, _, began, _ in ordered if (m, p) == ("POST", "/fapi/v1/order"))
    stops = sorted(
        ended
        for m, p, given, _, ended in ordered
        if (m, p) == ("POST", "/fapi/v1/algoOrder") and given.get("type") == "STOP_MARKET"
    )
    return (stops[1] - sent) * 1000


async def entries(url: str) -> None:
    """Enter, measured, and close again, for each line."""
    heard, settings = Heard(), settings_at(url)
    exchange = BinanceExchange(settings)
    await exchange.initialize()
    with tempfile.TemporaryDirectory() as folder, Ledger.opened(Path(folder) / "ledger.sqlite") as ledger:
        executor = Executor(exchange, ledger, ExecutionOptions.of(workspace_of(settings)))
        while await asyncio.to_thread(sys.stdin.readline):
            plan, since, began = await plan_now(exchange, SYMBOLS[0], "0.05"), len(heard.requests), time.perf_counter()
            done = await executor.enter(Approved(plan))
            took = time.perf_counter() - began
            assert isinstance(done, EntryResult), done
            said = {
                "protected_ms": protected_ms(heard, since),
                "entered_ms": took * 1000,
                "weight": heard.weight(since),
                "requests": heard.routes(since),
            }
            await executor.close(plan.symbol, "bench")
            print(json.dumps(said), flush=True)
    await exchange.close()


async def open_one(url: str) -> None:
    """A position that is covered, its ledger thrown away."""
    settings = settings_at(url)
    exchange = BinanceExchange(settings)
    await exchange.initialize()
    with tempfile.TemporaryDirectory() as folder, Ledger.opened(Path(folder) / "ledger.sqlite") as ledger:
        executor = Executor(exchange, ledger, ExecutionOptions.of(exchange.workspace))
        done = await executor.enter(Approved(await plan_now(exchange, SYMBOLS[0], "0.05")))
        assert isinstance(done, EntryResult), done
    await exchange.close()


def looks(number: int) -> None:
    """Positions in so many symbols, and what a look at them asks in the middle, in virtual time."""
    heard, tape = Heard(), synthetic_tape(SYMBOLS[:number], 6, 0.5, 3)
    clock, seen = VirtualClock(tape.at(0.5)), list[tuple[int, int, Counter[str]]]()

    async def main() -> None:
        with tempfile.TemporaryDirectory() as folder:
            async with VenueServer(tape, clock, folder=Path(folder) / "venue") as venue:
                settings = settings_at(venue.url)
                exchange = BinanceExchange(settings, clock=clock)
                await exchange.initialize()
                with Ledger.opened(Path(folder) / "ledger.sqlite") as ledger:
                    executor = Executor(exchange, ledger, ExecutionOptions.of(workspace_of(settings)))
                    for symbol in SYMBOLS[:number]:
                        done = await executor.enter(Approved(await plan_now(exchange, symbol, "0.2")))
                        assert isinstance(done, EntryResult), done
                    monitor = PositionMonitor(settings, exchange=exchange, ledger=ledger)
                    for _ in range(LOOKS):
                        since = len(heard.requests)
                        await monitor.step(executor)
                        seen.append((len(heard.requests) - since, heard.weight(since), heard.routes(since)))
                        await clock.sleep(settings.position_monitoring_interval)
                await exchange.close()

    run_virtual(main, clock)
    total = sum((routes for _, _, routes in seen), Counter[str]())
    print(
        json.dumps(
            {
                "requests": statistics.median(count for count, _, _ in seen),
                "weight": statistics.median(weight for _, weight, _ in seen),
                "mean_requests": statistics.mean(count for count, _, _ in seen),
                "mean_weight": statistics.mean(weight for _, weight, _ in seen),
                "by_endpoint": total,
            }
        )
    )


if __name__ == "__main__":
    if sys.argv[1] == "entries":
        asyncio.run(entries(sys.argv[2]))
    elif sys.argv[1] == "open":
        asyncio.run(open_one(sys.argv[2]))
    else:
        looks(int(sys.argv[2]))
