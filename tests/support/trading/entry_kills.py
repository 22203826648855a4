"""`kill -9` between sending an entry and its cover, endpoints slow at random; a new process goes on. By the wall clock.

`campaign(folder, seeds, lanes)` does it for each seed, each lane with a venue in a process of its own and each seed with
an account and a state directory of its own. Judged by the venue's own books.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from support.commands.warm_interpreter import Started, Warm
from support.hosts.venue_process import Place, plan_file, venue_process
from support.trading.desk import BALANCE, ORDER, STOP, SYMBOL

from trader_cli.storage.ledger_reading import LedgerReading
from trader_cli.venue.server.faults import Fault

MOST_MS = 7000
"""The deadline and one budget."""
SLOW = (
    STOP,
    ("GET", "/fapi/v1/algoOrder"),
    ("GET", "/fapi/v1/order"),
    ("GET", "/fapi/v1/openAlgoOrders"),
    ("GET", "/fapi/v1/openOrders"),
    ("GET", "/fapi/v3/positionRisk"),
    ("GET", "/fapi/v1/userTrades"),
    ("GET", "/fapi/v1/time"),
    ("GET", "/fapi/v1/exchangeInfo"),
    ("DELETE", "/fapi/v1/algoOrder"),
    ("GET", "/fapi/v1/allOrders"),
    ("GET", "/fapi/v3/account"),
    ("GET", "/fapi/v1/premiumIndex"),
)
MOST_DELAY_S, MOST_LAG_S = 3.0, 5.0
_CARE_S = 3
_DEMO = ("--profile", "demo")


@dataclass(frozen=True)
class Struck:
    """One kill: whether the process was still running and the entry sent and not covered; what was wrong after it."""

    seed: int
    running: bool
    between: bool
    how: str
    unprotected_ms: int
    faults: tuple[dict[str, Any], ...] = field(repr=False, default=())
    wrong: tuple[str, ...] = ()


def drawn(dice: random.Random) -> tuple[Fault, ...]:
    """Slow and lagging endpoints; the order's own delays are among them two times of three."""
    density, faults = dice.choice((0.15, 0.4, 0.8)), list[Fault]()

    def seconds(most: float) -> float:
        return round(most * dice.random() ** dice.choice((1, 2)), 3)

    if dice.random() < 0.67:
        faults.append(Fault(*ORDER, seconds(MOST_DELAY_S), seconds(MOST_DELAY_S)))
    for method, path in SLOW:
        if dice.random() < density:
            faults.append(Fault(method, path, seconds(MOST_DELAY_S), seconds(MOST_DELAY_S)))
        if method == "GET" and dice.random() < density:
            faults.append(Fault(method, path, lag_s=seconds(MOST_LAG_S)))
    return tuple(faults)


def campaign(
    folder: Path, seeds: Iterable[int], lanes: int, enough: Callable[[list[Struck]], bool] = lambda _: False
) -> list[Struck]:
    """A kill for each seed, or until it is enough."""
    waiting, done = SimpleQueue[int](), list[Struck]()
    for seed in seeds:
        waiting.put(seed)

    def lane(number: int) -> None:
        home = folder / f"lane-{number}"
        home.mkdir()
        with venue_process(home) as place, Warm() as warm:
            while not enough(done):
                try:
                    seed = waiting.get_nowait()
                except Empty:
                    return
                done.append(Strike(place, warm, home / str(seed), seed).struck())

    with ThreadPoolExecutor(lanes) as pool:
        for future in [pool.submit(lane, number) for number in range(lanes)]:
            future.result()
    return sorted(done, key=lambda struck: struck.seed)


