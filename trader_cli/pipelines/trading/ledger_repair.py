"""A ledger that was lost or does not match: made again from the exchange's memory, or settled by a person's word."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.core.errors import DataError, DataMissing, UsageError
from trader_cli.core.identity.ids import is_ours
from trader_cli.execution.exchange_history import traded_symbols
from trader_cli.execution.executor import Executor
from trader_cli.execution.ledger_adjustment import settle as settle_symbol
from trader_cli.execution.rebuild import rebuild
from trader_cli.pipelines.market_access import run_in_market
from trader_cli.settings.room_options import ExecutionOptions
from trader_cli.storage.ledger import Ledger
from trader_cli.storage.ledger_faults import guarded
from trader_cli.storage.ledger_identity import BEING_MADE
from trader_cli.storage.ledger_lock import OwnerLock, lock_file, this_command
from trader_cli.storage.ledger_reading import LedgerReading

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from trader_cli.core.money.orders import OrderState, StopState
    from trader_cli.core.money.plans import Refused
    from trader_cli.execution.ledger_adjustment import Settlement
    from trader_cli.pipelines.market_access import Market
    from trader_cli.settings import Workspace

_HALT = "the ledger was made again from the exchange's memory; compare it with the account, then `trader reset`"
_PARTS = ("", "-wal", "-shm")


@dataclass(frozen=True)
class Rebuilt:
    """Fills booked by symbol, where the old file lies now, and the halt it begins with."""

    fills: dict[str, int]
    moved_to: str | None
    halted: str | None


def rebuild_ledger(workspace: Workspace, symbols: list[str]) -> Rebuilt:
    """Make a lost or damaged ledger again; whatever lies in its place is moved aside, once the new one is whole.

    Default: every symbol with a position, with orders or stops of ours, or that has moved the wallet. Raises
    `UsageError` where a healthy ledger has lines in it, `DataInvalid` where a position cannot be explained: the old
    file is left where it is then.
    """
    path = workspace.ledger_path
    with OwnerLock.acquire(path, this_command()):
        is_there = _require_nothing_better(path)
        made = path.with_name(f"{path.stem}{BEING_MADE}.sqlite")
        try:
            with guarded(path):
                _forget(made)
            with Ledger.opened(made) as ledger:
                fills = run_in_market(workspace, lambda market: _rebuilt(workspace, ledger, market, symbols, is_there))
                halted = ledger.halted()
            with guarded(path):
                moved = _aside(path) if is_there else None
                made.replace(path)
        finally:
            with suppress(OSError):
                _forget(made)
    return Rebuilt(fills, None if moved is None else str(moved), halted)


async def _rebuilt(
    workspace: Workspace, ledger: Ledger, market: Market, symbols: list[str], is_there: bool
) -> dict[str, int]:
    private = market.exchange.private
    market.exchange.require_listed(*symbols)
    chosen = symbols
    if not symbols:
        resting: list[OrderState | StopState] = [*await private.open_orders(), *await private.open_stops()]
        ours = {order.symbol for order in resting if is_ours(order.client_id)}
        held = {position.symbol for position in await private.positions()}
        chosen = sorted(ours | held | await traded_symbols(private, market.exchange.server_now_ms()))
    fills = await rebuild(Executor(market.exchange, ledger, ExecutionOptions.of(workspace)), chosen)
    if is_there or ledger.client_ids():
        ledger.halt(_HALT, market.exchange.server_now_ms())
    return fills


def _require_nothing_better(path: Path) -> bool:
    """Whether something lies where the ledger belongs. Raises `UsageError` if it is a ledger with orders in it."""
    try:
        with LedgerReading.shown(path) as ledger:
            if ledger is None:
                return False
            if not ledger.client_ids():
                return True
    except DataError:
        return True
    raise UsageError(
        f"The ledger {path} is not empty, and can be read.", hint="Move it away first, to have it made again."
    )


def _aside(path: Path) -> Path:
    """Move what lies at `path`, and what sqlite keeps beside it, to a name that tells why and when."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    names = (f"{path.name}.damaged-{stamp}" + (f"-{number}" if number else "") for number in range(1000))
    target = next(t for name in names if not (t := path.with_name(name)).exists())
    for part in _PARTS:
        old = path.with_name(path.name + part)
        if old.exists():
            old.rename(target.with_name(target.name + part))
    return target


def _forget(made: Path) -> None:
    for part in _PARTS:
        made.with_name(made.name + part).unlink(missing_ok=True)
    lock_file(made).unlink(missing_ok=True)


def settle(workspace: Workspace, symbol: str, say: Callable[[str], None], *, book: bool) -> Settlement | Refused:
    """Compare ledger and exchange about a symbol, and with `book` make the ledger smaller where it holds more.

    Raises `DataMissing` without a ledger: none is made for it.
    """
    path = workspace.ledger_path
    if not path.exists():
        raise DataMissing(f"There is no ledger at {path}.", hint="If one was lost, run `trader ledger rebuild`.")
    with Ledger.opened(path) if book else Ledger.imagined(path) as ledger:
        is_known = symbol in ledger.symbols()
        before = ledger.holding(symbol).amount if is_known else Decimal(0)

        async def work(market: Market) -> Settlement | Refused:
            if not is_known:
                market.exchange.require_listed(symbol)
            executor = Executor(market.exchange, ledger, ExecutionOptions.of(workspace))
            return await settle_symbol(executor, symbol, before, book=book, say=say)

        return run_in_market(workspace, work)
