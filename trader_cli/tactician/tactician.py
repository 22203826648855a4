"""`Tactician`: the guide's door to plans. Asks the exchange how things stand and turns an analysis into a plan."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import asdict
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

from trader_cli.core.answers import Answer
from trader_cli.core.errors import DataInvalid, DataMissing, DataStale, UsageError
from trader_cli.core.identity.digests import digest_value
from trader_cli.core.market.timeframes import Timeframe
from trader_cli.core.money.plans import Approved, Refused, Request
from trader_cli.core.types import Abstention, Analysis
from trader_cli.execution import preflight
from trader_cli.execution.accounts import ExchangeLease
from trader_cli.execution.circuit_breaker import catch_up, latch_of
from trader_cli.execution.income import book_income
from trader_cli.execution.orphan_orders import ledger_for
from trader_cli.settings.room_options import ExecutionOptions, PlanningOptions
from trader_cli.settings.workspace import workspace_of
from trader_cli.storage.artifacts import ArtifactStore, stage_key
from trader_cli.storage.current_models import not_current
from trader_cli.tactician.loss_watch import EquityLimits, FeePrices, LossInputs
from trader_cli.tactician.planning import plan, refused_request, too_late
from trader_cli.tactician.planning_inputs import AccountInputs, Depth, PlanningView

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trader_cli.core.json_values import JsonObject
    from trader_cli.execution.accounts import OwnExchange
    from trader_cli.settings import Settings, Workspace
    from trader_cli.storage.ledger import Ledger

_BOOK_LEVELS = 50
Outcome = Approved | Refused | Abstention


class Tactician:
    """Decides what to do about an analysis. `config` is a `Settings` or a dict of the guide's keys.

    `exchange`, `store` and `ledger` are built from the configuration if not given; an own ledger is open only while a
    decision is written.
    """

    def __init__(
        self,
        config: Workspace | Settings | Mapping[str, object] | None = None,
        *,
        exchange: OwnExchange | None = None,
        store: ArtifactStore | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        self.workspace = workspace_of(config)
        self.settings = self.workspace.settings
        self.store = store or ArtifactStore(self.workspace.cache_dir)
        self._lease = ExchangeLease(self.workspace, exchange, "tactician", "tactician")
        self._ledger = ledger
        self._levels = EquityLimits(self.settings.tactician, first=True)
        self._results: deque[Outcome] = deque(maxlen=self.settings.tactician.max_history)

    async def initialize(self) -> bool:
        """Connect to the exchange, if none was given."""
        await self._lease.open()
        return True

    async def close(self) -> None:
        """End what `initialize` began."""
        await self._lease.close()

    async def execute_tactics(self, tactics_input: Mapping[str, object]) -> Answer:
        """The plan for a symbol's stored analysis as a mapping; false, with `code` and `sentence`, if there is none.

        Keys: symbol, timeframe (default 1h), and the requests current_price, position_size, leverage, risk_level.
        """
        if "symbol" not in tactics_input:
            raise UsageError("Tactics need a symbol.")
        timeframe = Timeframe.parse(str(tactics_input.get("timeframe", "1h")))
        try:
            outcome = await self.decide(str(tactics_input["symbol"]), timeframe, request_of(tactics_input))
        except (DataMissing, DataStale) as error:
            return Answer({"kind": "error", "code": type(error).__name__, "sentence": str(error)}, given=False)
        return Answer(document_of(outcome), given=isinstance(outcome, Approved))

    async def decide(self, symbol: str, timeframe: Timeframe, request: Request | None = None) -> Outcome:
        """The decision about the stored analysis: a plan, a refusal, or the analysis' own abstention. Recorded.

        The same decision again, while its plan is valid, is the plan that was made first. Raises `DataMissing` without
        an analysis, `DataStale` for one of another market or other costs, and what the exchange raises.
        """
        analysis = self._analysis(symbol, timeframe)
        async with ledger_for(self._lease.exchange, self._ledger, (symbol,)) as ledger:
            outcome = await self._outcome(analysis, request or Request(), ledger)
            self._record(analysis, outcome, ledger)
        self._results.append(outcome)
        key = stage_key(self.workspace.mode, symbol, timeframe, "plan")
        self.store.point(key, self.store.put_document(document_of(outcome)))
        return outcome

    def _analysis(self, symbol: str, timeframe: Timeframe) -> Analysis:
        key = stage_key(self.workspace.mode, symbol, timeframe, "analysis")
        digest = self.store.pointed(key, self.workspace.source)
        body = self.store.get_document(digest) if digest else None
        if body is None:
            raise DataMissing(
                f"There is no analysis of {symbol} {timeframe} in profile {self.settings.mode}.",
                hint=f"Run `trader analyze {symbol} --timeframe {timeframe}` first.",
            )
        try:
            analysis = Analysis.from_dict(body)
        except (KeyError, TypeError, ValueError) as error:
            raise DataInvalid(
                f"The stored analysis of {symbol} {timeframe} was written by another version of trader ({error!r}).",
                hint=f"Run `trader analyze {symbol} --timeframe {timeframe}` again.",
            ) from error
        costs = self.settings.costs.digest
        if analysis.digests.get("costs", costs) != costs:
            raise DataStale(
                f"The stored analysis of {symbol} {timeframe} was made with other costs.",
                hint=f"Run `trader train {symbol} --timeframe {timeframe}`, then `trader analyze`.",
            )
        return analysis

    async def _outcome(self, analysis: Analysis, request: Request, ledger: Ledger) -> Outcome:
        signal, exchange = analysis.signal, self._lease.exchange
        if signal is None:
            assert isinstance(analysis.outcome, Abstention)
            return analysis.outcome
        timeframe = Timeframe.parse(analysis.timeframe)
        decided_by = analysis.digests.get("model", "none")
        gone = not_current(self.store, self.workspace.mode, analysis.symbol, timeframe, decided_by)
        if gone is not None:
            return gone
        now, step = exchange.server_now_ms(), timeframe.ms
        validity = self.settings.tactician.plan_validity
        if now >= signal.valid_until_ms(analysis.decision_time_ms, validity, step):
            age = (now - analysis.decision_time_ms) / 60_000
            return Abstention(
                "analysis_stale",
                f"The analysis is of a bar that closed {age:.0f} min ago. Run `trader fetch {analysis.symbol}"
                f" --timeframe {analysis.timeframe}` and `trader analyze`.",
            )
        refused = refused_request(request)
        if refused is not None:
            return refused
        catch_up(ledger)
        halted: str | Refused | None = ledger.halted()
        if halted is None:
            halted = await self._breach(ledger)
        if isinstance(halted, Refused):
            return halted
        if halted is not None:
            return Refused("halted", f"Trading is halted: {halted}. A person lifts this with `trader reset`.")
        held_back = latch_of(ledger, analysis.symbol)
        if held_back is not None:
            return held_back
        made = self._made_before(analysis, ledger)
        if made is not None:
            return too_late(made.plan, request) or made
        if self.settings.mode == "live" and self.settings.tactician.capital_cap is None:
            return Refused("capital_cap_unset", "Live needs tactician.capital_cap: the most that may be at work.")
        seen = await self._now(analysis.symbol)
        if isinstance(seen, Refused):
            return seen
        return plan(analysis, signal, *seen, PlanningOptions.of(self.settings), request)

    def _made_before(self, analysis: Analysis, ledger: Ledger) -> Approved | None:
        """The plan this very analysis led to earlier."""
        for decided in reversed(ledger.decisions()):
            at_this_bar = (decided.symbol, decided.decision_ms) == (analysis.symbol, analysis.decision_time_ms)
            if decided.kind == "plan" and at_this_bar:
                made = decided.plan
                if made.lineage == analysis.digests.get("model", "none") and made.timeframe == analysis.timeframe:
                    return Approved(made)
        return None

    async def _breach(self, ledger: Ledger) -> str | Refused | None:
        """A loss limit that is broken: latched before anything else."""
        if not self.settings.tactician.enable_risk_management:
            return None
        exchange, now = self._lease.exchange, self._lease.exchange.server_now_ms()
        prices = FeePrices(exchange, self.settings.binance_exchange.timeout)
        found = await self._levels.broken(
            ledger,
            LossInputs(
                now,
                exchange.clock.monotonic_ms(),
                await exchange.private.account(),
                lambda: book_income(ledger, exchange.private.income),
                prices,
            ),
        )
        reason = next(iter(found.values()), None)
        if reason is None and prices.missing:
            return Refused(
                "fee_price_unknown",
                f"Fees were paid in an asset of which no price is known ({', '.join(prices.missing)}): what was lost"
                " cannot be told, and no plan is made.",
            )
        if reason is not None:
            ledger.halt(reason, now)
        return reason

    async def _now(self, symbol: str) -> tuple[AccountInputs, Depth] | Refused:
        exchange, options = self._lease.exchange, ExecutionOptions.of(self.workspace)
        rules = await preflight.current_rules(exchange, symbol)
        if isinstance(rules, Refused):
            return rules
        positions = await exchange.private.positions()
        here = next((p for p in positions if p.symbol == symbol), None)
        if here is not None:
            return Refused("position_open", f"{symbol} holds a position of {here.amount:f} already.")
        account, premium, ticker, book, brackets = await asyncio.gather(
            preflight.balance_for(exchange, symbol, options),
            exchange.premium_index(symbol),
            exchange.ticker(symbol),
            exchange.order_book(symbol, _BOOK_LEVELS),
            exchange.private.brackets(symbol),
        )
        prices = preflight.prices_of(symbol, premium, ticker, exchange.server_now_ms(), options)
        if isinstance(prices, Refused):
            return prices
        if isinstance(account, Refused):
            return account
        held = {p.symbol: abs(p.amount) * p.mark_price for p in positions}
        rest = await preflight.elsewhere(exchange, account.asset, held, options)
        if isinstance(rest, Refused):
            return rest
        view = PlanningView(
            now_ms=exchange.server_now_ms(),
            rules=rules,
            positions=positions,
            account=account,
            mark=prices.mark,
            brackets=brackets,
            elsewhere=rest[0],
            dollar_price=rest[1].prices.get(account.asset),
        )
        depth = Depth(book.ask_quote, book.bid_quote, ticker.quote_volume)
        return view.inputs(self.workspace.account.fingerprint), depth

    def _record(self, analysis: Analysis, outcome: Outcome, ledger: Ledger) -> None:
        now = self._lease.exchange.server_now_ms()
        if isinstance(outcome, Approved):
            made = outcome.plan
            ledger.decide(made.plan_id, made.symbol, made.decision_ms, "plan", made.as_dict(), now)
            return
        kind = "refusal" if isinstance(outcome, Refused) else "abstention"
        what = [kind, self.workspace.account.fingerprint, analysis.symbol, analysis.timeframe]
        name = digest_value([*what, analysis.decision_time_ms, outcome.code])
        ledger.decide(name, analysis.symbol, analysis.decision_time_ms, kind, asdict(outcome), now)

    def get_status(self) -> JsonObject:
        """Counts of what was decided, and why not."""
        refused: dict[str, int] = {}
        for outcome in self._results:
            if not isinstance(outcome, Approved):
                refused[outcome.code] = refused.get(outcome.code, 0) + 1
        approved = sum(isinstance(outcome, Approved) for outcome in self._results)
        return {
            "initialized": self._lease.is_open,
            "market": self.workspace.source,
            "decisions": len(self._results),
            "approved": approved,
            "refused": refused,
        }


def document_of(outcome: Outcome) -> JsonObject:
    """What is stored of a decision: `plan` or `code` and `sentence`."""
    if isinstance(outcome, Approved):
        return {"kind": "plan", "plan": outcome.plan.as_dict()}
    return {"kind": "refusal" if isinstance(outcome, Refused) else "abstention", **asdict(outcome)}


def request_of(given: Mapping[str, object]) -> Request:
    """The guide's input as upper bounds. Raises `UsageError` for what is no number."""
    try:
        size, price, leverage = (given.get(name) for name in ("position_size", "current_price", "leverage"))
        level = given.get("risk_level")
        return Request(
            quantity=None if size is None else Decimal(str(size)),
            leverage=None if leverage is None else int(float(str(leverage))),
            risk_level=None if level is None else str(level),
            price=None if price is None else Decimal(str(price)),
        )
    except (InvalidOperation, ValueError) as error:
        raise UsageError(f"The tactics input holds what is no number: {dict(given)}.") from error
