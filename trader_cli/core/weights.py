"""What requests cost at Binance USDⓈ-M futures: weight per minute and address. Source: shared facts, §3.1."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

WEIGHT_LIMIT = 2400
_WEIGHTS = {
    "/fapi/v1/aggTrades": 20, "/fapi/v3/account": 5, "/fapi/v3/positionRisk": 5, "/fapi/v1/userTrades": 5,
    "/fapi/v1/income": 30, "/fapi/v1/commissionRate": 20, "/fapi/v1/positionSide/dual": 30, "/fapi/v1/symbolConfig": 5,
    "/fapi/v1/allOrders": 5, "/fapi/v1/allAlgoOrders": 5,
}  # fmt: skip


def request_weight(path: str, query: Mapping[str, object]) -> int:
    """Weight of a GET request; `query` holds its parameters. Routes without a rule of their own cost 1."""
    limit = _whole(query.get("limit", 500))
    if path in {"/fapi/v1/klines", "/fapi/v1/markPriceKlines"}:
        return 1 if limit < 100 else 2 if limit < 500 else 5 if limit <= 1000 else 10
    if path == "/fapi/v1/depth":
        return 2 if limit <= 50 else 5 if limit <= 100 else 10 if limit <= 500 else 20
    if path == "/fapi/v1/ticker/24hr":
        return 1 if "symbol" in query else 40
    if path in {"/fapi/v1/openOrders", "/fapi/v1/openAlgoOrders"}:
        return 1 if "symbol" in query else 40
    return _WEIGHTS.get(path, 1)


def _whole(value: object) -> int:
    text = str(value)
    return int(text) if text.isdigit() else 500
