"""Orders as they arrive: parameters checked against filters and rules, each refusal with the exchange's own code."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.venue.engine.books import ZERO, AlgoOrder, Order, places
from trader_cli.venue.engine.request_parameters import Parameters, flag, missing, number, rejected, required, whole
from trader_cli.venue.engine.switches import OUR_PREFIX
from trader_cli.venue.simulated_market.rule_changes import REDUCING

if TYPE_CHECKING:
    from collections.abc import Container

    from trader_cli.venue.engine.engine import Engine

CLIENT_ID = re.compile(r"^[.A-Z:/a-z0-9_-]{1,36}$")
CONDITIONAL = frozenset({"STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET"})
PRICE_BAND = Decimal("0.05")
MOST_ALGOS = 100
_LEAST_GOOD_MS, _LAST_GOOD_MS = 600_000, 253_402_300_799_000
MOST_ORDERS = 200


def symbol_of(engine: Engine, parameters: Parameters) -> str:
    """The symbol a request names."""
    symbol = required(parameters, "symbol")
    if symbol not in engine.markets or engine.listing(symbol).status == "REMOVED":
        raise rejected(-1121, "Invalid symbol.")
    return symbol


def new_order(engine: Engine, parameters: Parameters) -> Order:
    """An order ready for the engine, from `POST /fapi/v1/order`."""
    symbol, side, kind = symbol_of(engine, parameters), _side(parameters), required(parameters, "type")
    if kind in CONDITIONAL or kind == "TRAILING_STOP_MARKET":
        raise rejected(
            -4120, "Order type not supported for this endpoint. Please use the Algo Order API endpoints instead."
        )
    if kind not in {"MARKET", "LIMIT"}:
        raise rejected(-1116, "Invalid orderType.")
    _one_way(engine, parameters)
    quantity = _quantity(engine, symbol, parameters)
    price, force = ZERO, "GTC"
    if kind == "LIMIT":
        price, force = _price(engine, symbol, parameters, "price"), required(parameters, "timeInForce")
        if force not in {"GTC", "IOC", "FOK", "GTX", "GTD"}:
            raise rejected(-1115, "Invalid timeInForce.")
        _in_band(engine, symbol, side, price)
    reduce_only = flag(parameters, "reduceOnly")
    _tradable(engine, symbol, reducing=reduce_only)
    least = engine.rules(symbol).min_notional
    if not reduce_only and quantity * (price or engine.mark(symbol)) < least:
        raise rejected(-4164, f"Order's notional must be no smaller than {least:f} (unless you choose reduce only).")
    if len(engine.account.open_orders(symbol)) >= MOST_ORDERS:
        raise rejected(-2025, "Reach max open order limit.")
    if reduce_only:
        _reducible(engine, symbol, side, quantity)
    books = engine.account
    taken = books.orders_by_id() if _remembers(engine) else {o.client_id for o in books.open_orders()}
    client_id = _client_id(parameters.get("newClientOrderId", ""), taken)
    order_id = engine.next_id()
    return Order(
        order_id,
        client_id or f"web-{order_id}",
        symbol,
        side,
        kind,
        quantity,
        engine.now_ms,
        price=price,
        time_in_force=force,
        reduce_only=reduce_only,
        original_type=kind,
        update_ms=engine.now_ms,
        good_till_ms=_good_till(engine, parameters) if force == "GTD" else 0,
    )


def _good_till(engine: Engine, parameters: Parameters) -> int:
    """When a GTD order lapses: in whole seconds, ten minutes ahead at least."""
    at_ms = whole(parameters, "goodTillDate", 0)
    if not at_ms:
        raise missing("goodTillDate")
    if not engine.now_ms + _LEAST_GOOD_MS < at_ms < _LAST_GOOD_MS:
        raise rejected(-1130, "Data sent for parameter 'goodTillDate' is not valid.")
    return at_ms // 1000 * 1000


def amended(engine: Engine, order: Order, parameters: Parameters) -> tuple[Decimal, Decimal]:
    """(Price, quantity) of `PUT /fapi/v1/order`."""
    if order.type != "LIMIT" or not order.is_open:
        raise rejected(-5026, "Order is not a resting limit order.")
    if _side(parameters) != order.side:
        raise rejected(-1117, "Invalid side.")
    price, quantity = _price(engine, order.symbol, parameters, "price"), _quantity(engine, order.symbol, parameters)
    if (price, quantity) == (order.price, order.quantity):
        raise rejected(-5027, "No need to modify the order.")
    _in_band(engine, order.symbol, order.side, price)
    return price, quantity


def new_algo(engine: Engine, parameters: Parameters) -> AlgoOrder:
    """A conditional order ready to wait, from `POST /fapi/v1/algoOrder`."""
    symbol, side, kind = symbol_of(engine, parameters), _side(parameters), required(parameters, "type")
    if parameters.get("algoType") != "CONDITIONAL":
        raise missing("algoType")
    if kind not in CONDITIONAL:
        raise rejected(-1116, "Invalid orderType.")
    _one_way(engine, parameters)
    trigger = _price(engine, symbol, parameters, "triggerPrice")
    working, close = parameters.get("workingType", "CONTRACT_PRICE"), flag(parameters, "closePosition")
    if working not in {"MARK_PRICE", "CONTRACT_PRICE"}:
        raise rejected(-1130, "Data sent for parameter 'workingType' is not valid.")
    reduce_only = flag(parameters, "reduceOnly")
    if close and ("quantity" in parameters or reduce_only):
        raise rejected(-4136, "Target strategy invalid for orderType closePosition: no quantity or reduceOnly with it.")
    _tradable(engine, symbol, reducing=close or reduce_only)
    quantity = ZERO if close else _quantity(engine, symbol, parameters)
    price = _price(engine, symbol, parameters, "price") if kind in {"STOP", "TAKE_PROFIT"} else ZERO
    algo = AlgoOrder(
        engine.next_id(),
        parameters.get("clientAlgoId", ""),
        symbol,
        side,
        kind,
        trigger,
        engine.now_ms,
        quantity=quantity,
        price=price,
        working_type=working,
        price_protect=flag(parameters, "priceProtect"),
        reduce_only=reduce_only,
        close_position=close,
        time_in_force=parameters.get("timeInForce", "GTC"),
        update_ms=engine.now_ms,
    )
    return _ready(engine, algo)


def reducing_algo(
    engine: Engine, client_id: str, terms: tuple[str, str, str], trigger: Decimal, quantity: Decimal | None
) -> AlgoOrder:
    """As `new_algo`, of values: (symbol, side, type) by mark price, reduce-only, or without quantity for all of it."""
    symbol, side, kind = terms
    _on_tick(engine, symbol, trigger)
    _tradable(engine, symbol, reducing=True)
    lots = ZERO if quantity is None else _in_lots(engine, symbol, quantity)
    algo = AlgoOrder(engine.next_id(), client_id, symbol, side, kind, trigger, engine.now_ms, lots)
    algo.working_type, algo.update_ms = "MARK_PRICE", engine.now_ms
    algo.close_position, algo.reduce_only = quantity is None, quantity is not None
    return _ready(engine, algo)


def _ready(engine: Engine, algo: AlgoOrder) -> AlgoOrder:
    _check_algo(engine, algo)
    books = engine.account
    taken = books.algos_by_id() if _remembers(engine) else {a.client_id for a in books.open_algos()}
    algo.client_id = _client_id(algo.client_id, taken) or f"web-{algo.algo_id}"
    return algo


def _check_algo(engine: Engine, algo: AlgoOrder) -> None:
    mark = engine.mark(algo.symbol)
    if mark <= algo.trigger_price if algo.triggers_below else mark >= algo.trigger_price:
        raise rejected(-2021, "Order would immediately trigger.")
    waiting = engine.account.open_algos(algo.symbol)
    if len(waiting) >= MOST_ALGOS:
        raise rejected(-4045, "Reach max stop order limit.")
    alike = [a for a in waiting if a.close_position and a.side == algo.side and _kind(a) == _kind(algo)]
    if engine.switches.foreign_close_stop == "ignored":
        alike = [a for a in alike if _is_ours(a) == _is_ours(algo)]
    if algo.close_position and alike:
        raise rejected(
            -4130, "An open stop or take profit order with GTE and closePosition in the direction is existing."
        )
    flat = engine.account.position(algo.symbol).amount == 0
    if algo.close_position and flat and engine.switches.close_stop_while_flat == "refused":
        raise rejected(-4509, "Time in Force (TIF) GTE can only be used with open positions.")


def _is_ours(algo: AlgoOrder) -> bool:
    return algo.client_id.startswith(OUR_PREFIX)


def _remembers(engine: Engine) -> bool:
    """Whether the ids of orders that have ended stay taken."""
    return engine.switches.used_id == "refused"


def _tradable(engine: Engine, symbol: str, *, reducing: bool) -> None:
    """Refuse what the symbol's status does not allow."""
    status = engine.listing(symbol).status
    if status != "TRADING" and not reducing:
        raise rejected(-4140, "Invalid symbol status for opening position.")
    if status not in REDUCING:
        raise rejected(-4141, "Symbol is closed.")


