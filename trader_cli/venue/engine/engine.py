"""The exchange engine: orders against the tape, fees, triggers, isolated margin, funding, liquidation.

Deterministic: the state is a function of the tape and of the commands with their times, whichever way time was advanced
in between. One account per engine; nothing here knows about sockets or keys.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from trader_cli.core.money.assets import QUOTE
from trader_cli.venue.engine.admission import require_fitting, require_margin
from trader_cli.venue.engine.books import ZERO, Account, AlgoOrder, Fill, Income, Order, Position
from trader_cli.venue.engine.engine_state import EngineState
from trader_cli.venue.engine.fees import fee_of
from trader_cli.venue.engine.fill_rules import FILLS
from trader_cli.venue.engine.funding import fund
from trader_cli.venue.engine.lapses import Lapses
from trader_cli.venue.engine.look_ahead import LookAhead
from trader_cli.venue.engine.margin import (
    LIQUIDATION_FEE,
    backing,
    cents,
    liquidation_price,
    of_asset,
    unrealized,
)
from trader_cli.venue.engine.queries import VenueRejection
from trader_cli.venue.engine.switches import Switches
from trader_cli.venue.engine.triggers import after_trigger, mark_of, offered_levels, triggered
from trader_cli.venue.simulated_market.derived_series import FUNDING_INTERVAL_MS
from trader_cli.venue.simulated_market.rule_changes import RuleBook

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

    from trader_cli.venue.engine.fill_rules import FillRules
    from trader_cli.venue.engine.triggers import Touch
    from trader_cli.venue.simulated_market.market_port import EngineMarket

Watcher = Callable[["Engine"], None]
"""Called with the engine after each change of its account, `now_ms` being the moment of the change."""


class Engine(EngineState):
    """One account trading on markets. Times only go forward."""

    def __init__(
        self,
        markets: Mapping[str, EngineMarket],
        account: Account,
        start_ms: int,
        *,
        switches: Switches | None = None,
        book: RuleBook | None = None,
        fills: FillRules = FILLS,
    ) -> None:
        super().__init__(markets, account, start_ms, switches or Switches(), book or RuleBook(), fills)
        self.on_change: list[Watcher] = []
        self._next_funding_ms = self._book.next_stamp_ms(markets, start_ms, FUNDING_INTERVAL_MS)
        self._next_id = 1
        self._next_trade = 1
        self._look_ahead = LookAhead(self)
        self._ends = sorted((at_ms, symbol) for symbol, at_ms in self._book.ends.items())
        self._lapses = Lapses()

    def counters(self) -> list[int]:
        """The engine's own state beside its account: time, next funding, next ids."""
        return [self.now_ms, self._next_funding_ms, self._next_id, self._next_trade]

    def set_counters(self, counters: list[int]) -> None:
        """Go on from `counters`."""
        self.now_ms, self._next_funding_ms, self._next_id, self._next_trade = counters
        self._look_ahead.changed(None)

    # --- time ---

    @property
    def next_funding_ms(self) -> int:
        """When funding may fall due next."""
        return self._next_funding_ms

    def advance(self, now_ms: int) -> None:
        """Let the market move to `now_ms`: fills, triggers, funding and liquidations happen at their own times."""
        if self._look_ahead.is_calm(now_ms):
            self.now_ms = now_ms
            return
        while True:
            upto = min(now_ms, self._next_funding_ms, self._book.next_after(self.now_ms) or now_ms)
            if self._ends or self._lapses.next_ms is not None:
                upto = max(min(upto, *(at for at, _ in self._ends[:1]), self._lapses.next_ms or upto), self.now_ms)
            touches = self._first_touches(upto) if self.now_ms < upto else []
            for touch in touches:
                self.now_ms = touch.time_ms
                self._at_touch(touch)
                self.changed(touch.symbol)
            if touches:
                continue
            self.now_ms = max(self.now_ms, upto)
            if self._lapses.end(self.account, self.now_ms):
                self.changed()
            if self.now_ms == self._next_funding_ms:
                fund(self, self._book, self.now_ms, FUNDING_INTERVAL_MS)
                self.changed()
                self._next_funding_ms = self._book.next_stamp_ms(self.markets, self.now_ms, FUNDING_INTERVAL_MS)
            elif not self._end_symbols() and self.now_ms >= now_ms:
                self._look_ahead.note_calm(self.rules_known_until_ms)
                return

    @property
    def rules_known_until_ms(self) -> int:
        """Until when rules, what funding owes and what lapses by itself stay as they are."""
        known_ms = min(self._next_funding_ms, self._book.next_after(self.now_ms) or self._next_funding_ms)
        return min(known_ms, self._lapses.next_ms or known_ms)

    def note_due(self, at_ms: int) -> None:
        """Something of the account lapses by itself then: an order, or a countdown."""
        self._lapses.note(at_ms)
        self._look_ahead.disturb()

    def _end_symbols(self) -> bool:
        """Settle what is delisted by now; whether anything was."""
        ended = [symbol for at_ms, symbol in self._ends if at_ms <= self.now_ms]
        self._ends = self._ends[len(ended) :]
        for symbol in ended:
            self.settle(symbol)
        return bool(ended)

    def changed(self, symbol: str | None = None) -> None:
        """Tell those who watch that the account has changed, just now: on one symbol, or somewhere."""
        alone = all(self.account.option(p.symbol).isolated for p in self.account.positions.values() if p.amount)
        self._look_ahead.changed(symbol if alone else None)  # what stands behind a cross position moves with all others
        for watcher in self.on_change:
            watcher(self)

    def _first_touches(self, upto_ms: int) -> list[Touch]:
        return self._look_ahead.first_touches(upto_ms, self.rules_known_until_ms)

    def next_touch_ms(self, until_ms: int) -> int | None:
        """When a price changes something next, up to a time and while rules stay as they are.

        None where none does, or nobody knows.
        """
        return self._look_ahead.next_touch_ms(min(until_ms, self.rules_known_until_ms))

    def _at_touch(self, touch: Touch) -> None:
        """What prices do that reach something: liquidation first, then triggers, then resting orders."""
        mark, position = mark_of(self, touch), self.account.position(touch.symbol)
        level = liquidation_price(self.account, position, self.brackets(touch.symbol))
        if mark is not None and level > 0 and (mark <= level if position.amount > 0 else mark >= level):
            self.liquidate(position)
        for algo, price in triggered(self, touch):
            if algo.is_open:
                self._trigger(algo, price)
        if touch.last is None:
            return
        price, left = self.price(touch.symbol, touch.last.price), self.quantity(touch.symbol, touch.last.quantity)
        for order in self.account.open_orders(touch.symbol):
            if (order.price - price) * order.sign > 0:
                quantity = self.allowed(order, min(order.remaining, left)) if left > 0 else ZERO
                if quantity > 0:
                    left -= quantity
                    self._fill(order, order.price, quantity, maker=True)

    def liquidate(self, position: Position) -> None:
        """Take an open position over at its bankruptcy price: what stood behind it is lost."""
        for order in self.account.open_orders(position.symbol):
            self._end(order, "CANCELED")
        quantity, sign = abs(position.amount), 1 if position.amount > 0 else -1
        stake = max(backing(self.account, position), ZERO)
        fee = min(cents(quantity * self.mark(position.symbol) * LIQUIDATION_FEE), stake)
        price = position.entry - sign * (stake - fee) / quantity
        self.force(position, quantity, max(price, ZERO), f"autoclose-{self.now_ms}", ZERO)
        self.account.earn(self._income("INSURANCE_CLEAR", position.symbol, -fee, self.now_ms))

    def settle(self, symbol: str) -> Order | None:
        """Cancel the orders of a symbol, settle its position at the mark price at the taker's fee, end its stops."""
        position, done = self.account.position(symbol), None
        for order in self.account.open_orders(symbol):
            self._end(order, "CANCELED")
        if position.amount != 0:
            name = f"settlement_autoclose-{self.now_ms}"
            done = self.force(position, abs(position.amount), self.mark(symbol), name, None)
        for algo in self.account.open_algos(symbol):
            algo.status, algo.update_ms = "EXPIRED", self.now_ms
        self.changed(symbol)
        return done

    def force(
        self, position: Position, quantity: Decimal, price: Decimal, client_id: str, commission: Decimal | None
    ) -> Order:
        """An order of the exchange itself reduces a position; without `commission` at the usual fee."""
        side = "SELL" if position.amount > 0 else "BUY"
        order = self._new_order(position.symbol, side, "MARKET", quantity, client_id, reduce_only=True)
        self.account.orders[order.order_id] = order
        self._fill(order, price, quantity, maker=False, commission=commission)
        return order

    # --- orders ---

    def place(self, order: Order) -> Order:
        """Take a checked order with a fresh id: match what the book offers, let the rest do what its kind does."""
        placed = self._place(order)
        self.changed(order.symbol)
        return placed

    def amend(self, order: Order, price: Decimal, quantity: Decimal) -> Order:
        """Change a resting limit order: it is matched anew, and ends where all of it was filled before."""
        before = order.price, order.quantity
        if quantity <= order.filled:
            self._end(order, "CANCELED")
        else:
            if not order.reduce_only:
                require_margin(self, replace(order, quantity=quantity - order.filled, price=price), beside=order)
            order.price, order.quantity, order.update_ms = price, quantity, self.now_ms
            levels = self._offers(order, None)
            if order.time_in_force == "GTX" and levels:
                order.price, order.quantity = before
                self._end(order, "EXPIRED")
            else:
                self._take(order, levels)
        self.changed(order.symbol)
        return order

    def rest(self, algo: AlgoOrder) -> AlgoOrder:
        """Take a checked conditional order: it waits."""
        self.account.algos[algo.algo_id] = algo
        self.changed(algo.symbol)
        return algo

    def _place(self, order: Order, at: Decimal | None = None) -> Order:
        if not order.reduce_only:
            require_margin(self, order)
        elif self.allowed(order, order.quantity) <= 0:
            raise VenueRejection(400, -2022, "ReduceOnly Order is rejected.")
        self.account.orders[order.order_id] = order
        if order.good_till_ms:
            self.note_due(order.good_till_ms)
        levels = self._offers(order, at)
        if order.time_in_force == "GTX" and levels:
            self._end(order, "EXPIRED")
            return order
        if order.time_in_force == "FOK" and sum((q for _, q in levels), ZERO) < order.quantity:
            self._end(order, "EXPIRED")
            return order
        self._take(order, levels)
        if order.is_open and (order.type == "MARKET" or order.time_in_force in {"IOC", "FOK"}):
            self._end(order, "EXPIRED")
        return order

    def _offers(self, order: Order, at: Decimal | None) -> list[tuple[Decimal, Decimal]]:
        """Levels of the other side that the order would take now, from `at` on if it was triggered there."""
        levels, own = offered_levels(self, order)
        if at is not None and self.fills.from_trigger:
            best = self.price(order.symbol, own[0][0]) if own else None
            levels = after_trigger(self, order.symbol, order.sign, at, (levels, best))
        if order.type == "MARKET":
            return levels
        return [(p, q) for p, q in levels if (order.price - p) * order.sign >= 0]

    def _take(self, order: Order, levels: list[tuple[Decimal, Decimal]]) -> None:
        for price, offered in levels:
            quantity = self.allowed(order, min(order.remaining, offered))
            if quantity <= 0:
                break
            self._fill(order, price, quantity, maker=False)

    def _fill(
        self, order: Order, price: Decimal, quantity: Decimal, *, maker: bool, commission: Decimal | None = None
    ) -> None:
        """Execute part of an order: position, fee, realised profit, and the order's own state."""
        fee, asset = fee_of(self, order.symbol, price * quantity, maker=maker)
        if commission is not None:
            fee, asset = commission, self.account.pays_in(order.symbol)
        realized = self._move(order, price, quantity)
        trade = self._next_trade
        self._next_trade += 1
        told = (order.symbol, order.side, price, quantity, fee, realized, maker, self.now_ms, asset)
        self.account.fills.append(Fill(trade, order.order_id, *told))
        if realized:
            self.account.earn(self._income("REALIZED_PNL", order.symbol, realized, self.now_ms, trade))
        if fee:
            self.account.earn(Income("COMMISSION", order.symbol, -fee, self.now_ms, trade, asset))
        order.filled += quantity
        order.filled_quote += price * quantity
        order.update_ms = self.now_ms
        order.status = "FILLED" if order.remaining == 0 else "PARTIALLY_FILLED"
        if self.account.position(order.symbol).amount == 0:
            self._expire_reducing(order.symbol)

    def _move(self, order: Order, price: Decimal, quantity: Decimal) -> Decimal:
        """Change the position by a fill; returns the realised profit."""
        position, option = self.account.position(order.symbol), self.account.option(order.symbol)
        closing = min(abs(position.amount), quantity) if position.amount * order.sign < 0 else ZERO
        realized = ZERO
        if closing:
            sign = 1 if position.amount > 0 else -1
            realized = cents(sign * closing * (price - position.entry))
            position.isolated -= cents(position.isolated * closing / abs(position.amount))
            position.amount += order.sign * closing
        opening = quantity - closing
        if opening:
            size = abs(position.amount)
            position.entry = (position.entry * size + price * opening) / (size + opening)
            position.amount += order.sign * opening
            if option.isolated:
                position.isolated += cents(opening * price / option.leverage)
        if position.amount == 0:
            position.entry = position.isolated = ZERO
        position.update_ms = self.now_ms
        return realized

    def _expire_reducing(self, symbol: str) -> None:
        """With the position gone, reduce-only orders have nothing to reduce, nor close-position stops to close."""
        for order in self.account.open_orders(symbol):
            if order.reduce_only:
                self._end(order, "EXPIRED")
        for algo in self.account.open_algos(symbol):
            if algo.close_position or (algo.reduce_only and self.switches.quantity_stops_when_flat == "expire"):
                algo.status, algo.update_ms = "EXPIRED", self.now_ms

    def _trigger(self, algo: AlgoOrder, at: Decimal) -> None:
        """The trigger was reached: an order goes to the engine, carried out from `at`; or nothing is left to do."""
        amount = self.account.position(algo.symbol).amount
        sign = 1 if algo.side == "BUY" else -1
        quantity = abs(amount) if algo.close_position else algo.quantity
        algo.trigger_ms = algo.update_ms = self.now_ms
        if (algo.reduce_only or algo.close_position) and amount * sign >= 0:
            algo.status = "EXPIRED"
            return
        kind = "LIMIT" if algo.type in {"STOP", "TAKE_PROFIT"} else "MARKET"
        reducing = algo.reduce_only or algo.close_position
        order = self._new_order(algo.symbol, algo.side, kind, quantity, algo.client_id, reduce_only=reducing)
        order.price, order.original_type, order.stop_price = algo.price, algo.type, algo.trigger_price
        order.close_position, order.time_in_force = algo.close_position, algo.time_in_force
        algo.actual_order_id = order.order_id
        try:
            require_fitting(self, order)
            self._place(order, at)
            algo.status = "FINISHED"
        except VenueRejection:
            self.account.orders[order.order_id] = order
            self._end(order, "REJECTED")
            algo.status = "REJECTED"

    def _new_order(
        self, symbol: str, side: str, kind: str, quantity: Decimal, client_id: str, *, reduce_only: bool
    ) -> Order:
        order = Order(self.next_id(), client_id, symbol, side, kind, quantity, self.now_ms, reduce_only=reduce_only)
        order.update_ms = self.now_ms
        return order

    def _end(self, order: Order, status: str) -> None:
        order.status, order.update_ms = status, self.now_ms

    def next_id(self) -> int:
        """A fresh order or algo id."""
        self._next_id += 1
        return self._next_id

    def cancel(self, order: Order | AlgoOrder) -> None:
        """Cancel what still waits."""
        order.status, order.update_ms = "CANCELED", self.now_ms
        self.changed(order.symbol)

    def equity(self, asset: str = QUOTE) -> Decimal:
        """Wallet of an asset plus what open positions margined in it would bring at their marks."""
        held = [p for p in of_asset(self.account, asset) if p.amount != 0]
        return self.account.balance(asset) + sum((unrealized(p, self.mark(p.symbol)) for p in held), ZERO)

    def _income(self, kind: str, symbol: str, amount: Decimal, time_ms: int, trade_id: int | None = None) -> Income:
        """Income in what a symbol pays in."""
        return Income(kind, symbol, amount, time_ms, trade_id, self.account.pays_in(symbol))
