"""Care that is not kept waiting: not by slow questions, nor by other symbols, opinions and trades within the same look."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.trading.desk import ORDER, STOP, SYMBOL, covered
from support.trading.hostile_desk import HostileDesk, hostile

from trader_cli.core.errors import ExchangeUnavailable
from trader_cli.core.market.timeframes import Timeframe
from trader_cli.core.money.plans import Approved, Refused
from trader_cli.core.types import Analysis
from trader_cli.execution.entry_result import EntryResult
from trader_cli.execution.executor import Executor
from trader_cli.execution.request_listener import RequestListener
from trader_cli.pipelines.trading.live_loop import LiveLoop
from trader_cli.settings.room_options import ExecutionOptions
from trader_cli.settings.workspace import workspace_of
from trader_cli.storage import owner_requests
from trader_cli.storage.ledger import Ledger
from trader_cli.tactician.monitor_reports import discard_report
from trader_cli.tactician.position_monitor import PositionMonitor
from trader_cli.venue.server.faults import Fault, FaultPlan

pytestmark = pytest.mark.slow

SYMBOLS = ("ETHUSDT", "BTCUSDT", "SOLUSDT", "BNBUSDT", "XRPUSDT", "ADAUSDT")
LIST, STOP_BY_ID = ("GET", "/fapi/v1/openAlgoOrders"), ("GET", "/fapi/v1/algoOrder")
TRADES, INTERVAL_S, MOST_BARE_S, REFUSING_S = ("GET", "/fapi/v1/userTrades"), 10.0, 7.0, 20.0
Life = Callable[[HostileDesk, Ledger, Executor], Awaitable[Any]]


def living(life: Life, path: Path, symbols: tuple[str, ...] = (SYMBOL,)) -> None:
    """Live as one process; replies under way are let go at the end."""

    async def work(desk: HostileDesk) -> None:
        with Ledger.opened(desk.path) as ledger:
            executor = Executor(desk.exchange, ledger, ExecutionOptions.of(workspace_of(desk.settings)))
            await life(desk, ledger, executor)
            await executor.end()

    hostile(work, path, symbols=symbols)


async def entered(desk: HostileDesk, executor: Executor, symbols: Sequence[str]) -> None:
    """A small position in each symbol, by a plan of an hour ago; its stops far away."""
    for symbol in symbols:
        mark, rules = desk.engine.mark(symbol), desk.exchange.symbol_rules(symbol)
        away = mark / 5
        plan = desk.plan(
            symbol=symbol,
            price=mark,
            max_drift=mark / 50,
            quantity=str(rules.quantity_down(Decimal(200) / mark)),
            stop_price=rules.price_down(mark - away),
            backstop_price=rules.price_down(mark - away * Decimal("1.5")),
            take_profit_price=rules.price_down(mark + away),
            decision_ms=desk.clock.now_ms() - 3_600_000,
        )
        assert isinstance(await executor.enter(Approved(plan)), EntryResult)


def stops_vanish(desk: HostileDesk, *faults: Fault) -> int:
    """The stops of the first symbol are gone, and these faults hold from now on; when that was."""
    desk.venue.bend(FaultPlan(faults))
    desk.by_hand("DELETE", "/fapi/v1/algoOpenOrders")
    gone_ms: int = desk.clock.now_ms()
    return gone_ms


def refused_for_a_while(desk: HostileDesk) -> list[Fault]:
    """Nothing covers or closes the first symbol for a while."""
    ends: int = desk.clock.now_ms() + round(REFUSING_S * 1000)
    return [Fault(m, path, failure="503", symbol=SYMBOL, to_ms=ends) for m, path in (STOP, ORDER)]


class SlowAssessor:
    """An assessor that does not answer, once it is slow."""

    def __init__(self, desk: HostileDesk) -> None:
        self.is_slow, self._clock = False, desk.exchange.clock

    async def assess(self, _symbol: str, _timeframe: str) -> Analysis:
        if self.is_slow:
            await self._clock.sleep(60)
        raise ExchangeUnavailable("The market is slow.")


@pytest.mark.parametrize("late_s", [2.5, 4.0, 8.0, 16.0, 25.0])
def test_stops_that_vanish_are_found_missing_however_late_each_answer_is(late_s: float, tmp_path: Path) -> None:
    async def life(desk: HostileDesk, ledger: Ledger, executor: Executor) -> None:
        await entered(desk, executor, [SYMBOL])
        slow = [Fault(*LIST, after_s=late_s), Fault(*STOP_BY_ID, after_s=late_s)]
        desk.at(5, lambda: stops_vanish(desk, *slow))
        await desk.monitor(ledger).start_monitoring(120)
        assert covered(desk.amount, desk.stops())
        assert desk.unprotected_s() <= INTERVAL_S + late_s + 2.0, "at the latest one look, its answer, and the stop"

    living(life, tmp_path)


def test_an_older_answer_about_a_stop_undoes_no_newer_one(tmp_path: Path) -> None:
    async def life(desk: HostileDesk, ledger: Ledger, executor: Executor) -> None:
        await entered(desk, executor, [SYMBOL])
        await desk.clock.sleep(30)
        backstop = next(i for i in ledger.unsettled(SYMBOL) if i.purpose == "backstop")
        submitter = executor.submitter
        rests = await submitter.broker.stop(SYMBOL, backstop.client_id)
        now = desk.clock.monotonic_ms()
        submitter.shown(backstop, None, now)
        submitter.shown(backstop, rests, now - 1000)
        assert backstop.client_id not in [stop.client_id for stop in submitter.stops(SYMBOL)]
        submitter.shown(backstop, rests, now + 1000)
        assert backstop.client_id in [stop.client_id for stop in submitter.stops(SYMBOL)]

    living(life, tmp_path)


def test_opinions_about_other_symbols_keep_nothing_bare_waiting(tmp_path: Path) -> None:
    async def life(desk: HostileDesk, ledger: Ledger, executor: Executor) -> None:
        await entered(desk, executor, SYMBOLS)
        assessments, said = SlowAssessor(desk), list[int]()

        def say(line: str) -> None:
            if line.startswith("ALARM"):
                said.append(desk.clock.now_ms())

        monitor = PositionMonitor(desk.settings, exchange=desk.exchange, ledger=ledger, assessor=assessments, say=say)
        monitor._manager._assessed_ms = _Forgets()
        began: list[int] = []

        def vanish() -> None:
            assessments.is_slow = True
            began.append(stops_vanish(desk, *refused_for_a_while(desk)))

        desk.at(5, vanish)
        await monitor.start_monitoring(120)
        ((start, end),) = desk.unprotected_spans()
        assert end - began[0] <= (REFUSING_S + MOST_BARE_S) * 1000
        marks = [start + INTERVAL_S * 1000 + MOST_BARE_S * 1000, *said, end]
        assert all(b - a <= 10_000 for a, b in zip(marks, marks[1:], strict=False) if b > marks[0])

    living(life, tmp_path, SYMBOLS)


def test_a_look_waits_for_opinions_no_longer_with_many_symbols(tmp_path: Path) -> None:
    async def life(desk: HostileDesk, ledger: Ledger, executor: Executor) -> None:
        await entered(desk, executor, SYMBOLS)
        assessments = SlowAssessor(desk)
        assessments.is_slow = True
        monitor = PositionMonitor(desk.settings, exchange=desk.exchange, ledger=ledger, assessor=assessments)
        began = desk.clock.now_ms()
        assert await monitor.step(executor)
        assert desk.clock.now_ms() - began <= 12_000

    living(life, tmp_path, SYMBOLS)


def test_trades_of_positions_that_are_not_ours_keep_nothing_bare_waiting(tmp_path: Path) -> None:
    async def life(desk: HostileDesk, ledger: Ledger, executor: Executor) -> None:
        await entered(desk, executor, SYMBOLS)
        for symbol in SYMBOLS[1:]:
            await executor.close(symbol, "test")
        said: list[int] = []

        def by_hand() -> None:
            stops_vanish(desk, *refused_for_a_while(desk), Fault(*TRADES, after_s=60))
            for symbol in SYMBOLS[1:]:
                lot = desk.exchange.symbol_rules(symbol).quantity_down(Decimal(100) / desk.engine.mark(symbol))
                desk.by_hand(*ORDER, symbol=symbol, side="BUY", type="MARKET", quantity=f"{lot:f}")

        desk.at(1, by_hand)
        monitor = PositionMonitor(
            desk.settings,
            exchange=desk.exchange,
            ledger=ledger,
            report=discard_report,
            say=lambda line: said.append(desk.clock.now_ms()) if line.startswith("ALARM") else None,
        )
        caring = asyncio.ensure_future(monitor.start_monitoring(60))
        await asyncio.wait({caring})
        ((_, end),) = desk.unprotected_spans()
        assert all(b - a <= 10_000 for a, b in zip(said, [*said[1:], end], strict=True))

    living(life, tmp_path, SYMBOLS)


@pytest.mark.parametrize("late_s", [1.9, 4.0, 30.0])
@pytest.mark.parametrize("by_request", [False, True], ids=["here", "asked for"])
def test_an_exit_is_kept_waiting_by_no_question(late_s: float, by_request: bool, tmp_path: Path) -> None:
    async def life(desk: HostileDesk, ledger: Ledger, executor: Executor) -> None:
        await entered(desk, executor, [SYMBOL])
        await desk.clock.sleep(60)
        began = stops_vanish(desk, Fault(*LIST, after_s=late_s), Fault(*STOP_BY_ID, after_s=late_s))
        if by_request:
            owner_requests.ask(desk.path, "flatten", "test", ())
            await desk.monitor(ledger).start_monitoring(30)
        else:
            await executor.close(SYMBOL, "test")
        first = next(r.arrived_ms for r in desk.requests(ORDER, began))
        assert first - began <= 2500
        assert desk.amount == 0

    living(life, tmp_path)


def test_an_exit_asked_for_is_tried_all_along_while_nothing_answers(tmp_path: Path) -> None:
    async def life(desk: HostileDesk, ledger: Ledger, executor: Executor) -> None:
        await entered(desk, executor, SYMBOLS[:3])
        began: list[int] = []

        def ask() -> None:
            owner_requests.ask(desk.path, "flatten", "test", ())
            slow = Fault("GET", "*", after_s=60)
            began.append(stops_vanish(desk, *refused_for_a_while(desk), slow))

        desk.at(1, ask)
        await desk.monitor(ledger).start_monitoring(60)
        times = [r.arrived_ms for r in desk.requests(ORDER, began[0]) if r.symbol == SYMBOL]
        assert max(b - a for a, b in zip(times, times[1:], strict=False)) <= MOST_BARE_S * 1000
        assert desk.amount == 0
        assert desk.unprotected_s() <= REFUSING_S + MOST_BARE_S

    living(life, tmp_path, SYMBOLS[:3])


def test_what_a_broken_limit_closes_is_tried_until_it_is_closed(tmp_path: Path) -> None:
    async def life(desk: HostileDesk, ledger: Ledger, executor: Executor) -> None:
        await entered(desk, executor, [SYMBOL])
        monitor, broken = desk.monitor(ledger), ["the day's loss"]

        async def breaks(_executor: Executor) -> str | None:
            return broken.pop() if broken else None

        monitor._losses.broken = breaks  # type: ignore[method-assign]
        ends = desk.clock.now_ms() + round(REFUSING_S * 1000)
        desk.venue.bend(FaultPlan((Fault(*ORDER, failure="503", to_ms=ends),)))
        await monitor.start_monitoring(60)
        assert desk.amount == 0
        assert desk.books.fills[-1].time_ms - ends <= MOST_BARE_S * 1000
        assert desk.unprotected_s() == 0

    living(life, tmp_path)


def test_a_request_to_flatten_that_is_withdrawn_is_not_carried_out_later(tmp_path: Path) -> None:
    async def life(desk: HostileDesk, ledger: Ledger, executor: Executor) -> None:
        await entered(desk, executor, [SYMBOL])
        ends = desk.clock.now_ms() + round(REFUSING_S * 1000)
        desk.venue.bend(FaultPlan((Fault(*ORDER, failure="503", to_ms=ends),)))
        owner_requests.ask(desk.path, "flatten", "test", ())
        desk.at(5, lambda: owner_requests.forget_request(desk.path, "flatten"))
        await desk.monitor(ledger).start_monitoring(60)
        assert desk.amount > 0
        assert covered(desk.amount, desk.stops())

    living(life, tmp_path)


def test_a_flatten_asked_for_while_an_entry_is_under_way_is_not_forgotten(tmp_path: Path) -> None:
    entering, other = SYMBOLS[:2]

    async def life(desk: HostileDesk, ledger: Ledger, executor: Executor) -> None:
        await entered(desk, executor, [entering, other])
        monitor = desk.monitor(ledger)
        monitor.entering.add(entering)
        owner_requests.ask(desk.path, "flatten", "test", ())
        await monitor.step(executor)
        assert desk.books.position(other).amount == 0
        assert desk.books.position(entering).amount > 0, "whoever enters cares for it"
        assert owner_requests.request_of(desk.path, "flatten") == "test"
        monitor.entering.clear()
        await monitor.step(executor)
        assert desk.books.position(entering).amount == 0
        assert owner_requests.request_of(desk.path, "flatten") is None

    living(life, tmp_path, SYMBOLS[:2])


class _Forgets(dict[str, int]):
    """For which bar an opinion was asked is forgotten: it is asked at every look."""

    def get(self, _key: str, _default: Any = None) -> Any:
        """Long ago."""
        return 0


@pytest.mark.parametrize("slow", ["entry", "analysis"])
def test_run_forever_looks_at_what_it_holds_whatever_else_takes_its_time(slow: str, tmp_path: Path) -> None:
    """An entry is not known to be absent before 90 s, an analysis waits for bars; other stops vanish meanwhile."""
    entering, held = SYMBOLS[:2]

    async def life(desk: HostileDesk, ledger: Ledger, executor: Executor) -> None:
        await entered(desk, executor, [held])
        plan, ends = desk.plan(symbol=entering, quantity="0.1"), desk.clock.now_ms() + 60_000
        done: list[object] = []

        async def assess(*_: object) -> object:
            if slow == "analysis":
                await desk.exchange.clock.sleep(70)
            return SimpleNamespace(outcome=None)

        async def refresh(*_: object) -> None:
            """Nothing is old."""

        async def act(*_: object) -> None:
            done.append(await executor.enter(Approved(plan)))

        trader = SimpleNamespace(
            workspace=workspace_of(desk.settings),
            executor=executor,
            ledger=ledger,
            monitor=desk.monitor(ledger),
            act=act,
            now_ms=desk.clock.now_ms,
            sink=SimpleNamespace(say=lambda _: None),
            require_budget=lambda _: None,
            assessor=SimpleNamespace(assess=assess, refresh=refresh),
            train_beside=refresh,
            listener=RequestListener(ledger.path, desk.exchange.clock, virtual=True),
        )
        forever = LiveLoop(trader, [entering], Timeframe.parse("15m"))  # type: ignore[arg-type]
        desk.venue.bend(FaultPlan((Fault(*ORDER, failure="timeout -1007 before", symbol=entering),)))
        desk.at(23, lambda: desk.by_hand("DELETE", "/fapi/v1/algoOpenOrders", symbol=held))
        await forever.run(60)
        assert desk.clock.now_ms() >= ends
        if slow == "entry":
            assert isinstance(done[0], Refused)
        assert not trader.monitor.entering
        assert covered(desk.books.position(held).amount, desk.books.open_algos(held))
        spans = [end - start for start, end in desk.unprotected_spans(held)]
        assert spans
        assert max(spans) <= (INTERVAL_S + 2) * 1000

    living(life, tmp_path, SYMBOLS[:2])
