"""The private routes of a Binance USDⓈ-M host: parameters in, the exchange's JSON out, one engine per account."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from trader_cli.core.money.assets import CREDITS, margin_asset_of
from trader_cli.venue.engine.books import ZERO, AlgoOrder, Fill, Order, Position
from trader_cli.venue.engine.fees import rate_of
from trader_cli.venue.engine.margin import backing, initial_margin, liquidation_price, unrealized
from trader_cli.venue.engine.order_intake import (
    Parameters,
    flag,
    missing,
    new_algo,
    new_order,
    rejected,
    required,
    symbol_of,
    whole,
)
from trader_cli.venue.server.wallets import asset_row, fee_burn, multi_assets, set_fee_burn, set_multi_assets, text
from trader_cli.venue.simulated_market.brackets import maintenance_margin, most_notional

if TYPE_CHECKING:
    from trader_cli.venue.engine.engine import Engine
    from trader_cli.venue.simulated_market.brackets import Bracket

Body = dict[str, Any] | list[Any]
Handler = Callable[["Engine", Parameters], Body]
DONE = {"code": 200, "msg": "success"}
CANCELLED_ALL = {"code": 200, "msg": "The operation of cancel all open order is done."}
_PAGE = 500
_TOTALS = (
    "initialMargin",
    "maintMargin",
    "walletBalance",
    "unrealizedProfit",
    "marginBalance",
    "positionInitialMargin",
    "openOrderInitialMargin",
    "crossWalletBalance",
)


# --- account ---


def account(engine: Engine, _parameters: Parameters) -> Body:
    """GET /fapi/v3/account. Its totals are those of USDT: other assets are not added without a price."""
    books, marks = engine.account, engine.marks()
    rows = [asset_row(engine, asset, marks) for asset in books.assets()]
    main = rows[0]
    totals = {f"total{name[0].upper()}{name[1:]}": main[name] for name in _TOTALS}
    if books.credits_mode:
        rows = [{**main, "asset": CREDITS}]
    held = [p for p in books.positions.values() if p.amount != 0]
    return {
        **totals,
        "totalCrossUnPnl": main["crossUnPnl"],
        "availableBalance": main["availableBalance"],
        "maxWithdrawAmount": main["maxWithdrawAmount"],
        "assets": rows,
        "positions": [_position(engine, p) for p in held],
    }


def position_risk(engine: Engine, parameters: Parameters) -> Body:
    """GET /fapi/v3/positionRisk: positions that are not flat."""
    wanted = parameters.get("symbol")
    if wanted is not None:
        symbol_of(engine, parameters)
    held = [p for p in engine.account.positions.values() if p.amount != 0 and wanted in {None, p.symbol}]
    return [_position(engine, p) for p in held]


def _position(engine: Engine, p: Position) -> dict[str, Any]:
    books, mark = engine.account, engine.mark(p.symbol)
    notional, isolated = p.amount * mark, books.option(p.symbol).isolated
    margin = initial_margin(books, p, mark)
    return {
        "symbol": p.symbol,
        "positionSide": "BOTH",
        "positionAmt": text(p.amount),
        "entryPrice": text(p.entry),
        "breakEvenPrice": text(p.entry),
        "markPrice": text(mark),
        "unRealizedProfit": text(unrealized(p, mark)),
        "liquidationPrice": text(liquidation_price(books, p, engine.brackets(p.symbol))),
        "isolatedMargin": text(p.isolated + unrealized(p, mark) if isolated else ZERO),
        "notional": text(notional),
        "marginAsset": margin_asset_of(p.symbol),
        "isolatedWallet": text(backing(books, p) if isolated else ZERO),
        "initialMargin": text(margin),
        "maintMargin": text(maintenance_margin(notional, engine.brackets(p.symbol))),
        "positionInitialMargin": text(margin),
        "openOrderInitialMargin": "0",
        "adl": 1,
        "bidNotional": "0",
        "askNotional": "0",
        "updateTime": p.update_ms,
    }


def leverage_bracket(engine: Engine, parameters: Parameters) -> Body:
    """GET /fapi/v1/leverageBracket."""
    symbols = [symbol_of(engine, parameters)] if "symbol" in parameters else list(engine.markets)
    return [
        {"symbol": symbol, "notionalCoef": 1.0, "brackets": [_bracket(b) for b in engine.brackets(symbol)]}
        for symbol in symbols
    ]


def _bracket(b: Bracket) -> dict[str, Any]:
    return {
        "bracket": b.number,
        "initialLeverage": b.leverage,
        "notionalCap": int(b.cap),
        "notionalFloor": int(b.floor),
        "maintMarginRatio": float(b.rate),
        "cum": float(b.offset),
    }


def symbol_config(engine: Engine, parameters: Parameters) -> Body:
    """GET /fapi/v1/symbolConfig."""
    symbols = [symbol_of(engine, parameters)] if "symbol" in parameters else list(engine.markets)
    options = {symbol: engine.account.option(symbol) for symbol in symbols}
    return [
        {
            "symbol": symbol,
            "marginType": "ISOLATED" if o.isolated else "CROSSED",
            "isAutoAddMargin": False,
            "leverage": o.leverage,
            "maxNotionalValue": text(most_notional(o.leverage, engine.brackets(symbol))),
        }
        for symbol, o in options.items()
    ]


def set_leverage(engine: Engine, parameters: Parameters) -> Body:
    """POST /fapi/v1/leverage."""
    symbol, _ = symbol_of(engine, parameters), required(parameters, "leverage")
    leverage, position = whole(parameters, "leverage", 0), engine.account.position(symbol)
    brackets = engine.brackets(symbol)
    if not 1 <= leverage <= brackets[0].leverage:
        raise rejected(-4028, f"Leverage {leverage} is not valid.")
    option = engine.account.option(symbol)
    if position.amount and option.isolated and leverage < option.leverage:
        raise rejected(-4161, "Leverage reduction is not supported in Isolated Margin Mode with open positions.")
    if abs(position.amount) * engine.mark(symbol) > most_notional(leverage, brackets):
        raise rejected(-2027, "Exceeded the maximum allowable position at current leverage.")
    option.leverage = leverage
    engine.changed()
    return {"leverage": leverage, "maxNotionalValue": text(most_notional(leverage, brackets)), "symbol": symbol}


def set_margin_type(engine: Engine, parameters: Parameters) -> Body:
    """POST /fapi/v1/marginType."""
    symbol, given = symbol_of(engine, parameters), required(parameters, "marginType")
    if given not in {"ISOLATED", "CROSSED"}:
        raise rejected(-4044, "Invalid marginType.")
    option, isolated = engine.account.option(symbol), given == "ISOLATED"
    if option.isolated == isolated:
        raise rejected(-4046, "No need to change margin type.")
    if isolated and engine.account.multi_assets:
        raise rejected(-4168, "Unable to adjust to isolated-margin mode under the Multi-Assets mode.")
    if engine.account.open_orders(symbol) or engine.account.open_algos(symbol):
        raise rejected(-4047, "Margin type cannot be changed if there exists open orders.")
    if engine.account.position(symbol).amount:
        raise rejected(-4048, "Margin type cannot be changed if there exists position.")
    option.isolated = isolated
    engine.changed()
    return DONE


def position_mode(engine: Engine, _parameters: Parameters) -> Body:
    """GET /fapi/v1/positionSide/dual."""
    return {"dualSidePosition": engine.account.hedge_mode}


def set_position_mode(engine: Engine, parameters: Parameters) -> Body:
    """POST /fapi/v1/positionSide/dual."""
    wanted = flag(parameters, "dualSidePosition")
    if wanted == engine.account.hedge_mode:
        raise rejected(-4059, "No need to change position side.")
    if engine.account.open_orders() or engine.account.open_algos():
        raise rejected(-4067, "Position side cannot be changed if there exists open orders.")
    if any(p.amount for p in engine.account.positions.values()):
        raise rejected(-4068, "Position side cannot be changed if there exists position.")
    engine.account.hedge_mode = wanted
    engine.changed()
    return DONE


def commission_rate(engine: Engine, parameters: Parameters) -> Body:
    """GET /fapi/v1/commissionRate."""
    symbol = symbol_of(engine, parameters)
    return {
        "symbol": symbol,
        "makerCommissionRate": text(rate_of(engine, maker=True)),
        "takerCommissionRate": text(rate_of(engine, maker=False)),
    }


def income(engine: Engine, parameters: Parameters) -> Body:
    """GET /fapi/v1/income, oldest first."""
    kind, symbol = parameters.get("incomeType"), parameters.get("symbol")
    rows = [
        {
            "symbol": i.symbol,
            "incomeType": i.kind,
            "income": text(i.amount),
            "asset": i.asset,
            "time": i.time_ms,
            "tranId": number,
            "tradeId": "" if i.trade_id is None else str(i.trade_id),
            "info": i.kind,
        }
        for number, i in enumerate(engine.account.income, start=1)
        if kind in {None, i.kind} and symbol in {None, i.symbol}
    ]
    return _window(rows, parameters)


def user_trades(engine: Engine, parameters: Parameters) -> Body:
    """GET /fapi/v1/userTrades, oldest first."""
    symbol, order_id = symbol_of(engine, parameters), parameters.get("orderId")
    rows = [
        _trade(f)
        for f in engine.account.fills
        if f.symbol == symbol and order_id in {None, str(f.order_id)} and f.trade_id >= whole(parameters, "fromId", 0)
    ]
    return _window(rows, parameters)


def _trade(f: Fill) -> dict[str, Any]:
    return {
        "id": f.trade_id,
        "orderId": f.order_id,
        "symbol": f.symbol,
        "side": f.side,
        "positionSide": "BOTH",
        "price": text(f.price),
        "qty": text(f.quantity),
        "quoteQty": text(f.price * f.quantity),
        "commission": text(f.commission),
        "commissionAsset": f.commission_asset,
        "realizedPnl": text(f.realized),
        "buyer": f.side == "BUY",
        "maker": f.maker,
        "time": f.time_ms,
    }


def _window(rows: list[dict[str, Any]], parameters: Parameters) -> list[Any]:
    """Rows between startTime and endTime: the first `limit` with a start, else the last."""
    start, end = whole(parameters, "startTime", 0), whole(parameters, "endTime", 1 << 62)
    limit = min(whole(parameters, "limit", _PAGE), 1000)
    inside = [row for row in rows if start <= row["time"] <= end]
    return inside[:limit] if "startTime" in parameters or "fromId" in parameters else inside[-limit:]


# --- orders ---


def order_body(o: Order) -> dict[str, Any]:
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
        "price": text(o.price),
        "avgPrice": text(average),
        "origQty": text(o.quantity),
        "executedQty": text(o.filled),
        "cumQuote": text(o.filled_quote),
        "timeInForce": o.time_in_force,
        "reduceOnly": o.reduce_only,
        "closePosition": o.close_position,
        "stopPrice": text(o.stop_price),
        "workingType": "CONTRACT_PRICE",
        "priceProtect": False,
        "time": o.time_ms,
        "updateTime": o.update_ms,
    }


def place_order(engine: Engine, parameters: Parameters) -> Body:
    """POST /fapi/v1/order."""
    return order_body(engine.place(new_order(engine, parameters)))


def _find_order(engine: Engine, parameters: Parameters) -> Order | None:
    symbol = symbol_of(engine, parameters)
    number, client_id = parameters.get("orderId"), parameters.get("origClientOrderId")
    if not number and not client_id:
        raise missing("orderId")
    found = [
        o
        for o in engine.account.orders.values()
        if o.symbol == symbol and (str(o.order_id) == number if number else o.client_id == client_id)
    ]
    return found[-1] if found else None


def show_order(engine: Engine, parameters: Parameters) -> Body:
    """GET /fapi/v1/order."""
    order = _find_order(engine, parameters)
    if order is None:
        raise rejected(-2013, "Order does not exist.")
    return order_body(order)


def cancel_order(engine: Engine, parameters: Parameters) -> Body:
    """DELETE /fapi/v1/order."""
    order = _find_order(engine, parameters)
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
    return _window([order_body(o) for o in engine.account.orders.values() if o.symbol == symbol], parameters)


def cancel_all_orders(engine: Engine, parameters: Parameters) -> Body:
    """DELETE /fapi/v1/allOpenOrders."""
    for order in engine.account.open_orders(symbol_of(engine, parameters)):
        engine.cancel(order)
    return CANCELLED_ALL


def algo_body(a: AlgoOrder) -> dict[str, Any]:
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
        "quantity": text(a.quantity),
        "algoStatus": a.status,
        "triggerPrice": text(a.trigger_price),
        "price": text(a.price),
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
    found = [
        a for a in engine.account.algos.values() if (str(a.algo_id) == number if number else a.client_id == client_id)
    ]
    return found[-1] if found else None


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
    return [algo_body(a) for a in engine.account.algos.values() if a.symbol == symbol][-_PAGE:]


def cancel_all_algos(engine: Engine, parameters: Parameters) -> Body:
    """DELETE /fapi/v1/algoOpenOrders."""
    for algo in engine.account.open_algos(symbol_of(engine, parameters)):
        engine.cancel(algo)
    return CANCELLED_ALL


READS: dict[str, Handler] = {
    "/fapi/v3/account": account,
    "/fapi/v3/positionRisk": position_risk,
    "/fapi/v2/positionRisk": position_risk,
    "/fapi/v1/leverageBracket": leverage_bracket,
    "/fapi/v1/symbolConfig": symbol_config,
    "/fapi/v1/positionSide/dual": position_mode,
    "/fapi/v1/multiAssetsMargin": multi_assets,
    "/fapi/v1/feeBurn": fee_burn,
    "/fapi/v1/commissionRate": commission_rate,
    "/fapi/v1/income": income,
    "/fapi/v1/userTrades": user_trades,
    "/fapi/v1/order": show_order,
    "/fapi/v1/openOrders": open_orders,
    "/fapi/v1/allOrders": all_orders,
    "/fapi/v1/algoOrder": show_algo,
    "/fapi/v1/openAlgoOrders": open_algos,
    "/fapi/v1/allAlgoOrders": all_algos,
}
"""Signed GET routes."""

COMMANDS: dict[tuple[str, str], Handler] = {
    ("POST", "/fapi/v1/leverage"): set_leverage,
    ("POST", "/fapi/v1/marginType"): set_margin_type,
    ("POST", "/fapi/v1/positionSide/dual"): set_position_mode,
    ("POST", "/fapi/v1/multiAssetsMargin"): set_multi_assets,
    ("POST", "/fapi/v1/feeBurn"): set_fee_burn,
    ("POST", "/fapi/v1/order"): place_order,
    ("DELETE", "/fapi/v1/order"): cancel_order,
    ("DELETE", "/fapi/v1/allOpenOrders"): cancel_all_orders,
    ("POST", "/fapi/v1/algoOrder"): place_algo,
    ("DELETE", "/fapi/v1/algoOrder"): cancel_algo,
    ("DELETE", "/fapi/v1/algoOpenOrders"): cancel_all_algos,
}
"""Signed routes that change something: each is journalled before it is carried out."""
