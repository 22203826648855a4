"""`PositionMonitor`: watches open positions. Every ten seconds: reconcile, protect, price rules, assessment."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from trader_cli.core.errors import (
    ConfigurationError,
    ExchangeRejected,
    ExchangeUnavailable,
    OwnershipLost,
    TraderError,
    UsageError,
)
from trader_cli.execution.accounts import ExchangeLease
from trader_cli.execution.executor import Executor, discard_message
from trader_cli.execution.orphan_orders import ledger_for
from trader_cli.execution.request_listener import RequestListener
from trader_cli.execution.shutdown import leaving
from trader_cli.settings.room_options import ExecutionOptions, ManagementOptions
from trader_cli.settings.workspace import workspace_of
from trader_cli.storage.ledger import LedgerUnwritable
from trader_cli.tactician.loss_watch import LossWatch
from trader_cli.tactician.monitor_reports import Report, alarms, discard_report
from trader_cli.tactician.position_management import PositionManagement
from trader_cli.tactician.protection_watch import ProtectionWatch, tolerating_unwritable
from trader_cli.tactician.requested_closes import RequestedCloses
from trader_cli.tactician.trade_events import Named, TradeEvents

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from trader_cli.core.json_values import JsonObject
    from trader_cli.core.money.orders import PositionState
    from trader_cli.core.money.plans import TradePlan
    from trader_cli.core.ports import Assessor
    from trader_cli.execution.accounts import OwnExchange
    from trader_cli.execution.protection_loop import ProtectionResult
    from trader_cli.execution.symbol_view import View
    from trader_cli.settings import Settings, Workspace
    from trader_cli.storage.ledger import Ledger

_RETRY_S = 1.0
_UNANSWERED = (ExchangeUnavailable, ExchangeRejected, ConfigurationError)


class PositionMonitor:
    """Watches our positions until none is left. `config` is a `Settings` or a dict of the guide's keys.

    `exchange`, `ledger` and `assessor` may be given; without an assessor the last stored opinion decays. What is ours
    is what the ledger and the exchange say; `add_position` only gives a position a name. `report` hears each look,
    `say` what a person must hear at once. `entering` names symbols that somebody else of this process cares for now.
    """

    def __init__(
        self,
        config: Workspace | Settings | Mapping[str, object] | None = None,
        *,
        exchange: OwnExchange | None = None,
        ledger: Ledger | None = None,
        assessor: Assessor | None = None,
        report: Callable[[Report], None] = discard_report,
        say: Callable[[str], None] = discard_message,
    ) -> None:
        self.workspace = workspace_of(config)
        self.settings = self.workspace.settings
        self.say = say
        self._lease = ExchangeLease(self.workspace, exchange, "monitor", "position_monitor")
        self._ledger = ledger
        self._events = TradeEvents(report, self.settings.max_assessment_history)
        self._manager = PositionManagement(ManagementOptions.of(self.settings), self._events, assessor)
        self._losses = LossWatch(self.settings.tactician)
        self.entering: set[str] = set()
        self._caring: set[str] = set()
        self._executor: Executor | None = None
        self._stopped = False
        self._looked = False
        self._caught_up = False
        self._began_ms = 0
        self._troubled = False
        self._foreign: set[str] = set()
        self._protection = ProtectionWatch(self._on_protection_end)
        self._closes = RequestedCloses(self._protection, self._on_close, self._wait_out)

    async def initialize(self) -> bool:
        """Connect to the exchange, if none was given."""
        await self._lease.open()
        return True

    async def close(self) -> None:
        """End what `initialize` began."""
        await self._lease.close()

    # --- the guide's surface ---

    def add_position(self, position_id: str, position: Mapping[str, object]) -> None:
        """Give a position a name. Whether it exists, the exchange says; one that does not is reported, never made."""
        if "symbol" not in position:
            raise UsageError("A position needs a symbol.")
        self._events.named[str(position_id)] = Named(dict(position), str(position["symbol"]))

    def remove_position(self, position_id: str) -> None:
        """Forget the name. A position that is open stays under care."""
        self._events.named.pop(str(position_id), None)

    def get_position_status(self, position_id: str) -> JsonObject:
        """What is known of a named position and its last looks; {"state": "unknown"} if nothing is."""
        return {"position_id": position_id, **self._events.status_of(str(position_id))}

    async def start_monitoring(self, for_s: float | None = None) -> None:
        """Care for our positions until none is left, `stop()` is called, or `for_s` seconds have passed.

        It does not end over a position that it knows to be without cover, unless told to stop. An exchange that is away
        is waited for: nothing is concluded from silence.
        """
        self._stopped = False
        clock = self._lease.exchange.clock
        async with ledger_for(self._lease.exchange, self._ledger) as ledger:
            listener = RequestListener(ledger.path, clock, virtual=self.settings.mode == "sim")
            self._executor = executor = Executor(
                self._lease.exchange, ledger, ExecutionOptions.of(self.workspace), say=self.say
            )
            self._began_ms = self._lease.exchange.server_now_ms()
            ends_ms = None if for_s is None else clock.monotonic_ms() + round(for_s * 1000)
            try:
                async with self._lease.exchange.account_news(listener.wake):
                    with listener.open():
                        await self._go_on(listener, executor.submitter.lost, ends_ms)
            finally:
                self._executor = None
                await executor.end()
                await self.release()

    async def _go_on(self, listener: RequestListener, lost: set[str], ends_ms: int | None) -> None:
        """Look after look; at once where an answer that came late has shown that a stop is gone."""
        clock = self._lease.exchange.clock
        listener.take_news()
        while not self._stopped and await self._attempt():
            await leaving().give_way()
            left_s = None if ends_ms is None else (ends_ms - clock.monotonic_ms()) / 1000
            if left_s is not None and left_s <= 0 and not self._protection.unprotected:
                break
            await listener.nap(self._pause_s(left_s), lambda: bool(lost))
            listener.take_news()

    async def release(self) -> None:
        """However the care ends: no shield is left up that would keep a signal waiting."""
        await self._protection.release()

    def _pause_s(self, left_s: float | None) -> float:
        wait_s = _RETRY_S if self._troubled else self.settings.position_monitoring_interval
        return wait_s if left_s is None or self._protection.unprotected else min(wait_s, left_s)

    def stop(self) -> None:
        """Let `start_monitoring` return after the look under way. Stops stay where they rest."""
        self._stopped = True

    @property
    def is_pressed(self) -> bool:
        """Whether something is known to be open and bare: a look at it must not wait for anything else."""
        return bool(self._protection.unprotected)

    @property
    def is_closing(self) -> bool:
        """Whether something is to be closed that is not yet."""
        return self._closes.are_waiting

    # --- the loop ---

    async def _attempt(self) -> bool:
        """One look; whether another is needed. Silence or a refusal of the exchange is a reason to go on.

        Raises `ConfigurationError` where not even the first look was allowed: the key is wrong.
        """
        try:
            more = await self.step()
        except _UNANSWERED as error:
            if isinstance(error, ConfigurationError) and not self._looked and self._is_hopeless():
                raise
            for symbol in self._caring or {""}:
                self._wait_out(symbol, error)
            return True
        except LedgerUnwritable as error:
            return self._without_lines(error)
        self._looked = True
        return more

    def _without_lines(self, error: LedgerUnwritable) -> bool:
        """A ledger that takes no line: care goes on while anything is open, and says so; else that is the end."""
        executor = self._executor
        if executor is None or not self._ours(executor):
            raise error
        now = self._lease.exchange.server_now_ms()
        self._events.say(
            Report("", now, "alarm", "ledger_unwritable", sentence=f"{error} The monitor goes on without.")
        )
        return True

    def _is_hopeless(self) -> bool:
        """Whether a key that has never been accepted is given up: at once where nothing is open, else after a while."""
        executor = self._executor
        held = executor is not None and any(executor.ledger.holding(s).amount for s in executor.ledger.symbols())
        waited = self._lease.exchange.server_now_ms() - self._began_ms
        return not held or waited > self.settings.execution.persistence * 1000

    def _wait_out(self, symbol: str, error: TraderError) -> None:
        self._troubled = True
        now = self._lease.exchange.server_now_ms()
        self._events.say(Report(symbol, now, "wait", type(error).__name__, sentence=str(error)))

    async def step(self, executor: Executor | None = None) -> bool:
        """One look at everything of ours; whether anything is still open or unclear.

        What one symbol lacks does not keep the others from care. Raises `LedgerUnwritable` after all were looked at.
        """
        executor = executor or self._executor
        assert executor is not None
        self._troubled = False
        self._take_requests(executor)
        self._catch_up(executor)
        positions = await self._protection.beside(executor, self._seen(executor))
        await self._close_requested(executor)
        await self._protect(executor, self._ours(executor))
        if positions is not None:
            await self._mind_losses(executor, positions)
            self._events.settle_names(positions)
            self._looked = True
        if executor.submitter.unwritten is not None:
            unwritten, executor.submitter.unwritten = executor.submitter.unwritten, None
            raise unwritten
        return bool(self._ours(executor))

    @staticmethod
    def _take_requests(executor: Executor) -> None:
        """Requests of other processes count where they lie; a disk that takes no line is told of later."""
        with tolerating_unwritable(executor):
            executor.ledger.require_in_place()
            executor.ledger.take_requests(executor.exchange.server_now_ms())

    def _catch_up(self, executor: Executor) -> None:
        """At the first look: what ended while nobody looked, and was booked by a command that does not tell."""
        if not self._caught_up:
            self._caught_up = True
            for symbol in executor.ledger.symbols():
                self._say_gone(executor, symbol)

    async def _seen(self, executor: Executor) -> Mapping[str, PositionState] | None:
        """Every position, and whether those that the ledger does not explain are ours."""
        positions = await self._positions(executor, self._ours(executor))
        with tolerating_unwritable(executor):
            await executor.reconciler.look_for_ours((positions or {}).values())
        return positions

    async def _positions(self, executor: Executor, symbols: list[str]) -> Mapping[str, PositionState] | None:
        """Every position, in one request; `None` where that does not answer: care goes on without it."""
        try:
            return await executor.reconciler.positions()
        except _UNANSWERED as error:
            if isinstance(error, ConfigurationError) and not self._looked and self._is_hopeless():
                raise
            for symbol in symbols or [""]:
                self._wait_out(symbol, error)
            return None

    def _ours(self, executor: Executor) -> list[str]:
        """Symbols with a position of ours, or with orders of ours of which more can come; not those being entered."""
        ledger = executor.ledger
        waiting = {i.symbol for i in ledger.unsettled() if ledger.last_note(i.client_id) is not None}
        held = {symbol for symbol in ledger.symbols() if ledger.holding(symbol).amount != 0}
        return sorted((waiting | held | executor.submitter.filled) - self.entering)

    async def _close_requested(self, executor: Executor) -> None:
        await self._closes.carry_out(executor, self._ours(executor), entering=bool(self.entering))

    def _on_close(self, executor: Executor, symbol: str, report: Report | None) -> None:
        if report is not None:
            self._events.say(report)
        self._say_gone(executor, symbol)

    async def _mind_losses(self, executor: Executor, positions: Mapping[str, PositionState]) -> None:
        """Loss limits: looked at after every position has had its care."""
        if not self.settings.tactician.enable_risk_management or not positions:
            return
        try:
            reason = await self._protection.beside(executor, self._losses.broken(executor))
        except (ExchangeUnavailable, ExchangeRejected) as error:
            self._wait_out("", error)
            return
        if reason is not None:
            self._closes.limits |= dict.fromkeys(self._ours(executor), reason)
            await self._close_requested(executor)

    # --- protection ---

    async def _protect(self, executor: Executor, symbols: list[str]) -> None:
        """One look at every symbol: protection of all at once, then what each needs the model and the book for."""
        plans = {symbol: executor.plan_of(symbol) for symbol in symbols}
        ended = await self._protection.look_at(executor, plans, symbols)
        executor.submitter.lost.clear()  # what was found by now was cared for
        await self._protection.beside(executor, self._follow_up(executor, plans, ended))
        with tolerating_unwritable(executor):
            await self._protection.beside(executor, self._protection.settle_exits(executor, symbols))

    async def _follow_up(
        self,
        executor: Executor,
        plans: Mapping[str, TradePlan | None],
        ended: Mapping[str, ProtectionResult | TraderError],
    ) -> None:
        """What each look came to, one symbol after the other."""
        await self._manager.begin_look(executor, plans)
        for symbol, plan in plans.items():
            found = ended.get(symbol)
            try:
                if isinstance(found, TraderError):
                    raise found
                if found is None or plan is None:
                    await self._without_plan(executor, symbol)
                else:
                    await self._after_protection(executor, plan, found)
            except OwnershipLost:
                raise
            except LedgerUnwritable as error:
                executor.submitter.unwritten = executor.submitter.unwritten or error
            except TraderError as error:
                self._wait_out(symbol, error)

    async def _without_plan(self, executor: Executor, symbol: str) -> None:
        """A symbol of ours of which no plan is known, or none that filled: looked at, said, and swept where flat."""
        view = await executor.reconciler.reconcile(symbol)
        if view.is_flat and executor.reconciler.waiting_entry(symbol) is None:
            await executor.sweep(symbol)
        for alarm in alarms(view, None, executor.exchange.server_now_ms()):
            self._events.say(alarm)

    async def _after_protection(self, executor: Executor, plan: TradePlan, ended: ProtectionResult) -> None:
        """What a look at one symbol comes to: told, written down, and acted on."""
        symbol, now, view = plan.symbol, executor.exchange.server_now_ms(), ended.view
        with suppress(ExchangeUnavailable, ExchangeRejected):  # it is asked for again; care must not wait for it
            await executor.reconciler.booker.receive_income(at_once=view.is_flat and symbol in self._caring)
        for alarm in alarms(view, plan, now):
            self._events.say(alarm)
        self._mind_foreign(executor, view)
        if not view.is_flat:
            self._caring.add(symbol)
            self._events.entered(executor, plan)
        self._on_protection_end(executor, plan, ended)
        if view.is_flat or ended.how == "unprotected":
            unknown = executor.reconciler.waiting_entry(symbol) is not None
            self._troubled = self._troubled or ended.how == "unprotected" or unknown
            return
        if view.held != 0 and ended.cover is not None:
            await self._manager.manage(executor, plan, view, ended.cover)
            self._say_gone(executor, symbol)

    def _on_protection_end(self, executor: Executor, plan: TradePlan, ended: ProtectionResult | TraderError) -> None:
        """That a position was closed although nobody asked for it, and that it is no more."""
        if isinstance(ended, TraderError):
            self._wait_out(plan.symbol, ended)
            return
        if ended.closed is not None:
            self._events.say(Report(plan.symbol, executor.exchange.server_now_ms(), "close", ended.closed))
        if ended.view.is_flat or ended.how == "unprotected":
            self._say_gone(executor, plan.symbol)

    def _mind_foreign(self, executor: Executor, view: View) -> None:
        """What is foreign beside ours holds entries of the symbol back, once two looks in a row show it."""
        appeared = not view.is_flat and view.foreign != 0 and not view.is_missing
        if appeared and view.symbol in self._foreign:
            executor.held_back(view.symbol, "foreign", f"{view.foreign:f} beside ours")
        (self._foreign.add if appeared else self._foreign.discard)(view.symbol)

    def _say_gone(self, executor: Executor, symbol: str) -> None:
        if self._events.gone(executor, symbol):
            self._caring.discard(symbol)
