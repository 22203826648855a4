"""A trading desk for tests: the real executor and monitor, through the real client, against a real venue that is bent."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from aiohttp import web

from trader_cli.core.money.exits import Assessment
from trader_cli.core.money.plans import Approved, Refused, TradePlan
from trader_cli.core.types import Abstention, Analysis, Probabilities
from trader_cli.exchange.binance import BinanceExchange
from trader_cli.execution.entry_result import EntryResult
from trader_cli.execution.executor import Executor
from trader_cli.settings import Settings, as_settings
from trader_cli.settings.room_options import ExecutionOptions
from trader_cli.settings.workspace import workspace_of
from trader_cli.storage.ledger import Ledger
from trader_cli.tactician.monitor_reports import Report
from trader_cli.tactician.position_monitor import PositionMonitor
from trader_cli.venue.clocks import VirtualClock, run_virtual
from trader_cli.venue.engine.books import AlgoOrder
from trader_cli.venue.engine.engine import Engine
from trader_cli.venue.server.authentication import KEYS
from trader_cli.venue.server.faults import FaultPlan
from trader_cli.venue.server.private_routes import COMMANDS
from trader_cli.venue.server.public_routes import VenueRejection
from trader_cli.venue.server.server import VenueServer
from trader_cli.venue.simulated_market.synthetic import synthetic_tape

TAPE = synthetic_tape(("ETHUSDT",), 12, 0.5, 3)
SYMBOL = "ETHUSDT"
BALANCE = Decimal(10_000)
ORDER, STOP = ("POST", "/fapi/v1/order"), ("POST", "/fapi/v1/algoOrder")
POSITIONS = ("GET", "/fapi/v3/positionRisk")
LOST = ("dropped", "empty", "html", "truncated", "object", "other", "unknown")
"""Ways in which the reply of a request that was carried out can be lost."""
_SPOILED = {"empty": "", "html": "<html></html>", "truncated": '{"orderId": 1', "object": "{}", "other": '{"code":200}'}
_REFUSALS = {
    "refused": VenueRejection(400, -2021, "Order would immediately trigger."),
    "missing": VenueRejection(400, -2013, "Order does not exist."),
    "limited": VenueRejection(429, -1003, "Too many requests."),
    "no key": VenueRejection(401, -2015, "Invalid API-key, IP, or permissions for action."),
    "thin": VenueRejection(400, -4131, "The counterparty's best price does not meet the PERCENT_PRICE filter limit."),
    "wrong time": VenueRejection(400, -1021, "Timestamp for this request is outside of the recvWindow."),
    "nothing to reduce": VenueRejection(400, -2022, "ReduceOnly Order is rejected."),
    "throttled": VenueRejection(503, -1008, "Request throttled by system-level protection."),
}
_LATE_S = 2.0

Rule = Callable[[int, tuple[str, str]], str]
"""From a request's number since the rule was set, and its method and path, to a fault; "" is honesty."""


def honest(_number: int, _route: tuple[str, str]) -> str:
    """No fault."""
    return ""


def first(route: tuple[str, str], *faults: str) -> Rule:
    """These faults for the first requests of a route, honesty after that."""
    waiting = list(faults)
    return lambda _number, asked: waiting.pop(0) if asked == route and waiting else ""


