"""Margin at the simulated exchange: what stands behind a position, and at which price it is liquidated.

Source: the exchange's formulas.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.core.money.assets import QUOTE, margin_asset_of
from trader_cli.venue.engine.books import ZERO
from trader_cli.venue.simulated_market.brackets import BRACKETS, bracket_of

if TYPE_CHECKING:
    from trader_cli.venue.engine.books import Account, Position
    from trader_cli.venue.simulated_market.brackets import Bracket

TAKER_FEE = Decimal("0.0005")
MAKER_FEE = Decimal("0.0002")
LIQUIDATION_FEE = Decimal("0.0125")
_CENT = Decimal("0.00000001")


def cents(value: Decimal) -> Decimal:
    """Rounded to the eight decimals the exchange keeps."""
    return value.quantize(_CENT)


def initial_margin(account: Account, position: Position, mark: Decimal) -> Decimal:
    """Margin a position ties up: its isolated margin, or its notional over the leverage."""
    option = account.option(position.symbol)
    return position.isolated if option.isolated else abs(position.amount) * mark / option.leverage


def backing(account: Account, position: Position) -> Decimal:
    """What stands behind a position: its isolated margin, or the wallet that no isolated position holds."""
    if account.option(position.symbol).isolated:
        return position.isolated
    asset = margin_asset_of(position.symbol)
    return account.balance(asset) - sum((p.isolated for p in of_asset(account, asset)), ZERO)


def of_asset(account: Account, asset: str) -> list[Position]:
    """The positions that are margined in an asset."""
    return [p for p in account.positions.values() if margin_asset_of(p.symbol) == asset]


def available(account: Account, marks: dict[str, Decimal], asset: str = QUOTE) -> Decimal:
    """Balance of an asset that is free: its wallet less isolated and cross margins, and losses not yet realised."""
    free = account.balance(asset)
    for position in of_asset(account, asset):
        if position.amount == 0:
            continue
        mark = marks[position.symbol]
        free -= initial_margin(account, position, mark)
        if not account.option(position.symbol).isolated:
            free += min(unrealized(position, mark), ZERO)
    return max(free - open_order_margin(account, asset), ZERO)


def open_order_margin(account: Account, asset: str = QUOTE) -> Decimal:
    """Margin of an asset that resting orders tie up until they fill."""
    opening = [o for o in account.open_orders() if not o.reduce_only and margin_asset_of(o.symbol) == asset]
    return sum((o.remaining * o.price / account.option(o.symbol).leverage for o in opening), ZERO)


def unrealized(position: Position, mark: Decimal) -> Decimal:
    """Profit of a position at a mark price."""
    return position.amount * (mark - position.entry)


def liquidation_price(account: Account, position: Position, brackets: tuple[Bracket, ...] = BRACKETS) -> Decimal:
    """LP = (WB + cum − s·Q·EP) / (Q·MMR − s·Q), the bracket taken at LP itself; 0 where there is none."""
    if position.amount == 0:
        return ZERO
    quantity, sign = abs(position.amount), 1 if position.amount > 0 else -1
    bracket = bracket_of(quantity * position.entry, brackets)
    for _ in brackets:
        price = (backing(account, position) + bracket.offset - sign * quantity * position.entry) / (
            quantity * bracket.rate - sign * quantity
        )
        found = bracket_of(quantity * max(price, ZERO), brackets)
        if found is bracket:
            break
        bracket = found
    return max(price, ZERO)
