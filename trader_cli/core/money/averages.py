"""Prices that lie between ticks, averages above all, as a person reads them: with the tick's digits and two more."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

MORE = 2
"""Digits beyond the tick's: an average over many fills lies between two ticks."""
_LEAST, _ALONE = 6, 8
"""Significant digits where levels may be round numbers, and where no level is known."""
_FINEST = 12


def places(price: Decimal) -> int:
    """Decimals a price needs: 2000.10 → 1, 1900 → 0."""
    return _written_places(price.normalize())


def average_price(fills: Iterable[tuple[Decimal, Decimal]]) -> Decimal | None:
    """Average of (price, quantity), to two digits more than the prices have; `None` without a quantity."""
    known = list(fills)
    quantity = sum((q for _, q in known), Decimal(0))
    if not quantity:
        return None
    finest = max(places(p) for p, _ in known)
    return _rounded(sum((p * q for p, q in known), Decimal(0)) / quantity, finest + MORE, finest)


def readable(price: Decimal, *on_ticks: Decimal) -> Decimal:
    """A price rounded to two digits more than these levels have, which lie on ticks but may all be round numbers.

    To at least 6 significant digits, without any level to 8. One with no more digits stays as it is written; written by
    `:f` there is never an exponent.
    """
    finest = max((places(p) for p in on_ticks if p), default=None)
    digits = _LEAST if finest is not None else _ALONE
    most = max(0, min(digits - 1 - price.adjusted(), _FINEST), (finest or 0) + MORE if finest is not None else 0)
    return _rounded(price, most, finest or 0)


def _rounded(price: Decimal, most: int, least: int) -> Decimal:
    """Rounded to at most `most` decimals, of which zeros beyond `least` are left out."""
    if _written_places(price) <= most:
        return price
    rounded = price.quantize(_unit(most), rounding=ROUND_HALF_EVEN)
    return rounded.quantize(_unit(max(least, places(rounded))))


def _written_places(price: Decimal) -> int:
    exponent = price.as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _unit(decimals: int) -> Decimal:
    return Decimal(1).scaleb(-decimals)
