"""The stages that trade: tactics, enter, monitor; and a lost ledger made again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trader_cli.core.errors import DataInvalid, DataMissing
from trader_cli.core.plans import Approved, Refused, TradePlan
from trader_cli.execution.coverage import naming_what_is_left
from trader_cli.execution.executor import Executor
from trader_cli.pipelines.assessor import StageAssessor
from trader_cli.pipelines.market import run_in_market
from trader_cli.storage.artifacts import ArtifactStore, stage_key
from trader_cli.storage.ledger import Ledger
from trader_cli.storage.markets import ledger_path
from trader_cli.tactician.position_monitor import PositionMonitor
from trader_cli.tactician.tactician import Tactician

if TYPE_CHECKING:
    from collections.abc import Callable

    from trader_cli.core.plans import Request
    from trader_cli.core.timeframes import Timeframe
    from trader_cli.execution.executor import Entered
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
        made = TradePlan.from_dict({k: v for k, v in body["plan"].items() if k != "plan_id"})
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
            with naming_what_is_left(ledger, say):
                return await Executor(market.exchange, ledger, settings, say=say).enter(
                    Approved(plan), live=live, recorded=settings.mode == "live"
                )

        return run_in_market(settings, carry_out)


def rehearse(settings: Settings, plan: TradePlan, symbol: str) -> DryRun:
    """The exact requests of an entry and every check it would meet; nothing is sent and nothing written."""
    with Ledger.imagined(ledger_path(settings)) as ledger:

        async def look(market: Market) -> DryRun:
            executor = Executor(market.exchange, ledger, settings)
            refused = await executor.check(plan, symbol, live=True)
            return DryRun(plan, refused, executor.requests(plan))

        return run_in_market(settings, look)


def monitor(
    settings: Settings, for_s: float | None, report: Callable[[Report], None], say: Callable[[str], None]
) -> dict[str, Any]:
    """Care for our positions until flat, for so long, or until a signal; what is left and what protects it."""
    with Ledger.opened(ledger_path(settings)) as ledger:

        async def care(market: Market) -> dict[str, Any]:
            watching = PositionMonitor(
                settings, exchange=market.exchange, ledger=ledger, assessor=StageAssessor(settings, market),
                report=report,
            )  # fmt: skip
            with naming_what_is_left(ledger, say):
                await watching.start_monitoring(for_s)
            return await left(Executor(market.exchange, ledger, settings))

        return run_in_market(settings, care, care=True)


async def left(executor: Executor) -> dict[str, Any]:
    """What is open and what protects it, by symbol; empty when flat."""
    held = [symbol for symbol in executor.ledger.symbols() if executor.ledger.holding(symbol).amount != 0]
    return {symbol: await executor.standing(symbol) for symbol in held}


def rebuild_ledger(settings: Settings, symbols: list[str]) -> dict[str, int]:
    """Make a lost ledger again from the exchange's history; fills booked by symbol. Default: what is held there now."""
    from trader_cli.execution.rebuild import rebuild

    with Ledger.opened(ledger_path(settings)) as ledger:

        async def work(market: Market) -> dict[str, int]:
            held = [position.symbol for position in await market.exchange.private.positions()]
            return await rebuild(Executor(market.exchange, ledger, settings), symbols or held)

        return run_in_market(settings, work)
