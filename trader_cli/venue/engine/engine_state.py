"""What the engine knows at a moment: its account, the rules that hold, what markets show, as the exchange writes it.

What it does with that is `engine.py`. Margin, fees, triggers and funding ask this.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.venue.engine.books import ZERO, places

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trader_cli.core.money.orders import SymbolRules
    from trader_cli.venue.engine.books import Account, Order
    from trader_cli.venue.engine.fill_rules import FillRules
    from trader_cli.venue.engine.switches import Switches
    from trader_cli.venue.simulated_market.brackets import Bracket
    from trader_cli.venue.simulated_market.market_port import EngineMarket
    from trader_cli.venue.simulated_market.rule_changes import Listing, RuleBook


class EngineState:
    """One account on markets at `now_ms`, UTC ms."""

    def __init__(
        self,
        markets: Mapping[str, EngineMarket],
        account: Account,
        start_ms: int,
        switches: Switches,
        book: RuleBook,
        fills: FillRules,
    ) -> None:
        self.markets = markets
        self.account = account
        self.now_ms = start_ms
        self.switches = switches
        self.fills = fills
        self._book = book
        self._marked: dict[str, tuple[int, Decimal]] = {}
        self._written: dict[str, tuple[float, Decimal, Decimal]] = {}
        self._ruled: dict[str, tuple[Listing, SymbolRules, SymbolRules]] = {}

    def busy(self) -> set[str]:
        """Symbols on which a price can change something."""
        found = {p.symbol for p in self.account.positions.values() if p.amount}
        found.update(order.symbol for order in self.account.open_orders())
        found.update(order.symbol for order in self.account.open_algos())
        return found

    def listing(self, symbol: str) -> Listing:
        """Status, brackets and funding interval of a symbol now."""
        return self._book.at(symbol, self.now_ms)

    def rules(self, symbol: str) -> SymbolRules:
        """The filters of a symbol now."""
        listing, base, known = self.listing(symbol), self.markets[symbol].rules, self._ruled.get(symbol)
        if known is None or known[0] is not listing or known[1] is not base:
            known = self._ruled[symbol] = listing, base, listing.rules(base)
        return known[2]

    def brackets(self, symbol: str) -> tuple[Bracket, ...]:
        """The leverage brackets of a symbol now."""
        return self.listing(symbol).brackets

    def mark(self, symbol: str) -> Decimal:
        """The mark price now, the last price where none was recorded."""
        known, market = self._marked.get(symbol), self.markets[symbol]
        if known is None or known[0] != self.now_ms or not market.knows_ahead:
            known = self._marked[symbol] = self.now_ms, self.price(symbol, market.mark_price(self.now_ms))
        return known[1]

    def marks(self) -> dict[str, Decimal]:
        """Mark prices of every symbol with a position or an open order."""
        return {symbol: self.mark(symbol) for symbol in self.busy()}

    def price(self, symbol: str, value: float) -> Decimal:
        """A float price of the market as the exchange writes it."""
        tick, known = self.markets[symbol].rules.tick, self._written.get(symbol)
        if known is None or known[0] != value or known[1] != tick:
            known = self._written[symbol] = value, tick, Decimal(f"{value:.{places(tick)}f}")
        return known[2]

    def quantity(self, symbol: str, value: float) -> Decimal:
        """A float quantity of the market as the exchange writes it."""
        return Decimal(f"{value:.{places(self.markets[symbol].rules.step)}f}")

    def allowed(self, order: Order, quantity: Decimal) -> Decimal:
        """How much of `quantity` may execute: a reduce-only order no more than the position it reduces."""
        if not order.reduce_only:
            return quantity
        amount = self.account.position(order.symbol).amount
        return min(quantity, abs(amount)) if amount * order.sign < 0 else ZERO
