"""How orders are filled, and under which version of these rules an account did what it did."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

from trader_cli.venue.engine.margin import TAKER_FEE


@dataclass(frozen=True)
class FillRules:
    """How orders are filled. What an account did under older rules is replayed under those."""

    version: int
    taker_fee: Decimal
    from_trigger: bool
    """Whether triggered orders are filled as above; else they took the book of the first price seen beyond."""
    in_passing: bool
    """Whether of triggers passed from one price of a minute to the next the nearest comes first; else the oldest order
    did: a backstop closed, at its own level, what the stop before it would have closed better."""
    slippage: Decimal = Decimal("0.0001")
    """What a triggered order loses between trigger and book, as a share of the price: `costs.slippage_bps` as it
    comes."""


OLD_FILLS = FillRules(1, Decimal("0.0004"), from_trigger=False, in_passing=False)
OLDEST_FIRST = FillRules(2, TAKER_FEE, from_trigger=True, in_passing=False)
FILLS = FillRules(3, TAKER_FEE, from_trigger=True, in_passing=True)
IDEAL_FILLS = replace(FILLS, slippage=Decimal(0))
"""Where nothing is lost between trigger and book."""


def fills_of(version: int) -> FillRules:
    """The rules of a version."""
    return {rules.version: rules for rules in (OLD_FILLS, OLDEST_FIRST)}.get(version, FILLS)
