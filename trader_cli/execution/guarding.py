"""Care for one symbol of ours until it is covered, closed, or known never to have been opened.

What to send next is decided purely (`core.guarding`). Here it is sent, and the exchange is asked, side by side: no answer
is waited for that the next step does not need. While anything is open and bare this goes on, whatever is slow or away.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from decimal import ROUND_DOWN, ROUND_UP, Decimal
from typing import TYPE_CHECKING, Any

from trader_cli.core import ids
from trader_cli.core.errors import (
    ConfigurationError,
    ExchangeRejected,
    ExchangeUnavailable,
    OwnershipLost,
    TraderError,
)
from trader_cli.core.guarding import Standing, Step, Tries, must_leave, next_steps
from trader_cli.core.orders import NotPlaced
from trader_cli.execution.protection import cover_of
from trader_cli.storage.ledger import LedgerUnwritable
from trader_cli.storage.ledger_rows import Intent

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trader_cli.core.plans import TradePlan
    from trader_cli.exchange.binance import BinanceExchange
    from trader_cli.execution.courier import Courier, State
    from trader_cli.execution.coverage import Coverage
    from trader_cli.execution.protection import Cover, Protector
    from trader_cli.execution.reconcile import Reconciler, View
    from trader_cli.settings import Settings

ZERO = Decimal(0)
_ANSWERED_S = 0.5
"""An answer that comes sooner needs no question beside it."""
_SHARED_MS = 200
"""One answer about positions serves every symbol that asks at about the same time."""
_BACK_OFF_MS = (250, 250, 500, 1000, 2000)
_ALARM_MS = 8000
_BOOKING_MS = 10_000
_FIRST_MS = 500
"""After a ban questions wait so long, so that an order can be first."""
_REFUSED_MS = 10_000
"""How long a covered position is tried to be closed against refusals before the caller is told."""
_FURTHEST = Decimal("0.04")
"""How far from the mark price a limit order may be that stands in for a market order in a thin book."""
_PASSED, _TAKEN, _NO_COUNTERPARTY = -2021, -4130, -4131
_NOTHING_TO_REDUCE = frozenset({-2022, -4118})
_NOTHING_OPEN = frozenset({-4509, *_NOTHING_TO_REDUCE})
"""Refusals that are a sign, though no proof, that nothing was open when they were given."""
RULE_CODES = frozenset(
    {-1111, -4014, -4023, -4164, -1121, -4131, -4003, -4005, -1013, -4140, -4141, -4087, -4088, -1122, -2027, -2028}
)
"""Refusals by the symbol's rules: they are read again."""


@dataclass(frozen=True)
class Ended:
    """How it ended: "covered", "flat", "reduced", "absent", "refused", "bare", or "unknown" with what is known."""

    how: str
    view: View
    cover: Cover | None = None
    closed: str | None = None
    refused: NotPlaced | None = None


@dataclass
class Bench:
    """What every guard of one executor works with. `bare` remembers since when a plan's position is without cover."""

    exchange: BinanceExchange
    courier: Courier
    protector: Protector
    reconciler: Reconciler
    coverage: Coverage
    settings: Settings
    say: Callable[[str], None]
    leaving: Callable[[], bool]
    sent_here: set[str] = field(default_factory=set)
    bare: dict[str, int] = field(default_factory=dict)


@dataclass
class _Look:
    """One kind of question: its request, and when the next is due."""

    task: asyncio.Task[None] | None = None
    next_ms: int = 0
    count: int = 0


@dataclass
class _Tried:
    """What was tried of one kind of step."""

    count: int = 0
    last_ms: int = 0
    task: asyncio.Task[Any] | None = None
    refused: NotPlaced | None = None