class BentVenue(VenueServer):
    """A venue whose `rule` says what is done to each request: before it is carried out, or to its answer.

    "kill before", "kill after" and "kill late" call `kill`: the request is not carried out, is carried out, or is
    carried out a while later. `watch` is called after each request.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.seen: list[tuple[str, str]] = []
        self.kill: Callable[[], object] = lambda: None
        self.watch: Callable[[], object] = lambda: None
        self._rule, self._before = honest, 0
        self._late: set[asyncio.Task[Any]] = set()

    def bend(self, rule: Rule | FaultPlan | None) -> None:
        """Bend from the next request on: by a rule, or by a plan of faults beside the rule."""
        if rule is None or isinstance(rule, FaultPlan):
            super().bend(rule)
        else:
            self._rule, self._before = rule, len(self.seen)

    async def _answer(self, request: web.Request) -> web.Response:
        route = (request.method, request.path)
        await request.read()
        self.seen.append(route)
        fault = self._rule(len(self.seen) - self._before, route)
        if fault in _REFUSALS:
            raise _REFUSALS[fault]
        if fault == "nothing":
            return web.json_response([])
        if fault == "down":
            return web.Response(text="Service Unavailable", status=503)
        if fault == "kill late":
            task = asyncio.ensure_future(self._answer_late(request))
            self._late.add(task)
        elif fault not in {"kill before", "unknown before"}:
            answer = await super()._answer(request)
            self.watch()
        if fault.startswith("kill"):
            self.kill()
        if (fault.startswith("kill") or fault == "dropped") and request.transport is not None:
            request.transport.close()
            return web.Response()
        if fault in _SPOILED:
            return web.Response(text=_SPOILED[fault], content_type="application/json")
        if fault in {"unknown", "unknown before"}:
            body = {"code": -1007, "msg": "Timeout waiting for response from backend server."}
            return web.json_response(body, status=408)
        return answer

    async def _answer_late(self, request: web.Request) -> None:
        await asyncio.sleep(_LATE_S)
        try:
            await super()._answer(request)
        except VenueRejection:
            return  # nobody is there to hear it


@dataclass
class Says:
    """An assessor that says what it is told to, about each closed bar."""

    loss: float | None = None

    async def assess(self, symbol: str, timeframe: str) -> Analysis:
        """P(down) = `loss`, decided now."""
        given = None if self.loss is None else Probabilities(1 - self.loss, self.loss, 0.0)
        return Analysis(symbol, timeframe, self.at_ms(), 1.0, Abstention("test", "test"), probabilities=given)

    at_ms: Callable[[], int] = field(default=lambda: 0)


def plan_at(
    settings: Settings,
    mark: Decimal,
    now: int,
    *,
    side: Any = "long",
    quantity: str = "1",
    stop: str = "0.01",
    **changes: Any,
) -> TradePlan:
    """A plan at this mark price; stop and target as far away as `stop` says, the backstop half as far again."""
    away, tick = mark * Decimal(stop) * (1 if side == "long" else -1), Decimal("0.01")
    levels = {
        "stop_price": mark - away,
        "backstop_price": mark - away * Decimal("1.5"),
        "take_profit_price": mark + away,
    }
    given: dict[str, Any] = {
        "account": workspace_of(settings).account.fingerprint,
        "mode": settings.mode,
        "symbol": SYMBOL,
        "timeframe": "15m",
        "side": side,
        "lineage": "test",
        "decision_ms": now,
        "created_ms": now,
        "expires_ms": now + 900_000,
        "exit_by_ms": now + 6 * 3_600_000,
        "price": mark,
        "quantity": Decimal(quantity),
        "leverage": 5,
        "max_drift": mark / 100,
        "risk_quote": Decimal(1),
        "expected_value_bps": 1.0,
        "liquidation_probability": 0.0,
        "binding": "test",
        **{name: level.quantize(tick) for name, level in levels.items()},
        **changes,
    }
    return TradePlan(**given)


def engine_of(venue: VenueServer, clock: VirtualClock) -> Engine:
    """The exchange's books of the usual account, as of now."""
    engine = venue._trading().engine(KEYS["sim-key"])
    engine.advance(clock.now_ms())
    return engine


@dataclass
class Desk:
    """What a test works with: the venue, a client, the clock, the settings and where the ledger lies."""

    venue: BentVenue
    exchange: BinanceExchange
    clock: VirtualClock
    settings: Settings
    path: Path

    @contextmanager
    def open(self) -> Iterator[tuple[Ledger, Executor]]:
        """As a process that has just started: the ledger from its file, a fresh executor."""
        with Ledger.opened(self.path) as ledger:
            yield ledger, Executor(self.exchange, ledger, ExecutionOptions.of(workspace_of(self.settings)))

    def monitor(
        self, ledger: Ledger, loss: float | None = None, heard: Callable[[Report], None] = lambda _: None
    ) -> PositionMonitor:
        """A monitor whose assessor gives this loss probability."""
        says = Says(loss, self.exchange.server_now_ms)
        return PositionMonitor(self.settings, exchange=self.exchange, ledger=ledger, assessor=says, report=heard)

    @property
    def engine(self) -> Engine:
        """The exchange's books of our account, as of now."""
        return engine_of(self.venue, self.clock)

    @property
    def amount(self) -> Decimal:
        """The exchange's position."""
        return self.engine.account.position(SYMBOL).amount

    def stops(self) -> list[AlgoOrder]:
        """Conditional orders waiting at the exchange."""
        return self.engine.account.open_algos(SYMBOL)

    def by_hand(self, method: str, path: str, **parameters: Any) -> Any:
        """What a person does at the exchange."""
        return COMMANDS[method, path](self.engine, {n: str(v) for n, v in {"symbol": SYMBOL, **parameters}.items()})

    def trade_by_hand(self, side: str, quantity: str, **extra: Any) -> Any:
        """A market order of a person."""
        return self.by_hand(*ORDER, side=side, type="MARKET", quantity=quantity, **extra)

    def plan(self, **changes: Any) -> TradePlan:
        """A plan at the mark price now."""
        return plan_at(self.settings, self.engine.mark(SYMBOL), self.clock.now_ms(), **changes)

    def approved(self, **changes: Any) -> Approved:
        """An approved plan."""
        return Approved(self.plan(**changes))

    async def killed_within(self, rule: Rule, life: Awaitable[Any]) -> bool:
        """Live under this rule; whether it was killed before its end."""
        task = asyncio.ensure_future(life)
        self.venue.kill = task.cancel
        self.venue.bend(rule)
        try:
            await task
        except asyncio.CancelledError:
            return True
        finally:
            self.venue.kill = lambda: None
            self.venue.bend(honest)
        return False

    def start_over(self, path: Path) -> None:
        """A new account at the exchange and another ledger, at the time it is."""
        self.venue._start_ms, self.venue._desk = self.clock.now_ms(), None
        self.path = path


