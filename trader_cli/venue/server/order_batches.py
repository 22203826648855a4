"""Signed routes that change several orders, change one in its place, or end them by themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from trader_cli.venue.engine.order_intake import amended, new_order, symbol_of
from trader_cli.venue.engine.queries import VenueRejection
from trader_cli.venue.engine.request_parameters import Parameters, missing, rejected, required, whole
from trader_cli.venue.server.order_routes import cancel_order, find_order, order_body, place_order

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trader_cli.core.json_values import JsonObject
    from trader_cli.venue.engine.engine import Engine
    from trader_cli.venue.engine.queries import Body

_MOST_ORDERS, _MOST_CANCELS = 5, 10


def amend_order(engine: Engine, parameters: Parameters) -> Body:
    """PUT /fapi/v1/order."""
    order = find_order(engine, parameters)
    if order is None or not order.is_open:
        raise rejected(-2013, "Order does not exist.")
    return order_body(engine.amend(order, *amended(engine, order, parameters)))


def try_order(engine: Engine, parameters: Parameters) -> Body:
    """POST /fapi/v1/order/test: whether it would be taken; it is not."""
    return order_body(new_order(engine, parameters))


def open_order(engine: Engine, parameters: Parameters) -> Body:
    """GET /fapi/v1/openOrder."""
    order = find_order(engine, parameters)
    if order is None or not order.is_open:
        raise rejected(-2013, "Order does not exist.")
    return order_body(order)


def place_orders(engine: Engine, parameters: Parameters) -> Body:
    """POST /fapi/v1/batchOrders: each as it comes; one that is refused does not keep the others away."""
    orders = _listed(parameters, "batchOrders", _MOST_ORDERS)
    if not all(isinstance(order, dict) for order in orders):
        raise _unreadable("batchOrders")
    return [_each(place_order, engine, {name: _text(v) for name, v in order.items()}) for order in orders]


def amend_orders(engine: Engine, parameters: Parameters) -> Body:
    """PUT /fapi/v1/batchOrders."""
    orders = _listed(parameters, "batchOrders", _MOST_ORDERS)
    if not all(isinstance(order, dict) for order in orders):
        raise _unreadable("batchOrders")
    return [_each(amend_order, engine, {name: _text(v) for name, v in order.items()}) for order in orders]


def cancel_orders(engine: Engine, parameters: Parameters) -> Body:
    """DELETE /fapi/v1/batchOrders, by `orderIdList` or `origClientOrderIdList`."""
    symbol = symbol_of(engine, parameters)
    given = {name.lower(): value for name, value in parameters.items()}
    for listed, name in (("orderidlist", "orderId"), ("origclientorderidlist", "origClientOrderId")):
        if listed in given:
            ids = _listed(given, listed, _MOST_CANCELS)
            return [_each(cancel_order, engine, {"symbol": symbol, name: _text(one)}) for one in ids]
    raise missing("orderIdList")


def count_down(engine: Engine, parameters: Parameters) -> Body:
    """POST /fapi/v1/countdownCancelAll: unless it comes again in time, the symbol's orders end. 0 ends the countdown.

    Conditional orders stay.
    """
    symbol, _ = symbol_of(engine, parameters), required(parameters, "countdownTime")
    wait_ms, countdowns = whole(parameters, "countdownTime", 0), engine.account.countdowns
    if wait_ms:
        countdowns[symbol] = engine.now_ms + wait_ms
        engine.note_due(countdowns[symbol])
    else:
        countdowns.pop(symbol, None)
    return {"symbol": symbol, "countdownTime": str(wait_ms)}


def _each(route: Callable[[Engine, Parameters], Body], engine: Engine, parameters: Parameters) -> Body:
    try:
        return route(engine, parameters)
    except VenueRejection as refused:
        return {"code": refused.code, "msg": refused.message}


def _listed(parameters: Parameters, name: str, most: int) -> Sequence[JsonObject]:
    try:
        listed = orjson.loads(required(parameters, name))
    except orjson.JSONDecodeError:
        raise _unreadable(name) from None
    if not isinstance(listed, list) or not 1 <= len(listed) <= most:
        raise _unreadable(name)
    return listed


def _unreadable(name: str) -> VenueRejection:
    return rejected(-1130, f"Data sent for parameter '{name}' is not valid.")


def _text(value: object) -> str:
    """A value of JSON as a parameter."""
    return str(value).lower() if isinstance(value, bool) else str(value)
