"""Signed routes that some clients read and our own path does not: balances, configuration, status, forced orders."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trader_cli.venue.server.account_routes import account
from trader_cli.venue.server.history_routes import within
from trader_cli.venue.server.order_routes import order_body
from trader_cli.venue.server.wallets import asset_row

if TYPE_CHECKING:
    from trader_cli.core.json_values import JsonObject
    from trader_cli.venue.engine.engine import Engine
    from trader_cli.venue.engine.queries import Body
    from trader_cli.venue.engine.request_parameters import Parameters

_FORCED = ("autoclose-", "adl_autoclose", "settlement_autoclose-")


def balances(engine: Engine, _parameters: Parameters) -> Body:
    """GET /fapi/v3/balance and /fapi/v2/balance."""
    return [_balance(asset_row(engine, asset, engine.marks())) for asset in engine.account.assets()]


def _balance(row: JsonObject) -> JsonObject:
    names = ("asset", "crossWalletBalance", "crossUnPnl", "availableBalance", "updateTime")
    shown = {name: row[name] for name in names}
    more = {"maxWithdrawAmount": row["availableBalance"], "marginAvailable": True}
    return {"accountAlias": "sim", "balance": row["walletBalance"], **shown, **more}


def account_v2(engine: Engine, parameters: Parameters) -> Body:
    """GET /fapi/v2/account: that of V3, with what may be done, and a position of every symbol with its leverage."""
    told = account(engine, parameters)
    assert isinstance(told, dict)
    rows = told["positions"]
    assert isinstance(rows, list)
    held = {str(row["symbol"]): row for row in rows if isinstance(row, dict)}
    positions = []
    for symbol in engine.markets:
        option, row = engine.account.option(symbol), held.get(symbol, {})
        names = ("positionAmt", "entryPrice", "initialMargin", "maintMargin", "notional", "isolatedWallet")
        positions.append(
            {
                "symbol": symbol,
                "positionSide": "BOTH",
                "leverage": str(option.leverage),
                "isolated": option.isolated,
                "unrealizedProfit": row.get("unRealizedProfit", "0"),
                **{name: row.get(name, "0") for name in names},
                "updateTime": row.get("updateTime", 0),
            }
        )
    may = {"canTrade": True, "canDeposit": True, "canWithdraw": False, "feeTier": 0, "updateTime": 0}
    return {**may, "multiAssetsMargin": engine.account.multi_assets, **told, "positions": positions}


def account_config(engine: Engine, _parameters: Parameters) -> Body:
    """GET /fapi/v1/accountConfig."""
    books = engine.account
    may = {"feeTier": 0, "canTrade": True, "canDeposit": True, "canWithdraw": False, "tradeGroupId": -1}
    return {**may, "dualSidePosition": books.hedge_mode, "multiAssetsMargin": books.multi_assets, "updateTime": 0}


def trading_status(engine: Engine, _parameters: Parameters) -> Body:
    """GET /fapi/v1/apiTradingStatus: nothing is held against the account."""
    return {"indicators": {}, "updateTime": engine.now_ms}


def adl_quantiles(engine: Engine, parameters: Parameters) -> Body:
    """GET /fapi/v1/adlQuantile: nobody is ever reduced for another here."""
    wanted = parameters.get("symbol")
    held = [p.symbol for p in engine.account.positions.values() if p.amount and wanted in {None, p.symbol}]
    return [{"symbol": symbol, "adlQuantile": {"LONG": 0, "SHORT": 0, "BOTH": 0}} for symbol in held]


def forced_orders(engine: Engine, parameters: Parameters) -> Body:
    """GET /fapi/v1/forceOrders: orders by which the exchange itself has closed positions."""
    wanted = parameters.get("symbol")
    orders = [o for o in engine.account.orders.values() if o.client_id.startswith(_FORCED)]
    return within([order_body(o) for o in orders if wanted in {None, o.symbol}], parameters)
