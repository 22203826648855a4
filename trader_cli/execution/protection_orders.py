"""The sends of one guard: its steps as journalled intents, each tried as often as it takes, and what came of each.

What to send is decided elsewhere (`core.money.protection_step`); nothing here waits for an answer.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.core.errors import ConfigurationError, ExchangeRejected, ExchangeUnavailable
from trader_cli.core.identity import ids
from trader_cli.core.money.exit_forms import (
    LOT_CODES,
    NOTHING_TO_REDUCE,
    PRICE_CODES,
    Form,
    RefusedForms,
    exit_forms,
    next_form,
)
from trader_cli.core.money.orders import NotPlaced
from trader_cli.core.money.protection_step import Attempts
from trader_cli.storage.ledger import LedgerUnwritable
from trader_cli.storage.ledger_rows import Intent

if TYPE_CHECKING:
    from trader_cli.core.identity.ids import Purpose
    from trader_cli.core.money.orders import OrderState, StopState, SymbolRules
    from trader_cli.core.money.plans import TradePlan
    from trader_cli.core.money.protection_step import ProtectionState, Step
    from trader_cli.execution.execution_context import ExecutionContext
    from trader_cli.execution.protection import Cover

    Sent = OrderState | StopState | NotPlaced | None
    """What came of a send: what the exchange has, its no, or nothing that is known."""

_TIDY_MS = 2000
"""Between two attempts to cancel what is left over: it protects nothing and harms nobody for a while."""
_NOTHING_OPEN = frozenset({-4509, *NOTHING_TO_REDUCE})
"""Refusals that are a sign, though no proof, that nothing was open when they were given. −4509: a position first."""
_FORM_CODES = LOT_CODES | PRICE_CODES
_MOST_AT_ONCE = 12
"""So many forms of an exit are tried one right after the other; then they come as rarely as any other exit."""
ZERO = Decimal(0)
KINDS = ("backstop", "stop", "take_profit", "exit")


@dataclass
class SendAttempts:
    """What was tried of one kind of step: how often, when last, its send while under way, the last refusal."""

    count: int = 0
    last_ms: int = 0
    task: asyncio.Task[Sent] | None = None
    refused: NotPlaced | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether its reply is still waited for."""
        return self.task is not None and not self.task.done()


