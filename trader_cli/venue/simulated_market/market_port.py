"""What the engine asks of a market: prices in order of time, a book, funding rates, and the symbol's filters."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from trader_cli.core.money.orders import SymbolRules

Level = tuple[float, float]
"""(price, quantity) of a book."""
PricePoint = tuple[int, float, float]
"""(UTC ms, price, traded quantity) of a price point."""


class Beyond(NamedTuple):
    """A price point beyond a bound. `before` is the price it came from; None where its minute opened there."""

    time_ms: int
    price: float
    quantity: float
    before: float | None = None


class EngineMarket(Protocol):
    """One symbol as the engine sees it. Nothing later than the time it is asked about is shown."""

    @property
    def rules(self) -> SymbolRules:
        """The symbol's filters."""
        ...

    @property
    def knows_ahead(self) -> bool:
        """Whether prices to come are known, as on a tape, so that what is looked for once need not be again."""
        ...

    def still_until(self, after_ms: int) -> int:
        """Before when it is known, at no cost, that no price comes after that; the moment itself where nothing is."""
        ...

    def first_beyond(self, after_ms: int, upto_ms: int, below: float, above: float) -> Beyond | None:
        """The first price point in (after, upto] whose price is ≤ `below` or ≥ `above`."""
        ...

    def last_price(self, now_ms: int) -> float:
        """The latest price at `now_ms`."""
        ...

    @property
    def mark_is_last(self) -> bool:
        """Whether no mark price of its own is known: then the last price is the mark."""
        ...

    def first_mark_beyond(self, after_ms: int, upto_ms: int, below: float, above: float) -> Beyond | None:
        """As `first_beyond`, of the mark price."""
        ...

    def mark_price(self, now_ms: int) -> float:
        """The latest mark price at `now_ms`."""
        ...

    def price_on_the_way(self, time_ms: int, share: float) -> float:
        """The last price at that share of its way to what it was at `time_ms`, from what it was just before."""
        ...

    def unresolved_until(self, time_ms: int) -> int:
        """The end of the time from a moment on within which nobody knows what came first; else the moment."""
        ...

    def book(self, now_ms: int, levels: int) -> tuple[list[Level], list[Level]]:
        """(bids, asks), best first."""
        ...

    def funding_rate(self, time_ms: int) -> float:
        """The rate that is paid at an eight-hour boundary."""
        ...
