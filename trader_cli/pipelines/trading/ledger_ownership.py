"""Work that owns the ledger of the account: the one way of a command that may make one, or write to it for long."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from trader_cli.execution.coverage import naming_what_is_left
from trader_cli.execution.executor import discard_message
from trader_cli.execution.orphan_orders import halt_where_lost
from trader_cli.pipelines.market_access import run_in_market
from trader_cli.storage.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from trader_cli.core.money.plans import Refused
    from trader_cli.pipelines.market_access import Market
    from trader_cli.settings import Workspace

T = TypeVar("T")


@dataclass(frozen=True)
class LedgerOwnership:
    """A connected market and the ledger of its account; `lost` where that was found to be made anew, and is halted."""

    market: Market
    ledger: Ledger
    lost: Refused | None


def run_owning(
    workspace: Workspace,
    work: Callable[[LedgerOwnership], Awaitable[T]],
    *,
    symbols: Sequence[str] = (),
    say: Callable[[str], None] = discard_message,
    protection: Callable[[Ledger], bool] = lambda _ledger: False,
    for_s: float | None = None,
) -> T:
    """Own the ledger, connect, see whether it was lost, run `work`. Interrupted, it says what is left.

    `symbols` are those the command is about. `protection` and `for_s` as in `run_in_market`.
    """
    with Ledger.opened(workspace.ledger_path) as ledger:

        async def owned(market: Market) -> T:
            lost = await halt_where_lost(market.exchange, ledger, symbols)
            if lost is not None:
                say(lost.sentence)
            return await work(LedgerOwnership(market, ledger, lost))

        with naming_what_is_left(ledger, say):
            return run_in_market(workspace, owned, protection=protection(ledger), for_s=for_s)
