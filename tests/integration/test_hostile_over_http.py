"""A hostile exchange over real HTTP and wall time: `trader venue serve` in one process, commands in others, no fixture between.

Each test has an account and a state directory of its own at the module's venue; the measure is the venue's own books.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from support.commands.warm_interpreter import Started, Warm, shared_interpreter
from support.hosts.venue_process import Place, plan_file, venue_process
from support.trading.desk import BALANCE, ORDER, POSITIONS, STOP, SYMBOL

from trader_cli.core.money.plans import TradePlan
from trader_cli.exchange.binance import BinanceExchange
from trader_cli.storage.ledger_lock import owner_of
from trader_cli.storage.ledger_reading import LedgerReading
from trader_cli.venue.server.faults import Fault, FaultPlan

pytestmark = pytest.mark.slow

BY_ID, TRADES = ("GET", "/fapi/v1/order"), ("GET", "/fapi/v1/userTrades")
LIST, STOP_BY_ID = ("GET", "/fapi/v1/openAlgoOrders"), ("GET", "/fapi/v1/algoOrder")
INFO, TIME = ("GET", "/fapi/v1/exchangeInfo"), ("GET", "/fapi/v1/time")
PATIENCE_S = 90.0
"""A command may have to wait for the next minute: the venue counts the request weight of all its tests together."""
MOST_BARE_MS = 7000
"""The deadline and one budget."""
FIRST = " ".join(ORDER)
_NAMES = count()


def row(route: tuple[str, str], **what: Any) -> dict[str, Any]:
    """A fault of one route; its seconds count from the request that brings it about."""
    return {"method": route[0], "path": route[1], **what}


@dataclass
class Account:
    """One account at the venue and the commands of one state directory on it."""

    place: Place
    warm: Warm
    folder: Path
    key: str
    processes: list[Started] = field(default_factory=list)

    def start(self, *arguments: str, clock_off_s: float = 0.0) -> Started:
        """A command, running."""
        environment = {**self.place.environment(self.key), "TRADER_POSITION_MONITORING_INTERVAL": "0.5"}
        name = f"{next(_NAMES)}-{arguments[0]}"
        words = [*arguments, "--profile", "demo"]
        self.processes.append(self.warm.start(self.folder, name, words, environment, clock_off_s=clock_off_s))
        return self.processes[-1]

    def run(self, *arguments: str, clock_off_s: float = 0.0, most_s: float = PATIENCE_S) -> tuple[int | None, str]:
        """A command, finished: its exit code and what it said."""
        started = self.start(*arguments, clock_off_s=clock_off_s)
        code = self.warm.ended(started, most_s)
        if code is None:
            os.kill(started.pid, signal.SIGKILL)
        said = started.out.read_text() + started.err.read_text()
        assert "Traceback" not in said, said
        return code, said

    def plan(self, **changes: Any) -> TradePlan:
        """A plan at the price now."""
        return self.place.quick_plan(self.key, **changes)

    def enter(self, plan: TradePlan) -> tuple[int | None, str]:
        """`trader enter` of a plan."""
        return self.run(*self.entering(plan))

    def entering(self, plan: TradePlan) -> list[str]:
        """The words of `trader enter`."""
        return ["enter", SYMBOL, "--timeframe", "15m", "--plan", plan_file(plan, self.folder)]

    def opened(self) -> TradePlan:
        """A position that is open and covered."""
        plan = self.plan()
        code, said = self.enter(plan)
        assert code == 0, said
        return plan

    def books(self) -> dict[str, Any]:
        """The venue's own books of the symbol."""
        books = self.place.books(self.key)
        symbol = books["symbols"].get(SYMBOL, {"position": "0", "stops": [], "orders": [], "bare_spans": []})
        return {**books, **symbol, "held": Decimal(symbol["position"])}

    def unprotected_ms(self, since_ms: int = 0) -> int:
        """The longest time without cover, of what came after."""
        spans = self.books()["bare_spans"]
        return max((end - max(start, since_ms) for start, end in spans if end > since_ms), default=0)

    def strip(self) -> int:
        """Take all stops away, as by hand; when."""
        stops = [stop["client_id"] for stop in self.books()["stops"]]

        async def work(exchange: BinanceExchange) -> None:
            for client_id in stops:
                await exchange.private.cancel_stop(SYMBOL, client_id)

        Place(self.place.url, self.key).by_hand(work)
        return time.time_ns() // 1_000_000

    def owned_by(self, started: Started) -> None:
        """Wait until this process owns the ledger."""
        ledger = self.place.ledger(self.folder / "state", self.key)
        self.until(lambda: (owner := owner_of(ledger)) is not None and owner.pid == started.pid, PATIENCE_S)

    def until(self, done: Callable[[], object], most_s: float) -> None:
        """Wait until something is so."""
        ends = time.monotonic() + most_s
        while not done():
            last = self.processes[-1]
            assert time.monotonic() < ends, (self.books(), last.out.read_text(), last.err.read_text())
            time.sleep(0.02)

    def kill(self, started: Started) -> None:
        """`kill -9`, in the middle of something."""
        assert self.warm.ended(started) is None, started.err.read_text()
        os.kill(started.pid, signal.SIGKILL)
        assert self.warm.ended(started, 10) == -signal.SIGKILL

    def number(self) -> int:
        """The number of the venue's latest request."""
        return max((int(asked["number"]) for asked in self.place.requests()[-1:]), default=0)

    def answered_ms(self, after: int) -> int:
        """When the first request after this number was answered."""
        return min(a["replied_ms"] for a in self.place.requests(after) if a["status"] == 200)

    def sound(self, plan: TradePlan) -> dict[str, Any]:
        """Once all is honest: one entry, covered or flat and swept, the ledger equal to the venue."""
        self.place.bend()
        code, said = self.run("monitor", "--for", "1s")
        if "The time given with --for is up" in said:  # a machine that is busy
            code, said = self.run("monitor", "--for", "10s")
        assert code == 0, said
        books = self.books()
        assert [entry["client_id"] for entry in books["entries"]] == [plan.client_id("entry")]
        assert books["orders"] == []
        stopping = [s for s in books["stops"] if s["type"] == "STOP_MARKET" and s["working_type"] == "MARK_PRICE"]
        assert bool(stopping) == bool(books["held"]), books
        assert books["held"] or books["stops"] == [], books
        assert not books["bare_spans"] or books["bare_spans"][-1][1] < books["now_ms"], books
        with LedgerReading.shown(self.place.ledger(self.folder / "state", self.key)) as ledger:
            assert ledger is not None
            assert ledger.holding(SYMBOL).amount == books["held"]
            assert ledger.net_income() == Decimal(books["wallet"]) - BALANCE
        return books


