"""Signed routes about what has happened: income and fills, a page of rows at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trader_cli.core.json_values import whole_of
from trader_cli.venue.engine.order_intake import symbol_of
from trader_cli.venue.engine.request_parameters import Parameters, whole
from trader_cli.venue.simulated_market.number_format import decimal_text

if TYPE_CHECKING:
    from trader_cli.core.json_values import JsonObject
    from trader_cli.venue.engine.books import Fill
    from trader_cli.venue.engine.engine import Engine
    from trader_cli.venue.engine.queries import Body

PAGE = 500
"""Rows of an answer where none are asked for."""


def income(engine: Engine, parameters: Parameters) -> Body:
    """GET /fapi/v1/income, oldest first."""
    kind, symbol = parameters.get("incomeType"), parameters.get("symbol")
    rows = [
        {
            "symbol": i.symbol,
            "incomeType": i.kind,
            "income": decimal_text(i.amount),
            "asset": i.asset,
            "time": i.time_ms,
            "tranId": number,
            "tradeId": "" if i.trade_id is None else str(i.trade_id),
            "info": i.kind,
        }
        for number, i in enumerate(engine.account.income, start=1)
        if kind in {None, i.kind} and symbol in {None, i.symbol}
    ]
    return within(rows, parameters)


def user_trades(engine: Engine, parameters: Parameters) -> Body:
    """GET /fapi/v1/userTrades, oldest first."""
    symbol, order_id = symbol_of(engine, parameters), parameters.get("orderId")
    rows = [
        _trade(f)
        for f in engine.account.fills
        if f.symbol == symbol and order_id in {None, str(f.order_id)} and f.trade_id >= whole(parameters, "fromId", 0)
    ]
    return within(rows, parameters)


def _trade(f: Fill) -> JsonObject:
    return {
        "id": f.trade_id,
        "orderId": f.order_id,
        "symbol": f.symbol,
        "side": f.side,
        "positionSide": "BOTH",
        "price": decimal_text(f.price),
        "qty": decimal_text(f.quantity),
        "quoteQty": decimal_text(f.price * f.quantity),
        "commission": decimal_text(f.commission),
        "commissionAsset": f.commission_asset,
        "realizedPnl": decimal_text(f.realized),
        "buyer": f.side == "BUY",
        "maker": f.maker,
        "time": f.time_ms,
    }


def within(rows: list[JsonObject], parameters: Parameters) -> list[JsonObject]:
    """Rows between startTime and endTime: the first `limit` with a start, else the last."""
    start, end = whole(parameters, "startTime", 0), whole(parameters, "endTime", 1 << 62)
    limit = min(whole(parameters, "limit", PAGE), 1000)
    inside = [row for row in rows if start <= whole_of(row["time"]) <= end]
    return inside[:limit] if "startTime" in parameters or "fromId" in parameters else inside[-limit:]
