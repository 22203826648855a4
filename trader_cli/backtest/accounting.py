"""What an account that has traded must come to: nothing is made or lost on the way. Checked after every backtest."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.core.money.assets import QUOTE, margin_asset_of

if TYPE_CHECKING:
    from trader_cli.backtest.backtest_account import BacktestAccount

ZERO = Decimal(0)
_EXACT = Decimal("1e-8")
"""Of the balance; the exchange rounds to eight decimals."""


def check_accounts(account: BacktestAccount, balance: Decimal) -> None:
    """Raises `AssertionError` where the account does not add up.

    Equity is the balance, plus what was realised and what would be, less fees, less funding paid; the fills explain
    every position; what trades say they made is what the wallet was given.
    """
    engine = account.venue.engine
    books, open_now = engine.account, [p for p in engine.account.positions.values() if p.amount]
    booked: dict[str, Decimal] = defaultdict(Decimal)
    for income in books.income:
        if income.asset == QUOTE:
            booked[income.kind] += income.amount
    unrealised = sum(
        (p.amount * (engine.mark(p.symbol) - p.entry) for p in open_now if margin_asset_of(p.symbol) == QUOTE), ZERO
    )
    _alike("equity", engine.equity(), balance + sum(booked.values(), ZERO) + unrealised, balance)
    fills = [fill for fill in books.fills if fill.commission_asset == QUOTE]
    _alike("fees", -booked["COMMISSION"], sum((fill.commission for fill in fills), ZERO), balance)
    _alike("realised", booked["REALIZED_PNL"], sum((fill.realized for fill in fills), ZERO), balance)
    folded: dict[str, Decimal] = defaultdict(Decimal)
    for fill in books.fills:
        folded[fill.symbol] += fill.quantity if fill.side == "BUY" else -fill.quantity
    for symbol, amount in folded.items():
        _alike(f"the position of {symbol}", books.position(symbol).amount, amount, balance)
    if len(fills) == len(books.fills):
        told = Decimal(repr(sum(account.records.nets)))
        _alike("what trades made", sum(booked.values(), ZERO), told, balance)


def _alike(what: str, found: Decimal, expected: Decimal, balance: Decimal) -> None:
    if abs(found - expected) > _EXACT * max(balance, abs(expected)):
        raise AssertionError(f"The account does not add up: {what} is {found}, not {expected}.")
