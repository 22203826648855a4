"""The stages that trade: tactics, enter, monitor; and what only reduces risk: flatten, halt, reset."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trader_cli.core.errors import DataError, DataInvalid, DataMissing, ExchangeUnavailable
from trader_cli.core.plans import Approved, Refused, TradePlan
from trader_cli.execution.executor import Executor
from trader_cli.pipelines.assessor import StageAssessor
from trader_cli.pipelines.market import run_in_market
from trader_cli.storage import asked
from trader_cli.storage.artifacts import ArtifactStore, stage_key
from trader_cli.storage.ledger import Ledger, LedgerLocked
from trader_cli.storage.markets import ledger_path
from trader_cli.tactician.position_monitor import PositionMonitor
from trader_cli.tactician.tactician import Tactician

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from trader_cli.core.plans import Request
    from trader_cli.core.timeframes import Timeframe
    from trader_cli.execution.executor import Entered
    from trader_cli.pipelines.market import Market
    from trader_cli.settings import Settings
    from trader_cli.tactician.position_monitor import Report
    from trader_cli.tactician.tactician import Outcome

_OWNER_S = 60.0
_LOOK_S = 0.5


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


def enter(settings: Settings, plan: TradePlan, symbol: str, *, live: bool = False) -> Entered | Refused:
    """Carry out a plan; the second time finds what the first one did."""
    with Ledger.opened(ledger_path(settings)) as ledger:

        async def carry_out(market: Market) -> Entered | Refused:
            if plan.symbol != symbol:
                return Refused("other_symbol", f"The plan is for {plan.symbol}; asked was {symbol}.")
            return await Executor(market.exchange, ledger, settings).enter(Approved(plan), live=live)

        return run_in_market(settings, carry_out)


def rehearse(settings: Settings, plan: TradePlan, symbol: str) -> DryRun:
    """The exact requests of an entry and every check it would meet; nothing is sent and nothing written."""
    with Ledger.imagined(ledger_path(settings)) as ledger:

        async def look(market: Market) -> DryRun:
            executor = Executor(market.exchange, ledger, settings)
            refused = await executor.check(plan, symbol, live=True)
            return DryRun(plan, refused, executor.requests(plan))

        return run_in_market(settings, look)


def monitor(settings: Settings, for_s: float | None, report: Callable[[Report], None]) -> dict[str, Any]:
    """Care for our positions until flat, for so long, or until a signal; what is left and what protects it."""
    with Ledger.opened(ledger_path(settings)) as ledger:

        async def care(market: Market) -> dict[str, Any]:
            watching = PositionMonitor(
                settings, exchange=market.exchange, ledger=ledger, assessor=StageAssessor(settings, market),
                report=report,
            )  # fmt: skip
            await watching.start_monitoring(for_s)
            return await left(Executor(market.exchange, ledger, settings))

        return run_in_market(settings, care)


async def left(executor: Executor) -> dict[str, Any]:
    """What is open and what protects it, by symbol; empty when flat."""
    held = [symbol for symbol in executor.ledger.symbols() if executor.ledger.holding(symbol).amount != 0]
    return {symbol: await executor.standing(symbol) for symbol in held}


def flatten(settings: Settings, reason: str) -> dict[str, str]:
    """Close every position of ours, now; what was closed, by symbol.

    Where another process owns the ledger it is asked to. Raises `ExchangeUnavailable` if it does not within a minute.
    """
    path = ledger_path(settings)
    with _owned_or_asked(path, "flatten", reason) as ledger:
        if ledger is None:
            _wait_for_owner(settings, "flatten")
            return {}

        async def close(market: Market) -> dict[str, str]:
            executor, closed = Executor(market.exchange, ledger, settings), {}
            for symbol in ledger.symbols():
                await executor.view(symbol)
                if ledger.holding(symbol).amount != 0:
                    closed[symbol] = f"{await executor.close(symbol, reason):f}"
                await executor.sweep(symbol)
            return closed

        return run_in_market(settings, close)


def halt(settings: Settings, reason: str) -> None:
    """Stop all entries from now on; needs neither exchange nor keys."""
    path = ledger_path(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    asked.ask(path, "halt", reason)
    with _owned_or_asked(path, "halt", reason) as ledger:
        if ledger is not None:
            ledger.take_halt(_now_ms(settings))


def reset(settings: Settings, reason: str) -> str | None:
    """A person lifts the halt; what it was, `None` if there was none."""
    path = ledger_path(settings)
    with Ledger.opened(path) as ledger:
        halted = ledger.halted()
        asked.forget_asked(path, "halt")
        if halted is not None:
            ledger.clear_halt(reason, _now_ms(settings))
        return halted


def _now_ms(settings: Settings) -> int:
    from trader_cli.pipelines.market import market_now_ms
    from trader_cli.venue.clocks import WallClock

    try:
        return market_now_ms(settings)
    except (DataError, ExchangeUnavailable):
        return WallClock().now_ms()


@contextmanager
def _owned_or_asked(path: Any, what: str, reason: str) -> Iterator[Ledger | None]:
    """The ledger, or nothing after its owner was asked."""
    try:
        opening = Ledger.opened(path)
        ledger = opening.__enter__()
    except LedgerLocked:
        asked.ask(path, what, reason)
        yield None
        return
    try:
        yield ledger
    finally:
        opening.__exit__(None, None, None)


def _wait_for_owner(settings: Settings, what: str) -> None:
    """Until the owning process has done it."""
    import time

    path, began = ledger_path(settings), time.monotonic()
    while asked.asked_of(path, what) is not None:
        if time.monotonic() - began > _OWNER_S:
            raise ExchangeUnavailable(
                f"The process that owns the ledger was asked to {what}, and has not answered for {_OWNER_S:.0f} s.",
                mend=f"Stop it, and run `trader {what}` again.",
            )
        time.sleep(_LOOK_S)
