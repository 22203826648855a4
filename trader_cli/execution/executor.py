"""The executor: carries out approved plans and the monitor's actions. The only way to the exchange that moves money.

From the first fill to flat a stop rests at the exchange. Where that cannot be had within the deadline, the position is
closed at market. Killed anywhere and started again, it finds out what became of what was sent before it sends anything.
How one symbol is cared for is in `guarding`.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.core.errors import ConfigurationError, DataError, ExchangeRejected, ExchangeUnavailable, TraderError
from trader_cli.core.money.orders import MarginSettings
from trader_cli.core.money.plans import Approved, Refused, TradePlan
from trader_cli.core.money.trading_rules import RULE_CODES
from trader_cli.core.proofs.assurance import NotSent
from trader_cli.execution import preflight
from trader_cli.execution.attempts import Attempts
from trader_cli.execution.circuit_breaker import after_close, hold_back
from trader_cli.execution.coverage import Coverage, acknowledged, last_known, remembered, standing_of
from trader_cli.execution.entry_journal import entry_intent, write_down
from trader_cli.execution.entry_result import EntryResult, entered, filled_quantity
from trader_cli.execution.execution_context import ExecutionContext
from trader_cli.execution.exit_reasons import exit_reason
from trader_cli.execution.intent_requests import order_request, stop_request
from trader_cli.execution.notifications import Notifications
from trader_cli.execution.order_submitter import OrderSubmitter
from trader_cli.execution.plan_lookup import plan_behind
from trader_cli.execution.pre_trade_checks import refusal
from trader_cli.execution.protection import Protector
from trader_cli.execution.protection_loop import ProtectionLoop, ProtectionResult
from trader_cli.execution.reconciliation import Reconciler
from trader_cli.execution.shutdown import leaving, shutdown_requested
from trader_cli.storage.ledger import LedgerUnwritable

if TYPE_CHECKING:
    from collections.abc import Callable

    from trader_cli.core.money.orders import PreparedRequest
    from trader_cli.core.ports import Exchange
    from trader_cli.execution.protection import Cover
    from trader_cli.execution.symbol_view import View
    from trader_cli.settings.room_options import ExecutionOptions
    from trader_cli.storage.ledger import Ledger
    from trader_cli.storage.ledger_rows import Intent


def discard_message(_sentence: str) -> None:
    """Nobody listens."""


class Executor:
    """One account's executor, over a connected exchange and an open ledger.

    `say` is told what a person must hear at once; `leaving` says whether a signal has asked this process to end.
    """

    def __init__(
        self,
        exchange: Exchange,
        ledger: Ledger,
        options: ExecutionOptions,
        *,
        say: Callable[[str], None] = discard_message,
        leaving: Callable[[], bool] = shutdown_requested,
    ) -> None:
        self.options = options
        self.exchange = exchange
        self.ledger = ledger
        self.say = say
        orders = options.orders
        self.submitter = OrderSubmitter(
            exchange.protection,
            ledger,
            exchange.clock,
            exchange.server_now_ms,
            exchange.symbol_rules,
            orders.request_budget,
            round(orders.absence_after * 1000),
        )
        self.submitter.filled |= {symbol for symbol in ledger.symbols() if ledger.unbooked(symbol)}
        self.protector = Protector(self.submitter)
        self.reconciler = Reconciler(self.submitter)
        self.coverage = Coverage(ledger, exchange.server_now_ms)
        self._to_latch: list[tuple[str, str, int]] = []
        self.notifications = Notifications(ledger, exchange.server_now_ms)
        self.context = ExecutionContext(
            exchange, self.submitter, self.protector, self.reconciler, self.coverage, orders, say, leaving
        )
        self.attempts = Attempts(self.context)

    async def end(self) -> None:
        """Let go of what is still under way."""
        await self.submitter.end()

    # --- what there is ---

    async def view(self, symbol: str, *, since_ms: int = 0) -> View:
        """One symbol, reconciled; positions as asked for at or after `since_ms` (monotonic)."""
        await self.reconciler.positions(since_ms=since_ms)
        return await self.reconciler.reconcile(symbol)

    def plan_of(self, symbol: str) -> TradePlan | None:
        """The plan under care: of an entry whose fate is not known, else of the last one that filled."""
        waiting = self.reconciler.waiting_entry(symbol)
        entries = self.ledger.entries(symbol)
        decision = waiting.decision_id if waiting is not None else entries[-1] if entries else None
        return None if decision is None else self.ledger.plan(decision)

    def exit_reason(self, symbol: str) -> str:
        """Why our last position on a symbol ended, by what closed it."""
        entries = self.ledger.entries(symbol)
        return exit_reason(self.ledger, symbol, entries[-1]) if entries else "unknown"

    # --- entering ---

    async def check(self, plan: TradePlan, symbol: str, *, live: bool = False) -> Refused | None:
        """Preflight: every reason not to enter this plan now."""
        return await refusal(self.context, self.options, plan, symbol, live=live)

    async def enter(self, approved: Approved, *, live: bool = False, recorded: bool = False) -> EntryResult | Refused:
        """Carry out an approved plan, once: the second time finds what the first one did.

        `recorded` takes only a plan that tactics wrote into this ledger.

        Raises `ExchangeRejected` if the exchange refuses the order, `ExchangeUnavailable` or `DataError` with a
        sentence that says what is open and what protects it.
        """
        plan = approved.plan
        changed = preflight.check_unchanged(plan, self.ledger)
        if changed is not None:
            return changed
        known = self.ledger.intent(plan.client_id("entry"))
        if known is not None and self.ledger.status(known.client_id) is not None:
            return await self._again(plan_behind(self.ledger, known) or plan, known)
        refused = await self.check(plan, plan.symbol, live=live) or await preflight.set_leverage(plan, self.exchange)
        if refused is None and recorded and self.ledger.decision(plan.plan_id) is None:
            refused = Refused("plan_unrecorded", "Tactics never made this plan on this ledger: `trader tactics`.")
        if refused is not None:
            return refused
        guard = ProtectionLoop(self.attempts, plan)
        entry = self._entry(plan)
        try:
            write_down(self.context, plan, entry)
            guard.send_entry(entry)
        except LedgerUnwritable as error:
            unsent = NotSent(entry.client_id, self.ledger.status(entry.client_id))
            raise DataError(f"{error.sentence} {unsent.sentence}", hint=error.hint) from error
        async with leaving().shielded():
            return await self._finished(plan, entry, await guard.run(), fresh=True)

    def _entry(self, plan: TradePlan) -> Intent:
        return entry_intent(plan, self.exchange.symbol_rules(plan.symbol), self.exchange.server_now_ms())

    async def _finished(
        self, plan: TradePlan, entry: Intent, ended: ProtectionResult, *, fresh: bool
    ) -> EntryResult | Refused:
        """What a guard's end means to whoever entered."""
        if ended.how == "refused":
            note = self.ledger.last_note(entry.client_id)
            await self.tidy(plan, ended)
            if ended.refused is not None and ended.refused.code in RULE_CODES:
                await self.exchange.refresh_rules()
            raise ExchangeRejected(
                f"The exchange did not take the entry: {note.note if note else ''}",
                code=ended.refused.code if ended.refused else None,
                hint=await self.standing(plan.symbol),
            )
        if ended.how == "absent":
            await self.tidy(plan, ended)
            if ended.refused is not None:
                raise ExchangeUnavailable(f"The exchange took no order: {ended.refused.sentence}")
            return Refused("entry_absent", "The entry never reached the exchange.")
        if ended.how == "unknown" or ended.view.presumed:
            raise ExchangeUnavailable(
                f"It is not known what became of the entry {entry.client_id}. {await self.standing(plan.symbol)}",
                hint="Run `trader monitor`: it finds out, and protects first.",
            )
        await self.tidy(plan, ended)
        unwritten = self.submitter.unwritten
        if unwritten is not None:
            raise DataError(f"{unwritten.sentence} {await self.standing(plan.symbol)}", hint=unwritten.hint)
        filled = filled_quantity(self.ledger, entry.client_id) > 0
        if filled and not fresh and ended.view.is_flat:
            why = ended.closed or exit_reason(self.ledger, plan.symbol, plan.plan_id)
            return self._entered(plan, entry, None, fresh=False, closed=why)
        return self._entered(
            plan, entry, ended.cover if filled else None, fresh=fresh, closed=ended.closed if filled else None
        )

    async def tidy(self, plan: TradePlan, ended: ProtectionResult) -> None:
        """After the end of a guard: a flat symbol is swept, and what a close breaks is latched."""
        self._to_latch += self.reconciler.booker.take_forced()
        if ended.view.expected * plan.sign <= 0 and self.reconciler.waiting_entry(plan.symbol) is None:
            await self.sweep(plan.symbol)
        fills = self.ledger.fills(decision_id=plan.plan_id)
        if ended.closed is not None:
            at_ms = fills[-1].time_ms if fills else self.exchange.server_now_ms()
            self._to_latch.append((plan.symbol, ended.closed, at_ms))
        self._latch()

    def _latch(self) -> None:
        """What closes have broken is latched and said; where the disk takes no line, again at the next look."""
        try:
            while self._to_latch:
                for sentence in after_close(self.ledger, *self._to_latch[0]):
                    self.say(sentence)
                self._to_latch.pop(0)
        except LedgerUnwritable as error:
            self.submitter.unwritten = self.submitter.unwritten or error

    async def _again(self, plan: TradePlan, entry: Intent) -> EntryResult | Refused:
        """A plan that was carried out before: nothing is opened; its position is covered still, or flat and swept."""
        note = self.ledger.last_note(entry.client_id)
        if note is not None and note.status == "refused":
            return Refused("entry_rejected", f"The exchange refused this entry before: {note.note}")
        if note is not None and note.status == "absent":
            return Refused("entry_absent", "This entry never reached the exchange; it is not sent again.")
        if self.plan_of(plan.symbol) != plan:
            return self._entered(
                plan, entry, None, fresh=False, closed=exit_reason(self.ledger, plan.symbol, plan.plan_id)
            )
        async with leaving().shielded():
            ended = await ProtectionLoop(self.attempts, plan, must_look=True).run()
            return await self._finished(plan, entry, ended, fresh=False)

    def _entered(
        self, plan: TradePlan, entry: Intent, cover: Cover | None, *, fresh: bool, closed: str | None
    ) -> EntryResult:
        done = entered(self.context, plan, entry, cover, fresh=fresh, closed=closed)
        if done.quantity and not self.notifications.has(plan, "entered"):
            self.notifications.note(plan, "entered")
        if done.quantity and fresh and closed is not None:
            self.notifications.note(plan, "ended")
        return done

    def held_back(self, symbol: str, code: str, detail: str) -> None:
        """Entries of a symbol held back for what was found there; said once."""
        with suppress(LedgerUnwritable):
            for sentence in hold_back(self.ledger, symbol, code, detail, self.exchange.server_now_ms()):
                self.say(sentence)

    # --- keeping ---

    async def keep_covered(self, plan: TradePlan) -> tuple[Cover | None, str | None]:
        """See that our position is covered, or closed: (what covers it, why it was closed).

        Goes on while the exchange is away. Raises `ExchangeUnavailable` where that could not be found out.
        """
        async with leaving().shielded():
            ended = await ProtectionLoop(self.attempts, plan, must_look=True).run()
            await self.tidy(plan, ended)
        if ended.how == "unknown" and ended.cover is None:
            raise ExchangeUnavailable(f"The exchange does not show the position of {plan.symbol} clearly.")
        return ended.cover if ended.view.expected else None, ended.closed

    async def cover_if_bare(self, view: View) -> None:
        """See that what a view found open is covered, or closed, where no stop is known to rest for all of it."""
        plan = self.plan_of(view.symbol)
        if plan is not None and view.expected and not self.context.cover(plan, abs(view.expected)).full:
            await self.keep_covered(plan)

    # --- leaving ---

    async def close(
        self,
        symbol: str,
        reason: str,
        share: Decimal | None = None,
        *,
        quantity: Decimal | None = None,
        most_s: float | None = None,
    ) -> Decimal:
        """Close our position, a share of it or a quantity, with reduce-only orders; the quantity that was closed.

        After `most_s` seconds it is given up for this time: for a caller that comes again. Raises `ExchangeRejected` or
        `ExchangeUnavailable` if it does not go; the stops stay where they are then.
        """
        view = await self._clear_view(symbol)
        plan = self.plan_of(symbol)
        began = abs(view.expected)
        moving = view.unknown_orders or self.reconciler.waiting_entry(symbol) is not None
        if plan is None or (not began and not moving):
            if not began and not moving:
                await self.sweep(symbol)
            return Decimal(0)
        if share is not None:
            quantity = self.exchange.symbol_rules(symbol).quantity_down(began * share)
        goal = Decimal(0) if quantity is None else max(Decimal(0), began - quantity)
        if began <= goal and began:
            return Decimal(0)
        async with leaving().shielded():
            ended = await ProtectionLoop(self.attempts, plan, goal=goal, reason=reason, most_s=most_s).run()
            await self.tidy(plan, ended)
        left = abs(ended.view.expected)
        if left > goal and ended.how == "dust":
            self.say(_dust(symbol, left - goal, ended))
        elif left > goal or ended.how in {"unknown", "unprotected"}:
            standing = await self.standing(symbol) if most_s is None else last_known(self.ledger, symbol)
            self._not_closed(symbol, ended, standing)
        return max(began - left, Decimal(0)) if began else self._exited(plan)

    async def _clear_view(self, symbol: str) -> View:
        """One look before a close; what is known to be there is not kept waiting for all of it."""
        known = self.reconciler.view(symbol).expected or self.reconciler.waiting_entry(symbol) is not None
        most_s = self.exchange.clock.loop_s(self.submitter.budget_s) if known else None
        with suppress(ExchangeUnavailable, ExchangeRejected, ConfigurationError, TimeoutError):
            async with asyncio.timeout(most_s):
                return await self.view(symbol)
        return self.reconciler.view(symbol)

    def _exited(self, plan: TradePlan) -> Decimal:
        exits = (i.client_id for i in self.submitter.intents_of(plan.plan_id) if i.purpose == "exit")
        return sum((filled_quantity(self.ledger, client_id) for client_id in exits), Decimal(0))

    def _not_closed(self, symbol: str, ended: ProtectionResult, standing: str) -> None:
        if ended.refused is not None:
            raise ExchangeRejected(
                f"The exchange refused to close {symbol}: {ended.refused.sentence} {standing}", code=ended.refused.code
            )
        raise ExchangeUnavailable(
            f"It is not known what became of the exit of {symbol}. {standing}", hint="Run `trader flatten` again."
        )

    async def sweep(self, symbol: str) -> int:
        """With our position flat, take every stop of ours away; how many went."""
        return sum(await asyncio.gather(*(self.protector.remove(stop) for stop in self.submitter.every_stop(symbol))))

    def exits(self, decision_id: str) -> list[Intent]:
        """Exits of a decision in the order they were begun."""
        return [i for i in self.submitter.intents_of(decision_id) if i.purpose == "exit"]

    async def settle_entries(self, symbol: str) -> None:
        """One look at entries and exits of unknown fate."""
        await self.reconciler.look_at_orders(symbol)

    async def standing(self, symbol: str) -> str:
        """A sentence: what is open and what protects it, from the exchange if it answers, else from the ledger."""
        try:
            view = await self.view(symbol)
        except LedgerUnwritable:
            return acknowledged(self.reconciler.view(symbol))
        except TraderError as error:
            return remembered(self.ledger, symbol, error)
        return standing_of(view, self.ledger)

    def requests(self, plan: TradePlan) -> list[PreparedRequest]:
        """The exact requests an entry sends, without time and signature."""
        stops = [stop_request(intent) for intent in self.protector.intents(plan, plan.quantity)]
        margin = MarginSettings(plan.leverage, isolated=True)
        return self.submitter.broker.preview(plan.symbol, margin, order_request(self._entry(plan)), stops)


def _dust(symbol: str, left: Decimal, ended: ProtectionResult) -> str:
    why = "" if ended.refused is None else f" ({ended.refused.sentence})"
    return f"{symbol}: {left:f} is dust: the exchange has refused an order of it in every form{why}; its stop stays."