class Strike:
    """One entry, its kill, and what comes after."""

    def __init__(self, place: Place, warm: Warm, folder: Path, seed: int) -> None:
        folder.mkdir()
        self._place, self._warm, self._folder, self._seed = place, warm, folder, seed
        self._key, self._dice = f"sim-key-k{seed}", random.Random(seed)
        self._environment = {**place.environment(self._key), "TRADER_POSITION_MONITORING_INTERVAL": "0.5"}
        self._wrong: list[str] = []

    def struck(self) -> Struck:
        """Do it."""
        side, faults = self._dice.choice(("long", "short")), drawn(self._dice)
        self._place.bend()
        plan = self._place.quick_plan(self._key, side=side, lineage=str(self._seed))
        self._entry_id = plan.client_id("entry")
        self._entering = ["enter", SYMBOL, "--timeframe", "15m", "--plan", plan_file(plan, self._folder), *_DEMO]
        self._place.bend(*faults, seed=self._seed, when=" ".join(ORDER))
        after, entering = self._number(), self._start("enter", *self._entering)
        sent = self._sent(after, entering)
        time.sleep(self._dice.random() * _likely_s(faults) if sent else 0)
        running, killed_ms = self._kill(entering)
        how = self._go_on()
        between = running and sent is not None and not self._is_covered(killed_ms)
        unprotected_ms = self._unprotected_ms(killed_ms)
        self._end()
        rows = tuple(asdict(fault) for fault in faults)
        return Struck(self._seed, running, between, how, unprotected_ms, rows, tuple(self._wrong))

    def _start(self, name: str, *arguments: str) -> Started:
        return self._warm.start(self._folder, name, list(arguments), self._environment)

    def _number(self) -> int:
        """The number of the latest request."""
        return max((int(asked["number"]) for asked in self._place.requests()[-1:]), default=0)

    def _sent(self, after: int, entering: Started) -> dict[str, Any] | None:
        """The entry as it arrived at the venue; None where the process ended without."""
        while True:
            ended = self._warm.ended(entering)
            for asked in self._place.requests(after):
                if (asked["method"], asked["path"], asked["client_id"]) == (*ORDER, self._entry_id):
                    return asked
            if ended is not None:
                self._wrong.append(f"no entry was sent: {ended} {_said(entering)}")
                return None
            time.sleep(0.005)

    def _kill(self, entering: Started) -> tuple[bool, int]:
        """Whether it was running, and when it was killed."""
        if self._warm.ended(entering) is not None:
            return False, _now_ms()
        _kill_9(entering.pid)
        return self._warm.ended(entering, 10) == -9, _now_ms()

    def _go_on(self) -> str:
        """New processes; how."""
        self._after = self._number()
        how = "monitor" if self._dice.random() < 0.6 else "enter again"
        if how == "enter again":
            self._finished(self._start("again", *self._entering), 120, {0, 5, 6, 7}, slow=True)
        caring = self._start("care", "monitor", "--for", f"{_CARE_S}s", *_DEMO)
        self._finished(caring, 120, {0, 5}, slow=True)
        return how

    def _finished(self, started: Started, most_s: float, well: set[int], *, slow: bool = False) -> int | None:
        """Its exit code. Where it is `slow`, the venue is honest again a moment after the position has its cover."""
        until, clear = time.monotonic() + most_s, None if slow and self._dice.random() < 0.75 else float("inf")
        while (code := self._warm.ended(started, 0.05)) is None and time.monotonic() < until:
            if clear is None and self._is_covered(_now_ms()):
                clear = time.monotonic() + self._dice.random()
            if clear is not None and time.monotonic() > clear:
                self._place.bend()
                clear = float("inf")
        if code is None:
            _kill_9(started.pid)
        if code not in well or "Traceback" in started.err.read_text():
            self._wrong.append(f"{started.err.stem} ended with {code}: {_said(started)}")
        return code

    def _books(self) -> dict[str, Any]:
        books = self._place.books(self._key)
        return {
            **books,
            "of": books["symbols"].get(SYMBOL, {"position": "0", "stops": [], "orders": [], "bare_spans": []}),
        }

    def _is_covered(self, at_ms: int) -> bool:
        """Whether at this time the entry had been carried out and covered."""
        books = self._books()
        filled_ms = min((entry["time_ms"] for entry in books["entries"]), default=None)
        if filled_ms is None or filled_ms > at_ms:
            return False
        return not any(start <= at_ms < end for start, end in books["of"]["bare_spans"])

    def _unprotected_ms(self, killed_ms: int) -> int:
        """The longest time without cover since the new process was first answered."""
        fresh = [a for a in self._place.requests(self._after) if a["arrived_ms"] > killed_ms and a["status"]]
        if not fresh:
            self._wrong.append("the new process was never answered")
            return 0
        answered_ms = min(asked["replied_ms"] for asked in fresh)
        spans = self._books()["of"]["bare_spans"]
        longest = max((end - max(start, answered_ms) for start, end in spans if end > answered_ms), default=0)
        if longest > MOST_MS:
            self._wrong.append(f"{longest} ms without cover after the first answer")
        return longest

    def _end(self) -> None:
        """With an honest venue: all is as intended, and flat where it is made so."""
        self._place.bend()
        self._finished(self._start("last", "monitor", "--for", "1s", *_DEMO), 60, {0})
        self._sound("after the monitor")
        if self._dice.random() < 0.3:
            self._finished(self._start("flatten", "flatten", *_DEMO), 60, {0})
            if Decimal(self._sound("after flatten")["position"]):
                self._wrong.append("flatten left a position")

    def _sound(self, when: str) -> dict[str, Any]:
        """One order for the intent, covered or flat and swept, the ledger equal to the venue."""
        books, said = self._books(), self._wrong
        entries, symbol = [entry["client_id"] for entry in books["entries"]], books["of"]
        held, stops = Decimal(symbol["position"]), symbol["stops"]
        if entries not in ([], [self._entry_id]):
            said.append(f"{when}: the entries {entries}")
        if symbol["orders"] or (held == 0 and stops):
            said.append(f"{when}: {held} is open, these rest: {symbol['orders']} {stops}")
        if held and symbol["bare_spans"] and symbol["bare_spans"][-1][1] >= books["now_ms"]:
            said.append(f"{when}: {held} is bare")
        if any(not stop["client_id"].startswith("td-") for stop in stops):
            said.append(f"{when}: {stops}")
        with LedgerReading.shown(self._place.ledger(self._folder / "state", self._key)) as ledger:
            assert ledger is not None
            if ledger.holding(SYMBOL).amount != held:
                said.append(f"{when}: the ledger holds {ledger.holding(SYMBOL).amount}, the venue {held}")
            if ledger.net_income() != Decimal(books["wallet"]) - BALANCE:
                said.append(f"{when}: the ledger has {ledger.net_income()}, the venue {books['wallet']}")
        return dict(symbol)


def _likely_s(faults: tuple[Fault, ...]) -> float:
    """About how long it is from the entry's arrival to its cover."""
    delays = {(fault.method, fault.path): fault for fault in faults if not fault.lag_s}
    order, stop = delays.get(ORDER), delays.get(STOP)
    known = 0.03 if order is None else 0.03 + order.before_s + min(order.after_s, 2.0)
    return known + (0.02 if stop is None else stop.before_s)


def _kill_9(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _said(started: Started) -> str:
    return (started.out.read_text() + started.err.read_text())[-1500:]


def summary(done: list[Struck]) -> str:
    """The figures."""
    between = [struck for struck in done if struck.between]
    bare = sorted(struck.unprotected_ms for struck in between if struck.unprotected_ms)
    ways = {how: sum(s.how == how for s in between) for how in sorted({s.how for s in between})}
    longest = (
        f"bare after the first answer: {len(bare)} times, half {bare[len(bare) // 2]} ms, most {bare[-1]} ms"
        if bare
        else "never bare after the first answer"
    )
    return (
        f"{len(done)} kills, {sum(s.running for s in done)} while running, {len(between)} between sending an entry and its "
        f"cover ({ways}); {longest}; wrong: {sum(bool(s.wrong) for s in done)}"
    )
