"""Leverage brackets: how large a position may be at which leverage, and what margin it must keep."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trader_cli.core.money.orders import LeverageBracket

_NONE = Decimal(0)


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
    floor, offset, before = _NONE, _NONE, _NONE
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


def told_brackets(rows: Sequence[LeverageBracket]) -> tuple[Bracket, ...]:
    """Brackets as an exchange told them, lowest notional first."""
    floors = [_NONE, *(row.notional_cap for row in rows)]
    return tuple(
        Bracket(number, row.max_leverage, floor, row.notional_cap, row.maintenance_rate, row.offset)
        for number, (floor, row) in enumerate(zip(floors, rows, strict=False), start=1)
    )


def bracket_of(notional: Decimal, brackets: tuple[Bracket, ...] = BRACKETS) -> Bracket:
    """The bracket that holds a notional; the last one beyond its cap."""
    return next((b for b in brackets if abs(notional) <= b.cap), brackets[-1])


def maintenance_margin(notional: Decimal, brackets: tuple[Bracket, ...] = BRACKETS) -> Decimal:
    """notional · rate − offset, by bracket."""
    bracket = bracket_of(notional, brackets)
    return abs(notional) * bracket.rate - bracket.offset


def most_notional(leverage: int, brackets: tuple[Bracket, ...] = BRACKETS) -> Decimal:
    """The largest position a leverage allows, none where it is above every bracket's."""
    return max((bracket.cap for bracket in brackets if bracket.leverage >= leverage), default=_NONE)
