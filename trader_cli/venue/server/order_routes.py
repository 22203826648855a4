"""Signed routes about orders: limit and market orders, and conditional ones (algo orders)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trader_cli.venue.engine.books import ZERO, AlgoOrder, Order
from trader_cli.venue.engine.order_intake import new_algo, new_order, symbol_of
from trader_cli.venue.engine.request_parameters import Parameters, missing, rejected
from trader_cli.venue.server.history_routes import PAGE, within
from trader_cli.venue.simulated_market.number_format import decimal_text

if TYPE_CHECKING:
    from trader_cli.core.json_values import JsonObject
    from trader_cli.venue.engine.engine import Engine
    from trader_cli.venue.engine.queries import Body

CANCELLED_ALL: JsonObject = {"code": 200, "msg": "The operation of cancel all open order is done."}


def order_body(o: Order) -> JsonObject:
    """An order as every order route shows it."""
    average = o.filled_quote / o.filled if o.filled else ZERO
    return {
        "orderId": o.order_id,
        "clientOrderId": o.client_id,
        "symbol": o.symbol,
        "status": o.status,
        "type": o.type,
        "origType": o.original_type or o.type,
        "side": o.side,
        "positionSide": "BOTH",
        "price": decimal_text(o.price),
        "avgPrice": decimal_text(average),
        "origQty": decimal_text(o.quantity),
        "executedQty": decimal_text(o.filled),
        "cumQuote": decimal_text(o.filled_quote),
        "timeInForce": o.time_in_force,
        "reduceOnly": o.reduce_only,
        "closePosition": o.close_position,
        "stopPrice": decimal_text(o.stop_price),
        "workingType": "CONTRACT_PRICE",
        "priceProtect": False,
        "goodTillDate": o.good_till_ms,
        "time": o.time_ms,
        "updateTime": o.update_ms,
    }


def place_order(engine: Engine, parameters: Parameters) -> Body:
    """POST /fapi/v1/order."""
    return order_body(engine.place(new_order(engine, parameters)))


def find_order(engine: Engine, parameters: Parameters) -> Order | None:
    """The order that a request names by its id or its client id; the latest of several."""
    symbol = symbol_of(engine, parameters)
    number, client_id = parameters.get("orderId"), parameters.get("origClientOrderId")
    if not number and not client_id:
        raise missing("orderId")
    latest = None if number else engine.account.orders_by_id().get(client_id or "")
    if latest is not None and latest.symbol == symbol:
        return latest
    found = [
        o
        for o in engine.account.orders.values()
        if o.symbol == symbol and (str(o.order_id) == number if number else o.client_id == client_id)
    ]
    return found[-1] if found else None


def show_order(engine: Engine, parameters: Parameters) -> Body:
    """GET /fapi/v1/order."""
    order = find_order(engine, parameters)
    if order is None:
        raise rejected(-2013, "Order does not exist.")
    return order_body(order)


def cancel_order(engine: Engine, parameters: Parameters) -> Body:
    """DELETE /fapi/v1/order."""
    order = find_order(engine, parameters)
    if order is None or not order.is_open:
        raise rejected(-2011, "Unknown order sent.")
    engine.cancel(order)
    return order_body(order)


def open_orders(engine: Engine, parameters: Parameters) -> Body:
    """GET /fapi/v1/openOrders."""
    return [order_body(o) for o in engine.account.open_orders(parameters.get("symbol"))]


def all_orders(engine: Engine, parameters: Parameters) -> Body:
    """GET /fapi/v1/allOrders."""
    symbol = symbol_of(engine, parameters)
    return within([order_body(o) for o in engine.account.orders.values() if o.symbol == symbol], parameters)


def cancel_all_orders(engine: Engine, parameters: Parameters) -> Body:
    """DELETE /fapi/v1/allOpenOrders."""
    for order in engine.account.open_orders(symbol_of(engine, parameters)):
        engine.cancel(order)
    return CANCELLED_ALL


def algo_body(a: AlgoOrder) -> JsonObject:
    """A conditional order as every algo route shows it."""
    return {
        "algoId": a.algo_id,
        "clientAlgoId": a.client_id,
        "algoType": "CONDITIONAL",
        "orderType": a.type,
        "symbol": a.symbol,
        "side": a.side,
        "positionSide": "BOTH",
        "timeInForce": a.time_in_force,
        "quantity": decimal_text(a.quantity),
        "algoStatus": a.status,
        "triggerPrice": decimal_text(a.trigger_price),
        "price": decimal_text(a.price),
        "workingType": a.working_type,
        "closePosition": a.close_position,
        "priceProtect": a.price_protect,
        "reduceOnly": a.reduce_only,
        "createTime": a.time_ms,
        "updateTime": a.update_ms,
        "triggerTime": a.trigger_ms,
        "goodTillDate": 0,
        "actualOrderId": "" if a.actual_order_id is None else str(a.actual_order_id),
    }


def place_algo(engine: Engine, parameters: Parameters) -> Body:
    """POST /fapi/v1/algoOrder."""
    return algo_body(engine.rest(new_algo(engine, parameters)))


def _find_algo(engine: Engine, parameters: Parameters) -> AlgoOrder | None:
    number, client_id = parameters.get("algoId"), parameters.get("clientAlgoId")
    if not number and not client_id:
        raise missing("algoId")
    if not number:
        return engine.account.algos_by_id().get(client_id or "")
    return next((a for a in engine.account.algos.values() if str(a.algo_id) == number), None)


def show_algo(engine: Engine, parameters: Parameters) -> Body:
    """GET /fapi/v1/algoOrder."""
    algo = _find_algo(engine, parameters)
    if algo is None:
        raise rejected(-2013, "Order does not exist.")
    return algo_body(algo)


def cancel_algo(engine: Engine, parameters: Parameters) -> Body:
    """DELETE /fapi/v1/algoOrder."""
    algo = _find_algo(engine, parameters)
    if algo is None or not algo.is_open:
        raise rejected(-2011, "Unknown order sent.")
    engine.cancel(algo)
    return {"algoId": algo.algo_id, "clientAlgoId": algo.client_id, "code": "200", "msg": "success"}


def open_algos(engine: Engine, parameters: Parameters) -> Body:
    """GET /fapi/v1/openAlgoOrders."""
    return [algo_body(a) for a in engine.account.open_algos(parameters.get("symbol"))]


def all_algos(engine: Engine, parameters: Parameters) -> Body:
    """GET /fapi/v1/allAlgoOrders."""
    symbol = symbol_of(engine, parameters)
    return [algo_body(a) for a in engine.account.algos.values() if a.symbol == symbol][-PAGE:]


def cancel_all_algos(engine: Engine, parameters: Parameters) -> Body:
    """DELETE /fapi/v1/algoOpenOrders."""
    for algo in engine.account.open_algos(symbol_of(engine, parameters)):
        engine.cancel(algo)
    return CANCELLED_ALL
