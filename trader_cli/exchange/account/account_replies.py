"""From the exchange's private JSON to values. What does not parse is an error; "no positions" is never guessed."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

from trader_cli.core.money.assets import QUOTE
from trader_cli.core.money.orders import (
    AccountState,
    IncomeState,
    KeyRights,
    LeverageBracket,
    MarginSettings,
    OrderState,
    PositionState,
    StopState,
    TradeState,
)
from trader_cli.exchange.connection.reply_fields import decimal, truth


def order_state(body: dict[str, Any]) -> OrderState:
    """A regular order."""
    average = decimal(body.get("avgPrice") or 0)
    return OrderState(
        order_id=str(int(body["orderId"])),
        client_id=str(body["clientOrderId"]),
        symbol=str(body["symbol"]),
        side=_side(body),
        status=str(body["status"]),
        quantity=decimal(body["origQty"]),
        filled=decimal(body["executedQty"]),
        average_price=average if average > 0 else None,
        reduce_only=truth(body["reduceOnly"]),
        update_ms=int(body["updateTime"]),
    )


def stop_state(body: dict[str, Any]) -> StopState:
    """A conditional order."""
    actual = str(body.get("actualOrderId") or "")
    return StopState(
        stop_id=str(int(body["algoId"])),
        client_id=str(body["clientAlgoId"]),
        symbol=str(body["symbol"]),
        side=_side(body),
        kind="stop" if str(body["orderType"]).startswith("STOP") else "take_profit",
        status=str(body["algoStatus"]),
        trigger_price=decimal(body["triggerPrice"]),
        quantity=decimal(body.get("quantity") or 0),
        close_position=truth(body["closePosition"]),
        reduce_only=truth(body["reduceOnly"]),
        by_mark_price=body["workingType"] == "MARK_PRICE",
        actual_order_id=actual if actual not in {"", "0"} else None,
        update_ms=int(body["updateTime"]),
        create_ms=int(body.get("createTime") or 0),
    )


def trade_state(body: dict[str, Any]) -> TradeState:
    """A fill."""
    return TradeState(
        trade_id=int(body["id"]),
        order_id=str(int(body["orderId"])),
        symbol=str(body["symbol"]),
        side=_side(body),
        price=decimal(body["price"]),
        quantity=decimal(body["qty"]),
        commission=decimal(body["commission"]),
        commission_asset=str(body["commissionAsset"]),
        realized_profit=decimal(body["realizedPnl"]),
        maker=truth(body["maker"]),
        time_ms=int(body["time"]),
    )


def income_state(body: dict[str, Any]) -> IncomeState:
    """A change of the wallet."""
    return IncomeState(
        income_id=f"{body['incomeType']}-{int(body['tranId'])}",
        kind=str(body["incomeType"]),
        symbol=str(body.get("symbol") or ""),
        amount=decimal(body["income"]),
        asset=str(body["asset"]),
        time_ms=int(body["time"]),
    )


def position_state(body: dict[str, Any]) -> PositionState:
    """A position."""
    level = decimal(body["liquidationPrice"] or 0)
    return PositionState(
        symbol=str(body["symbol"]),
        amount=decimal(body["positionAmt"]),
        entry_price=decimal(body["entryPrice"]),
        mark_price=decimal(body["markPrice"]),
        liquidation_price=level if level > 0 else None,
        unrealized_profit=decimal(body["unRealizedProfit"]),
        isolated_wallet=decimal(body["isolatedWallet"]),
        update_ms=int(body["updateTime"]),
    )


def account_state(body: dict[str, Any]) -> AccountState:
    """The balances of USDT, zero where none are shown, and beside it those of every other asset."""
    found = {str(row["asset"]): _balances(row) for row in body["assets"]}
    main = found.pop(QUOTE, AccountState(Decimal(0), Decimal(0), Decimal(0)))
    held = tuple(state for state in found.values() if state.wallet or state.unrealized_profit or state.available)
    return replace(main, others=held)


def _balances(row: dict[str, Any]) -> AccountState:
    return AccountState(
        decimal(row["walletBalance"]),
        decimal(row["availableBalance"]),
        decimal(row["unrealizedProfit"]),
        str(row["asset"]),
    )


def margin_settings(body: dict[str, Any]) -> MarginSettings:
    """Leverage and margin mode."""
    return MarginSettings(int(body["leverage"]), str(body["marginType"]).upper() == "ISOLATED")


def brackets_of(reply: Any, symbol: str) -> tuple[LeverageBracket, ...]:
    """Brackets of a symbol in either documented form: a list with a row a symbol, or that one row where one was named.

    Raises `ValueError` where the symbol is not among them.
    """
    for row in reply if isinstance(reply, list) else [reply]:
        if isinstance(row, dict) and row.get("symbol") == symbol:
            return leverage_brackets(row)
    raise ValueError(f"no brackets of {symbol}")


def leverage_brackets(body: dict[str, Any]) -> tuple[LeverageBracket, ...]:
    """Brackets of a symbol, lowest notional first, scaled by its coefficient."""
    scale = decimal(body.get("notionalCoef") or 1)
    made = [
        LeverageBracket(
            decimal(b["notionalCap"]) * scale,
            int(b["initialLeverage"]),
            decimal(b["maintMarginRatio"]),
            decimal(b["cum"]) * scale,
        )
        for b in body["brackets"]
    ]
    return tuple(sorted(made, key=lambda bracket: bracket.notional_cap))


def key_rights(body: dict[str, Any]) -> KeyRights:
    """What the key may do."""
    return KeyRights(truth(body["enableFutures"]), truth(body["enableWithdrawals"]), truth(body["ipRestrict"]))


def _side(body: dict[str, Any]) -> Any:
    side = body["side"]
    if side not in {"BUY", "SELL"}:
        raise ValueError(f"not a side: {side!r}")
    return side