def sound(desk: Desk, ledger: Ledger) -> None:
    """The account is as intended: one order per intent, covered or flat and swept, the ledger equal to the exchange."""
    books = desk.engine.account
    ours = [o.client_id for o in [*books.orders.values(), *books.algos.values()] if o.client_id.startswith("td-")]
    named = [o for o in ours if ours.count(o) > 1 and not _triggered(desk, o)]
    assert not named, f"sent twice: {named}"
    amount, stops = books.position(SYMBOL).amount, books.open_algos(SYMBOL)
    assert ledger.holding(SYMBOL).amount == amount
    assert ledger.net_income() == books.wallet - BALANCE
    assert not books.open_orders(SYMBOL)
    if amount == 0:
        assert stops == []
        return
    assert covered(amount, stops), stops
    for stop in stops:
        assert stop.side == ("SELL" if amount > 0 else "BUY")
        assert stop.working_type == "MARK_PRICE"
        assert stop.close_position or (stop.reduce_only and stop.quantity <= books.fills[0].quantity * 100)


def _triggered(desk: Desk, client_id: str) -> bool:
    """A triggered stop and the order it became share a client id."""
    algos = [a for a in desk.engine.account.algos.values() if a.client_id == client_id]
    orders = [o for o in desk.engine.account.orders.values() if o.client_id == client_id]
    return len(algos) == len(orders) == 1 and algos[0].actual_order_id == orders[0].order_id


def covered(amount: Decimal, stops: list[AlgoOrder]) -> bool:
    """Whether stops for the whole position rest."""
    stopping = [s for s in stops if s.type == "STOP_MARKET" and (s.side == "SELL") == (amount > 0)]
    return any(s.close_position for s in stopping) or sum(s.quantity for s in stopping) >= abs(amount)


async def entered(desk: Desk, approved: Approved) -> EntryResult:
    """Enter as a process of its own; everything is as intended at its end."""
    with desk.open() as (ledger, executor):
        done = await executor.enter(approved)
        assert isinstance(done, EntryResult), done
        sound(desk, ledger)
        return done


async def refused(desk: Desk, approved: Approved) -> str:
    """The code of a refusal; nothing was sent for it."""
    orders = desk.venue.seen.count(ORDER)
    with desk.open() as (_, executor):
        done = await executor.enter(approved)
    assert isinstance(done, Refused), done
    assert desk.venue.seen.count(ORDER) == orders
    return done.code


def at_desk(work: Callable[[Desk], Awaitable[Any]], path: Path, start: float = 0.2, **sections: Any) -> Any:
    """Run `work` at a desk in virtual time."""
    clock = VirtualClock(TAPE.at(start))

    async def main() -> Any:
        async with BentVenue(TAPE, clock, balance=BALANCE) as venue:
            given = dict(sections)
            keys = {
                "api_key": "sim-key",
                "api_secret": "sim-secret",
                "base_url": venue.url,
                "max_retries": 1,
                **given.pop("binance_exchange", {}),
            }
            settings = as_settings({"mode": "demo", "binance_exchange": keys, **given})
            exchange = BinanceExchange(settings, clock=clock)
            await exchange.initialize()
            try:
                return await work(Desk(venue, exchange, clock, settings, path / "ledger.sqlite"))
            finally:
                await exchange.close()

    return run_virtual(main, clock)


__all__ = [
    "LOST",
    "ORDER",
    "POSITIONS",
    "STOP",
    "SYMBOL",
    "Assessment",
    "Desk",
    "at_desk",
    "covered",
    "entered",
    "first",
    "refused",
    "sound",
]
