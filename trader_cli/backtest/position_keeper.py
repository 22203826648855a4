"""Keeping a position of a faithful backtest covered, tightening its stop, and leaving it, on the venue's own engine.

What is sent next is `core.money.protection_step`'s word, as in live. It is carried out at once and without a journal:
nothing can be lost on the way.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Literal

from trader_cli.core.money.orders import NotPlaced, OrderRequest, StopRequest
from trader_cli.core.money.protection_step import Attempts, ProtectionState, next_steps, to_drop
from trader_cli.execution.protection import cover_of
from trader_cli.storage.ledger_rows import cost_after

if TYPE_CHECKING:
    from trader_cli.core.identity.ids import Purpose
    from trader_cli.core.money.exits import ExitRules
    from trader_cli.core.money.orders import OrderSide
    from trader_cli.core.money.plans import TradePlan
    from trader_cli.exchange.simulated_exchange import SimulatedExchange
    from trader_cli.execution.protection import Cover
    from trader_cli.venue.engine.books import Fill, Income

    StopKind = Literal["stop", "take_profit"]

ZERO = Decimal(0)
_TURN_MS, _MOST_TURNS = 250, 240
"""While something has to be tried again, time goes on in such turns; so many at most before the next look."""


@dataclass
class ManagedPosition:
    """A position under care, as its looks remember it. `best_price` is of looks; `stop_price` the tightest that rested.

    `amount` and `cost` are signed: the fold of `fills`. `funding` is what it has paid, `costs` what else was taken.
    `last_reason` is where the last of its fills came from. `levels` are (time, purpose, price) of each stop and target
    that came to rest; `unprotected_ms` is how long part of it had no stop.
    """

    plan: TradePlan
    rules: ExitRules
    opened_ms: int
    stop_price: Decimal
    covered_ms: int
    best_price: Decimal | None = None
    amount: Decimal = ZERO
    cost: Decimal = ZERO
    scaled_down: bool = False
    last_act_ms: int = 0
    generations: dict[str, int] = field(default_factory=dict)
    fills: list[Fill] = field(default_factory=list)
    funding: Decimal = ZERO
    costs: Decimal = ZERO
    last_reason: str = ""
    levels: list[tuple[int, Purpose, Decimal]] = field(default_factory=list)
    unprotected_ms: int = 0
    is_covered: bool = False

    def look(self, now_ms: int, *, covered: bool) -> None:
        """Whether all of it is behind stops now. What was not counts from the entry, or from when it last was."""
        if covered:
            self.unprotected_ms += 0 if self.is_covered else now_ms - self.covered_ms
            self.covered_ms = now_ms
        self.is_covered = covered

    def take(self, fill: Fill, reason: str) -> None:
        """One more of its fills, and what it came from."""
        self.last_reason = reason
        signed = fill.quantity if fill.side == "BUY" else -fill.quantity
        self.cost = cost_after(self.amount, self.cost, signed, fill.price)
        self.amount += signed
        self.fills.append(fill)

    def pay(self, income: Income) -> None:
        """What the account was charged for it besides."""
        if income.kind == "FUNDING_FEE":
            self.funding -= income.amount
        elif income.kind == "INSURANCE_CLEAR":
            self.costs -= income.amount

    @property
    def entry_price(self) -> Decimal:
        """Average price of what is open."""
        return self.cost / self.amount if self.amount else ZERO

    @property
    def closing_side(self) -> OrderSide:
        """The side of what reduces it."""
        return "SELL" if self.plan.sign > 0 else "BUY"

    def client_id(self, purpose: Purpose) -> str:
        """The id of its next order of a purpose."""
        number = self.generations.get(purpose, 0)
        self.generations[purpose] = number + 1
        return self.plan.client_id(purpose, number)


class PositionKeeper:
    """Acts on positions at a venue. `reasons` says why each exit left, by its client id."""

    def __init__(self, venue: SimulatedExchange, deadline_ms: int) -> None:
        self.reasons: dict[str, str] = {}
        self._venue, self._deadline_ms = venue, deadline_ms

    def protect(self, held: ManagedPosition, goal: Decimal | None = None, reason: str = "") -> None:
        """Send what is due until nothing is: until it is covered, or with `goal` until so much is left of it."""
        tries: dict[str, Attempts] = {}
        for _ in range(_MOST_TURNS):
            state = self._state(held, goal, tries)
            if not state.held or (goal is not None and state.held <= goal):
                return
            steps = next_steps(state, self._venue.now_ms, self._deadline_ms)
            if not steps and goal is None and state.is_covered:
                return
            for step in steps:
                before = tries.get(step.kind, Attempts())
                tries[step.kind] = replace(before, count=before.count + 1, last_ms=self._venue.now_ms)
                self._carry_out(held, step.kind, step.quantity, reason)
            if not steps:
                self._venue.advance(self._venue.now_ms + _TURN_MS)

    def is_settled(self, held: ManagedPosition) -> bool:
        """Whether it is open, covered, and nothing is to be sent for it: then `protect` would do nothing."""
        state = self._state(held, None, {})
        return bool(state.held) and state.is_covered and not next_steps(state, self._venue.now_ms, self._deadline_ms)

    def _open(self, held: ManagedPosition) -> Decimal:
        """What is open of it, unsigned."""
        return max(self._venue.engine.account.position(held.plan.symbol).amount * held.plan.sign, ZERO)

    def _state(self, held: ManagedPosition, goal: Decimal | None, tries: dict[str, Attempts]) -> ProtectionState:
        amount, plan = self._open(held), held.plan
        cover = self._cover(held, amount)
        held.look(self._venue.now_ms, covered=cover.full)
        return ProtectionState(
            held=amount,
            possible=ZERO,
            foreign=False,
            backstop=cover.backstop is not None,
            stopped=cover.stopped,
            targeted=cover.targeted,
            unprotected_since_ms=held.covered_ms,
            is_beyond_backstop=(self._venue.engine.mark(plan.symbol) - plan.backstop_price) * plan.sign <= 0,
            goal=goal,
            tries=tries,
            has_targets=bool(cover.take_profits),
        )

    def _cover(self, held: ManagedPosition, quantity: Decimal) -> Cover:
        return cover_of(held.plan.side, self._venue.open_stops(held.plan.symbol), quantity)

    def _carry_out(self, held: ManagedPosition, kind: str, quantity: Decimal, reason: str) -> None:
        plan = held.plan
        if kind == "exit":
            order_id = held.client_id("exit")
            self.reasons[order_id] = reason
            self._venue.place(OrderRequest(order_id, plan.symbol, held.closing_side, quantity, reduce_only=True))
        elif kind == "backstop":
            self._rest(held, "backstop", plan.backstop_price, None)
        elif kind == "stop":
            self._rest(held, "stop", held.stop_price, quantity)
        elif kind == "take_profit":
            self._rest(held, "take_profit", plan.take_profit_price, quantity)
        else:
            self._fit(held, is_stop=kind == "fit_stops")

    def _rest(self, held: ManagedPosition, purpose: Purpose, level: Decimal, quantity: Decimal | None) -> bool:
        """Let a stop or target rest; whether the exchange took it."""
        kind: StopKind = "take_profit" if purpose == "take_profit" else "stop"
        stop = StopRequest(held.client_id(purpose), held.plan.symbol, held.closing_side, kind, level, quantity)
        if isinstance(self._venue.place_stop(stop), NotPlaced):
            return False
        held.levels.append((self._venue.now_ms, purpose, level))
        return True

    def _fit(self, held: ManagedPosition, *, is_stop: bool) -> None:
        """Stops or targets for more than is open: the looser ones go, or one that fits stands in for all."""
        amount = self._open(held)
        cover = self._cover(held, amount)
        found = cover.stops if is_stop else cover.take_profits
        resting = sorted(found, key=lambda stop: stop.trigger_price, reverse=held.plan.sign > 0)
        dropped = to_drop([stop.quantity for stop in resting], amount)
        if dropped is None:
            level = held.stop_price if is_stop else held.plan.take_profit_price
            if not self._rest(held, "stop" if is_stop else "take_profit", level, amount):
                return
        for number in range(len(resting)) if dropped is None else dropped:
            self._venue.cancel_stop(resting[number])

    def tighten(self, held: ManagedPosition, price: Decimal) -> None:
        """Move the stop: the new one first, the old ones only once it rests. Never looser; a refusal moves nothing."""
        rules, sign = self._venue.rules(held.plan.symbol), held.plan.sign
        level = rules.price_up(price) if sign > 0 else rules.price_down(price)
        cover = self._cover(held, self._open(held))
        old = [stop for stop in cover.stops if (level - stop.trigger_price) * sign > 0]
        is_tighter = cover.stop_price is None or (level - cover.stop_price) * sign > 0
        if len(old) < len(cover.stops) or not is_tighter or not self._rest(held, "stop", level, cover.quantity):
            return
        held.stop_price = level
        for stop in old:
            self._venue.cancel_stop(stop)

    def scale_down(self, held: ManagedPosition, share: Decimal, reason: str) -> None:
        """Close a share of it, in whole steps, rounded down."""
        began = self._open(held)
        goal = began - self._venue.rules(held.plan.symbol).quantity_down(began * share)
        if goal < began:
            self.protect(held, goal, reason)

    def sweep(self, symbol: str) -> None:
        """Take away every stop that is left of a position that is flat."""
        for stop in self._venue.open_stops(symbol):
            self._venue.cancel_stop(stop)
