"""From the exchange's private JSON to values. What does not parse is an error; "no positions" is never guessed."""

from __future__ import annotations

import math
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, TypeVar

from trader_cli.core.market.symbols import delivery_ms_of
from trader_cli.core.money.assets import QUOTE, margin_asset_of
from trader_cli.core.money.orders import (
    AccountState,
    IncomeState,
    KeyRights,
    LeverageBracket,
    Lots,
    MarginSettings,
    OrderState,
    PositionState,
    StopState,
    SymbolRules,
    TradeState,
)

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
_NO_END_MS = 4_000_000_000_000
_NO_LIMIT, _UNIT = Decimal(10**15), Decimal("1e-8")


def decimal(value: Any) -> Decimal:
    """A finite decimal. Raises `ValueError`."""
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        raise ValueError(f"not a number: {value!r}") from None
    if not number.is_finite():
        raise ValueError(f"not a finite number: {value!r}")
    return number


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


def symbol_rules(body: dict[str, Any]) -> SymbolRules:
    """Filters of an exchangeInfo symbol. One that is missing, or zero, restricts nothing; digits are those it states.

    Raises `ValueError` for one that cannot be read.
    """
    filters: dict[str, dict[str, Any]] = {f["filterType"]: f for f in body.get("filters") or ()}
    price, lot, market, band, worth = (
        filters.get(name, {})
        for name in ("PRICE_FILTER", "LOT_SIZE", "MARKET_LOT_SIZE", "PERCENT_PRICE", "MIN_NOTIONAL")
    )
    each = (_lots(lot), _lots(market))
    steps = [lots.step for lots in each if lots.step is not None] or [_finest(body, "quantityPrecision")]
    most = [lots.most for lots in each if lots.most is not None]
    least = [lots.least for lots in each if lots.least is not None]
    return SymbolRules(
        symbol=str(body["symbol"]),
        tick=_limit(price, "tickSize") or _finest(body, "pricePrecision"),
        step=_common_multiple(steps),
        min_quantity=max(least, default=Decimal(0)),
        max_market_quantity=min(most, default=_NO_LIMIT),
        min_notional=_limit(worth, "notional") or _limit(worth, "minNotional") or Decimal(0),
        status=str(body.get("status") or "TRADING"),
        delivery_ms=_delivery_ms(body),
        contract_type=str(body.get("contractType") or "PERPETUAL"),
        band_up=_limit(band, "multiplierUp"),
        band_down=_limit(band, "multiplierDown"),
        max_orders=_listed(filters.get("MAX_NUM_ORDERS", {}), "limit", int) or None,
        max_stop_orders=_listed(filters.get("MAX_NUM_ALGO_ORDERS", {}), "limit", int) or None,
        min_price=_limit(price, "minPrice"),
        max_price=_limit(price, "maxPrice"),
        limit_lots=each[0],
        market_lots=each[1],
        margin_asset=str(body.get("marginAsset") or body.get("quoteAsset") or margin_asset_of(str(body["symbol"]))),
    )


def _lots(row: dict[str, Any]) -> Lots:
    return Lots(_limit(row, "stepSize"), _limit(row, "minQty"), _limit(row, "maxQty"))


def _finest(body: dict[str, Any], name: str) -> Decimal:
    """The unit in the last digit that the exchange states."""
    return Decimal(1).scaleb(-int(body[name])) if body.get(name) is not None else _UNIT


def _common_multiple(steps: list[Decimal]) -> Decimal:
    """The least quantity that is in whole steps of each."""
    unit = Decimal(1).scaleb(min(int(step.normalize().as_tuple().exponent) for step in steps))
    return Decimal(math.lcm(*(int(step / unit) for step in steps))) * unit


def _delivery_ms(body: dict[str, Any]) -> int | None:
    """A perpetual's is a day far in the next century, until its end is announced; a delivery contract's name says it.

    The earlier one counts where both are stated.
    """
    stated_ms, named_ms = int(body.get("deliveryDate") or 0), delivery_ms_of(str(body["symbol"]))
    known = [at for at in (stated_ms, named_ms) if at is not None and 0 < at < _NO_END_MS]
    return min(known, default=None)


def _listed(row: dict[str, Any], name: str, shape: Callable[[Any], T]) -> T | None:
    return None if row.get(name) is None else shape(row[name])


def _limit(row: dict[str, Any], name: str) -> Decimal | None:
    """Zero switches a limit off. Raises `ValueError` for one below."""
    found = _listed(row, name, decimal)
    if found is not None and found < 0:
        raise ValueError(f"below zero: {name} {found}")
    return found or None


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


def truth(value: Any) -> bool:
    """A boolean, written as one or as text. Raises `ValueError`."""
    if isinstance(value, bool):
        return value
    if str(value).lower() in {"true", "false"}:
        return str(value).lower() == "true"
    raise ValueError(f"not true or false: {value!r}")
