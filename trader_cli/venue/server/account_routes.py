"""Signed routes about the account: its wallets and positions, and the terms it trades on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trader_cli.core.money.assets import CREDITS, margin_asset_of
from trader_cli.venue.engine.books import ZERO, Position
from trader_cli.venue.engine.fees import rate_of
from trader_cli.venue.engine.margin import backing, initial_margin, liquidation_price, unrealized
from trader_cli.venue.engine.order_intake import symbol_of
from trader_cli.venue.engine.request_parameters import Parameters, flag, rejected, required, whole
from trader_cli.venue.server.wallets import DONE, asset_row
from trader_cli.venue.simulated_market.brackets import maintenance_margin, most_notional
from trader_cli.venue.simulated_market.number_format import decimal_text

if TYPE_CHECKING:
    from trader_cli.core.json_values import JsonObject
    from trader_cli.venue.engine.engine import Engine
    from trader_cli.venue.engine.queries import Body
    from trader_cli.venue.simulated_market.brackets import Bracket

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


def _position(engine: Engine, p: Position) -> JsonObject:
    books, mark = engine.account, engine.mark(p.symbol)
    notional, isolated = p.amount * mark, books.option(p.symbol).isolated
    margin = initial_margin(books, p, mark)
    return {
        "symbol": p.symbol,
        "positionSide": "BOTH",
        "positionAmt": decimal_text(p.amount),
        "entryPrice": decimal_text(p.entry),
        "breakEvenPrice": decimal_text(p.entry),
        "markPrice": decimal_text(mark),
        "unRealizedProfit": decimal_text(unrealized(p, mark)),
        "liquidationPrice": decimal_text(liquidation_price(books, p, engine.brackets(p.symbol))),
        "isolatedMargin": decimal_text(p.isolated + unrealized(p, mark) if isolated else ZERO),
        "notional": decimal_text(notional),
        "marginAsset": margin_asset_of(p.symbol),
        "isolatedWallet": decimal_text(backing(books, p) if isolated else ZERO),
        "initialMargin": decimal_text(margin),
        "maintMargin": decimal_text(maintenance_margin(notional, engine.brackets(p.symbol))),
        "positionInitialMargin": decimal_text(margin),
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


def _bracket(b: Bracket) -> JsonObject:
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
            "maxNotionalValue": decimal_text(most_notional(o.leverage, engine.brackets(symbol))),
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
    return {"leverage": leverage, "maxNotionalValue": decimal_text(most_notional(leverage, brackets)), "symbol": symbol}


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
        "makerCommissionRate": decimal_text(rate_of(engine, maker=True)),
        "takerCommissionRate": decimal_text(rate_of(engine, maker=False)),
    }
