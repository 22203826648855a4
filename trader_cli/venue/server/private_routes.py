"""The private routes of a Binance USDⓈ-M host: parameters in, the exchange's JSON out, one engine per account."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from trader_cli.venue.engine.queries import Body
from trader_cli.venue.engine.request_parameters import Parameters
from trader_cli.venue.server.account_facts import (
    account_config,
    account_v2,
    adl_quantiles,
    balances,
    forced_orders,
    trading_status,
)
from trader_cli.venue.server.account_routes import (
    account,
    commission_rate,
    leverage_bracket,
    position_mode,
    position_risk,
    set_leverage,
    set_margin_type,
    set_position_mode,
    symbol_config,
)
from trader_cli.venue.server.history_routes import income, user_trades
from trader_cli.venue.server.order_batches import (
    amend_order,
    amend_orders,
    cancel_orders,
    count_down,
    open_order,
    place_orders,
    try_order,
)
from trader_cli.venue.server.order_routes import (
    all_algos,
    all_orders,
    cancel_algo,
    cancel_all_algos,
    cancel_all_orders,
    cancel_order,
    open_algos,
    open_orders,
    place_algo,
    place_order,
    show_algo,
    show_order,
)
from trader_cli.venue.server.wallets import fee_burn, multi_assets, set_fee_burn, set_multi_assets

if TYPE_CHECKING:
    from trader_cli.venue.engine.engine import Engine

Handler = Callable[["Engine", Parameters], Body]
"""From the engine of an account and the parameters of a request to the JSON."""

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
    "/fapi/v1/openOrder": open_order,
    "/fapi/v1/accountConfig": account_config,
    "/fapi/v1/apiTradingStatus": trading_status,
    "/fapi/v1/adlQuantile": adl_quantiles,
    "/fapi/v1/forceOrders": forced_orders,
    "/fapi/v2/account": account_v2,
    "/fapi/v2/balance": balances,
    "/fapi/v3/balance": balances,
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
    ("PUT", "/fapi/v1/order"): amend_order,
    ("POST", "/fapi/v1/order/test"): try_order,
    ("POST", "/fapi/v1/batchOrders"): place_orders,
    ("PUT", "/fapi/v1/batchOrders"): amend_orders,
    ("DELETE", "/fapi/v1/batchOrders"): cancel_orders,
    ("POST", "/fapi/v1/countdownCancelAll"): count_down,
    ("DELETE", "/fapi/v1/allOpenOrders"): cancel_all_orders,
    ("POST", "/fapi/v1/algoOrder"): place_algo,
    ("DELETE", "/fapi/v1/algoOrder"): cancel_algo,
    ("DELETE", "/fapi/v1/algoOpenOrders"): cancel_all_algos,
}
"""Signed routes that change something: each is journalled before it is carried out."""
