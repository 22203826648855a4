"""Twenty bare positions while the exchange takes no stop: care stays far below the request limit, and lets none wait."""

from __future__ import annotations

import asyncio
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest
from support.trading.desk import POSITIONS, STOP, covered
from support.trading.hostile_desk import HostileDesk, hostile

from trader_cli.core.money.plans import Approved
from trader_cli.execution.entry_result import EntryResult
from trader_cli.execution.executor import Executor
from trader_cli.settings.room_options import ExecutionOptions
from trader_cli.settings.workspace import workspace_of
from trader_cli.storage.ledger import Ledger
from trader_cli.venue.request_weights import WEIGHT_LIMIT, request_weight
from trader_cli.venue.server.faults import Fault, FaultPlan
from trader_cli.venue.server.request_log import LoggedRequest

pytestmark = pytest.mark.slow

SYMBOLS = tuple(
    f"{name}USDT"
    for name in (
        "ETH",
        "BTC",
        "SOL",
        "BNB",
        "XRP",
        "ADA",
        "DOT",
        "LTC",
        "TRX",
        "UNI",
        "AVAX",
        "LINK",
        "ATOM",
        "NEAR",
        "APT",
        "ARB",
        "OP",
        "SUI",
        "INJ",
        "FIL",
    )
)
CALM_S = 60
MINUTE_MS = 60_000
DEADLINE_S, BUDGET_S = 5.0, 2.0
ORDER = "/fapi/v1/order"


def weights(requests: list[LoggedRequest]) -> Counter[int]:
    """The weight of each minute, as the exchange counts it."""
    used: Counter[int] = Counter()
    for request in requests:
        weight = request_weight(request.path, request.parameters) if request.method == "GET" else 1
        used[request.arrived_ms // MINUTE_MS] += weight
    return used


async def entered(desk: HostileDesk, executor: Executor, symbols: tuple[str, ...] = SYMBOLS) -> None:
    """A position in each symbol."""
    for symbol in symbols:
        mark = desk.engine.mark(symbol)
        away, rules = mark / 5, desk.exchange.symbol_rules(symbol)
        plan = desk.plan(
            symbol=symbol,
            price=mark,
            max_drift=mark / 50,
            quantity=str(rules.quantity_down(Decimal(200) / mark)),
            stop_price=rules.price_down(mark - away),
            backstop_price=rules.price_down(mark - away * Decimal("1.5")),
            take_profit_price=rules.price_down(mark + away),
        )
        done = await executor.enter(Approved(plan))
        assert isinstance(done, EntryResult), done


def stops_vanish(desk: HostileDesk, symbols: tuple[str, ...] = SYMBOLS) -> None:
    """Every conditional order is gone, without a word."""
    for symbol in symbols:
        desk.by_hand("DELETE", "/fapi/v1/algoOpenOrders", symbol=symbol)


@pytest.mark.parametrize("refusing_s", [*(pytest.param(s, marks=pytest.mark.long) for s in (65, 120)), 300])
@pytest.mark.parametrize("failure", ["503", "-2021", "timeout -1007 before"])
def test_twenty_bare_symbols_stay_under_four_fifths_of_the_limit(failure: str, refusing_s: int, tmp_path: Path) -> None:
    async def work(desk: HostileDesk) -> None:
        said: list[str] = []
        with Ledger.opened(desk.path) as ledger:
            executor = Executor(
                desk.exchange, ledger, ExecutionOptions.of(workspace_of(desk.settings)), say=said.append
            )
            await entered(desk, executor)
            await desk.clock.sleep(MINUTE_MS / 1000)
            began = desk.clock.now_ms()
            ends = began + refusing_s * 1000
            refusing = (
                Fault(*STOP, failure=failure, from_ms=began, to_ms=ends),
                Fault("POST", "/fapi/v1/order", failure="503", from_ms=began, to_ms=ends),
            )
            desk.venue.bend(FaultPlan(refusing))
            stops_vanish(desk)
            monitor = desk.monitor(ledger, heard=lambda report: said.append(report.sentence))
            monitor.say = said.append
            caring = asyncio.ensure_future(monitor.start_monitoring(refusing_s + CALM_S))
            await asyncio.wait({caring})
            await executor.end()
            asked = desk.requests(since_ms=began)
            used = weights(asked)
            worst = max(used, key=lambda minute: used[minute])
            by_route = Counter(" ".join(r.route) for r in asked if r.arrived_ms // MINUTE_MS == worst)
            assert used[worst] < 0.8 * WEIGHT_LIMIT, (used, str(by_route.most_common()))
            assert not [r for r in asked if r.status in {429, 418}]
            positions = Counter(r.arrived_ms // 200 for r in asked if r.route == POSITIONS)
            assert max(positions.values()) <= 3, "asked once for all, never for each"
            for symbol in SYMBOLS:
                for start, end in desk.unprotected_spans(symbol):
                    assert end <= max(start, ends) + (DEADLINE_S + BUDGET_S) * 1000, (symbol, start - ends, end - ends)
                amount = desk.books.position(symbol).amount
                assert covered(amount, desk.books.open_algos(symbol)) if amount else True
            assert [line for line in said if line.startswith("ALARM")]

    limits = {"max_entries_per_hour": 100, "max_entries_per_day": 100}
    hostile(work, tmp_path, symbols=SYMBOLS, execution=limits)


def test_exits_that_never_arrived_are_settled_by_the_way_once_nothing_is_to_be_closed(tmp_path: Path) -> None:
    few, refusing_s, settled_s = SYMBOLS[:5], 40, 150

    async def work(desk: HostileDesk) -> None:
        with Ledger.opened(desk.path) as ledger:
            executor = Executor(desk.exchange, ledger, ExecutionOptions.of(workspace_of(desk.settings)))
            await entered(desk, executor, few)
            began = desk.clock.now_ms()
            ends = began + refusing_s * 1000
            refusing = (Fault("POST", path, failure="503", from_ms=began, to_ms=ends) for path in (STOP[1], ORDER))
            desk.venue.bend(FaultPlan(tuple(refusing)))
            stops_vanish(desk, few)
            await desk.monitor(ledger).start_monitoring(refusing_s + settled_s)
            assert not [i for i in ledger.unsettled() if i.purpose == "exit" and ledger.last_note(i.client_id)]
            exits = [i for i in ledger.intents() if i.purpose == "exit"]
            assert len(exits) > 3 * len(few)
            asked = desk.requests(since_ms=ends)
            assert sum(r.route == ("GET", ORDER) for r in asked) < 3 * len(exits)
            calm = weights([r for r in asked if r.arrived_ms > ends + MINUTE_MS])
            assert max(calm.values(), default=0) < WEIGHT_LIMIT / 4, calm
            view = await executor.view(few[0])
            assert not view.unknown_orders, "the symbol may be entered again"
            await executor.end()

    hostile(work, tmp_path, symbols=few)
