"""What the engine asks of a market: prices in order of time, a book, funding rates, and the symbol's filters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from trader_cli.core.orders import SymbolRules

Level = tuple[float, float]
"""(price, quantity) of a book."""
Beyond = tuple[int, float, float]
"""(UTC ms, price, traded quantity) of a price point."""


class EngineMarket(Protocol):
    """One symbol as the engine sees it. Nothing later than the time it is asked about is shown."""

    @property
    def rules(self) -> SymbolRules:
        """The symbol's filters."""
        ...

    def first_beyond(self, after_ms: int, upto_ms: int, below: float, above: float) -> Beyond | None:
        """The first price point in (after, upto] whose price is ≤ `below` or ≥ `above`."""
        ...

    def last_price(self, now_ms: int) -> float:
        """The latest price at `now_ms`."""
        ...

    def book(self, now_ms: int, levels: int) -> tuple[list[Level], list[Level]]:
        """(bids, asks), best first."""
        ...

    def funding_rate(self, time_ms: int) -> float:
        """The rate that is paid at an eight-hour boundary."""
        ...
