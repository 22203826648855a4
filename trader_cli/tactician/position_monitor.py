"""`PositionMonitor`: care of open positions. Every ten seconds: reconcile, check protection, price rules, opinion."""

from __future__ import annotations

from collections import deque
from contextlib import contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from trader_cli.core.errors import (
    ConfigurationError,
    DataError,
    ExchangeRejected,
    ExchangeUnavailable,
    TraderError,
    UsageError,
)
from trader_cli.core.exits import Action, ExitRules, Held, Opinion, assess
from trader_cli.core.limits import LossLimits, breach
from trader_cli.core.timeframes import Timeframe
from trader_cli.execution.accounts import connected_exchange
from trader_cli.execution.executor import Executor
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
    from trader_cli.execution.protection import Cover
    from trader_cli.execution.reconcile import View
    from trader_cli.settings import Settings

_SETTLE_MS = 500
_RETRY_S = 1.0


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

        An exchange that is away is waited for: nothing is concluded from silence.
        """
        self._stopped = False
        with self._open_ledger() as ledger:
            self._executor = Executor(self._connected(), ledger, self.settings)
            began = self._began_ms = self._connected().server_now_ms()
            while not self._stopped and await self._attempt():
                now = self._connected().server_now_ms()
                if for_s is not None and now - began >= for_s * 1000:
                    break
                wait_s = _RETRY_S if self._troubled else self.settings.position_monitoring_interval
                if for_s is not None:
                    wait_s = min(wait_s, for_s - (now - began) / 1000)
                await self._connected().clock.sleep(wait_s)
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
        ledger.take_requests(executor.exchange.server_now_ms())
        positions = await executor.reconciler.positions()
        reason = asked_of(ledger.path, "flatten")
        if reason is not None:
            acknowledge(ledger.path, "flatten")
            await self._close_all(executor, reason, symbols_asked(ledger.path, "flatten"))
        unwritable: LedgerUnwritable | None = None
        for symbol in self._ours(executor):
            try:
                await self._care(executor, symbol, positions.get(symbol))
            except LedgerUnwritable as error:
                unwritable = unwritable or error
            except TraderError as error:
                self._wait_out(symbol, error)
        if unwritable is not None:
            raise unwritable
        await self._mind_losses(executor, positions)
        self._settle_names(positions)
        return bool(self._ours(executor))

    @staticmethod
    def _ours(executor: Executor) -> list[str]:
        """Symbols with a position of ours, or with orders of ours of which more can come."""
        ledger = executor.ledger
        waiting = {i.symbol for i in ledger.unsettled() if ledger.last_note(i.client_id) is not None}
        held = {symbol for symbol in ledger.symbols() if ledger.holding(symbol).amount != 0}
        return sorted(waiting | held | executor.courier.filled)

    async def _close_all(self, executor: Executor, reason: str, symbols: frozenset[str] = frozenset()) -> None:
        """Flattening, asked for by another process or by a broken limit; told, and forgotten once it is done."""
        ledger, left = executor.ledger, False
        for symbol in [name for name in self._ours(executor) if not symbols or name in symbols]:
            try:
                closed = await executor.close(symbol, reason)
                self._say(Report(symbol, executor.exchange.server_now_ms(), "close", reason, quantity=f"{closed:f}"))
                self._say_gone(executor, symbol, executor.exchange.server_now_ms())
            except TraderError as error:
                self._wait_out(symbol, error)
                left = True
        if not left:
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
        account = await executor.exchange.private.account()
        now = executor.exchange.server_now_ms()
        limits = LossLimits(options.max_daily_loss, options.max_drawdown)
        reason = breach(
            ledger.flows(), account.wallet, account.unrealized_profit, limits, now, since_ms=ledger.cleared_ms()
        )
        if reason is None:
            return None
        ledger.halt(reason, now)
        return reason if options.close_on_halt else None

    async def _care(self, executor: Executor, symbol: str, position: PositionState | None) -> None:
        """One look at one symbol: protection first, then what it needs the ledger, the model and the book for."""
        ledger, plan = executor.ledger, executor.plan_of(symbol)
        if plan is not None:
            await executor.guard(plan, position)
        view = await executor.reconciler.reconcile(symbol, position)
        now, plan = executor.exchange.server_now_ms(), executor.plan_of(symbol)
        for alarm in alarms(view, plan, now):
            self._say(alarm)
        if view.is_flat or plan is None:
            if view.is_flat and not view.unknown_orders:
                await executor.sweep(symbol)
            self._say_gone(executor, symbol, now)
            return
        self._caring.add(symbol)
        if view.held == 0:
            return
        covered = await executor.keep_covered(plan, view) or await executor.cover(plan)
        cover, closed = covered
        if cover is None:
            self._say(Report(symbol, now, "close", closed or "closed_meanwhile"))
            self._say_gone(executor, symbol, now)
            return
        opinion = await self._opinion(executor, plan, now)
        held = self._held(executor, plan, view, cover)
        assert view.position is not None
        mark = view.position.mark_price
        action = assess(held, mark, opinion, self._rules(plan), now)
        self._record(ledger, plan, view, held, opinion, action, now)
        await self._carry_out(executor, plan, cover, action)
        if action.kind in {"close", "take_profit"}:
            self._say_gone(executor, symbol, executor.exchange.server_now_ms())

    async def _carry_out(self, executor: Executor, plan: TradePlan, cover: Cover, action: Action) -> None:
        if action.kind in {"close", "take_profit"}:
            await executor.close(plan.symbol, action.reason)
        elif action.kind == "scale_down":
            await executor.close(plan.symbol, action.reason, action.share)
        elif action.kind == "tighten" and action.price is not None:
            await executor.protector.tighten(plan, cover, action.price)

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

    def _say_gone(self, executor: Executor, symbol: str, now_ms: int) -> None:
        """Tell once that a position has ended."""
        if symbol in self._caring and executor.ledger.holding(symbol).amount == 0:
            self._caring.discard(symbol)
            fills = executor.ledger.fills(decision_id=executor.ledger.entries(symbol)[-1])
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
