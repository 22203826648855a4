"""`PositionMonitor`: care of open positions. Every ten seconds: reconcile, check protection, price rules, opinion."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import contextmanager, suppress
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from trader_cli.core.errors import (
    ConfigurationError,
    DataError,
    ExchangeRejected,
    ExchangeUnavailable,
    OwnershipLost,
    TraderError,
    UsageError,
)
from trader_cli.core.exits import Action, ExitRules, Held, Opinion, assess
from trader_cli.core.limits import LossLimits, breach
from trader_cli.core.timeframes import Timeframe
from trader_cli.execution.accounts import connected_exchange
from trader_cli.execution.executor import Executor, guarded_together
from trader_cli.execution.guarding import Guard
from trader_cli.settings import as_settings
from trader_cli.storage.asked import acknowledge, asked_of, forget_asked, symbols_asked
from trader_cli.storage.ledger import Ledger, LedgerUnwritable
from trader_cli.storage.markets import ledger_path
from trader_cli.tactician.opinions import last_look, last_opinion, opinion_of
from trader_cli.tactician.reports import Report, alarms, unheard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from trader_cli.core.orders import PositionState
    from trader_cli.core.plans import TradePlan
    from trader_cli.core.ports import Assessor
    from trader_cli.exchange.binance import BinanceExchange
    from trader_cli.execution.guarding import Ended
    from trader_cli.execution.protection import Cover
    from trader_cli.execution.reconcile import View
    from trader_cli.settings import Settings

_SETTLE_MS = 500
_RETRY_S = 1.0
_LOOK_S = 6.0
"""How long one look may try to cover what is bare before the others get their turn; the next look goes on."""


class PositionMonitor:
    """Watches our positions until none is left. `config` is a `Settings` or a dict of the guide's keys.

    `exchange`, `ledger` and `assessor` may be given; without an assessor the last stored opinion decays. What is ours
    is what the ledger and the exchange say; `add_position` only gives a position a name.
    """

    def __init__(
        self,
        config: Settings | Mapping[str, Any] | None = None,
        *,
        exchange: BinanceExchange | None = None,
        ledger: Ledger | None = None,
        assessor: Assessor | None = None,
        report: Callable[[Report], None] = unheard,
    ) -> None:
        self.settings = as_settings(config)
        self._exchange = exchange
        self._owns_exchange = exchange is None
        self._ledger = ledger
        self._assessor = assessor
        self._report = report
        self._named: dict[str, dict[str, Any]] = {}
        self._history: dict[str, deque[Report]] = {}
        self._caring: set[str] = set()
        self._executor: Executor | None = None
        self._assessed_ms: dict[str, int] = {}
        self._stopped = False
        self._looked = False
        self._began_ms = 0
        self._troubled = False
        self._foreign: set[str] = set()
        self._unmoved: dict[str, Decimal | None] = {}
        self._bare: set[str] = set()

    async def initialize(self) -> bool:
        """Connect to the exchange, if none was given."""
        if self._exchange is None:
            self._exchange = await connected_exchange(self.settings)
        return True

    async def close(self) -> None:
        """End what `initialize` began."""
        if self._owns_exchange and self._exchange is not None:
            await self._exchange.close()
            self._exchange = None

    # --- the guide's surface ---

    def add_position(self, position_id: str, position: Mapping[str, Any]) -> None:
        """Give a position a name. Whether it exists, the exchange says; one that does not is reported, never made."""
        if "symbol" not in position:
            raise UsageError("A position needs a symbol.")
        self._named[str(position_id)] = {**position, "state": "added"}

    def remove_position(self, position_id: str) -> None:
        """Forget the name. A position that is open stays under care."""
        self._named.pop(str(position_id), None)

    def get_position_status(self, position_id: str) -> dict[str, Any]:
        """What is known of a named position and its last looks; {"state": "unknown"} if nothing is."""
        named = self._named.get(str(position_id))
        if named is None:
            return {"position_id": position_id, "state": "unknown"}
        looks = [vars(report) for report in self._history.get(str(named["symbol"]), ())]
        return {"position_id": position_id, **named, "assessments": looks}

    async def start_monitoring(self, for_s: float | None = None) -> None:
        """Care for our positions until none is left, `stop()` is called, or `for_s` seconds have passed.

        It does not end over a position that it knows to be without cover, unless told to stop. An exchange that is away
        is waited for: nothing is concluded from silence.
        """
        self._stopped = False
        with self._open_ledger() as ledger:
            self._executor = Executor(self._connected(), ledger, self.settings)
            self._began_ms = self._connected().server_now_ms()
            ends_ms = None if for_s is None else self._began_ms + round(for_s * 1000)
            while not self._stopped and await self._attempt():
                now, wait_s = self._connected().server_now_ms(), self.settings.position_monitoring_interval
                if ends_ms is not None and now >= ends_ms and not self._bare:
                    break
                wait_s = _RETRY_S if self._troubled else wait_s
                if ends_ms is not None and not self._bare:
                    wait_s = min(wait_s, (ends_ms - now) / 1000)
                await self._connected().clock.sleep(wait_s)
            await self._executor.end()
            self._executor = None

    def stop(self) -> None:
        """Let `start_monitoring` return after the look under way. Stops stay where they rest."""
        self._stopped = True

    # --- the loop ---

    async def _attempt(self) -> bool:
        """One look; whether another is needed. Silence or a refusal of the exchange is a reason to go on.

        Raises `ConfigurationError` where not even the first look was allowed: the key is wrong.
        """
        try:
            more = await self.step()
        except (ExchangeUnavailable, ExchangeRejected, ConfigurationError) as error:
            if isinstance(error, ConfigurationError) and not self._looked and self._is_hopeless():
                raise
            for symbol in self._caring or {""}:
                self._wait_out(symbol, error)
            return True
        self._looked = True
        return more

    def _is_hopeless(self) -> bool:
        """Whether a key that has never been accepted is given up: at once where nothing is open, else after a while."""
        executor = self._executor
        held = executor is not None and any(executor.ledger.holding(s).amount for s in executor.ledger.symbols())
        waited = self._connected().server_now_ms() - self._began_ms
        return not held or waited > self.settings.execution.persistence * 1000

    def _wait_out(self, symbol: str, error: TraderError) -> None:
        self._troubled = True
        now = self._connected().server_now_ms()
        self._say(Report(symbol, now, "wait", type(error).__name__, sentence=str(error)))

    async def step(self, executor: Executor | None = None) -> bool:
        """One look at everything of ours; whether anything is still open or unclear.

        What one symbol lacks does not keep the others from care. Raises `LedgerUnwritable` after all were looked at.
        """
        executor = executor or self._executor
        assert executor is not None
        ledger, self._troubled = executor.ledger, False
        self._take_requests(executor)
        symbols = self._ours(executor)
        positions = await self._positions(executor, symbols)
        reason = asked_of(ledger.path, "flatten")
        if reason is not None:
            acknowledge(ledger.path, "flatten")
            await self._close_all(executor, reason, symbols_asked(ledger.path, "flatten"))
        await self._care_for(executor, self._ours(executor))
        if positions is not None:
            await self._mind_losses(executor, positions)
            self._settle_names(positions)
            self._looked = True
        if executor.courier.unwritten is not None:
            unwritten, executor.courier.unwritten = executor.courier.unwritten, None
            raise unwritten
        return bool(self._ours(executor))

    @staticmethod
    def _take_requests(executor: Executor) -> None:
        """Requests of other processes count where they lie; a disk that takes no line is told of later."""
        try:
            executor.ledger.take_requests(executor.exchange.server_now_ms())
        except LedgerUnwritable as error:
            executor.courier.unwritten = executor.courier.unwritten or error

    async def _positions(self, executor: Executor, symbols: list[str]) -> Mapping[str, PositionState] | None:
        """Every position, in one request; `None` where that does not answer: care goes on without it."""
        try:
            return await executor.reconciler.positions()
        except (ExchangeUnavailable, ExchangeRejected, ConfigurationError) as error:
            if isinstance(error, ConfigurationError) and not self._looked and self._is_hopeless():
                raise
            for symbol in symbols or [""]:
                self._wait_out(symbol, error)
            return None

    @staticmethod
    def _ours(executor: Executor) -> list[str]:
        """Symbols with a position of ours, or with orders of ours of which more can come."""
        ledger = executor.ledger
        waiting = {i.symbol for i in ledger.unsettled() if ledger.last_note(i.client_id) is not None}
        held = {symbol for symbol in ledger.symbols() if ledger.holding(symbol).amount != 0}
        return sorted(waiting | held | executor.courier.filled)

    async def _close_all(self, executor: Executor, reason: str, only: frozenset[str] = frozenset()) -> None:
        """Flattening, asked for by another process or by a broken limit; told, and forgotten once it is done."""
        ledger, symbols = executor.ledger, [s for s in self._ours(executor) if not only or s in only]

        async def close(symbol: str) -> bool:
            try:
                closed = await executor.close(symbol, reason)
            except TraderError as error:
                self._wait_out(symbol, error)
                return False
            now = executor.exchange.server_now_ms()
            if closed:
                self._say(Report(symbol, now, "close", reason, quantity=f"{closed:f}"))
            self._say_gone(executor, symbol, now)
            return True

        if all(await asyncio.gather(*(close(symbol) for symbol in symbols))):
            forget_asked(ledger.path, "flatten")

    async def _mind_losses(self, executor: Executor, positions: Mapping[str, PositionState]) -> None:
        """Loss limits: looked at after every position has had its care."""
        if not self.settings.tactician.enable_risk_management or not positions:
            return
        try:
            reason = await self._breach(executor)
        except (ExchangeUnavailable, ExchangeRejected) as error:
            self._wait_out("", error)
            return
        if reason is not None:
            await self._close_all(executor, reason)

    async def _breach(self, executor: Executor) -> str | None:
        """A newly broken loss limit: latched; its reason if positions are to be closed for it."""
        options, ledger = self.settings.tactician, executor.ledger
        if ledger.halted() is not None:
            return None
        account, _ = await executor.courier.looks.ask("account", executor.courier.private.account)
        now = executor.exchange.server_now_ms()
        limits = LossLimits(options.max_daily_loss, options.max_drawdown)
        reason = breach(
            ledger.flows(), account.wallet, account.unrealized_profit, limits, now, since_ms=ledger.cleared_ms()
        )
        if reason is None:
            return None
        ledger.halt(reason, now)
        return reason if options.close_on_halt else None

    async def _care_for(self, executor: Executor, symbols: list[str]) -> None:
        """One look at every symbol: protection of all at once, then what each needs the model and the book for."""
        plans = {symbol: executor.plan_of(symbol) for symbol in symbols}
        guards = {s: Guard(executor.bench, plan, must_look=True, most_s=_LOOK_S) for s, plan in plans.items() if plan}
        ended = dict(zip(guards, await guarded_together(list(guards.values())), strict=True))
        for symbol in symbols:
            found, plan = ended.get(symbol), plans[symbol]
            try:
                if isinstance(found, TraderError):
                    raise found
                if found is None or plan is None:
                    await self._without_plan(executor, symbol)
                else:
                    await self._after_care(executor, plan, found)
            except (LedgerUnwritable, OwnershipLost):
                raise
            except TraderError as error:
                self._wait_out(symbol, error)

    async def _without_plan(self, executor: Executor, symbol: str) -> None:
        """A symbol of ours of which no plan is known: looked at, and said."""
        view = await executor.reconciler.reconcile(symbol)
        for alarm in alarms(view, None, executor.exchange.server_now_ms()):
            self._say(alarm)

    async def _after_care(self, executor: Executor, plan: TradePlan, ended: Ended) -> None:
        """What a look at one symbol comes to: told, written down, and acted on."""
        symbol, now, view = plan.symbol, executor.exchange.server_now_ms(), ended.view
        (self._bare.add if ended.how == "bare" else self._bare.discard)(symbol)
        await executor.tidy(plan, ended)
        with suppress(ExchangeUnavailable, ExchangeRejected):  # it is asked for again; care must not wait for it
            await executor.reconciler.booker.receive_income(at_once=view.is_flat and symbol in self._caring)
        for alarm in alarms(view, plan, now):
            self._say(alarm)
        self._mind_foreign(executor, view)
        if not view.is_flat:
            self._caring.add(symbol)
            self._say_entered(executor, plan, now)
        if ended.closed is not None:
            self._say(Report(symbol, now, "close", ended.closed))
        if view.is_flat or ended.how == "bare":
            self._troubled = self._troubled or ended.how == "bare" or bool(view.unknown_orders)
            self._say_gone(executor, symbol, now)
            return
        if view.held != 0 and ended.cover is not None:
            await self._manage(executor, plan, view, ended.cover)

    def _mind_foreign(self, executor: Executor, view: View) -> None:
        """What is foreign beside ours holds entries of the symbol back, once two looks in a row show it."""
        appeared = not view.is_flat and view.foreign != 0 and not view.is_missing
        if appeared and view.symbol in self._foreign:
            executor.held_back(view.symbol, "foreign", f"{view.foreign:f} beside ours")
        (self._foreign.add if appeared else self._foreign.discard)(view.symbol)

    async def _manage(self, executor: Executor, plan: TradePlan, view: View, cover: Cover) -> None:
        """Price rules and opinion about a position that is covered."""
        now = executor.exchange.server_now_ms()
        opinion = await self._opinion(executor, plan, now)
        held = self._held(executor, plan, view, cover)
        assert view.position is not None
        action = assess(held, view.position.mark_price, opinion, self._rules(plan), now)
        if action.kind == "tighten":
            action, held = await self._tightened(executor, plan, cover, action, held)
        self._record(executor.ledger, plan, view, held, opinion, action, now)
        if action.kind in {"close", "take_profit"}:
            await executor.close(plan.symbol, action.reason)
            self._say_gone(executor, plan.symbol, executor.exchange.server_now_ms())
        elif action.kind == "scale_down":
            await executor.close(plan.symbol, action.reason, action.share)

    async def _tightened(
        self, executor: Executor, plan: TradePlan, cover: Cover, action: Action, held: Held
    ) -> tuple[Action, Held]:
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
            self._say(Report(plan.symbol, now, "wait", "tighten_refused", stop=f"{resting}", sentence=sentence))
            await executor.exchange.refresh_rules()
        return Action("stay", "tighten_refused"), held

    async def _opinion(self, executor: Executor, plan: TradePlan, now_ms: int) -> Opinion | None:
        """The model's opinion: a new one where a bar has closed since the last, else the last one there was."""
        known = last_opinion(executor.ledger, plan)
        bar = Timeframe.parse(plan.timeframe).floor(now_ms - _SETTLE_MS)
        asked = self._assessed_ms.get(plan.symbol, plan.decision_ms)
        if self._assessor is None or bar <= max(asked, known.at_ms if known else 0):
            return known
        self._assessed_ms[plan.symbol] = bar
        try:
            return opinion_of(plan, await self._assessor.assess(plan.symbol, plan.timeframe)) or known
        except (DataError, ExchangeUnavailable, ExchangeRejected) as error:
            # What cannot be assessed must not stop the care of a position: the last opinion decays.
            self._say(Report(plan.symbol, now_ms, "wait", "no_assessment", sentence=str(error)))
            return known

    def _held(self, executor: Executor, plan: TradePlan, view: View, cover: Cover) -> Held:
        ledger = executor.ledger
        holding, mark = ledger.holding(plan.symbol), view.position.mark_price if view.position else plan.price
        look = last_look(ledger, plan)
        best = Decimal(look["best"]) if look else holding.entry_price
        act = ledger.last_assessment(plan.symbol, ("scale_down",))
        exits = executor.exits(plan.plan_id)
        entered = next((f.time_ms for f in ledger.fills(decision_id=plan.plan_id)), plan.created_ms)
        return Held(
            side=plan.side, quantity=abs(view.held), entry_price=holding.entry_price, first_stop=plan.stop_price,
            stop_price=executor.protector.tightest(plan, cover), take_profit_price=plan.take_profit_price,
            best_price=max(best, mark) if plan.sign > 0 else min(best, mark), exit_by_ms=plan.exit_by_ms,
            opened_ms=entered, last_act_ms=act[2] if act else 0, scaled_down=bool(exits),
        )  # fmt: skip

    def _rules(self, plan: TradePlan) -> ExitRules:
        m, bar_ms = self.settings.monitor, Timeframe.parse(plan.timeframe).ms
        return ExitRules(
            m.trail_distance, m.trail_step, self.settings.high_risk_threshold, self.settings.medium_risk_threshold,
            round(m.confidence_half_life * bar_ms), round(m.min_dwell * bar_ms),
        )  # fmt: skip

    # --- writing down and telling ---

    def _record(
        self, ledger: Ledger, plan: TradePlan, view: View, held: Held, opinion: Opinion | None, action: Action,
        now_ms: int,
    ) -> None:  # fmt: skip
        assert view.position is not None
        mark, stop = f"{view.position.mark_price:f}", f"{held.stop_price:f}"
        body = {
            "plan": plan.plan_id, "reason": action.reason, "mark": mark,
            "quantity": f"{view.held:f}", "stop": stop, "best": f"{held.best_price:f}",
            "loss": None if opinion is None else opinion.loss_probability,
            "said_ms": None if opinion is None else opinion.at_ms,
            "risk": self._band(opinion, plan, now_ms),
        }  # fmt: skip
        try:
            ledger.assess(plan.symbol, action.kind, body, now_ms)
        except LedgerUnwritable as error:
            # The stops rest at the exchange; what tightens or closes must still be tried.
            self._say(Report(plan.symbol, now_ms, "alarm", "ledger_unwritable", sentence=str(error)))
        self._say(
            Report(plan.symbol, now_ms, action.kind, action.reason, f"{view.held:f}", mark, stop,
                   f"{view.position.unrealized_profit:f}")
        )  # fmt: skip

    def _band(self, opinion: Opinion | None, plan: TradePlan, now_ms: int) -> str:
        """The guide's risk band of the calibrated loss probability."""
        if opinion is None:
            return "unknown"
        loss, s = opinion.decayed(now_ms, self._rules(plan).half_life_ms), self.settings
        bands = ((s.high_risk_threshold, "high"), (s.medium_risk_threshold, "medium"), (s.low_risk_threshold, "low"))
        return next((name for threshold, name in bands if loss >= threshold), "minimal")

    def _say_entered(self, executor: Executor, plan: TradePlan, now_ms: int) -> None:
        """Tell once of an entry that whoever sent it could not tell of: its whole quantity, and its stop."""
        if executor.is_told(plan, "entered"):
            return
        fills = executor.ledger.fills(client_id=plan.client_id("entry"))
        quantity = sum((fill.quantity for fill in fills), Decimal(0))
        if quantity:
            executor.tell(plan, "entered")
            self._say(Report(plan.symbol, now_ms, "entered", plan.side, f"{quantity:f}", stop=f"{plan.stop_price:f}"))

    def _say_gone(self, executor: Executor, symbol: str, now_ms: int) -> None:
        """Tell once that a position has ended, also of one that ended between two looks."""
        plan = executor.plan_of(symbol)
        if plan is None or executor.ledger.holding(symbol).amount != 0 or executor.is_told(plan, "ended"):
            return
        fills = executor.ledger.fills(decision_id=plan.plan_id)
        if not fills:
            return
        self._caring.discard(symbol)
        executor.tell(plan, "ended")
        net = sum((fill.realized - fill.commission for fill in fills), Decimal(0))
        reason = executor.exit_reason(symbol)
        self._say(Report(symbol, now_ms, "flat", reason, profit=f"{net:f}", sentence="fees included"))

    def _say(self, report: Report) -> None:
        kept = self._history.setdefault(report.symbol, deque(maxlen=self.settings.max_assessment_history))
        kept.append(report)
        self._report(report)

    def _settle_names(self, positions: Mapping[str, PositionState]) -> None:
        for name, named in self._named.items():
            there = named["symbol"] in positions
            if not there and named["state"] == "added":
                sentence = f"Position {name} of {named['symbol']} is not at the exchange; nothing is made up for it."
                self._say(Report(str(named["symbol"]), 0, "report", "not_at_exchange", sentence=sentence))
            named["state"] = "open" if there else "closed" if named["state"] == "open" else "not_at_exchange"

    def _connected(self) -> BinanceExchange:
        if self._exchange is None:
            raise UsageError(
                "The monitor is not initialised.", mend="Call `await position_monitor.initialize()` first."
            )
        return self._exchange

    @contextmanager
    def _open_ledger(self) -> Iterator[Ledger]:
        if self._ledger is not None:
            yield self._ledger
            return
        with Ledger.opened(ledger_path(self.settings)) as ledger:
            yield ledger
