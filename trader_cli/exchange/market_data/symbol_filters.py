"""The exchange's filters of a symbol, from its description. What is switched off or missing restricts nothing."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeVar

from trader_cli.core.market.symbols import delivery_ms_of
from trader_cli.core.money.assets import margin_asset_of
from trader_cli.core.money.orders import Lots, SymbolRules
from trader_cli.exchange.connection.reply_fields import decimal

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
_NO_END_MS = 4_000_000_000_000
_NO_LIMIT, _UNIT = Decimal(10**15), Decimal("1e-8")


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
