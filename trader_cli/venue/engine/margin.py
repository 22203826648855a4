"""Margin at the simulated exchange: brackets, maintenance, liquidation price. Source: the exchange's formulas."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING

from trader_cli.core.money.assets import QUOTE, margin_asset_of
from trader_cli.venue.engine.books import ZERO

if TYPE_CHECKING:
    from trader_cli.venue.engine.books import Account, Position

TAKER_FEE = Decimal("0.0005")
MAKER_FEE = Decimal("0.0002")
LIQUIDATION_FEE = Decimal("0.0125")
_CENT = Decimal("0.00000001")


@dataclass(frozen=True)
class Bracket:
    """A leverage bracket: notional in (floor, cap], the highest leverage, maintenance margin rate and its offset."""

    number: int
    leverage: int
    floor: Decimal
    cap: Decimal
    rate: Decimal
    offset: Decimal


def brackets_of(rows: list[tuple[int, int, str]]) -> tuple[Bracket, ...]:
    """Brackets from rows of (highest leverage, cap of the notional, maintenance margin rate), the smallest first."""
    made: list[Bracket] = []
    floor, offset, before = ZERO, ZERO, ZERO
    for number, (leverage, cap, rate_text) in enumerate(rows, start=1):
        rate = Decimal(rate_text)
        offset += floor * (rate - before)
        made.append(Bracket(number, leverage, floor, Decimal(cap), rate, offset))
        floor, before = Decimal(cap), rate
    return tuple(made)


BRACKETS = brackets_of(
    [
        (125, 50_000, "0.004"),
        (100, 600_000, "0.005"),
        (75, 3_000_000, "0.0065"),
        (50, 12_000_000, "0.01"),
        (25, 70_000_000, "0.02"),
        (10, 200_000_000, "0.05"),
        (5, 400_000_000, "0.1"),
        (2, 1_000_000_000, "0.25"),
    ]
)
"""The simulated exchange's own table, in dollars; a real exchange is asked for its."""
_ROUGHLY_DOLLARS = {"BTC": 50_000, "ETH": 2_500, "BNB": 500}
"""By how much caps and smallest notionals of contracts in these assets are smaller numbers, fixed for ever."""


def in_asset(dollars: Decimal, asset: str) -> Decimal:
    """A limit that the exchange sets in a margin asset, being so many dollars where that is a dollar."""
    return dollars / _ROUGHLY_DOLLARS.get(asset, 1)


@cache
def usual_brackets(asset: str) -> tuple[Bracket, ...]:
    """The table of contracts margined in an asset."""
    return tuple(
        replace(b, floor=in_asset(b.floor, asset), cap=in_asset(b.cap, asset), offset=in_asset(b.offset, asset))
        for b in BRACKETS
    )


def bracket_of(notional: Decimal, brackets: tuple[Bracket, ...] = BRACKETS) -> Bracket:
    """The bracket that holds a notional; the last one beyond its cap."""
    return next((b for b in brackets if abs(notional) <= b.cap), brackets[-1])


def cents(value: Decimal) -> Decimal:
    """Rounded to the eight decimals the exchange keeps."""
    return value.quantize(_CENT)


def maintenance_margin(notional: Decimal, brackets: tuple[Bracket, ...] = BRACKETS) -> Decimal:
    """notional · rate − offset, by bracket."""
    bracket = bracket_of(notional, brackets)
    return abs(notional) * bracket.rate - bracket.offset


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


def most_notional(leverage: int, brackets: tuple[Bracket, ...] = BRACKETS) -> Decimal:
    """The largest position a leverage allows, none where it is above every bracket's."""
    return max((bracket.cap for bracket in brackets if bracket.leverage >= leverage), default=ZERO)


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
