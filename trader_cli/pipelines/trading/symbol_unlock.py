"""A person lets entries of a latched symbol in again. Needs neither exchange nor keys, nor the ledger's lock."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from trader_cli.core.errors import DataError, ExchangeUnavailable, LedgerLocked, UsageError
from trader_cli.storage import owner_requests
from trader_cli.storage.ledger import Ledger
from trader_cli.storage.ledger_reading import LedgerReading

if TYPE_CHECKING:
    from trader_cli.core.money.breaker import LatchLine
    from trader_cli.settings import Workspace


def unlock(workspace: Workspace, symbol: str, reason: str) -> LatchLine | None:
    """Lift the latch of a symbol; what it was, `None` if there was none. It counts at once.

    A process at work is asked to write it down. A latch that comes meanwhile is not lifted: nobody has looked at it.
    Raises `UsageError` for a symbol that was never held back and on which we never had an order: it may be misspelt.
    """
    path = workspace.ledger_path
    with LedgerReading.shown(path) as shown:
        known = set() if shown is None else {*shown.symbols(), *(line.symbol for line in shown.latch_lines())}
        was = None if shown is None else shown.latches().get(symbol)
    if symbol not in known:
        raise UsageError(
            f"Entries of {symbol} were never held back, and no order of ours was ever there.",
            hint="See `trader status` for what is latched.",
        )
    if was is not None:
        owner_requests.ask(path, f"unlock-{symbol}", f"{was.number} {reason}")
        with suppress(LedgerLocked), Ledger.opened(path) as ledger:
            ledger.take_requests(_now_ms(workspace))
    return was


def _now_ms(workspace: Workspace) -> int:
    from trader_cli.pipelines.market_access import market_now_ms
    from trader_cli.venue.clocks import WallClock

    try:
        return market_now_ms(workspace)
    except (DataError, ExchangeUnavailable):
        return WallClock().now_ms()
