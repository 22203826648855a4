"""Orders with our ids that this ledger does not know: a lost ledger, or a second trader on the same account.

A ledger without any order in it is looked into wherever it is opened for work: over what carries our ids it is halted.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from trader_cli.core.errors import TraderError
from trader_cli.core.money.plans import Refused
from trader_cli.core.proofs import doubts
from trader_cli.core.proofs.evidence import orphans
from trader_cli.execution.exchange_evidence import BUDGET_S, take_account_snapshot
from trader_cli.execution.exchange_history import WINDOW_MS
from trader_cli.storage.ledger import Ledger, LedgerUnwritable
from trader_cli.storage.ledger_books import second_ledger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Sequence

    from trader_cli.core.proofs.evidence import AccountSnapshot
    from trader_cli.exchange.binance import BinanceExchange

T = TypeVar("T")
LOST, SECOND, SPLIT = "ledger_lost", "second_trader", "two_ledgers"


def require_no_orphans(ledger: Ledger, snapshot: AccountSnapshot, at_ms: int) -> Refused | None:
    """Before each entry: nothing is opened while the exchange shows orders of our kind that are not in this ledger.

    Entries are halted then, until a person has looked. A ledger with no order in it is taken to be one that was made
    anew over those of a lost one.
    """
    shown = (*snapshot.resting, *snapshot.past)
    unknown = orphans(shown, {order.client_id for order in shown if ledger.intent(order.client_id) is not None})
    sentence = doubts.second_trader(unknown)
    if sentence is None:
        return None
    code = SECOND if ledger.client_ids() else LOST
    if code == LOST:
        sentence = f"This ledger is new, and {len(unknown)} order(s) with our ids are at the exchange already"
    refused = Refused(code, f"{sentence}. Run `trader ledger rebuild`, then `trader reset`.")
    if ledger.halted() is None:
        ledger.halt(f"{code}: {refused.sentence}", at_ms)
    return refused


async def halt_where_lost(exchange: BinanceExchange, ledger: Ledger, symbols: Sequence[str] = ()) -> Refused | None:
    """Halt a ledger that knows no order while the exchange knows some with our ids; why, where that was found now.

    So is one beside which a second of the same account lies: each knows a part, and its halts, alone.
    Asked are what is open and rests on the account, and the past of these symbols, of those that hold anything and of
    those that moved the wallet in the last days. What does not answer is found by the check before each entry.
    """
    if ledger.halted() is not None:
        return None
    second = second_ledger(exchange.workspace.ledgers)
    if second is not None:
        with suppress(LedgerUnwritable):
            ledger.halt(f"{SPLIT}: {second}", exchange.server_now_ms())
        return Refused(SPLIT, f"{second[0].upper()}{second[1:]}.")
    if ledger.client_ids():
        return None
    protection, now = exchange.protection, exchange.server_now_ms()
    snapshot, moves = await asyncio.gather(
        take_account_snapshot(protection, exchange.clock, now), _answered(exchange, protection.income(now - WINDOW_MS))
    )
    shown = [position.symbol for position in snapshot.positions or ()] + [move.symbol for move in moves if move.symbol]
    named = dict.fromkeys([*symbols, *shown])
    past = await asyncio.gather(*(_answered(exchange, protection.past_orders(symbol)) for symbol in named))
    whole = replace(snapshot, past=tuple(order for orders in past for order in orders))
    with suppress(LedgerUnwritable):
        return require_no_orphans(ledger, whole, exchange.server_now_ms())
    return None


async def _answered(exchange: BinanceExchange, question: Awaitable[list[T]]) -> list[T]:
    """The answer, if it comes in time; nothing where the exchange does not say."""
    try:
        return await asyncio.wait_for(question, exchange.clock.loop_s(BUDGET_S))
    except (TraderError, TimeoutError):
        return []


@asynccontextmanager
async def ledger_for(
    exchange: BinanceExchange, given: Ledger | None, symbols: Sequence[str] = ()
) -> AsyncIterator[Ledger]:
    """The ledger that was given, else the account's own, halted where it was lost, open until the block ends."""
    if given is not None:
        yield given
        return
    with Ledger.opened(exchange.workspace.ledger_path) as ledger:
        await halt_where_lost(exchange, ledger, symbols)
        yield ledger
