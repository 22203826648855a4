"""What the exchange does by itself, on demand: liquidation, auto-deleveraging, settlement. For tests and campaigns.

Its orders carry client ids of its own: `autoclose-`, `adl_autoclose-`, `settlement_autoclose-`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trader_cli.venue.engine.books import ZERO

if TYPE_CHECKING:
    from decimal import Decimal

    from trader_cli.venue.engine.books import Order, Position
    from trader_cli.venue.engine.engine import Engine


def liquidate(engine: Engine, symbol: str) -> None:
    """Liquidate a position, wherever the price is: bankruptcy price, liquidation fee as INSURANCE_CLEAR."""
    engine.liquidate(_open(engine, symbol))
    engine.changed()


def deleverage(engine: Engine, symbol: str, quantity: Decimal | None = None) -> Order:
    """Auto-deleverage a position, or so much of it, at the mark price without a fee."""
    return _take_over(engine, symbol, "adl_autoclose", quantity, ZERO)


def settle(engine: Engine, symbol: str, quantity: Decimal | None = None) -> Order:
    """Settle a position at delivery, or so much of it, at the mark price with the taker's fee.

    A whole settlement cancels every order of the symbol first and ends every stop.
    """
    whole = abs(_open(engine, symbol).amount)
    done = engine.settle(symbol) if quantity is None or quantity >= whole else None
    return done or _take_over(engine, symbol, "settlement_autoclose", quantity, None)


def _open(engine: Engine, symbol: str) -> Position:
    position = engine.account.position(symbol)
    if position.amount == 0:
        raise ValueError(f"There is no position of {symbol} that the exchange could close.")
    return position


def _take_over(engine: Engine, symbol: str, name: str, quantity: Decimal | None, fee: Decimal | None) -> Order:
    position = _open(engine, symbol)
    whole = abs(position.amount)
    closed = whole if quantity is None else min(quantity, whole)
    done = engine.force(position, closed, engine.mark(symbol), f"{name}-{engine.now_ms}", fee)
    engine.changed()
    return done
