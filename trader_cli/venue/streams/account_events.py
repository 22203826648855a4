"""What an account's stream says, told from the account before and after each change of it.

Source: the exchange's description of its USDⓈ-M user data streams.
"""

from __future__ import annotations

from decimal import Decimal
from itertools import islice
from typing import TYPE_CHECKING

from trader_cli.core.money.assets import margin_asset_of
from trader_cli.venue.engine.books import ZERO, AlgoOrder, SymbolOptions
from trader_cli.venue.engine.margin import backing, of_asset, unrealized
from trader_cli.venue.simulated_market.brackets import maintenance_margin
from trader_cli.venue.simulated_market.number_format import decimal_text
from trader_cli.venue.streams.account_messages import algo_update, margin_call_row, order_update

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from trader_cli.core.json_values import JsonObject
    from trader_cli.venue.engine.books import Account, Fill, Income, Position
    from trader_cli.venue.engine.engine import Engine

    Emit = Callable[[JsonObject], None]

_CALLED = Decimal("0.8")
"""The share of its margin that a position must keep, from which on its owner is called."""
_USUAL = SymbolOptions()


class AccountEvents:
    """Of one engine's account from now on: each change is told to `emit`, with the moment of the change."""

    def __init__(self, engine: Engine, emit: Emit) -> None:
        self._emit = emit
        self._realized: dict[str, Decimal] = {}
        self._count_realized(engine.account.fills)
        self._remember(engine)
        self._called: set[str] = set()
        engine.on_change.append(self._told)

    def stop(self, engine: Engine) -> None:
        """Tell no more."""
        engine.on_change.remove(self._told)

    def _remember(self, engine: Engine) -> None:
        books = engine.account
        self._orders = {order.order_id: order.status for order in books.open_orders()}
        self._algos = {algo.algo_id: algo.status for algo in books.open_algos()}
        self._counts = len(books.orders), len(books.algos), len(books.fills), len(books.income)
        self._filled = {order.order_id: order.filled for order in books.open_orders()}
        self._terms = {order.order_id: (order.price, order.quantity) for order in books.open_orders()}
        self._held = _held(books)
        self._wallets = {asset: books.balance(asset) for asset in books.assets()}
        self._leverages = {symbol: option.leverage for symbol, option in books.options.items()}
        self._margins = {symbol: option.isolated for symbol, option in books.options.items()}
        self._multi_assets = books.multi_assets

    def _count_realized(self, fills: Iterable[Fill]) -> None:
        for fill in fills:
            self._realized[fill.symbol] = self._realized.get(fill.symbol, ZERO) + fill.realized

    def _told(self, engine: Engine) -> None:
        books, now = engine.account, engine.now_ms
        orders, algos, fills, incomes = self._counts
        new_orders = list(islice(books.orders.values(), orders, None))
        new_algos = list(islice(books.algos.values(), algos, None))
        known_algos = [books.algos[number] for number in self._algos] + new_algos
        known_orders = [books.orders[number] for number in self._orders] + new_orders
        filled, paid = books.fills[fills:], books.income[incomes:]
        self._count_realized(filled)
        for algo in new_algos:
            self._emit(algo_update(algo, "NEW", now))
        for algo in known_algos:
            for status in _on_the_way(algo) if not algo.is_open else ():
                self._emit(algo_update(algo, status, now))
        for order in new_orders:
            self._emit(order_update(order, "NEW", now))
        for order in known_orders:
            if self._terms.get(order.order_id, (order.price, order.quantity)) != (order.price, order.quantity):
                self._emit(order_update(order, "AMENDMENT", now, self._filled.get(order.order_id, ZERO)))
        self._tell_account(engine, filled, paid)
        for fill in filled:
            self._tell_fill(books, fill, now)
        for order in known_orders:
            if not order.is_open and order.status != "FILLED":
                self._emit(order_update(order, order.status, now, self._filled.get(order.order_id, ZERO)))
        for algo in known_algos:
            if not algo.is_open:
                self._tell_end(algo, now)
        self._tell_options(books, now)
        self._remember(engine)

    def _tell_fill(self, books: Account, fill: Fill, now: int) -> None:
        order = books.orders[fill.order_id]
        total = self._filled[order.order_id] = self._filled.get(order.order_id, ZERO) + fill.quantity
        lite = {"s": order.symbol, "q": decimal_text(order.quantity), "p": decimal_text(order.price), "m": fill.maker}
        rest = {"c": order.client_id, "S": order.side, "L": decimal_text(fill.price), "l": decimal_text(fill.quantity)}
        ids = {"t": fill.trade_id, "i": order.order_id}
        self._emit({"e": "TRADE_LITE", "E": now, "T": fill.time_ms, **lite, **rest, **ids})
        self._emit(order_update(order, "TRADE", now, total, fill))

    def _tell_end(self, algo: AlgoOrder, now: int) -> None:
        self._emit(algo_update(algo, algo.status, now))
        if algo.status == "REJECTED":
            reason = {"s": algo.symbol, "i": algo.actual_order_id or 0, "r": "The order was refused when triggered."}
            self._emit({"e": "CONDITIONAL_ORDER_TRIGGER_REJECT", "E": now, "T": now, "or": reason})

    def _tell_account(self, engine: Engine, filled: list[Fill], paid: list[Income]) -> None:
        """Balances and positions that are others now, under one reason."""
        books, now = engine.account, engine.now_ms
        held, wallets = _held(books), {asset: books.balance(asset) for asset in books.assets()}
        moved = [symbol for symbol in {**self._held, **held} if self._held.get(symbol) != held.get(symbol)]
        changed = [asset for asset, wallet in wallets.items() if self._wallets.get(asset) != wallet]
        margins = {symbol: option.isolated for symbol, option in books.options.items()}
        switched = [symbol for symbol, isolated in margins.items() if self._margins.get(symbol, False) != isolated]
        if not (moved or changed or switched):
            return
        kinds = {income.kind for income in paid}
        reason = "ORDER" if filled else next((kind for kind in ("FUNDING_FEE", "INSURANCE_CLEAR") if kind in kinds), "")
        balances = [
            {"a": asset, "wb": decimal_text(wallets[asset]), "cw": decimal_text(_cross(books, asset)), "bc": "0"}
            for asset in changed or [margin_asset_of(symbol) for symbol in moved[:1]]
        ]
        positions = [self._position(engine, books.position(symbol)) for symbol in sorted({*moved, *switched})]
        told = {"m": reason or ("MARGIN_TYPE_CHANGE" if switched else "ADJUSTMENT"), "B": balances, "P": positions}
        self._emit({"e": "ACCOUNT_UPDATE", "E": now, "T": now, "a": told})

    def _position(self, engine: Engine, position: Position) -> JsonObject:
        books, symbol = engine.account, position.symbol
        isolated = books.option(symbol).isolated
        return {
            "s": symbol,
            "pa": decimal_text(position.amount),
            "ep": decimal_text(position.entry),
            "bep": decimal_text(position.entry),
            "cr": decimal_text(self._realized.get(symbol, ZERO)),
            "up": decimal_text(unrealized(position, engine.mark(symbol))),
            "mt": "isolated" if isolated else "cross",
            "iw": decimal_text(position.isolated if isolated else ZERO),
            "ps": "BOTH",
            "ma": margin_asset_of(symbol),
        }

    def _tell_options(self, books: Account, now: int) -> None:
        for symbol, option in books.options.items():
            if option.leverage != self._leverages.get(symbol, _USUAL.leverage):
                config = {"s": symbol, "l": option.leverage}
                self._emit({"e": "ACCOUNT_CONFIG_UPDATE", "E": now, "T": now, "ac": config})
        if books.multi_assets != self._multi_assets:
            self._emit({"e": "ACCOUNT_CONFIG_UPDATE", "E": now, "T": now, "ai": {"j": books.multi_assets}})

    def call_for_margin(self, engine: Engine) -> None:
        """Tell of positions that have come near their liquidation; each once, until it has gone away from there."""
        books = engine.account
        near: dict[str, JsonObject] = {}
        for position in books.positions.values():
            if position.amount:
                mark = engine.mark(position.symbol)
                least = maintenance_margin(position.amount * mark, engine.brackets(position.symbol))
                margin = backing(books, position) + unrealized(position, mark)
                if least >= _CALLED * margin:
                    near[position.symbol] = margin_call_row(books, position, mark, least)
        new = [told for symbol, told in near.items() if symbol not in self._called]
        self._called = set(near)
        if new:
            wallet = decimal_text(_cross(books, margin_asset_of(str(new[0]["s"]))))
            self._emit({"e": "MARGIN_CALL", "E": engine.now_ms, "cw": wallet, "p": new})


def _held(books: Account) -> dict[str, tuple[Decimal, Decimal, Decimal]]:
    return {p.symbol: (p.amount, p.entry, p.isolated) for p in books.positions.values() if p.amount}


def _cross(books: Account, asset: str) -> Decimal:
    """The wallet of an asset that no isolated position holds."""
    return books.balance(asset) - sum((p.isolated for p in of_asset(books, asset)), ZERO)


def _on_the_way(algo: AlgoOrder) -> tuple[str, ...]:
    """What an order that was triggered was before it ended."""
    return ("TRIGGERING", "TRIGGERED") if algo.actual_order_id is not None else ()