def _reducible(engine: Engine, symbol: str, side: str, quantity: Decimal) -> None:
    """Refuse a reduce-only order where a switch says so. What has nothing to reduce the engine refuses itself."""
    switches, amount = engine.switches, engine.account.position(symbol).amount
    if amount == 0 or (amount > 0) == (side == "BUY"):
        return
    if switches.reduce_above_position == "refused" and quantity > abs(amount):
        raise rejected(-2022, "ReduceOnly Order is rejected.")
    if switches.reduce_beside_cover != "accepted" and _resting_cover(engine, symbol, side) >= abs(amount):
        raise rejected(
            int(switches.reduce_beside_cover),
            "ReduceOnly Order Failed. Please check your existing position and open orders.",
        )


def _resting_cover(engine: Engine, symbol: str, side: str) -> Decimal:
    """What resting reduce-only orders would close already. Stops are never counted."""
    orders = [o for o in engine.account.open_orders(symbol) if o.reduce_only and o.side == side]
    cover = sum((o.remaining for o in orders), ZERO)
    if engine.switches.take_profits == "no cover":
        return cover
    targets = [a for a in engine.account.open_algos(symbol) if a.side == side and _kind(a) == "profit"]
    whole = abs(engine.account.position(symbol).amount)
    return cover + sum((whole if a.close_position else a.quantity if a.reduce_only else ZERO for a in targets), ZERO)


