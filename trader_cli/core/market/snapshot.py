"""The market of a symbol at one moment, as a fetch stores it: what was traded in a day, the book, the next funding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trader_cli.core.json_values import items_of, number_of, object_of, whole_of

if TYPE_CHECKING:
    from collections.abc import Mapping

EquityPoint = tuple[float, float]
"""Price and quantity."""


@dataclass(frozen=True)
class MarketSnapshot:
    """What ticker, order book and premium index said at `fetched_ms` (UTC) of the exchange's time.

    `bids` and `asks` are (price, quantity), best first; `day_volume_quote` is the turnover of the last 24 hours;
    `funding_rate` is what a long pays next, as a fraction of its notional, at `next_funding_ms` where that is known.
    `maintenance_rate` (a share of the notional) and `max_leverage` are of the lowest bracket an account was told of.
    """

    source: str
    fetched_ms: int
    day_volume_quote: float
    bids: tuple[EquityPoint, ...]
    asks: tuple[EquityPoint, ...]
    funding_rate: float
    next_funding_ms: int | None = None
    maintenance_rate: float | None = None
    max_leverage: int | None = None

    @property
    def next_funding(self) -> tuple[int, float] | None:
        """(time, rate) of the next payment, where the exchange tells one."""
        return (self.next_funding_ms, self.funding_rate) if self.next_funding_ms else None

    @classmethod
    def from_dict(cls, document: Mapping[str, object]) -> MarketSnapshot:
        """From the stored document. Raises `KeyError` or `TypeError` where it is not whole."""
        ticker, book, premium = (object_of(document[name]) for name in ("ticker", "book", "premium"))
        next_ms = premium.get("next_funding_ms")
        bracket = object_of(document["bracket"]) if "bracket" in document else None
        return cls(
            source=str(document["source"]),
            fetched_ms=whole_of(document["fetched_ms"]),
            day_volume_quote=number_of(ticker["quote_volume"]),
            bids=_levels(book["bids"]),
            asks=_levels(book["asks"]),
            funding_rate=number_of(premium["funding_rate"]),
            next_funding_ms=None if next_ms is None else whole_of(next_ms),
            maintenance_rate=None if bracket is None else number_of(bracket["maintenance_rate"]),
            max_leverage=None if bracket is None else whole_of(bracket["max_leverage"]),
        )


def _levels(field: object) -> tuple[EquityPoint, ...]:
    return tuple((number_of(price), number_of(quantity)) for price, quantity in map(items_of, items_of(field)))
