"""The stages that trade: tactics, enter, monitor."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trader_cli.core.assurance import prove_all_flat, prove_walk_away
from trader_cli.core.errors import DataInvalid, DataMissing
from trader_cli.core.plans import Approved, Refused, TradePlan
from trader_cli.execution.coverage import naming_what_is_left
from trader_cli.execution.executor import Executor
from trader_cli.execution.hearing import Ears
from trader_cli.execution.leaving import until_time_is_up
from trader_cli.execution.orphans import require_no_orphans
from trader_cli.execution.witness import account_look
from trader_cli.pipelines.assessor import StageAssessor
from trader_cli.pipelines.market import run_in_market
from trader_cli.storage.artifacts import ArtifactStore, stage_key
from trader_cli.storage.ledger import Ledger, LedgerUnwritable
from trader_cli.storage.ledger_books import books_of, other_ledgers
from trader_cli.storage.markets import ledger_path
from trader_cli.tactician.position_monitor import PositionMonitor
from trader_cli.tactician.tactician import Tactician

if TYPE_CHECKING:
    from collections.abc import Callable

    from trader_cli.core.assurance import AllFlat, Doubt, WalkAway
    from trader_cli.core.plans import Request
    from trader_cli.core.timeframes import Timeframe
    from trader_cli.execution.entered import Entered
    from trader_cli.pipelines.market import Market
    from trader_cli.settings import Settings
    from trader_cli.tactician.reports import Report
    from trader_cli.tactician.tactician import Outcome


def tactics(settings: Settings, symbol: str, timeframe: Timeframe, request: Request) -> Outcome:
    """Decide about the stored analysis; the decision is recorded and published for `enter`."""
    with Ledger.opened(ledger_path(settings)) as ledger:

        async def decide(market: Market) -> Outcome:
            tactician = Tactician(settings, exchange=market.exchange, ledger=ledger)
            return await tactician.decide(symbol, timeframe, request)

        return run_in_market(settings, decide)


def stored_plan(settings: Settings, symbol: str, timeframe: Timeframe) -> Approved | Refused:
    """The plan the last tactics came to, or their refusal. Raises `DataMissing` where there were none."""
    store, command = ArtifactStore(settings.cache_dir), f"`trader tactics {symbol} --timeframe {timeframe}`"
    digest = store.pointed(stage_key(settings, symbol, timeframe, "plan"))
    body = store.get_document(digest) if digest else None
    if body is None:
        raise DataMissing(f"There is no plan for {symbol} {timeframe}.", mend=f"Run {command} first.")
    return plan_from(body, command)


def plan_from(body: dict[str, Any], command: str = "`trader tactics`") -> Approved | Refused:
    """A stored decision as a value. Raises `DataInvalid`."""
    try:
        if body["kind"] != "plan":
            return Refused(str(body["code"]), f"The last tactics came to no plan: {body['sentence']}")
        made = TradePlan.from_dict(body["plan"])
    except (KeyError, TypeError, ArithmeticError, ValueError) as error:
        raise DataInvalid(f"The stored plan cannot be read: {error!r}.", mend=f"Run {command} again.") from error
    if made.plan_id != body["plan"]["plan_id"]:
        raise DataInvalid("The stored plan does not match its id: it was changed.", mend=f"Run {command} again.")
    return Approved(made)


@dataclass(frozen=True)
class DryRun:
    """What an entry would send, or why it would not."""

    plan: TradePlan
    refused: Refused | None
    requests: list[dict[str, Any]]


def enter(
    settings: Settings, plan: TradePlan, symbol: str, *, live: bool = False, say: Callable[[str], None]
) -> Entered | Refused:
    """Carry out a plan; the second time finds what the first one did. Interrupted, it says what is left."""
    with Ledger.opened(ledger_path(settings)) as ledger:

        async def carry_out(market: Market) -> Entered | Refused:
            if plan.symbol != symbol:
                return Refused("other_symbol", f"The plan is for {plan.symbol}; asked was {symbol}.")
            executor = Executor(market.exchange, ledger, settings, say=say)
            ears = Ears(ledger.path, market.clock, virtual=settings.mode == "sim")
            with ears.open():
                return await executor.enter(Approved(plan), live=live, recorded=settings.mode == "live")

        with naming_what_is_left(ledger, say):
            return run_in_market(settings, carry_out)


def rehearse(settings: Settings, plan: TradePlan, symbol: str) -> DryRun:
    """The exact requests of an entry and every check it would meet; nothing is sent and nothing written."""
    with Ledger.imagined(ledger_path(settings)) as ledger:

        async def look(market: Market) -> DryRun:
            executor = Executor(market.exchange, ledger, settings)
            refused = await executor.check(plan, symbol, live=True)
            return DryRun(plan, refused, executor.requests(plan))

        return run_in_market(settings, look)


@dataclass(frozen=True)
class Cared:
    """How a monitor ended: what is open and what protects it, by symbol, and what is proved of the account."""

    left: dict[str, str]
    proof: AllFlat | WalkAway | Doubt


def monitor(
    settings: Settings, for_s: float | None, report: Callable[[Report], None], say: Callable[[str], None]
) -> Cared:
    """Care for our positions until flat, for so long, or until a signal; what is left and what protects it."""
    with Ledger.opened(ledger_path(settings)) as ledger:

        async def care(market: Market) -> Cared:
            await _halt_over_orphans(market, ledger)
            watching = PositionMonitor(
                settings, exchange=market.exchange, ledger=ledger, assessor=StageAssessor(settings, market),
                report=report, say=say,
            )  # fmt: skip
            with until_time_is_up():
                await watching.start_monitoring(for_s)
            executor = Executor(market.exchange, ledger, settings, say=say)
            still = await left(executor)
            return Cared(still, await proved(executor))

        with naming_what_is_left(ledger, say):
            return run_in_market(settings, care, care=True, for_s=for_s)


async def _halt_over_orphans(market: Market, ledger: Ledger) -> None:
    """A ledger made anew over orders of ours opens no position until a person has looked."""
    if not ledger.client_ids():
        exchange = market.exchange
        look = await account_look(exchange.care, exchange.clock, exchange.server_now_ms())
        with suppress(LedgerUnwritable):
            require_no_orphans(ledger, look, exchange.server_now_ms())


async def left(executor: Executor) -> dict[str, str]:
    """What is open and what protects it, by symbol; empty where the ledger holds no position."""
    held = [symbol for symbol in executor.ledger.symbols() if executor.ledger.holding(symbol).amount != 0]
    return {symbol: await executor.standing(symbol) for symbol in held}


async def proved(executor: Executor) -> AllFlat | WalkAway | Doubt:
    """What the exchange's answer and the ledger prove together of the account: flat, else whether it can be left."""
    exchange = executor.exchange
    look = await account_look(exchange.care, exchange.clock, exchange.server_now_ms())
    books = books_of(executor.ledger, other_ledgers(executor.settings))
    return prove_walk_away(look, books) if books.held else prove_all_flat(look, books)