@dataclass
class Guard:
    """One symbol under care. `goal` is what is to be left of the position (`None`: all of it), `reason` why.

    With `must_look` it does not end before the exchange was asked what rests, and what has moved. After `most_s` seconds
    it ends as "bare" where it has not otherwise: for a caller that comes again.
    """

    bench: Bench
    plan: TradePlan
    goal: Decimal | None = None
    reason: str = ""
    must_look: bool = False
    most_s: float | None = None
    entry: Intent | None = None
    _tries: dict[str, _Tried] = field(default_factory=dict)
    _looks: dict[str, _Look] = field(default_factory=dict)
    _began_ms: int = 0
    _told_ms: int = 0
    _must_drop_targets: bool = False
    _thin: bool = False
    _round_down: bool = False
    _backstop_taken: bool = False
    _left_for: str | None = None
    _refused_ms: int | None = None
    _leave_ms: int | None = None
    _limit_told: bool = False
    _regained: bool = False
    _flat_ms: int | None = None
    _settled_ms: int | None = None
    _quiet_until_ms: int = 0
    _sign_ms: int = 0

    async def run(self) -> Ended:
        """Until it has ended; raises `OwnershipLost` where another process has taken over."""
        self._began_ms = self._now()
        try:
            while True:
                self._take_up()
                standing = self._standing()
                ended = self._ended(standing) or self._ended_late(standing)
                if ended is not None:
                    return ended
                frozen_s = self._frozen_s()
                if not frozen_s:
                    for step in next_steps(standing, self._now(), self._deadline_ms):
                        self._begin(step, standing)
                    if self._now() >= self._quiet_until_ms:
                        self._ask(standing)
                self._alarm(standing, frozen_s)
                await self._anything(frozen_s)
        except asyncio.CancelledError:
            for tried in self._tries.values():
                if tried.task is not None:
                    tried.task.cancel()
            raise
        finally:
            self._drop_looks()

    def _frozen_s(self) -> float:
        """How long the exchange takes no request; after that what covers or closes goes first, alone."""
        frozen_s = self.bench.exchange.frozen_s()
        if frozen_s:
            self._quiet_until_ms = self._now() + round(frozen_s * 1000) + _FIRST_MS
        return frozen_s

    # --- what is known ---

    def _now(self) -> int:
        return self.bench.exchange.server_now_ms()

    @property
    def _deadline_ms(self) -> int:
        return round(self.bench.settings.execution.protection_deadline * 1000)

    def _view(self) -> View:
        return self.bench.reconciler.view(self.plan.symbol)

    def _standing(self) -> Standing:
        courier, view = self.bench.courier, self._view()
        held = abs(view.expected)
        cover = cover_of(self.plan.side, courier.stops(self.plan.symbol), held)
        foreign = view.foreign != 0 and not view.is_missing
        possible = self._possible(held)
        backstop = cover.backstop is not None
        covered = backstop or (cover.stopped >= held and not possible)
        return Standing(
            held=held, possible=possible, foreign=foreign, backstop=backstop, stopped=cover.stopped,
            targeted=sum((stop.quantity for stop in cover.take_profits), ZERO),
            bare_since_ms=self._bare_since(held + possible, covered=covered),
            is_beyond_backstop=self._is_beyond(view), goal=self.goal, tries=self._tried(),
            backstop_taken=self._backstop_taken, has_targets=bool(cover.take_profits),
            must_drop_targets=self._must_drop_targets, may_be_blind=self._may_be_blind(),
        )  # fmt: skip

    def _possible(self, held: Decimal) -> Decimal:
        """What may be open besides: an entry of unknown fate, or one that can still fill."""
        entry = self.bench.reconciler.waiting_entry(self.plan.symbol)
        if entry is None or entry.quantity is None:
            return ZERO
        return max(entry.quantity - held, ZERO)

    def _may_be_blind(self) -> bool:
        """Whether the entry's reply has been waited for long enough to send without it what can only close."""
        entry = self._tries.get("entry")
        is_sending = entry is not None and entry.task is not None and not entry.task.done()
        return not is_sending or self._now() - self._began_ms >= self.bench.courier.budget_s * 1000

    def _is_beyond(self, view: View) -> bool:
        mark = view.position.mark_price if view.position else None
        return mark is not None and (mark - self.plan.backstop_price) * self.plan.sign <= 0

    def _tried(self) -> dict[str, Tries]:
        unsettled = self.bench.courier.unsettled(self.plan.symbol)
        found = {}
        for kind in ("backstop", "stop", "take_profit", "exit"):
            tried = self._tries.get(kind, _Tried())
            unknown = sum(i.purpose == kind and self.bench.courier.is_waiting(i) for i in unsettled)
            waiting = tried.task is not None and not tried.task.done()
            found[kind] = Tries(tried.count, tried.last_ms, waiting, unknown)
        return found

    def _bare_since(self, most: Decimal, *, covered: bool) -> int:
        """Since when the limit that closes counts; what was lost and regained is written down."""
        bench, plan, now = self.bench, self.plan, self._now()
        if covered or most == 0:
            if bench.bare.pop(plan.plan_id, None) is not None or not self._regained:
                self._regained = True
                bench.coverage.regained(plan)
            if covered:
                bench.coverage.saw_cover(plan, now)
            return now
        if plan.plan_id not in bench.bare:
            bench.bare[plan.plan_id] = now
            bench.coverage.lost(plan)
        if plan.plan_id in bench.sent_here and not bench.coverage.has_rested(plan):
            bench.bare[plan.plan_id] = bench.coverage.filled_ms(plan) or max(self._sent_ms(), self._sign_ms)
        return bench.bare[plan.plan_id]

    def _sent_ms(self) -> int:
        entry = self.bench.reconciler.entry_of(self.plan)
        return self._began_ms if entry is None else self.bench.courier.sent_ms(entry)

    # --- whether it has ended ---

    def _ended(self, s: Standing) -> Ended | None:
        view, now = self._view(), self._now()
        leaving = self._is_leaving(now)
        if self.must_look and not leaving and not all(map(self._has_looked, self._wanted(view))):
            return None
        if not s.is_open:
            return self._ended_flat(view, now, leaving=leaving)
        if self.goal is not None:
            return self._ended_reducing(s, view, now, leaving=leaving)
        if not s.is_covered:
            return self._ended_unknown(s, view, now, leaving=leaving)
        settled = not s.possible and self._is_complete(s)
        if (settled and self._is_booked(view, now)) or leaving:
            return Ended("covered" if not s.possible else "unknown", view, self._cover(s.held))
        if s.possible and now - self._began_ms > self._patience_ms + self._absence_ms:
            return Ended("unknown", view, self._cover(s.held))
        return None

    def _is_booked(self, view: View, now: int) -> bool:
        """Whether the trades of what has filled are booked, or were waited for long enough."""
        self._settled_ms = self._settled_ms or now
        patience = self._patience_ms if view.presumed else _BOOKING_MS
        return not (view.unbooked or view.presumed) or now - self._settled_ms > patience

    def _ended_late(self, s: Standing) -> Ended | None:
        if self.most_s is None or self._now() - self._began_ms < self.most_s * 1000:
            return None
        how = "bare" if s.is_open and not s.is_covered else "unknown"
        return Ended(how, self._view(), self._cover(s.held), self._left_for)

    def _wanted(self, view: View) -> list[str]:
        """Kinds of questions that must have been asked once, whatever was answered."""
        moving = ["orders"] if view.unknown_orders else []
        return ["positions", "stops", *moving, *(["trades"] if self._has_moved(view) else [])]

    def _has_looked(self, kind: str) -> bool:
        sight, look = self.bench.reconciler.sight(self.plan.symbol), self._looks.get(kind)
        if kind == "positions" and sight.asked_ms >= self._began_ms - _SHARED_MS:
            return True
        return look is not None and look.count > 0 and (look.task is None or look.task.done())

    def _has_moved(self, view: View) -> bool:
        """Whether ledger and position differ, or something has filled that is not booked."""
        sight = self.bench.reconciler.sight(self.plan.symbol)
        return bool(view.unbooked or view.presumed) or (sight.asked_ms > 0 and view.ours != sight.amount)

    def _ended_flat(self, view: View, now: int, *, leaving: bool) -> Ended | None:
        entry = self.bench.reconciler.entry_of(self.plan)
        status = None if entry is None else self.bench.courier.status(entry)
        booked = self._is_booked(view, now)
        # an exit of unknown fate has nothing left to reduce; it keeps new entries away, and nobody waiting
        settled = booked and self.bench.reconciler.waiting_entry(self.plan.symbol) is None and not self._is_sending()
        self._flat_ms = self._flat_ms or now
        if not settled and not leaving and now - self._flat_ms < self._patience_ms + self._absence_ms:
            return None
        how = {"absent": "absent", "refused": "refused"}.get(status or "", "flat") if settled else "unknown"
        tried = self._tries.get("entry")
        return Ended(how, view, closed=self._left_for, refused=None if tried is None else tried.refused)

    def _ended_reducing(self, s: Standing, view: View, now: int, *, leaving: bool) -> Ended | None:
        goal = self.goal or ZERO
        done = s.held <= goal and not s.possible and not s.tried("exit").unknown
        if done and self._is_booked(view, now):
            return Ended("reduced", view, self._cover(s.held), self._left_for)
        refused = self._refused_ms is not None and now - self._refused_ms > _REFUSED_MS
        if s.is_covered and (leaving or refused or now - self._began_ms > self._patience_ms):
            tried = self._tries.get("exit")
            return Ended("unknown", view, self._cover(s.held), refused=None if tried is None else tried.refused)
        return None

    def _ended_unknown(self, s: Standing, view: View, now: int, *, leaving: bool) -> Ended | None:
        """Nothing says that the entry has filled: that is given up after a while, or when told to leave."""
        if s.held:
            return None
        heard = self.bench.reconciler.sight(self.plan.symbol).asked_ms > self._began_ms
        late = heard and now - self._began_ms > self._patience_ms + self._absence_ms
        asked_to = leaving and self._leave_ms is not None and now - self._leave_ms >= self._deadline_ms
        return Ended("unknown", view) if late or asked_to else None

    def _is_leaving(self, now: int) -> bool:
        if not self.bench.leaving():
            return False
        if self._leave_ms is None:
            self._leave_ms = now
        return True

    @property
    def _patience_ms(self) -> int:
        return round(self.bench.settings.execution.persistence * 1000)

    @property
    def _absence_ms(self) -> int:
        return self.bench.courier.absence_ms

    def _is_sending(self) -> bool:
        return any(t.task is not None and not t.task.done() for t in self._tries.values())

    def _is_complete(self, s: Standing) -> bool:
        """Whether each part of the cover rests, or was tried and will not come by waiting for it."""
        beside = s.foreign or self._backstop_taken
        return not self._is_sending() and all((
            s.backstop or beside or self._was_tried("backstop", 2),
            s.stopped >= s.held or self._was_tried("stop", 2),
            s.stopped <= s.held or self._was_tried("fit_stops", 2),
            s.targeted >= s.held or self._was_tried("take_profit", 1),
            s.targeted <= s.held or self._was_tried("fit_targets", 2),
        ))  # fmt: skip

    def _was_tried(self, kind: str, often: int) -> bool:
        tried = self._tries.get(kind, _Tried())
        return tried.refused is not None or tried.count >= often

    def _cover(self, held: Decimal) -> Cover:
        return cover_of(self.plan.side, self.bench.courier.stops(self.plan.symbol), held)

    # --- sending ---

    def _begin(self, step: Step, s: Standing) -> None:
        if step.kind.startswith(("drop", "fit")):
            self._tidy_up(step.kind, s)
            return
        tried = self._tries.setdefault(step.kind, _Tried())
        intent = self._exit(step, s) if step.kind == "exit" else self._stop(step, s)
        if intent is None:
            return
        tried.count, tried.last_ms = tried.count + 1, self._now()
        tried.task = asyncio.ensure_future(self.bench.courier.deliver(intent))

    def send_entry(self, entry: Intent) -> None:
        """The entry itself, journalled before this returns. Raises `LedgerUnwritable`; then nothing was sent."""
        self.entry = entry
        self.bench.sent_here.add(self.plan.plan_id)
        task = self.bench.courier.begin(entry)
        self._tries["entry"] = _Tried(1, self._now(), task)

    def _stop(self, step: Step, s: Standing) -> Intent:
        protector, plan = self.bench.protector, self.plan
        if step.kind == "stop":
            return protector.next_intent(plan, "stop", protector.tightest(plan, self._cover(s.held)), step.quantity)
        purpose: Any = step.kind
        return protector.next_intent(plan, purpose, protector.level(plan, purpose), step.quantity)

    def _exit(self, step: Step, s: Standing) -> Intent | None:
        """The next exit: whole ones rounded up to the step, since nothing but ours can be reduced by them."""
        bench, plan = self.bench, self.plan
        if must_leave(s, self._now(), self._deadline_ms) and self.goal is None and self._left_for is None:
            self._left_for = "beyond_backstop" if s.is_beyond_backstop else "unprotected"
            self.goal = ZERO
        quantity, price = self._lots(step), None
        if quantity <= 0:
            return None
        view = self._view()
        if self._thin and view.position is not None:
            rules = bench.exchange.symbol_rules(plan.symbol)
            price = rules.price_down(view.position.mark_price * (1 - plan.sign * _FURTHEST))
        number = sum(i.purpose == "exit" for i in bench.courier.intents_of(plan.plan_id))
        intent = Intent(
            ids.client_id(plan.plan_id, "exit", number), plan.plan_id, plan.symbol, "exit",
            "SELL" if plan.sign > 0 else "BUY", quantity, self._now(), reduce_only=True, price=price,
        )  # fmt: skip
        try:
            body = {"reason": self._left_for or self.reason, "client_id": intent.client_id}
            bench.courier.ledger.assess(plan.symbol, "exit", body, intent.at_ms)
        except LedgerUnwritable as error:
            bench.courier.unwritten = bench.courier.unwritten or error
        return intent

    def _lots(self, step: Step) -> Decimal:
        try:
            rules = self.bench.exchange.symbol_rules(self.plan.symbol)
        except TraderError:
            return step.quantity
        rounding = ROUND_UP if step.whole and not self._round_down else ROUND_DOWN
        lots = (step.quantity / rules.step).to_integral_value(rounding=rounding) * rules.step
        return min(lots, rules.max_market_quantity)

    def _tidy_up(self, kind: str, s: Standing) -> None:
        """Take away, or cut to size, what is in the way; one at a time, and not again at once."""
        tried = self._tries.setdefault(kind, _Tried())
        pause = _BACK_OFF_MS[-1] if tried.count else 0
        if (tried.task is not None and not tried.task.done()) or self._now() < tried.last_ms + pause:
            return
        tried.count, tried.last_ms = tried.count + 1, self._now()
        tried.task = asyncio.ensure_future(self._tidied(kind, self._cover(s.held)))

    async def _tidied(self, kind: str, cover: Cover) -> None:
        protector = self.bench.protector
        if kind == "fit_stops":
            await protector.fitted(self.plan, "stop", cover)
        elif kind == "fit_targets":
            await protector.fitted(self.plan, "take_profit", cover)
        else:
            gone = cover.take_profits if kind == "drop_targets" else (cover.backstop,)
            for stop in gone:
                if stop is not None:
                    await protector.remove(stop)

    # --- hearing ---

    def _take_up(self) -> None:
        """What has come of sends since the last look at them."""
        for kind, tried in self._tries.items():
            if tried.task is None or not tried.task.done():
                continue
            task, tried.task = tried.task, None
            result = self._result(task)
            tried.refused = result if isinstance(result, NotPlaced) else None
            if tried.refused is not None:
                self._heard_no(kind, tried.refused)

    @staticmethod
    def _result(task: asyncio.Task[Any]) -> State | NotPlaced | None:
        """A send's result; whatever else went wrong is found out by the next look."""
        try:
            found: State | NotPlaced | None = task.result()
        except OwnershipLost:
            raise
        except (ExchangeUnavailable, ExchangeRejected, ConfigurationError):
            return None
        return found

    def _heard_no(self, kind: str, refused: NotPlaced) -> None:
        if kind == "backstop" and refused.code == _PASSED:
            self._looks.setdefault("positions", _Look()).next_ms = 0  # the mark price says whether it is beyond
        if refused.code in _NOTHING_OPEN:
            self._sign_ms = self._tries[kind].last_ms
        if kind == "backstop" and refused.code == _TAKEN:
            self._looks.setdefault("stops", _Look()).next_ms = 0
        if kind == "exit":
            self._refused_ms = self._refused_ms or self._now()
            self._thin = refused.code == _NO_COUNTERPARTY
            if refused.code in _NOTHING_TO_REDUCE:
                self._must_drop_targets = True
                self._looks.setdefault("positions", _Look()).next_ms = 0
            if refused.code in {-1111, -4023, -4003, -4005}:
                self._round_down = True
        if refused.code in RULE_CODES:
            self._start("rules", self._read_rules)

    async def _read_rules(self) -> None:
        await self.bench.exchange.refresh_rules()

    # --- asking ---

    def _ask(self, s: Standing) -> None:
        """Questions that are due, side by side; how often depends on how long they have been asked."""
        now, courier = self._now(), self.bench.courier
        rec, symbol, view = self.bench.reconciler, self.plan.symbol, self._view()
        young = self.entry is not None and self._is_sending() and now - self._began_ms < _ANSWERED_S * 1000
        if young and not s.held:
            return
        waiting = [i for i in courier.unsettled(symbol) if i.purpose in {"entry", "exit"}]
        if waiting:
            self._start("orders", lambda: rec.look_at_orders(symbol))
            self._start("absence", lambda: self._prove_absence(waiting))
        if self._wants_stops(s) or (self.must_look and not self._has_looked("stops")):
            self._start("stops", self._look_at_stops)
        moved = self._has_moved(view) or bool(waiting)
        if moved:
            self._start("trades", lambda: rec.look_at_trades(symbol))
        unsure = self.goal is not None or not s.is_covered
        if moved or unsure or (self.must_look and not self._has_looked("positions")):
            self._start("positions", self._look_at_positions)

    def _wants_stops(self, s: Standing) -> bool:
        """Whether the list of what rests can tell something: stops of unknown fate, or none where there should be."""
        unknown = any(tries.unknown for kind, tries in s.tries.items() if kind != "exit")
        tried = self._tries.get("backstop")
        taken = tried is not None and tried.refused is not None and tried.refused.code == _TAKEN
        return bool(unknown or taken)

    async def _look_at_positions(self) -> None:
        await self.bench.reconciler.positions(share_ms=_SHARED_MS)

    async def _look_at_stops(self) -> None:
        """What rests; a close-position stop of somebody else keeps ours away, and quantity stops do instead."""
        rec, symbol = self.bench.reconciler, self.plan.symbol
        await rec.look_at_stops(symbol)
        side = "SELL" if self.plan.sign > 0 else "BUY"
        others = [s for s in rec.sight(symbol).others if s.close_position and s.side == side and s.kind == "stop"]
        ours = any(stop.close_position for stop in self.bench.courier.stops(symbol))
        if others and not ours and not self._backstop_taken:
            self._backstop_taken = True
            self.bench.say(
                f"{symbol}: a close-position stop that is not ours rests there, and the exchange allows one;"
                " ours are quantity stops only."
            )
        elif not others:
            self._backstop_taken = False

    async def _prove_absence(self, waiting: list[Intent]) -> None:
        for intent in waiting:
            await self.bench.reconciler.prove_absent(intent)

    def _start(self, kind: str, question: Callable[[], Awaitable[Any]]) -> None:
        look = self._looks.setdefault(kind, _Look())
        if (look.task is not None and not look.task.done()) or self._now() < look.next_ms:
            return
        pause = _BACK_OFF_MS[min(look.count, len(_BACK_OFF_MS) - 1)]
        look.count, look.next_ms = look.count + 1, self._now() + pause
        look.task = asyncio.ensure_future(_tolerant(question()))

    def _drop_looks(self) -> None:
        for look in self._looks.values():
            if look.task is not None and not look.task.done():
                look.task.cancel()

    # --- waiting and telling ---

    async def _anything(self, frozen_s: float) -> None:
        """Wait for any answer, or until the next thing may be due."""
        under_way = [t.task for t in self._tries.values() if t.task is not None and not t.task.done()]
        under_way += [look.task for look in self._looks.values() if look.task is not None and not look.task.done()]
        done = any(t.task is not None and t.task.done() for t in self._tries.values())
        if done:
            return
        most_s = min(max(frozen_s, 0.05), 1.0) if frozen_s else 0.25
        clock = self.bench.exchange.clock
        if under_way and not frozen_s:
            await asyncio.wait(under_way, timeout=clock.loop_s(most_s), return_when=asyncio.FIRST_COMPLETED)
        else:
            await clock.sleep(most_s)

    def _alarm(self, s: Standing, frozen_s: float) -> None:
        """Said at least every ten seconds while something is or may be open and the limit is broken or nothing may be sent."""
        now = self._now()
        if s.is_covered or not s.is_open:
            return
        bare_ms = now - s.bare_since_ms
        broken = bare_ms > self._deadline_ms + self.bench.courier.budget_s * 1000
        if not (broken or frozen_s) or (self._told_ms and now - self._told_ms < _ALARM_MS):
            return
        self._told_ms = now
        what = f"{s.held:f} is open" if s.held else f"{s.possible:f} may be open"
        wait = f"; the exchange takes no request for {frozen_s:.0f} s" if frozen_s else ""
        sentence = f"ALARM: {self.plan.symbol}: {what} and no stop covers it since {bare_ms / 1000:.1f} s{wait}."
        self.bench.say(sentence)
        if broken and not self._limit_told:
            self._limit_told = True
            self.bench.coverage.limit_broken(self.plan, bare_ms)


async def _tolerant(question: Awaitable[Any]) -> None:
    """A question whose failure is no answer, and says nothing."""
    try:
        await question
    except (ExchangeUnavailable, ExchangeRejected, ConfigurationError):
        return
