"""The stages that trade: tactics, enter, monitor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trader_cli.core.errors import DataInvalid, DataMissing
from trader_cli.core.json_values import object_of
from trader_cli.core.money.plans import Approved, Refused, TradePlan
from trader_cli.core.proofs.assurance import prove_all_flat, prove_walk_away
from trader_cli.execution.exchange_evidence import take_account_snapshot
from trader_cli.execution.executor import Executor, discard_message
from trader_cli.execution.exit_reasons import exit_reason
from trader_cli.execution.plan_lookup import plan_behind
from trader_cli.execution.request_listener import RequestListener
from trader_cli.execution.shutdown import until_time_is_up
from trader_cli.pipelines.market_access import run_in_market
from trader_cli.pipelines.trading.analyst_assessor import StageAssessor
from trader_cli.pipelines.trading.ledger_ownership import run_owning
from trader_cli.pipelines.trading.session_manifest import kept_session
from trader_cli.settings.room_options import ExecutionOptions
from trader_cli.storage.artifacts import ArtifactStore, stage_key
from trader_cli.storage.ledger import Ledger
from trader_cli.storage.ledger_books import books_of, other_ledgers
from trader_cli.tactician.position_monitor import PositionMonitor
from trader_cli.tactician.tactician import Tactician

if TYPE_CHECKING:
    from collections.abc import Callable

    from trader_cli.core.json_values import JsonObject
    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.core.money.orders import PreparedRequest
    from trader_cli.core.money.plans import Request
    from trader_cli.core.proofs.assurance import AllFlat, Doubt, WalkAway
    from trader_cli.execution.entry_result import EntryResult
    from trader_cli.pipelines.market_access import Market
    from trader_cli.pipelines.trading.ledger_ownership import LedgerOwnership
    from trader_cli.settings import Workspace
    from trader_cli.settings.workspace import LedgerPlaces
    from trader_cli.tactician.monitor_reports import Report
    from trader_cli.tactician.tactician import Outcome


def tactics(
    workspace: Workspace,
    symbol: str,
    timeframe: Timeframe,
    request: Request,
    say: Callable[[str], None] = discard_message,
) -> Outcome:
    """Decide about the stored analysis; the decision is recorded and published for `enter`."""

    async def decide(owned: LedgerOwnership) -> Outcome:
        tactician = Tactician(workspace, exchange=owned.market.exchange, ledger=owned.ledger)
        return await tactician.decide(symbol, timeframe, request)

    return run_owning(workspace, decide, symbols=(symbol,), say=say)


def stored_plan(workspace: Workspace, symbol: str, timeframe: Timeframe) -> Approved | Refused:
    """The plan the last tactics came to, or their refusal. Raises `DataMissing` where there were none."""
    store, command = ArtifactStore(workspace.cache_dir), f"`trader tactics {symbol} --timeframe {timeframe}`"
    digest = store.pointed(stage_key(workspace.mode, symbol, timeframe, "plan"))
    body = store.get_document(digest) if digest else None
    if body is None:
        raise DataMissing(f"There is no plan for {symbol} {timeframe}.", hint=f"Run {command} first.")
    return plan_from(body, command)


def plan_from(body: JsonObject, command: str = "`trader tactics`") -> Approved | Refused:
    """A stored decision as a value. Raises `DataInvalid`."""
    try:
        if body["kind"] != "plan":
            return Refused(str(body["code"]), f"The last tactics came to no plan: {body['sentence']}")
        recorded = object_of(body["plan"])
        made = TradePlan.from_dict(recorded)
    except (KeyError, TypeError, ArithmeticError, ValueError) as error:
        raise DataInvalid(f"The stored plan cannot be read: {error!r}.", hint=f"Run {command} again.") from error
    if made.plan_id != recorded["plan_id"]:
        raise DataInvalid("The stored plan does not match its id: it was changed.", hint=f"Run {command} again.")
    return Approved(made)


@dataclass(frozen=True)
class DryRun:
    """What an entry would send, or why it would not."""

    plan: TradePlan
    refused: Refused | None
    requests: list[PreparedRequest]


def enter(
    workspace: Workspace, plan: TradePlan, symbol: str, *, live: bool = False, say: Callable[[str], None]
) -> EntryResult | Refused:
    """Carry out a plan; the second time finds what the first one did. Interrupted, it says what is left."""

    async def carry_out(owned: LedgerOwnership) -> EntryResult | Refused:
        if plan.symbol != symbol:
            return Refused("other_symbol", f"The plan is for {plan.symbol}; asked was {symbol}.")
        if owned.lost is not None:
            return owned.lost
        executor = Executor(owned.market.exchange, owned.ledger, ExecutionOptions.of(workspace), say=say)
        listener = RequestListener(owned.ledger.path, owned.market.clock, virtual=workspace.mode == "sim")
        with listener.open(), kept_session(workspace, owned, say):
            return await executor.enter(Approved(plan), live=live, recorded=workspace.mode == "live")

    return run_owning(workspace, carry_out, symbols=(symbol,), say=say)


def rehearse(workspace: Workspace, plan: TradePlan, symbol: str) -> DryRun:
    """The exact requests of an entry and every check it would meet; nothing is sent and nothing written."""
    with Ledger.imagined(workspace.ledger_path) as ledger:

        async def snapshot(market: Market) -> DryRun:
            executor = Executor(market.exchange, ledger, ExecutionOptions.of(workspace))
            if (before := _carried_out(executor, plan)) is not None:
                return DryRun(plan, before, [])
            refused = await executor.check(plan, symbol, live=True)
            return DryRun(plan, refused, executor.requests(plan))

        return run_in_market(workspace, snapshot)


def _carried_out(executor: Executor, plan: TradePlan) -> Refused | None:
    """That the entry of this plan was sent before, so that no order would be sent now."""
    ledger, entry = executor.ledger, executor.ledger.intent(plan.client_id("entry"))
    status = None if entry is None else ledger.status(entry.client_id)
    if entry is None or status is None:
        return None
    if ledger.filled(entry.client_id) == 0 and not ledger.fills(client_id=entry.client_id):
        return Refused("entered_before", f"Its entry was sent before ({status}), and is not sent again.")
    kept = plan_behind(ledger, entry) or plan
    is_held = executor.plan_of(plan.symbol) == kept and ledger.holding(plan.symbol).amount != 0
    left = f"left since: {exit_reason(ledger, plan.symbol, kept.plan_id)}"
    what = "its position is open" if is_held else left
    return Refused("entered_before", f"It was entered before ({what}), and is not entered again.")


@dataclass(frozen=True)
class MonitorResult:
    """How a monitor ended: what is open and what protects it, by symbol, and what is proved of the account."""

    left: dict[str, str]
    proof: AllFlat | WalkAway | Doubt


def monitor(
    workspace: Workspace, for_s: float | None, report: Callable[[Report], None], say: Callable[[str], None]
) -> MonitorResult:
    """Care for our positions until flat, for so long, or until a signal; what is left and what protects it."""

    async def protection(owned: LedgerOwnership) -> MonitorResult:
        market, ledger = owned.market, owned.ledger
        watching = PositionMonitor(
            workspace,
            exchange=market.exchange,
            ledger=ledger,
            assessor=StageAssessor(workspace, market),
            report=report,
            say=say,
        )
        with until_time_is_up(), kept_session(workspace, owned, say):
            await watching.start_monitoring(for_s)
        executor = Executor(market.exchange, ledger, ExecutionOptions.of(workspace), say=say)
        still = await left(executor)
        return MonitorResult(still, await proved(executor, workspace.ledgers))

    return run_owning(workspace, protection, say=say, protection=lambda _ledger: True, for_s=for_s)


async def left(executor: Executor) -> dict[str, str]:
    """What is open and what protects it, by symbol; empty where the ledger holds no position."""
    held = [symbol for symbol in executor.ledger.symbols() if executor.ledger.holding(symbol).amount != 0]
    return {symbol: await executor.standing(symbol) for symbol in held}


async def proved(executor: Executor, ledgers: LedgerPlaces) -> AllFlat | WalkAway | Doubt:
    """What the exchange's answer and the ledger prove together of the account: flat, else whether it can be left."""
    exchange = executor.exchange
    snapshot = await take_account_snapshot(exchange.protection, exchange.clock, exchange.server_now_ms())
    books = books_of(executor.ledger, other_ledgers(ledgers))
    return prove_walk_away(snapshot, books) if books.held else prove_all_flat(snapshot, books)
