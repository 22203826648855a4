"""One account of a faithful backtest: plans, enters, looks after what is open, and minds its loss limits.

What it decides is decided by the rules that live has: `plan`, what is asked before an entry, `assess`, the limits and
the brake on entries. See `position_keeper` for how positions are covered and left.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.backtest.loss_record import LossRecord
from trader_cli.backtest.position_keeper import ManagedPosition, PositionKeeper
from trader_cli.backtest.records import Records
from trader_cli.core.market.gaps import utc_text
from trader_cli.core.market.timeframes import DAY_MS
from trader_cli.core.money.assets import Dollars, margin_asset_of
from trader_cli.core.money.breaker import HALTING, LATCHING, TOO_MANY, Brake, runaway
from trader_cli.core.money.exits import OpenPosition, assess
from trader_cli.core.money.orders import NotPlaced, OrderRequest
from trader_cli.core.money.plans import Approved, Refused, Request
from trader_cli.core.money.sizing import bracket_of
from trader_cli.core.money.trading_rules import entry_limit, funded, openable
from trader_cli.execution import preflight
from trader_cli.execution.circuit_breaker import brake_of
from trader_cli.tactician.planning import planned, room_for
from trader_cli.tactician.planning_inputs import AccountInputs, Depth, PlanningView
from trader_cli.tactician.position_management import exit_rules

if TYPE_CHECKING:
    from collections.abc import Callable

    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.core.money.exits import Assessment
    from trader_cli.core.money.orders import OrderSide, SymbolRules
    from trader_cli.core.money.plans import Decision, TradePlan
    from trader_cli.core.money.trading_rules import Prices
    from trader_cli.core.types import Analysis, Signal
    from trader_cli.exchange.simulated_exchange import SimulatedExchange
    from trader_cli.settings.room_options import ExecutionOptions, ManagementOptions, PlanningOptions
    from trader_cli.venue.engine.engine import Engine

ZERO = Decimal(0)
UNFILLED = "entry_unfilled"
"""The entry was sent, and nobody filled it: it is not sent again."""


@dataclass(frozen=True)
class AccountOptions:
    """What rules an account: those of planning, of orders and limits, and of open positions."""

    planning: PlanningOptions
    execution: ExecutionOptions
    management: ManagementOptions


class BacktestAccount:
    """The account. `held` are positions as the last look saw them: one that has ended since is told by the next.

    `has_changed`: something has happened to it that no look has seen yet.
    """

    def __init__(self, venue: SimulatedExchange, options: AccountOptions, timeframe: Timeframe) -> None:
        self.venue, self.held, self.records = venue, dict[str, ManagedPosition](), Records()
        self.keeper = PositionKeeper(venue, round(options.execution.orders.protection_deadline * 1000))
        self.halted: str | None = None
        self._options, self._timeframe = options, timeframe
        self.losses = LossRecord(options.execution.limits, venue.engine.account.wallet)
        self._sent, self._folded, self._paid = list[tuple[str, int]](), 0, 0
        self.has_changed = self._has_news = True
        venue.engine.on_change.append(self._note_change)

    def _note_change(self, _engine: Engine) -> None:
        self.has_changed = self._has_news = True

    # --- entering ---

    def decide(self, analysis: Analysis, signal: Signal) -> Decision:
        """The plan of a signal, as things stand now, or why there is none."""
        if self.halted is not None:
            return Refused("halted", f"Trading is halted: {self.halted}.")
        now = self.inputs(analysis.symbol)
        if isinstance(now, Refused):
            return now
        room = room_for(analysis, signal, now, self._options.planning, Request())
        return room if isinstance(room, Refused) else planned(room, self._depth(analysis.symbol))

    def _depth(self, symbol: str) -> Depth:
        book = self.venue.order_book(symbol)
        return Depth(book.ask_quote, book.bid_quote, self.venue.day_quote_volume(symbol))

    def refused_at(self, analysis: Analysis, signal: Signal, now: AccountInputs, at_ms: int) -> Refused | None:
        """Why `decide` will find no room for a signal at a moment ahead, if nothing but prices differs from `now`."""
        prices = preflight.fit_prices(
            analysis.symbol, self.venue.prices_at(analysis.symbol, at_ms), self._options.execution
        )
        if isinstance(prices, Refused):
            return prices
        later = replace(now, now_ms=at_ms, mark=prices.mark)
        room = room_for(analysis, signal, later, self._options.planning, Request())
        return room if isinstance(room, Refused) else None

    def inputs(self, symbol: str) -> AccountInputs | Refused:
        """What a plan is made from now, the market's depth apart; or why none is made."""
        venue = self.venue
        rules, account, prices = venue.rules(symbol), venue.account(), self._prices(symbol)
        if isinstance(prices, Refused):
            return prices
        refused = funded(symbol, rules.margin_asset, account, multi_assets=False)
        if refused is not None:
            return refused
        view = PlanningView(
            now_ms=venue.now_ms,
            rules=rules,
            positions=venue.positions(),
            account=account.of(rules.margin_asset),
            mark=prices.mark,
            brackets=venue.brackets(symbol),
        )
        return view.inputs(self._options.execution.account.fingerprint)

    def _prices(self, symbol: str) -> Prices | Refused:
        return preflight.fit_prices(symbol, self.venue.prices(symbol), self._options.execution)

    def enter(self, approved: Approved) -> Refused | None:
        """Carry out a plan, covered before this returns; or why nothing was opened."""
        made, venue = approved.plan, self.venue
        rules = venue.rules(made.symbol)
        refused = self._refusal(made, rules)
        if refused is not None:
            return refused
        venue.set_isolated(made.symbol, made.leverage)
        self._sent.append((made.symbol, venue.now_ms))
        side: OrderSide = "BUY" if made.sign > 0 else "SELL"
        limit = entry_limit(made, rules, made.price)
        reply = venue.place(OrderRequest(made.client_id("entry"), made.symbol, side, made.quantity, limit, "IOC"))
        if isinstance(reply, NotPlaced):
            return Refused("entry_rejected", reply.sentence)
        if not reply.filled:
            return Refused(UNFILLED, f"Nobody sold or bought at {limit:f} or better.")
        leaving = exit_rules(self._options.management, self._timeframe)
        self.held[made.symbol] = held = ManagedPosition(made, leaving, venue.now_ms, made.stop_price, venue.now_ms)
        self._fold()
        self.keeper.protect(held)
        self._settle()
        return None

    def _refusal(self, made: TradePlan, rules: SymbolRules) -> Refused | None:
        """What live asks before an entry, in its order."""
        now, options = self.venue.now_ms, self._options.execution
        return (
            openable(rules, (), made, now)
            or preflight.check_shape(made, rules)
            or preflight.check_validity(made, now)
            or self._braked(made.symbol, brake_of(options.orders))
            or self._cramped(made, rules)
        )

    def _braked(self, symbol: str, brake: Brake) -> Refused | None:
        self._sent = [(name, at) for name, at in self._sent if at > self.venue.now_ms - DAY_MS]
        broken = runaway(self._sent, symbol, self.venue.now_ms, brake)
        return None if broken is None else Refused(TOO_MANY, broken.sentence)

    def _cramped(self, made: TradePlan, rules: SymbolRules) -> Refused | None:
        """Whether prices, balance or caps have no room for it."""
        venue, options, prices = self.venue, self._options.execution, self._prices(made.symbol)
        if isinstance(prices, Refused):
            return prices
        account = venue.account().of(rules.margin_asset)
        alike = [p for p in venue.positions() if margin_asset_of(p.symbol) == account.asset]
        others = sum((abs(p.amount) * p.mark_price for p in alike), ZERO)
        room = preflight.Room(prices.mark, account.available, account.equity, others, ZERO, account.asset, Dollars({}))
        bracket = bracket_of(venue.brackets(made.symbol), float(made.quantity * made.price))
        return (
            preflight.check_room(made, rules, room, options.costs)
            or preflight.check_caps(made, options.limits, room)
            or preflight.check_leverage(made, bracket)
        )

    def _fold(self) -> None:
        """Take fills and payments since the last time into the positions they belong to."""
        account = self.venue.engine.account
        if (len(account.fills), len(account.income)) == (self._folded, self._paid):
            return
        for fill in account.fills[self._folded :]:
            held, order = self.held[fill.symbol], account.orders[fill.order_id]
            why = self.keeper.reasons.get(order.client_id)
            last = self.venue.engine.markets[fill.symbol].last_price(fill.time_ms)
            held.take(fill, self.records.filled(fill, order, held.plan.plan_id, why, last))
        for income in account.income[self._paid :]:
            if income.symbol in self.held:
                self.held[income.symbol].pay(income)
        self._folded, self._paid = len(account.fills), len(account.income)

    # --- looking ---

    def look(self, assessment_of: Callable[[ManagedPosition], Assessment | None]) -> None:
        """One look at everything that is held: covered, assessed, acted on; then the loss limits."""
        if self.has_changed:
            self.has_changed = False
            for held in self._each():
                self.keeper.protect(held)
        for held in self._each():
            self._manage(held, assessment_of(held))
        broken = self.losses.broken(self.venue.engine)
        if broken is not None:
            self._halt(broken)
            for held in self._each() if self._options.execution.limits.close_on_halt else ():
                self.keeper.protect(held, ZERO, "loss_limit")
        self._forget_flat()
        self._settle()

    def _settle(self) -> None:
        """What has changed by our own doing needs no other look where it left everything in order."""
        if self.has_changed:
            self.has_changed = not all(self.keeper.is_settled(held) for held in self.held.values())

    def _each(self) -> list[ManagedPosition]:
        """What is still open, by symbol."""
        self._forget_flat()
        return [self.held[symbol] for symbol in sorted(self.held)]

    def _forget_flat(self) -> None:
        """What has ended is swept, and held no more."""
        if not self._has_news:
            return
        self._has_news = False
        self._fold()
        for symbol in sorted(self.held):
            self._fold()  # sweeping the one before may have taken time
            if self.venue.engine.account.position(symbol).amount == 0:
                held = self.held.pop(symbol)
                self.records.traded(held, held.fills[-1].time_ms)
                if held.last_reason in HALTING:
                    self._halt(f"{symbol}: {LATCHING[held.last_reason]}")
                self.keeper.sweep(symbol)

    def _halt(self, why: str) -> None:
        """Nothing more is opened, as in live until a person has looked."""
        self.halted = self.halted or f"{utc_text(self.venue.now_ms)}: {why}"

    def end(self) -> None:
        """Write down what is still open, and everything that was sent."""
        for held in self._each():
            self.records.traded(held, None)
        self.records.ordered(self.venue.engine.account)

    def _manage(self, held: ManagedPosition, assessment: Assessment | None) -> None:
        mark, now = self.venue.engine.mark(held.plan.symbol), self.venue.now_ms
        before = held.entry_price if held.best_price is None else held.best_price
        held.best_price = max(before, mark) if held.plan.sign > 0 else min(before, mark)
        action = assess(open_position(held, held.best_price), mark, assessment, held.rules, now)
        if action.price is not None:
            self.keeper.tighten(held, action.price)
        elif action.share is not None:
            self.keeper.scale_down(held, action.share, action.reason)
            held.last_act_ms, held.scaled_down = now, True
        elif action.kind in {"close", "take_profit"}:
            self.keeper.protect(held, ZERO, action.reason)


def open_position(held: ManagedPosition, best_price: Decimal) -> OpenPosition:
    made = held.plan
    return OpenPosition(
        side=made.side,
        quantity=abs(held.amount),
        entry_price=held.entry_price,
        first_stop=made.stop_price,
        stop_price=held.stop_price,
        take_profit_price=made.take_profit_price,
        best_price=best_price,
        exit_by_ms=made.exit_by_ms,
        opened_ms=held.opened_ms,
        last_act_ms=held.last_act_ms,
        scaled_down=held.scaled_down,
    )
