"""The changes of a book from one message to the next, so that who follows them from a snapshot holds the book.

A message lists every level that was another at any moment since the last one, with what it is now: a snapshot taken on
the way there may show what has gone again by its end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trader_cli.venue.simulated_market.number_format import decimals, formatted

if TYPE_CHECKING:
    from trader_cli.venue.simulated_market.symbol_market import SymbolMarket

LEVELS = 1000
"""Of a side, as many as a snapshot shows; what is deeper is not told."""

Levels = dict[str, str]
"""Quantities by price, as written, best first."""


def shown_levels(market: SymbolMarket, now_ms: int, levels: int) -> tuple[Levels, Levels]:
    """(bids, asks) as the depth route writes them."""
    bids, asks = market.book_columns(now_ms, levels)
    prices = formatted([bids[0], asks[0]], decimals(market.tape.tick))
    sizes = formatted([bids[1], asks[1]], decimals(market.tape.step))
    sides = [dict(zip(p.to_list(), q.to_list(), strict=True)) for p, q in zip(prices, sizes, strict=True)]
    return sides[0], sides[1]


class BookChanges:
    """Of one market, from a moment on."""

    def __init__(self, market: SymbolMarket, since_ms: int) -> None:
        self._market, self._told_ms, self._seen_ms = market, since_ms, since_ms
        self._sides = shown_levels(market, since_ms, LEVELS)

    def upto(self, now_ms: int) -> tuple[int, list[list[str]], list[list[str]]] | None:
        """(When the message before was, bids, asks that have changed); None where the book has not."""
        moments = self._market.book_moments(self._seen_ms, now_ms)
        self._seen_ms = now_ms
        touched: tuple[set[str], set[str]] = set(), set()
        now = before = self._sides
        for at in moments:
            now = shown_levels(self._market, at, LEVELS)
            for side in (0, 1):
                touched[side].update(price for price, _ in before[side].items() ^ now[side].items())
        if not any(touched):
            return None
        told_ms, self._told_ms, self._sides = self._told_ms, now_ms, now
        bids, asks = (
            [[price, now[side].get(price, "0")] for price in sorted(touched[side], key=float, reverse=side == 0)]
            for side in (0, 1)
        )
        return told_ms, bids, asks
