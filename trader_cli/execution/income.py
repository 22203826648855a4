"""Rows of the wallet read and booked: what our positions and fees led to, and what was paid in or out.

Profits and fees of trades are not: they are in the fills. Nor is what a position of somebody else led to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trader_cli.core.money.orders import INCOME_PAGE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trader_cli.core.money.orders import IncomeState
    from trader_cli.storage.ledger import Ledger

_IN_TRADES = frozenset({"REALIZED_PNL", "COMMISSION"})
_OF_THE_ACCOUNT = frozenset({"COMMISSION_REBATE", "REFERRAL_KICKBACK", "API_REBATE", "FEE_RETURN"})
"""Income of no symbol that our fees have led to."""
_TRANSFERS = frozenset(
    {
        "TRANSFER",
        "INTERNAL_TRANSFER",
        "CROSS_COLLATERAL_TRANSFER",
        "STRATEGY_UMFUTURES_TRANSFER",
        "COIN_SWAP_DEPOSIT",
        "COIN_SWAP_WITHDRAW",
        "AUTO_EXCHANGE",
        "WELCOME_BONUS",
        "FUTURES_PRESENT",
    }
)
"""What was paid in or out, also of one asset into another; a kind that is not named counts as a profit or loss."""
_DAY_MS = 86_400_000
"""How late the exchange may still show an income."""
_BESIDE_MS = 60_000
"""How far from its stamp the exchange may have looked at what is held."""
_AFTERMATH_MS = 3_600_000
"""How long after a position what is left of it may be settled: a liquidation's fee, a delivery."""


async def book_income(ledger: Ledger, page_of: Callable[[int], Awaitable[list[IncomeState]]]) -> None:
    """Book what is new since the last row, and again what may have been shown late: each row is booked once."""
    since = ledger.money_since_ms()
    if since is None:
        return
    cursor = max(since, ledger.last_income_ms() - _DAY_MS)
    while True:
        page = await page_of(cursor)
        for row in page:
            _book(ledger, row)
        if len(page) < INCOME_PAGE or page[-1].time_ms <= cursor:
            return
        cursor = page[-1].time_ms


def _book(ledger: Ledger, row: IncomeState) -> None:
    if row.kind in _TRANSFERS:
        ledger.transfer(row)
    elif row.kind in _OF_THE_ACCOUNT or (row.kind not in _IN_TRADES and _is_of_ours(ledger, row)):
        ledger.receive(row.income_id, row.kind, row.symbol, row.amount, row.time_ms, row.asset)


def _is_of_ours(ledger: Ledger, row: IncomeState) -> bool:
    """Whether something of ours was held when it was due. One whose fills are not booked yet is looked at again."""
    before_ms = _BESIDE_MS if row.kind == "FUNDING_FEE" else _AFTERMATH_MS
    return bool(row.symbol) and ledger.was_held(row.symbol, row.time_ms - before_ms, row.time_ms + _BESIDE_MS)
