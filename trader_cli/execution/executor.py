"""The executor: carries out approved plans and the monitor's actions. The only way to the exchange that moves money.

From the first fill to flat a stop rests at the exchange. Where that cannot be had within the deadline, the position is
closed at market. Killed anywhere and started again, it finds out what became of what was sent before it sends anything.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from trader_cli.core.errors import (
    ConfigurationError,
    DataError,
    ExchangeRejected,
    ExchangeUnavailable,
    TraderError,
)
from trader_cli.core.orders import NotPlaced, OrderRequest, OrderState, StopState
from trader_cli.core.plans import Approved, Refused, TradePlan
from trader_cli.exchange.private import order_parameters, stop_parameters
from trader_cli.execution import preflight
from trader_cli.execution.closing import Closer
from trader_cli.execution.courier import ABSENT, Courier, stop_request
from trader_cli.execution.coverage import Coverage, remembered, shown
from trader_cli.execution.protection import PATIENCE_S, Protector, cover_of
from trader_cli.execution.reconcile import Reconciler
from trader_cli.storage.ledger import LedgerUnwritable
from trader_cli.storage.ledger_rows import Intent

if TYPE_CHECKING:
    from trader_cli.core.orders import OrderSide, PositionState
    from trader_cli.exchange.binance import BinanceExchange
    from trader_cli.execution.protection import Cover
    from trader_cli.execution.reconcile import View
    from trader_cli.settings import Settings
    from trader_cli.storage.ledger import Ledger

_LOOK_S = 0.25
_LOOKS_AT_AN_OPEN_ORDER = 20
_TRADES_MS = 10_000
_BLIND_MS = 2000


@dataclass(frozen=True)
class Entered:
    """What an entry came to. `fresh` is False where the same plan had been carried out before and nothing was sent."""

    plan: TradePlan
    order: OrderState | None
    quantity: Decimal
    average_price: Decimal
    cover: Cover | None
    uncovered_ms: int
    fresh: bool
    closed: str | None = None


class Executor:
    """One account's executor, over a connected exchange and an open ledger."""

    def __init__(self, exchange: BinanceExchange, ledger: Ledger, settings: Settings) -> None:
        self.settings = settings
        self.exchange = exchange
        self.ledger = ledger
        self.courier = Courier(exchange.private, ledger, exchange.clock, exchange.server_now_ms, exchange.symbol_rules)
        self.protector = Protector(self.courier)
        self.reconciler = Reconciler(self.courier)
        self.coverage = Coverage(ledger, exchange.server_now_ms)
        self.closer = Closer(
            exchange, self.courier, self.protector, settings.execution.persistence, self.view, self.standing
        )

    async def guard(self, plan: TradePlan, position: PositionState | None) -> None:
        """Protect what is known to be ours and surely bare, before anything else is asked."""
        ours = self.ledger.holding(plan.symbol).amount
        shown = position.amount if position else Decimal(0)
        held = min(ours, shown, key=abs) if ours * shown > 0 else Decimal(0)
        if held == 0:
            return
        with suppress(ExchangeUnavailable, ExchangeRejected, ConfigurationError):  # what follows finds out and says so
            try:
                stops = await self.exchange.private.open_stops(plan.symbol)
            except (ExchangeUnavailable, ExchangeRejected):
                await self._blind_backstop(plan, abs(held))
                raise
            if not cover_of(plan.side, stops, abs(held)).full:
                await self.protector.protect(plan, stops, abs(held))

    async def _blind_backstop(self, plan: TradePlan, quantity: Decimal) -> None:
        """What rests cannot be asked: a backstop is sent all the same. The exchange refuses a second one (−4130)."""
        sent = [i for i in self.ledger.intents_of(plan.plan_id) if i.purpose == "backstop"]
        notes = [note.at_ms for i in sent if (note := self.ledger.last_note(i.client_id)) is not None]
        if self.exchange.server_now_ms() - max(notes, default=0) > _BLIND_MS:
            await self.protector.backstop(plan, quantity)

    async def view(self, symbol: str) -> View:
        """One symbol, reconciled."""
        return await self.reconciler.reconcile(symbol, (await self.reconciler.positions()).get(symbol))

    def plan_of(self, symbol: str) -> TradePlan | None:
        """The plan of the last entry that filled on a symbol."""
        entries = self.ledger.entries(symbol)
        body = self.ledger.decision(entries[-1]) if entries else None
        return None if body is None else TradePlan.from_dict({k: v for k, v in body.items() if k != "plan_id"})

    def exit_reason(self, symbol: str) -> str:
        """Why our last position on a symbol ended, by what closed it."""
        entries = self.ledger.entries(symbol)
        last = [f for f in self.ledger.fills(decision_id=entries[-1]) if f.purpose != "entry"] if entries else []
        if not last:
            return "unknown"
        if last[-1].purpose != "exit":
            return last[-1].purpose
        told = self.ledger.assessments(symbol, 0, ("exit",))
        return next((str(b["reason"]) for _, b, _ in reversed(told) if b["client_id"] == last[-1].client_id), "exit")

    # --- entering ---

    async def check(self, plan: TradePlan, symbol: str, *, live: bool = False) -> Refused | None:
        """Preflight: every reason not to enter this plan now. Sets leverage and margin mode last."""
        refused = (
            preflight.check_unchanged(plan, self.ledger)
            or preflight.check_shape(plan, self.exchange.symbol_rules(plan.symbol))
            or preflight.check_live(self.settings, plan, live=live)
            or preflight.check_plan(self.settings, plan, self.ledger, symbol, self.exchange.server_now_ms())
        )
        if refused is not None:
            return refused
        await preflight.check_account(self.exchange, self.settings)
        view = await self.view(symbol)
        orders = await self.exchange.private.open_orders(symbol)
        foreign = sum(self.ledger.intent(order.client_id) is None for order in orders)
        refused = preflight.check_foreign(view, foreign)
        if refused is not None:
            return refused
        premium = await self.exchange.get_premium_index(symbol)
        age_ms = self.exchange.server_now_ms() - int(premium["timestamp"])
        if age_ms > preflight.MARK_AGE_MS:
            return Refused("stale_price", f"The mark price of {symbol} is {age_ms / 1000:.0f} s old.")
        account, positions = await self.exchange.private.account(), await self.exchange.private.positions()
        others = sum((abs(p.amount) * p.mark_price for p in positions if p.symbol != symbol), Decimal(0))
        room = preflight.Room(Decimal(str(premium["mark_price"])), account.available, account.equity, others)
        return preflight.check_room(plan, self.exchange, room) or preflight.check_caps(plan, self.settings, room)

    async def enter(self, approved: Approved, *, live: bool = False, recorded: bool = False) -> Entered | Refused:
        """Carry out an approved plan, once: the second time finds what the first one did.

        `recorded` takes only a plan that tactics wrote into this ledger.

        Raises `ExchangeRejected` if the exchange refuses the order, `ExchangeUnavailable` or `DataError` with a
        sentence that says what is open and what protects it.
        """
        plan = approved.plan
        changed = preflight.check_unchanged(plan, self.ledger)
        if changed is not None:
            return changed
        entry = self._entry(plan)
        if self.ledger.status(entry.client_id) in {None, "absent"}:
            refused = await self.check(plan, plan.symbol, live=live) or await preflight.set_leverage(
                plan, self.exchange
            )
            if refused is None and recorded and self.ledger.decision(plan.plan_id) is None:
                refused = Refused("plan_unrecorded", "Tactics never made this plan on this ledger: `trader tactics`.")
            if refused is not None:
                return refused
            self._write_down(plan, entry)
        elif self.courier.is_settled(entry):
            return await self._again(plan, entry)
        return await self._carry_out(plan, entry)

    def _entry(self, plan: TradePlan) -> Intent:
        side: OrderSide = "BUY" if plan.side == "long" else "SELL"
        client_id = plan.client_id("entry")
        return self.ledger.intent(client_id) or Intent(
            client_id, plan.plan_id, plan.symbol, "entry", side, plan.quantity, self.exchange.server_now_ms()
        )

    def _write_down(self, plan: TradePlan, entry: Intent) -> None:
        """The decision, its entry and its stops, in one stroke: so that protecting needs no further line."""
        try:
            with self.ledger.together():
                self.ledger.decide(
                    plan.plan_id, plan.symbol, plan.decision_ms, "plan", plan.as_dict(), self.exchange.server_now_ms()
                )
                for intent in (entry, *self.protector.intents(plan, plan.quantity), self.closer.reserve(plan)):
                    self.ledger.intend(intent)
        except LedgerUnwritable as error:
            raise DataError(f"{error.sentence} Nothing was sent.", mend=error.mend) from error

    async def _carry_out(self, plan: TradePlan, entry: Intent) -> Entered | Refused:
        try:
            state = await self._filled(plan, entry)
        except LedgerUnwritable as error:
            raise DataError(f"{error.sentence} Nothing was sent.", mend=error.mend) from error
        if state is ABSENT:
            return Refused("entry_absent", "The entry never reached the exchange; nothing was opened.")
        if isinstance(state, NotPlaced):
            raise ExchangeRejected(
                f"The exchange did not take the entry: {state.sentence}", code=state.code, mend="Nothing is open."
            )
        return await self._protected(plan, entry, state)

    async def _filled(self, plan: TradePlan, entry: Intent) -> OrderState | NotPlaced:
        """The entry at the exchange once nothing more can fill; what still rests after a while is cancelled."""
        patience = self.settings.execution.persistence
        resend = self.exchange.server_now_ms() < plan.expires_ms
        state = await self.courier.deliver(entry, patience_s=patience, resend=resend)
        for look in range(_LOOKS_AT_AN_OPEN_ORDER):
            if not isinstance(state, OrderState) or not state.is_open or state.filled > 0:
                break
            if look == _LOOKS_AT_AN_OPEN_ORDER - 1:
                await self.exchange.private.cancel_order(plan.symbol, entry.client_id)
            await self.exchange.clock.sleep(_LOOK_S)
            state = await self.courier.settle(entry, patience)
        assert not isinstance(state, StopState)
        return state

    async def _protected(self, plan: TradePlan, entry: Intent, state: OrderState | None) -> Entered:
        """From a filled order to a covered position, or to none. `state` None: it was carried out before."""
        try:
            if state is not None and state.filled > 0 and self.ledger.last_note(plan.client_id("backstop")) is None:
                await self._cover_at_once(plan, state.filled)
            cover, closed = await self.cover(plan)
            await self._booked(plan.symbol)
        except (ExchangeUnavailable, ExchangeRejected, ConfigurationError) as error:
            raise type(error)(
                f"{error.sentence} {await self.standing(plan.symbol)}",
                mend="Run `trader monitor` as soon as the exchange answers: it protects first.",
            ) from error
        except LedgerUnwritable as error:
            self.courier.unwritten = error
            cover = closed = None
        unwritten = self.courier.unwritten
        if unwritten is not None:
            raise DataError(f"{unwritten.sentence} {await self.standing(plan.symbol)}", mend=unwritten.mend)
        return self._entered(plan, entry, state, cover, fresh=state is not None, closed=closed)

    async def _booked(self, symbol: str) -> None:
        """Wait a while for the trades of what has filled; protection stands, and the next look books them too."""
        until = self.exchange.server_now_ms() + _TRADES_MS
        while (await self.view(symbol)).unbooked and self.exchange.server_now_ms() < until:
            await self.exchange.clock.sleep(_LOOK_S)

    async def _cover_at_once(self, plan: TradePlan, quantity: Decimal) -> None:
        """The first, quickest try: nothing is asked before the backstop is sent."""
        with suppress(
            ExchangeUnavailable, ExchangeRejected, ConfigurationError
        ):  # `cover` goes on from what the exchange shows
            await self.protector.protect(plan, [], quantity)

    async def cover(self, plan: TradePlan) -> tuple[Cover | None, str | None]:
        """See that our position is covered, or closed; (what covers it, why it was closed).

        Keeps trying while the exchange is away, as long as the settings say. Raises `ExchangeUnavailable` after that.
        """
        began = self.exchange.server_now_ms()
        failure: TraderError = ExchangeUnavailable(f"The exchange does not show the position of {plan.symbol} clearly.")
        while self.exchange.server_now_ms() - began <= self.settings.execution.persistence * 1000:
            try:
                done = await self.keep_covered(plan, await self.view(plan.symbol))
                if done is not None:
                    return done
            except LedgerUnwritable:
                raise
            except (ExchangeUnavailable, ExchangeRejected, ConfigurationError) as error:
                failure = error  # whatever it is: an open position is not given up for it
            await self.exchange.clock.sleep(_LOOK_S)
        raise failure

    async def keep_covered(self, plan: TradePlan, view: View) -> tuple[Cover | None, str | None] | None:
        """One try to cover a position as just seen; (cover, why it was closed), or `None` if it needs another try."""
        if view.is_flat:
            await self.sweep(plan.symbol)
            return None, None
        if view.held == 0 or view.position is None:
            return None  # it is not shown, and nothing explains why: what rests stays, and it is asked again
        cover, patience = cover_of(plan.side, view.stops, abs(view.held)), PATIENCE_S
        if not cover.full:
            since, limit = self.coverage.lost(plan), self.settings.execution.protection_deadline
            left_s = limit - (self.exchange.server_now_ms() - since) / 1000
            if left_s < 0 or (view.position.mark_price - plan.backstop_price) * plan.sign <= 0:
                await self.close(plan.symbol, "unprotected")
                return None, "unprotected"
            patience = min(patience, left_s / 2)  # a backstop and a stop are tried before it is too late
        cover = await self.protector.protect(plan, view.stops, abs(view.held), patience_s=patience)
        if not cover.full:
            return None
        self.coverage.regained(plan)
        return cover, None

    async def _again(self, plan: TradePlan, entry: Intent) -> Entered | Refused:
        """A plan that was carried out before: nothing is opened; its position is covered still, or flat and swept."""
        note = self.ledger.last_note(entry.client_id)
        if note is not None and note.status == "refused":
            return Refused("entry_rejected", f"The exchange refused this entry before: {note.note}")
        view = await self.view(plan.symbol)
        if not view.is_flat and self.plan_of(plan.symbol) == plan:
            return await self._protected(plan, entry, None)
        if view.is_flat and not view.unknown_orders:
            await self.sweep(plan.symbol)
        return self._entered(plan, entry, None, None, fresh=False, closed=None)

    def _entered(
        self, plan: TradePlan, entry: Intent, order: OrderState | None, cover: Cover | None, *, fresh: bool,
        closed: str | None,
    ) -> Entered:  # fmt: skip
        fills = self.ledger.fills(client_id=entry.client_id)
        quantity = sum((f.quantity for f in fills), Decimal(0))
        cost = sum((f.quantity * f.price for f in fills), Decimal(0))
        average = cost / quantity if quantity else Decimal(0)
        return Entered(plan, order, quantity, average, cover, self.coverage.missing_ms(plan), fresh, closed)

    # --- leaving: see `closing` ---

    async def close(
        self, symbol: str, reason: str, share: Decimal | None = None, *, quantity: Decimal | None = None
    ) -> Decimal:
        """Close our position, a share of it or a quantity; the quantity closed."""
        return await self.closer.close(symbol, reason, share, quantity=quantity)

    async def sweep(self, symbol: str) -> int:
        """With our position flat, take every stop of ours away; how many there were."""
        return await self.closer.sweep(symbol)

    def exits(self, decision_id: str) -> list[Intent]:
        """Exits of a decision in the order they were begun."""
        return self.closer.exits(decision_id)

    async def settle_entries(self, symbol: str) -> None:
        """Wait until it is known what became of entries that are under way."""
        for intent in self.ledger.unsettled(symbol):
            if intent.purpose == "entry" and self.ledger.last_note(intent.client_id) is not None:
                await self.courier.settle(intent, self.settings.execution.persistence)

    async def standing(self, symbol: str) -> str:
        """A sentence: what is open and what protects it, from the exchange if it answers, else from the ledger."""
        try:
            try:
                view = await self.view(symbol)
            except LedgerUnwritable:
                view = await self.reconciler.glimpse(symbol)
        except TraderError:
            return remembered(self.ledger, symbol)
        if view.is_flat:
            return f"{symbol}: no position of ours is open."
        return shown(view, cover_of("long" if view.held > 0 else "short", view.stops, abs(view.held)))

    def requests(self, plan: TradePlan) -> list[dict[str, Any]]:
        """The exact requests an entry sends, without time and signature."""
        entry = self._entry(plan)
        order = OrderRequest(entry.client_id, plan.symbol, entry.side, plan.quantity)
        stops = [stop_request(intent) for intent in self.protector.intents(plan, plan.quantity)]
        sent: list[tuple[str, dict[str, Any]]] = [
            ("/fapi/v1/marginType", {"symbol": plan.symbol, "marginType": "ISOLATED"}),
            ("/fapi/v1/leverage", {"symbol": plan.symbol, "leverage": plan.leverage}),
            ("/fapi/v1/order", order_parameters(order)),
            *(("/fapi/v1/algoOrder", stop_parameters(stop)) for stop in stops),
        ]
        return [{"method": "POST", "path": path, "parameters": parameters} for path, parameters in sent]