@pytest.fixture
def warm() -> Warm:
    """Starts commands."""
    return shared_interpreter()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A venue for this module."""
    with venue_process(tmp_path_factory.mktemp("venue")) as served:
        yield served


@pytest.fixture
def account(place: Place, warm: Warm, tmp_path: Path) -> Iterator[Account]:
    """An account of its own; the venue is honest before and after."""
    yield Account(place, warm, tmp_path, f"sim-key-a{next(_NAMES)}")
    place.bend()


def test_the_entrys_reply_is_late(account: Account) -> None:
    plan = account.plan()
    account.place.bend_rows(row(ORDER, after_s=6), when=FIRST)
    code, said = account.enter(plan)
    assert code == 0, said
    assert account.unprotected_ms() <= 1500
    assert account.sound(plan)["held"] == 1


def test_replies_to_stops_are_late_from_a_file_of_faults(warm: Warm, tmp_path: Path) -> None:
    with venue_process(tmp_path, FaultPlan((Fault(*STOP, after_s=5),))) as place:
        account = Account(place, warm, tmp_path, "sim-key")
        plan = account.plan(side="short")
        code, said = account.enter(plan)
        assert code == 0, said
        assert account.unprotected_ms() <= 1000
        assert account.sound(plan)["held"] == -1


def test_the_list_of_stops_is_slow_after_they_vanished(account: Account) -> None:
    plan = account.opened()
    watching = account.start("monitor")
    account.owned_by(watching)
    time.sleep(1.5)
    account.place.bend_rows(row(LIST, after_s=6))
    gone_ms = account.strip()
    account.until(lambda: not _is_unprotected(account), 15)
    assert account.unprotected_ms(gone_ms) <= MOST_BARE_MS
    os.kill(watching.pid, signal.SIGTERM)
    assert account.warm.ended(watching, 30) is not None
    assert account.sound(plan)["held"] in {0, 1}


def test_every_order_fails_for_a_while(account: Account) -> None:
    plan = account.plan()
    failing = (row(STOP, failure="503", to_s=12), row(ORDER, failure="503", from_s=0.001, to_s=12))
    account.place.bend_rows(*failing, when=FIRST)
    code, said = account.enter(plan)
    assert code == 6, said
    assert "ALARM" in said
    assert account.unprotected_ms() <= 12_000 + MOST_BARE_MS
    assert account.sound(plan)["held"] == 0


def test_the_reply_is_lost_and_queries_lag(account: Account) -> None:
    plan = account.plan()
    lagging = [row(route, lag_s=8) for route in (BY_ID, TRADES, POSITIONS)]
    account.place.bend_rows(row(ORDER, failure="dropped", count=1), *lagging, when=FIRST)
    before = account.number()
    code, said = account.enter(plan)
    assert code == 0, said
    assert account.unprotected_ms() <= 1500
    assert sum((a["method"], a["path"]) == ORDER for a in account.place.requests(before)) == 1
    account.sound(plan)


@pytest.mark.parametrize("failure", ["dropped before", "dropped"])
def test_one_lost_exit_is_repeated_at_once(account: Account, failure: str) -> None:
    plan = account.opened()
    account.place.bend_rows(row(ORDER, failure=failure, count=1))
    began, before = time.monotonic(), account.number()
    code, said = account.run("flatten")
    assert code == 0, said
    assert time.monotonic() - began <= 6
    exits = [a for a in account.place.requests(before) if (a["method"], a["path"]) == ORDER]
    done_ms = max(a["executed_ms"] for a in exits if a["outcome"] == 200)
    assert done_ms - exits[0]["arrived_ms"] <= 3000
    assert account.sound(plan)["held"] == 0


def test_during_a_ban_nothing_is_sent_and_an_order_goes_first_after_it(account: Account) -> None:
    plan, seconds = account.plan(), 6
    routes = (BY_ID, TRADES, POSITIONS, LIST)
    banned = [row(route, failure="418", from_s=0.001, to_s=seconds) for route in routes]
    account.place.bend_rows(row(STOP, failure="418", to_s=seconds), *banned, when=FIRST)
    before = account.number()
    code, said = account.enter(plan)
    assert code in {0, 6}, said
    asked = account.place.requests(before)
    ban_ms = min(a["replied_ms"] for a in asked if a["status"] == 418)
    forbidden = [a for a in asked if a["forbidden"] and a["arrived_ms"] > ban_ms + 100]
    assert forbidden == [], (ban_ms, [(a["arrived_ms"] - ban_ms, a["method"], a["path"], a["status"]) for a in asked])
    after = [a for a in asked if a["arrived_ms"] > ban_ms and a["status"] != 418]
    assert (after[0]["method"], after[0]["path"]) in {ORDER, STOP}, after[0]
    assert account.unprotected_ms() <= seconds * 1000 + MOST_BARE_MS
    account.sound(plan)


DOWN = [POSITIONS, TRADES, LIST, INFO, TIME]


@pytest.mark.parametrize("route", DOWN, ids=[route[1].rpartition("/")[2] for route in DOWN])
def test_one_endpoint_alone_is_down(account: Account, route: tuple[str, str]) -> None:
    plan = account.opened()
    gone_ms = account.strip()
    account.place.bend_rows(row(route, failure="503"))
    before = account.number()
    watching = account.start("monitor")
    account.until(lambda: not _is_unprotected(account), 15)
    assert account.unprotected_ms(max(gone_ms, account.answered_ms(before))) <= MOST_BARE_MS
    account.kill(watching)
    code, said = account.run("flatten")
    assert account.books()["held"] == 0, said
    assert code == 0 or route in {POSITIONS, TRADES, LIST}, said
    assert account.sound(plan)["held"] == 0


@pytest.mark.parametrize("off_s", [-40, 3600])
def test_a_clock_that_is_off_keeps_nobody_from_leaving(account: Account, off_s: float) -> None:
    plan = account.opened()
    gone_ms, before = account.strip(), account.number()
    watching = account.start("monitor", clock_off_s=off_s)
    account.until(lambda: not _is_unprotected(account), 15)
    assert account.unprotected_ms(max(gone_ms, account.answered_ms(before))) <= MOST_BARE_MS
    account.kill(watching)
    code, said = account.run("flatten", clock_off_s=off_s)
    assert code == 0, said
    assert account.books()["held"] == 0
    refused, said = account.run(*account.entering(account.plan(lineage="other")), clock_off_s=off_s)
    assert refused != 0, said
    account.sound(plan)


# --- each command killed in the middle ---


def test_enter_is_killed_before_its_cover_and_run_again(account: Account) -> None:
    plan = account.plan()
    account.place.bend_rows(row(ORDER, after_s=2), row(STOP, before_s=2.5), when=FIRST)
    entering = account.start(*account.entering(plan))
    account.until(lambda: account.books()["entries"], PATIENCE_S)
    account.kill(entering)
    assert _is_unprotected(account)
    before = account.number()
    code, said = account.enter(plan)
    assert code in {0, 6}, said
    assert account.unprotected_ms(account.answered_ms(before)) <= MOST_BARE_MS
    account.sound(plan)


@pytest.mark.parametrize("first_command", ["monitor", "run --forever"])
@pytest.mark.parametrize("second", ["monitor", "run --forever"])
def test_who_cares_is_killed_while_a_stop_is_on_its_way(account: Account, first_command: str, second: str) -> None:
    plan = account.opened()
    account.strip()
    account.place.bend_rows(row(STOP, before_s=1.5))
    before = account.number()
    caring = account.start(*_words(first_command))
    account.until(lambda: any((a["method"], a["path"]) == STOP for a in account.place.requests(before)), PATIENCE_S)
    account.kill(caring)
    account.strip()
    before = account.number()
    again = account.start(*_words(second))
    account.until(lambda: not _is_unprotected(account) and account.place.requests(before), PATIENCE_S)
    assert account.unprotected_ms(account.answered_ms(before)) <= MOST_BARE_MS
    account.kill(again)
    assert account.sound(plan)["held"] == 1


def test_flatten_is_killed_in_the_middle_and_run_again(account: Account) -> None:
    plan = account.opened()
    account.place.bend_rows(row(ORDER, before_s=0.5, after_s=2), row(("DELETE", "/fapi/v1/algoOrder"), before_s=1))
    before = account.number()
    closing = account.start("flatten")
    account.until(lambda: any((a["method"], a["path"]) == ORDER for a in account.place.requests(before)), PATIENCE_S)
    account.kill(closing)
    code, said = account.run("flatten")
    assert code == 0, said
    books = account.books()
    assert (books["held"], books["stops"], books["orders"]) == (0, [], [])
    assert account.unprotected_ms() <= 1500
    account.sound(plan)


def _words(command: str) -> list[str]:
    return ["monitor"] if command == "monitor" else ["run", SYMBOL, "--timeframe", "15m", "--forever"]


def _is_unprotected(account: Account) -> bool:
    books = account.books()
    return bool(books["held"]) and bool(books["bare_spans"]) and books["bare_spans"][-1][1] >= books["now_ms"]


@pytest.mark.parametrize("command", ["monitor", "run --forever"])
def test_an_alarm_of_who_cares_is_heard(account: Account, command: str) -> None:
    account.opened()
    account.strip()
    account.place.bend_rows(row(STOP, failure="503"), row(ORDER, failure="503"))
    caring = account.start(*_words(command))
    ends = time.monotonic() + 11
    while "ALARM" not in caring.err.read_text() and time.monotonic() < ends:
        time.sleep(0.1)
    account.kill(caring)
    assert "ALARM" in caring.err.read_text()


def test_a_run_cares_for_what_is_open_with_the_clock_off(account: Account) -> None:
    account.opened()
    account.strip()
    caring = account.start(*_words("run --forever"), clock_off_s=3600)
    account.warm.ended(caring, 6)
    assert not _is_unprotected(account)


def test_a_signal_between_fill_and_cover_is_obeyed_once_covered(account: Account) -> None:
    plan = account.plan()
    account.place.bend_rows(row(STOP, before_s=1.5), row(STOP, failure="503", count=2), when=FIRST)
    entering = account.start(*account.entering(plan))
    account.until(lambda: account.books()["entries"], PATIENCE_S)
    os.kill(entering.pid, signal.SIGTERM)
    assert account.warm.ended(entering, 20) is not None
    assert not _is_unprotected(account)


def test_flatten_says_that_it_is_still_at_it_and_what_it_leaves(account: Account) -> None:
    account.opened()
    account.place.bend_rows(row(("*", "*"), before_s=40))
    closing = account.start("flatten")
    account.until(lambda: closing.err.read_text().count("Still at it after") >= 2, 25)
    beside, said = account.run("flatten", "--halt", most_s=2)
    assert (beside, "closes already" in said) == (None, True), said
    os.kill(closing.pid, signal.SIGINT)
    assert account.warm.ended(closing, 15) == 130
    said = closing.err.read_text()
    assert f"Left as it is: {SYMBOL}: " in said, said
    assert "Unclosed" not in said
    account.place.bend_rows()
    assert account.run("flatten")[0] == 0
    assert account.books()["held"] == 0