class ProtectionOrders:
    """Sends for one plan. `sign_ms` is when a refusal last said that nothing was open.

    `is_dust`: the exchange has refused every form an exit of what is left can have. `has_reduced`: an exit was taken
    whose effect on the position was not asked for yet.
    """

    def __init__(self, context: ExecutionContext, plan: TradePlan) -> None:
        self._context, self._plan = context, plan
        self._tried: dict[str, SendAttempts] = {}
        self._heard, self._form, self._forms, self._at_once = RefusedForms(), Form(ZERO), tuple[Form, ...](), 0
        self.must_drop_targets = False
        self.sign_ms = 0
        self.exit_refused_ms: int | None = None
        self.is_dust = self.has_reduced = False

    def tried(self, kind: str) -> SendAttempts:
        """What was tried of a kind."""
        return self._tried.setdefault(kind, SendAttempts())

    def tries(self) -> dict[str, Attempts]:
        """The same for the decision, with how many of each kind are of unknown fate."""
        submitter, found = self._context.submitter, {}
        waiting = [i.purpose for i in submitter.unsettled(self._plan.symbol) if submitter.is_waiting(i)]
        for kind in KINDS:
            tried = self.tried(kind)
            found[kind] = Attempts(tried.count, tried.last_ms, tried.is_waiting, waiting.count(kind))  # type: ignore[arg-type]
        return found

    def under_way(self) -> list[asyncio.Task[Sent]]:
        """Sends whose replies are waited for."""
        return [t.task for t in self._tried.values() if t.task is not None and not t.task.done()]

    def are_young(self, age_ms: int) -> bool:
        """Whether replies are waited for, and none of them for long yet."""
        sent = [tried.last_ms for tried in self._tried.values() if tried.is_waiting]
        return bool(sent) and self._context.now_ms() - min(sent) < age_ms

    def has_left(self) -> bool:
        """Whether anything of the position has been closed by our exits."""
        ledger = self._context.submitter.ledger
        exits = (i for i in self._context.submitter.intents_of(self._plan.plan_id) if i.purpose == "exit")
        return any(ledger.filled(intent.client_id) > 0 for intent in exits)

    def has_news(self) -> bool:
        """Whether a reply has come that was not taken up."""
        return any(t.task is not None and t.task.done() for t in self._tried.values())

    def cancel(self) -> None:
        """This process is cut short."""
        for task in self.under_way():
            task.cancel()

    # --- sending ---

    def entry(self, entry: Intent) -> None:
        """The entry itself, journalled before this returns. Raises `LedgerUnwritable`; then it was not sent."""
        self._context.sent_here.add(self._plan.plan_id)
        self._tried["entry"] = SendAttempts(1, self._context.now_ms(), self._context.submitter.begin(entry))

    def begin(self, step: Step, standing: ProtectionState, reason: str) -> None:
        """Carry out one step; `reason` is why an exit leaves."""
        if step.kind.startswith(("drop", "fit")):
            self._tidy_up(step.kind, self._context.cover(self._plan, standing.held))
            return
        intent = self._exit(step, reason) if step.kind == "exit" else self._stop(step, standing)
        tried = self.tried(step.kind)
        tried.count, tried.last_ms = tried.count + 1, self._context.now_ms()
        tried.task = asyncio.ensure_future(self._context.submitter.deliver(intent))

    def _stop(self, step: Step, standing: ProtectionState) -> Intent:
        protector, plan = self._context.protector, self._plan
        if step.kind == "stop":
            level = protector.tightest(plan, self._context.cover(plan, standing.held))
            return protector.next_intent(plan, "stop", level, step.quantity)
        purpose: Purpose = "take_profit" if step.kind == "take_profit" else "backstop"
        return protector.next_intent(plan, purpose, protector.level(plan, purpose), step.quantity)

    def _exit(self, step: Step, reason: str) -> Intent:
        """The next exit, in the nearest form that was not refused; a whole one may ask for more than is open."""
        submitter, plan = self._context.submitter, self._plan
        self._form = self._next_form(step)
        number = sum(i.purpose == "exit" for i in submitter.intents_of(plan.plan_id))
        intent = Intent(
            ids.client_id(plan.plan_id, "exit", number),
            plan.plan_id,
            plan.symbol,
            "exit",
            "SELL" if plan.sign > 0 else "BUY",
            self._form.quantity,
            submitter.now_ms(),
            reduce_only=True,
            price=self._form.price,
        )
        try:
            submitter.ledger.assess(
                plan.symbol, "exit", {"reason": reason, "client_id": intent.client_id}, intent.at_ms
            )
        except LedgerUnwritable as error:
            submitter.unwritten = submitter.unwritten or error
        return intent

    def _next_form(self, step: Step) -> Form:
        """The next form; after all were refused the first one again: what reduces is always sent."""
        position, plan = self._context.reconciler.snapshot(self._plan.symbol).position, self._plan
        mark = plan.price if position is None else position.mark_price
        self._forms = exit_forms(
            self._rules(), step.quantity, plan.sign, mark, whole=step.whole, downward=self._heard.downward
        )
        form = next_form(self._forms, self._heard)
        if form is None:
            self._heard = RefusedForms()
        return form or self._forms[0]

    def _rules(self) -> SymbolRules | None:
        """The exchange's rules; `None` where they are not known or cannot be read: no exit waits for them."""
        with suppress(ExchangeUnavailable):
            return self._context.exchange.rules_or_none(self._plan.symbol)
        return None

    def _tidy_up(self, kind: str, cover: Cover) -> None:
        """Take away, or cut to size, what is in the way; one at a time, and not again at once."""
        tried, now = self.tried(kind), self._context.now_ms()
        if tried.is_waiting or (tried.count and now < tried.last_ms + _TIDY_MS):
            return
        tried.count, tried.last_ms = tried.count + 1, now
        tried.task = asyncio.ensure_future(self._tidied(kind, cover))

    async def _tidied(self, kind: str, cover: Cover) -> None:
        protector = self._context.protector
        if kind == "fit_stops":
            await protector.fitted(self._plan, "stop", cover)
        elif kind == "fit_targets":
            await protector.fitted(self._plan, "take_profit", cover)
        else:
            for stop in cover.take_profits if kind == "drop_targets" else (cover.backstop,):
                if stop is not None:
                    await protector.remove(stop)

    # --- hearing ---

    def take_up(self) -> list[tuple[str, NotPlaced]]:
        """Refusals that have come since the last time, by kind. Raises `OwnershipLost`."""
        refusals = []
        for kind, tried in self._tried.items():
            if tried.task is None or not tried.task.done():
                continue
            result, tried.task = _result(tried.task), None
            tried.refused = result if isinstance(result, NotPlaced) else None
            if tried.refused is not None:
                self._heard_no(kind, tried, tried.refused.code)
                refusals.append((kind, tried.refused))
            elif kind == "exit" and result is not None:
                self.has_reduced = True
        return refusals

    def _heard_no(self, kind: str, tried: SendAttempts, code: int) -> None:
        if code in _NOTHING_OPEN:
            self.sign_ms = tried.last_ms
        if kind == "exit":
            self.exit_refused_ms = self.exit_refused_ms or self._context.now_ms()
            self.must_drop_targets = self.must_drop_targets or code in NOTHING_TO_REDUCE
            self._heard = self._heard.after(self._form, code)
            if code in _FORM_CODES:
                self._heard_form_refused(tried)

    def _heard_form_refused(self, tried: SendAttempts) -> None:
        """Another form need not wait, for a while; where none is left it is dust, if the rules are known."""
        if next_form(self._forms, self._heard) is None:
            self.is_dust = self._rules() is not None
            self._at_once = _MOST_AT_ONCE
        elif self._at_once < _MOST_AT_ONCE:
            self._at_once += 1
            tried.count = 1


def _result(task: asyncio.Task[Sent]) -> Sent:
    """What a send came to; whatever else went wrong is found out by the next look. `OwnershipLost` is passed on."""
    try:
        return task.result()
    except (ExchangeUnavailable, ExchangeRejected, ConfigurationError):
        return None
