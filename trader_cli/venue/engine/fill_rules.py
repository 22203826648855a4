"""How orders are filled, and under which version of these rules an account did what it did."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from trader_cli.venue.engine.margin import TAKER_FEE


@dataclass(frozen=True)
class FillRules:
    """How orders are filled. What an account did under older rules is replayed under those."""

    version: int
    taker_fee: Decimal
    from_trigger: bool
    """Whether triggered orders are filled as above; else they took the book of the first price seen beyond."""


OLD_FILLS = FillRules(1, Decimal("0.0004"), from_trigger=False)
FILLS = FillRules(2, TAKER_FEE, from_trigger=True)
