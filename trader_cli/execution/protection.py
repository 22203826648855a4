"""Keeping a position covered: a close-position backstop, quantity stops inside it, a take-profit; all at the exchange.

A stop is only ever replaced by a tighter one, and the new one rests before the old one goes.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from typing import TYPE_CHECKING

from trader_cli.core.errors import ConfigurationError, ExchangeRejected, ExchangeUnavailable
from trader_cli.core.money.orders import OrderRequest, StopRequest, StopState
from trader_cli.core.money.protection_step import to_drop
from trader_cli.storage.ledger_rows import Intent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trader_cli.core.identity.ids import Purpose
    from trader_cli.core.money.plans import TradePlan
    from trader_cli.core.types import Side
    from trader_cli.execution.order_submitter import OrderSubmitter


_MOST_UNKNOWN = 2
"""Of stops whose fate is not known so many may be at once: more could pile up."""


@dataclass(frozen=True)
class Cover:
    """What protects a position. `full` if a stop rests for all of it."""

    backstop: StopState | None
    stops: tuple[StopState, ...]
    take_profits: tuple[StopState, ...]
    quantity: Decimal

    @property
    def full(self) -> bool:
        """Whether a stop covers the whole position."""
        return self.backstop is not None or self.stopped >= self.quantity

    @property
    def stopped(self) -> Decimal:
        """Quantity behind quantity stops."""
        return sum((stop.quantity for stop in self.stops), Decimal(0))

    @property
    def targeted(self) -> Decimal:
        """Quantity behind take-profits."""
        return sum((stop.quantity for stop in self.take_profits), Decimal(0))

    @property
    def stop_price(self) -> Decimal | None:
        """The tightest level at which something closes."""
        resting = [*self.stops, *([self.backstop] if self.backstop else [])]
        if not resting:
            return None
        levels = [stop.trigger_price for stop in resting]
        return max(levels) if resting[0].side == "SELL" else min(levels)


def cover_of(side: Side, stops: Sequence[StopState], quantity: Decimal) -> Cover:
    """Our resting stops by what they do for a position of this size. What points the wrong way protects nothing."""
    closing = "SELL" if side == "long" else "BUY"
    right = [s for s in stops if s.side == closing and s.is_open and (s.close_position or s.reduce_only)]
    stopping = [s for s in right if s.kind == "stop" and s.by_mark_price]
    return Cover(
        next((s for s in stopping if s.close_position), None),
        tuple(s for s in stopping if not s.close_position),
        tuple(s for s in right if s.kind == "take_profit"),
        quantity,
    )


@dataclass
class Protector:
    """The stops of a plan: which intent is next, at what level; tightening and taking away."""

    submitter: OrderSubmitter

    def intents(self, plan: TradePlan, quantity: Decimal) -> list[Intent]:
        """The first backstop, stop and take-profit of a plan: written down together with its entry."""
        return [self._intent(plan, purpose, self.level(plan, purpose), quantity, 0) for purpose in _PURPOSES]

    def next_intent(self, plan: TradePlan, purpose: Purpose, level: Decimal, quantity: Decimal) -> Intent:
        """The first generation that was never sent and means the same, or a new one."""
        submitter = self.submitter
        known = [i for i in submitter.intents_of(plan.plan_id) if i.purpose == purpose]
        for intent in known:
            same = intent.trigger_price == level and (purpose == "backstop" or intent.quantity == quantity)
            if same and submitter.status(intent) is None:
                return intent
        return self._intent(plan, purpose, level, quantity, len(known))

    def level(self, plan: TradePlan, purpose: Purpose) -> Decimal:
        """Where the plan wants it, on a tick of today's rules."""
        levels = {"backstop": plan.backstop_price, "stop": plan.stop_price, "take_profit": plan.take_profit_price}
        return self.rounded(plan, levels[purpose])

    def tightest(self, plan: TradePlan, cover: Cover) -> Decimal:
        """Where a missing quantity stop belongs: never looser than one that ever rested for this plan."""
        ledger = self.submitter.ledger
        levels = [
            i.trigger_price
            for i in ledger.intents_of(plan.plan_id)
            if i.purpose == "stop"
            and i.trigger_price is not None
            and ledger.first_note(i.client_id, "open") is not None
        ]
        levels += [s.trigger_price for s in cover.stops] + [plan.stop_price]
        return self.rounded(plan, max(levels) if plan.sign > 0 else min(levels))

    async def tighten(self, plan: TradePlan, cover: Cover, price: Decimal) -> Cover:
        """Move the quantity stop to `price`: the new one first, the old ones only once it rests. Never looser."""
        level = self.rounded(plan, price)
        old = [s for s in cover.stops if (level - s.trigger_price) * plan.sign > 0]
        if len(old) < len(cover.stops) or (
            cover.stop_price is not None and (level - cover.stop_price) * plan.sign <= 0
        ):
            return cover
        return await self.replaced(plan, "stop", level, cover, old)

    async def replaced(
        self, plan: TradePlan, purpose: Purpose, level: Decimal, cover: Cover, old: Sequence[StopState]
    ) -> Cover:
        """What rests once one for the whole quantity stands in for the old ones; those go only when it rests."""
        unsettled = [i for i in self.submitter.unsettled(plan.symbol) if i.purpose == purpose]
        if sum(self.submitter.is_waiting(i) for i in unsettled) >= _MOST_UNKNOWN:
            return cover
        placed = await self.submitter.deliver(self.next_intent(plan, purpose, level, cover.quantity))
        if isinstance(placed, StopState) and placed.is_open:
            for stop in old:
                await self.remove(stop)
        return cover_of(plan.side, self.submitter.stops(plan.symbol), cover.quantity)

    async def fitted(self, plan: TradePlan, purpose: Purpose, cover: Cover) -> None:
        """Stops for more than is held cut down to it: the looser ones go, or one that fits comes first."""
        stops = sorted(
            cover.stops if purpose == "stop" else cover.take_profits,
            key=lambda stop: stop.trigger_price,
            reverse=plan.sign > 0,
        )
        dropped = to_drop([stop.quantity for stop in stops], cover.quantity)
        if dropped is None:
            level = self.tightest(plan, cover) if purpose == "stop" else self.level(plan, purpose)
            await self.replaced(plan, purpose, level, cover, stops)
            return
        for number in dropped:
            await self.remove(stops[number])

    async def remove(self, stop: StopState) -> bool:
        """Cancel a stop of ours; whether it surely rests no more."""
        submitter, intent = self.submitter, self.submitter.intent(stop.client_id)
        if intent is None:
            return False
        submitter.require_ownership()
        key = ("cancel", stop.client_id)
        try:
            after, _ = await submitter.queries.ask(
                key, lambda: submitter.broker.cancel_stop(stop.symbol, stop.client_id)
            )
        except (ExchangeUnavailable, ExchangeRejected, ConfigurationError):
            return False
        if after is not None:
            submitter.seen(intent, after)
        return after is not None and not after.is_open

    def _intent(self, plan: TradePlan, purpose: Purpose, level: Decimal, quantity: Decimal, generation: int) -> Intent:
        return Intent(
            plan.client_id(purpose, generation),
            plan.plan_id,
            plan.symbol,
            purpose,
            "SELL" if plan.side == "long" else "BUY",
            None if purpose == "backstop" else quantity,
            self.submitter.now_ms(),
            trigger_price=level,
            reduce_only=True,
        )

    def rounded(self, plan: TradePlan, price: Decimal) -> Decimal:
        """On a tick, away from the market's side that would make it looser."""
        tick = self.submitter.tick(plan.symbol)
        if tick is None:
            return price
        steps = (price / tick).to_integral_value(rounding=ROUND_DOWN)
        return steps * tick if plan.sign < 0 or steps * tick == price else (steps + 1) * tick


_PURPOSES: tuple[Purpose, ...] = ("backstop", "stop", "take_profit")


def order_request(intent: Intent) -> OrderRequest:
    """The order an entry or exit stands for: at market or at its price, immediate or cancelled."""
    assert intent.quantity is not None
    return OrderRequest(
        intent.client_id,
        intent.symbol,
        intent.side,
        intent.quantity,
        price=intent.price,
        time_in_force="IOC",
        reduce_only=intent.reduce_only,
    )


def stop_request(intent: Intent) -> StopRequest:
    """The stop or take-profit an intent stands for; the backstop has no quantity and closes everything."""
    assert intent.trigger_price is not None
    return StopRequest(
        intent.client_id,
        intent.symbol,
        intent.side,
        "take_profit" if intent.purpose == "take_profit" else "stop",
        intent.trigger_price,
        None if intent.purpose == "backstop" else intent.quantity,
    )
