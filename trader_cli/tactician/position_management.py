"""Price rules and the model's opinion about a position that is covered: what to do with it, done and written down."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from trader_cli.core.errors import DataError, ExchangeRejected, ExchangeUnavailable
from trader_cli.core.market.timeframes import SETTLE_MS, Timeframe
from trader_cli.core.money.exits import Action, Assessment, ExitRules, OpenPosition, assess
from trader_cli.storage.ledger import LedgerUnwritable
from trader_cli.tactician.assessments import WrittenLook, assessment_of, last_monitor_line, last_stored_assessment
from trader_cli.tactician.delistings import Delistings
from trader_cli.tactician.monitor_reports import Report

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection
    from decimal import Decimal

    from trader_cli.core.money.plans import TradePlan
    from trader_cli.core.ports import Assessor
    from trader_cli.execution.executor import Executor
    from trader_cli.execution.protection import Cover
    from trader_cli.execution.symbol_view import View
    from trader_cli.settings.room_options import ManagementOptions
    from trader_cli.tactician.trade_events import TradeEvents

LOOK_S = 6.0
"""How long one look may try to cover or close one symbol before the others get their turn; the next goes on."""
_ASSESS_S = 10.0
"""How long opinions are waited for in one look, all of them together: the next look waits meanwhile."""
_LATER_MS = 60_000
"""One that did not come in time is asked for again after so long, so that others get their turn."""


class PositionManagement:
    """Manages covered positions. Without an assessor the last stored opinion decays."""

    def __init__(self, options: ManagementOptions, events: TradeEvents, assessor: Assessor | None = None) -> None:
        self._options, self._events, self._assessor = options, events, assessor
        self._assessed_ms: dict[str, int] = {}
        self._unmoved: dict[str, Decimal | None] = {}
        self._later_ms: dict[str, int] = {}
        self._delistings = Delistings()
        self._left_s = _ASSESS_S

    async def begin_look(self, executor: Executor, symbols: Collection[str]) -> None:
        """Another look at everything begins: first whether a symbol of ours ends."""
        self._left_s = _ASSESS_S
        await self._delistings.look(executor, symbols)

    async def manage(self, executor: Executor, plan: TradePlan, view: View, cover: Cover) -> None:
        """One look at a covered position: assessed, written down, and acted on."""
        now = executor.exchange.server_now_ms()
        assessment = await self._assessment(executor, plan, now)
        held = self._held(executor, plan, view, cover)
        assert view.position is not None
        action = assess(held, view.position.mark_price, assessment, self.rules(plan), now)
        if action.kind == "tighten":
            action, held = await self._tightened(executor, plan, cover, action, held)
        self._record(executor, plan, view, held, assessment, action, now)
        if action.kind in {"close", "take_profit"}:
            await executor.close(plan.symbol, action.reason, most_s=LOOK_S)
        elif action.kind == "scale_down":
            await executor.close(plan.symbol, action.reason, action.share, most_s=LOOK_S)

    async def _tightened(
        self, executor: Executor, plan: TradePlan, cover: Cover, action: Action, held: OpenPosition
    ) -> tuple[Action, OpenPosition]:
        """The stop moved, and what then rests; a refusal is no tightening, and told once with the stop that rests."""
        assert action.price is not None
        after = await executor.protector.tighten(plan, cover, action.price)
        stop = executor.protector.tightest(plan, after)
        moved = (stop - held.stop_price) * plan.sign > 0
        if moved:
            self._unmoved.pop(plan.symbol, None)
            return action, replace(held, stop_price=held.stop_price)
        resting = after.stop_price
        if self._unmoved.get(plan.symbol) != resting:
            self._unmoved[plan.symbol] = resting
            now = executor.exchange.server_now_ms()
            sentence = f"the stop could not be moved to {action.price:f}; {resting} rests."
            self._events.say(Report(plan.symbol, now, "wait", "tighten_refused", stop=f"{resting}", sentence=sentence))
            with suppress(ExchangeUnavailable, ExchangeRejected, TimeoutError):
                async with self._waiting(executor):
                    await executor.exchange.refresh_rules()
        return Action("stay", "tighten_refused"), held

    async def _assessment(self, executor: Executor, plan: TradePlan, now_ms: int) -> Assessment | None:
        """The model's opinion: a new one where a bar has closed since the last, else the last one there was."""
        known = last_stored_assessment(executor.ledger, plan)
        bar = Timeframe.parse(plan.timeframe).floor(now_ms - SETTLE_MS)
        requested = self._assessed_ms.get(plan.symbol, plan.decision_ms)
        if self._assessor is None or bar <= max(requested, known.at_ms if known else 0):
            return known
        clock = executor.exchange.clock
        if self._left_s <= 0 or clock.monotonic_ms() < self._later_ms.get(plan.symbol, 0):
            return known
        self._assessed_ms[plan.symbol] = bar
        try:
            async with self._waiting(executor):
                return assessment_of(plan, await self._assessor.assess(plan.symbol, plan.timeframe)) or known
        except TimeoutError:
            self._assessed_ms.pop(plan.symbol, None)  # the market answers too slowly: at a later look again
            self._later_ms[plan.symbol] = clock.monotonic_ms() + _LATER_MS
            return known
        except (DataError, ExchangeUnavailable, ExchangeRejected) as error:
            # What cannot be assessed must not stop the care of a position: the last opinion decays.
            self._events.say(Report(plan.symbol, now_ms, "wait", "no_assessment", sentence=str(error)))
            return known

    @asynccontextmanager
    async def _waiting(self, executor: Executor) -> AsyncIterator[None]:
        """At most as long as this look has time left for. Raises `TimeoutError`."""
        clock = executor.exchange.clock
        began_ms = clock.monotonic_ms()
        try:
            async with asyncio.timeout(clock.loop_s(max(self._left_s, 0.0))):
                yield
        finally:
            self._left_s -= (clock.monotonic_ms() - began_ms) / 1000

    def _held(self, executor: Executor, plan: TradePlan, view: View, cover: Cover) -> OpenPosition:
        ledger = executor.ledger
        holding, mark = ledger.holding(plan.symbol), view.position.mark_price if view.position else plan.price
        look = last_monitor_line(ledger, plan)
        best = look.best_price if look else holding.entry_price
        act = ledger.last_assessment(plan.symbol, ("scale_down",))
        exits = executor.exits(plan.plan_id)
        entered = next((f.time_ms for f in ledger.fills(decision_id=plan.plan_id)), plan.created_ms)
        return OpenPosition(
            side=plan.side,
            quantity=abs(view.held),
            entry_price=holding.entry_price,
            first_stop=plan.stop_price,
            stop_price=executor.protector.tightest(plan, cover),
            take_profit_price=plan.take_profit_price,
            best_price=max(best, mark) if plan.sign > 0 else min(best, mark),
            exit_by_ms=plan.exit_by_ms,
            opened_ms=entered,
            last_act_ms=act.at_ms if act else 0,
            scaled_down=bool(exits),
            leave_by_ms=self._delistings.leave_by_ms(executor, plan.symbol),
        )

    def rules(self, plan: TradePlan) -> ExitRules:
        """The exit rules as set, in the plan's bars."""
        return exit_rules(self._options, Timeframe.parse(plan.timeframe))

    def _record(
        self,
        executor: Executor,
        plan: TradePlan,
        view: View,
        held: OpenPosition,
        assessment: Assessment | None,
        action: Action,
        now_ms: int,
    ) -> None:
        assert view.position is not None
        mark, stop = f"{view.position.mark_price:f}", f"{held.stop_price:f}"
        look = WrittenLook(
            plan_id=plan.plan_id,
            reason=action.reason,
            mark_price=view.position.mark_price,
            quantity=view.held,
            stop_price=held.stop_price,
            best_price=held.best_price,
            assessment=assessment,
            risk_band=self.band(assessment, plan, now_ms),
        )
        try:
            executor.ledger.assess(plan.symbol, action.kind, look.as_dict(), now_ms)
        except LedgerUnwritable as error:
            # The stops rest at the exchange; what tightens or closes must still be tried.
            self._events.say(Report(plan.symbol, now_ms, "alarm", "ledger_unwritable", sentence=str(error)))
        self._events.say(
            Report(
                plan.symbol,
                now_ms,
                action.kind,
                action.reason,
                f"{view.held:f}",
                mark,
                stop,
                f"{view.position.unrealized_profit:f}",
            )
        )

    def band(self, assessment: Assessment | None, plan: TradePlan, now_ms: int) -> str:
        """The guide's risk band of the calibrated loss probability."""
        if assessment is None:
            return "unknown"
        loss, s = assessment.decayed(now_ms, self.rules(plan).half_life_ms), self._options
        bands = ((s.high_risk_threshold, "high"), (s.medium_risk_threshold, "medium"), (s.low_risk_threshold, "low"))
        return next((name for threshold, name in bands if loss >= threshold), "minimal")


def exit_rules(options: ManagementOptions, timeframe: Timeframe) -> ExitRules:
    """The exit rules as set, in bars of a time frame."""
    m = options.monitor
    return ExitRules(
        m.trail_distance,
        m.trail_step,
        options.high_risk_threshold,
        options.medium_risk_threshold,
        round(m.confidence_half_life * timeframe.ms),
        round(m.min_dwell * timeframe.ms),
    )
