"""`halt` and `reset`: entries are stopped, or let in again, by anyone and at any time; neither needs the exchange.

What is asked for lies in a file beside the ledger, so that a process at work and a ledger that is damaged do not stand
in the way.
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from typing import TYPE_CHECKING

from trader_cli.core.errors import DataError, ExchangeUnavailable, LedgerLocked
from trader_cli.pipelines.trading.ledger_health import unusable
from trader_cli.storage import owner_requests
from trader_cli.storage.ledger import Ledger
from trader_cli.storage.ledger_reading import LedgerReading

if TYPE_CHECKING:
    from pathlib import Path

    from trader_cli.settings import Workspace


def halt(workspace: Workspace, reason: str) -> None:
    """Stop all entries from now on; needs neither exchange nor keys, nor the ledger: its file is left in any case."""
    path = workspace.ledger_path
    owner_requests.ask(path, "halt", reason)
    if unusable(path) is None:
        _written_down(workspace, path)


def reset(workspace: Workspace, reason: str) -> str | None:
    """A person lifts the halt; what it was, `None` if there was none. A process at work is asked to write it down.

    Where the ledger cannot be used only the request to halt is lifted; what it says itself stays.
    """
    path = workspace.ledger_path
    if unusable(path) is not None:
        was = owner_requests.request_of(path, "halt")
        owner_requests.forget_request(path, "halt")
        return was
    with LedgerReading.shown(path) as shown:
        was = None if shown is None else shown.halted()
    owner_requests.forget_request(path, "halt")
    if was is not None:
        owner_requests.ask(path, "reset", reason)
        _written_down(workspace, path)
    return was


def _written_down(workspace: Workspace, path: Path) -> None:
    """Write requests into the ledger, if it is free and takes them; they count from their files meanwhile."""
    with suppress(LedgerLocked, DataError, sqlite3.Error), Ledger.opened(path) as ledger:
        ledger.take_requests(_now_ms(workspace))


def _now_ms(workspace: Workspace) -> int:
    from trader_cli.pipelines.market_access import market_now_ms
    from trader_cli.venue.clocks import WallClock

    try:
        return market_now_ms(workspace)
    except (DataError, ExchangeUnavailable):
        return WallClock().now_ms()
