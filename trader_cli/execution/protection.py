"""Keeping a position covered: a close-position backstop, quantity stops inside it, a take-profit; all at the exchange.

A stop is only ever replaced by a tighter one, and the new one rests before the old one goes.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from typing import TYPE_CHECKING

from trader_cli.core.errors import ExchangeUnavailable, TraderError
from trader_cli.core.orders import NotPlaced, StopState
from trader_cli.storage.ledger_rows import Intent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trader_cli.core.ids import Purpose
    from trader_cli.core.plans import TradePlan
    from trader_cli.core.types import Side
    from trader_cli.execution.courier import Courier

PATIENCE_S = 1.0
"""How long the fate of one stop is looked for before the next is tried."""
_MOST_GENERATIONS = 1000


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
    """Places, tightens and removes stops through a courier."""

    courier: Courier

    def intents(self, plan: TradePlan, quantity: Decimal) -> list[Intent]:
        """The first backstop, stop and take-profit of a plan: written down together with its entry."""
        return [self._intent(plan, purpose, self._level(plan, purpose), quantity, 0) for purpose in _PURPOSES]

    async def protect(
        self, plan: TradePlan, stops: Sequence[StopState], quantity: Decimal, *, patience_s: float = PATIENCE_S
    ) -> Cover:
        """Make what is missing of a position's cover: the backstop first, then the stop; covered, the take-profit.

        A refusal for a level the market has passed (−2021) leaves that part out; the caller sees that in the cover.
        Raises `ExchangeUnavailable` if it is not known what rests.
        """
        cover = cover_of(plan.side, stops, quantity)
        found: list[StopState] = list(stops)
        if cover.backstop is None:
            found += await self._place(plan, "backstop", self._level(plan, "backstop"), quantity, patience_s)
        if cover.stopped < quantity:
            missing = quantity - cover.stopped
            found += await self._place(plan, "stop", self.tightest(plan, cover), missing, patience_s)
        elif cover.stopped > quantity:
            found = await self._resized(plan, "stop", self.tightest(plan, cover), quantity, found, cover.stops)
        taken = sum((s.quantity for s in cover.take_profits), Decimal(0))
        if taken < quantity and cover_of(plan.side, found, quantity).full:
            level = self._level(plan, "take_profit")
            found += await self._place(plan, "take_profit", level, quantity - taken, patience_s)
        elif taken > quantity:
            level = self._level(plan, "take_profit")
            found = await self._resized(plan, "take_profit", level, quantity, found, cover.take_profits)
        return cover_of(plan.side, found, quantity)

    async def backstop(self, plan: TradePlan, quantity: Decimal) -> None:
        """Send a backstop without having asked what rests."""
        await self._place(plan, "backstop", self._level(plan, "backstop"), quantity)

    async def _resized(
        self, plan: TradePlan, purpose: Purpose, level: Decimal, quantity: Decimal, resting: Sequence[StopState],
        old: Sequence[StopState],
    ) -> list[StopState]:  # fmt: skip
        """What rests once stops for more than the position are replaced by one that fits; the new one comes first."""
        placed = await self._place(plan, purpose, level, quantity)
        gone = {stop.client_id for stop in old if placed and await self.remove(stop)}
        return [*(stop for stop in resting if stop.client_id not in gone), *placed]

    def tightest(self, plan: TradePlan, cover: Cover) -> Decimal:
        """Where a missing quantity stop belongs: never looser than one that ever rested for this plan."""
        ledger = self.courier.ledger
        levels = [
            i.trigger_price for i in ledger.intents_of(plan.plan_id)
            if i.purpose == "stop" and i.trigger_price is not None
            and ledger.first_note(i.client_id, "open") is not None
        ]  # fmt: skip
        levels += [s.trigger_price for s in cover.stops] + [plan.stop_price]
        return max(levels) if plan.sign > 0 else min(levels)

    async def tighten(self, plan: TradePlan, cover: Cover, price: Decimal) -> Cover:
        """Move the quantity stop to `price`: the new one first, the old ones only once it rests. Never looser."""
        level = self._rounded(plan, price)
        old = [s for s in cover.stops if (level - s.trigger_price) * plan.sign > 0]
        if len(old) < len(cover.stops) or (
            cover.stop_price is not None and (level - cover.stop_price) * plan.sign <= 0
        ):
            return cover
        placed = await self._place(plan, "stop", level, cover.quantity)
        if not placed:
            return cover
        left = [s for s in old if not await self.remove(s)]
        return Cover(cover.backstop, (*placed, *left), cover.take_profits, cover.quantity)

    async def remove(self, stop: StopState) -> bool:
        """Cancel a stop of ours; whether it surely rests no more."""
        intent = self.courier.ledger.intent(stop.client_id)
        if intent is None:
            return False
        after = await self.courier.private.cancel_stop(stop.symbol, stop.client_id)
        if after is not None:
            self.courier.seen(intent, after)
        return after is None or not after.is_open

    async def _place(
        self, plan: TradePlan, purpose: Purpose, level: Decimal, quantity: Decimal, patience_s: float = PATIENCE_S
    ) -> list[StopState]:
        """One stop of this purpose, as the next generation. Empty if the exchange certainly refused it."""
        intent = self._next(plan, purpose, level, quantity)
        try:
            sent = await self.courier.deliver(intent, patience_s=patience_s, resend=False)
        except ExchangeUnavailable:
            if not await self._is_reachable():
                raise
            return []  # the next round uses a fresh generation: two reduce-only stops are safer than none
        if isinstance(sent, NotPlaced):
            return []
        assert isinstance(sent, StopState)
        return [sent] if sent.is_open else []

    async def _is_reachable(self) -> bool:
        try:
            await self.courier.private.positions()
        except TraderError:
            return False
        return True

    def _next(self, plan: TradePlan, purpose: Purpose, level: Decimal, quantity: Decimal) -> Intent:
        """The first generation that was never sent and means the same, or a new one."""
        ledger = self.courier.ledger
        for generation in range(_MOST_GENERATIONS):
            known = ledger.intent(plan.client_id(purpose, generation))
            if known is None:
                return self._intent(plan, purpose, level, quantity, generation)
            same = known.trigger_price == level and (purpose == "backstop" or known.quantity == quantity)
            if same and ledger.last_note(known.client_id) is None:
                return known
        raise TraderError(f"{plan.symbol}: {_MOST_GENERATIONS} {purpose} orders of one plan; something is wrong.")

    def _intent(self, plan: TradePlan, purpose: Purpose, level: Decimal, quantity: Decimal, generation: int) -> Intent:
        return Intent(
            plan.client_id(purpose, generation), plan.plan_id, plan.symbol, purpose,
            "SELL" if plan.side == "long" else "BUY", None if purpose == "backstop" else quantity,
            self.courier.now_ms(), trigger_price=level, reduce_only=True,
        )  # fmt: skip

    def _level(self, plan: TradePlan, purpose: Purpose) -> Decimal:
        return {"backstop": plan.backstop_price, "stop": plan.stop_price, "take_profit": plan.take_profit_price}[
            purpose
        ]

    def _rounded(self, plan: TradePlan, price: Decimal) -> Decimal:
        """On a tick, away from the market's side that would make it looser."""
        tick = self.courier.rules(plan.symbol).tick
        steps = (price / tick).to_integral_value(rounding=ROUND_DOWN)
        return steps * tick if plan.sign < 0 or steps * tick == price else (steps + 1) * tick


_PURPOSES: tuple[Purpose, ...] = ("backstop", "stop", "take_profit")
