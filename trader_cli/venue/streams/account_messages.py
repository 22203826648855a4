"""The messages of an account's stream that are about one order or one position, in the exchange's own shapes.

Source: the exchange's description of its USDⓈ-M user data streams.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trader_cli.venue.engine.books import ZERO
from trader_cli.venue.engine.margin import unrealized
from trader_cli.venue.simulated_market.number_format import decimal_text

if TYPE_CHECKING:
    from decimal import Decimal

    from trader_cli.core.json_values import JsonObject
    from trader_cli.venue.engine.books import Account, AlgoOrder, Fill, Order, Position

FORCED = "autoclose-"
"""Ids of orders by which the exchange liquidates begin so."""


def order_update(
    order: Order, execution: str, now: int, filled: Decimal = ZERO, fill: Fill | None = None
) -> JsonObject:
    """ORDER_TRADE_UPDATE of an `execution` (NEW, TRADE, CANCELED …): `filled` by now, by `fill` last."""
    status = order.status if execution != "TRADE" else ("FILLED" if filled == order.quantity else "PARTIALLY_FILLED")
    forced = order.client_id.startswith(FORCED)
    average = order.filled_quote / order.filled if filled else ZERO
    told: JsonObject = {
        "s": order.symbol,
        "c": order.client_id,
        "S": order.side,
        "o": "LIQUIDATION" if forced else order.type,
        "f": order.time_in_force,
        "q": decimal_text(order.quantity),
        "p": decimal_text(order.price),
        "ap": decimal_text(average),
        "sp": decimal_text(order.stop_price),
        "x": "CALCULATED" if forced and execution == "TRADE" else execution,
        "X": "NEW" if execution == "NEW" else status,
        "i": order.order_id,
        "l": decimal_text(fill.quantity if fill else ZERO),
        "z": decimal_text(filled),
        "L": decimal_text(fill.price if fill else ZERO),
        "N": fill.commission_asset if fill else "",
        "n": decimal_text(fill.commission if fill else ZERO),
        "T": fill.time_ms if fill else now,
        "t": fill.trade_id if fill else 0,
        "b": "0",
        "a": "0",
        "m": bool(fill and fill.maker),
        "R": order.reduce_only,
        "wt": "CONTRACT_PRICE",
        "ot": order.original_type or order.type,
        "ps": "BOTH",
        "cp": order.close_position,
        "rp": decimal_text(fill.realized if fill else ZERO),
        "pP": False,
        "si": 0,
        "ss": 0,
        "V": "EXPIRE_MAKER",
        "pm": "NONE",
        "gtd": 0,
    }
    return {"e": "ORDER_TRADE_UPDATE", "E": now, "T": now, "o": told}


def algo_update(algo: AlgoOrder, status: str, now: int) -> JsonObject:
    """ALGO_UPDATE: it is in this status now."""
    triggered = status in {"TRIGGERED", "FINISHED", "REJECTED"} and algo.actual_order_id is not None
    told: JsonObject = {
        "caid": algo.client_id,
        "aid": algo.algo_id,
        "at": "CONDITIONAL",
        "o": algo.type,
        "s": algo.symbol,
        "S": algo.side,
        "ps": "BOTH",
        "f": algo.time_in_force,
        "q": decimal_text(algo.quantity),
        "X": status,
        "ai": str(algo.actual_order_id) if triggered else "",
        "ap": "0",
        "aq": "0",
        "act": "0",
        "tp": decimal_text(algo.trigger_price),
        "p": decimal_text(algo.price),
        "V": "EXPIRE_MAKER",
        "wt": algo.working_type,
        "pm": "NONE",
        "cp": algo.close_position,
        "pP": algo.price_protect,
        "R": algo.reduce_only,
        "tt": algo.trigger_ms,
        "gtd": 0,
        "rm": "",
    }
    return {"e": "ALGO_UPDATE", "E": now, "T": now, "o": told}


def margin_call_row(books: Account, position: Position, mark: Decimal, least: Decimal) -> JsonObject:
    """A position in MARGIN_CALL: `least` is what it must keep."""
    isolated = books.option(position.symbol).isolated
    return {
        "s": position.symbol,
        "ps": "BOTH",
        "pa": decimal_text(position.amount),
        "mt": "ISOLATED" if isolated else "CROSSED",
        "iw": decimal_text(position.isolated),
        "mp": decimal_text(mark),
        "up": decimal_text(unrealized(position, mark)),
        "mm": decimal_text(least),
    }