def _kind(algo: AlgoOrder) -> str:
    return "stop" if algo.type.startswith("STOP") else "profit"


def _side(parameters: Parameters) -> str:
    side = required(parameters, "side")
    if side not in {"BUY", "SELL"}:
        raise rejected(-1117, "Invalid side.")
    return side


def _one_way(engine: Engine, parameters: Parameters) -> None:
    given = parameters.get("positionSide", "BOTH")
    if (given == "BOTH") == engine.account.hedge_mode:
        raise rejected(-4061, "Order's position side does not match user's setting.")


def _client_id(client_id: str, taken: Container[str]) -> str:
    if client_id and not CLIENT_ID.match(client_id):
        raise rejected(-4015, "Client order id is not valid.")
    if client_id in taken:
        raise rejected(-4116, "ClientOrderId is duplicated.")
    return client_id


def _quantity(engine: Engine, symbol: str, parameters: Parameters) -> Decimal:
    return _in_lots(engine, symbol, number(parameters, "quantity"))


def _in_lots(engine: Engine, symbol: str, quantity: Decimal) -> Decimal:
    rules = engine.rules(symbol)
    if quantity <= 0:
        raise rejected(-4003, "Quantity less than or equal to zero.")
    if places(quantity) > places(rules.step):
        raise rejected(-1111, "Precision is over the maximum defined for this asset.")
    if quantity % rules.step != 0:
        raise rejected(-4023, "Quantity not increased by step size.")
    if quantity < rules.min_quantity:
        raise rejected(-4004, "Quantity less than min quantity.")
    if quantity > rules.max_market_quantity:
        raise rejected(-4005, "Quantity greater than max quantity.")
    return quantity


def _price(engine: Engine, symbol: str, parameters: Parameters, name: str) -> Decimal:
    return _on_tick(engine, symbol, number(parameters, name))


def _on_tick(engine: Engine, symbol: str, price: Decimal) -> Decimal:
    if price <= 0:
        raise rejected(-4001, "Price less than or equal to 0.")
    if price % engine.rules(symbol).tick != 0:
        raise rejected(-4014, "Price not increased by tick size.")
    return price


def _in_band(engine: Engine, symbol: str, side: str, price: Decimal) -> None:
    mark = engine.mark(symbol)
    if side == "BUY" and price > mark * (1 + PRICE_BAND):
        raise rejected(-4016, "Limit price can't be higher than the mark price's cap.")
    if side == "SELL" and price < mark * (1 - PRICE_BAND):
        raise rejected(-4024, "Limit price can't be lower than the mark price's floor.")
