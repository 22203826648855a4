"""What the engine refuses although every parameter is right: too little margin, too large a position or a stop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trader_cli.core.money.assets import margin_asset_of
from trader_cli.venue.engine.books import ZERO
from trader_cli.venue.engine.fees import rate_of
from trader_cli.venue.engine.margin import available
from trader_cli.venue.engine.queries import VenueRejection
from trader_cli.venue.simulated_market.brackets import most_notional

if TYPE_CHECKING:
    from trader_cli.venue.engine.books import Order
    from trader_cli.venue.engine.engine_state import EngineState


def require_margin(engine: EngineState, order: Order, *, beside: Order | None = None) -> None:
    """Refuse an order that balance or bracket cannot carry. Only what enlarges the position counts.

    `beside`: the resting order in whose place it comes, whose margin is free for it.
    """
    position = engine.account.position(order.symbol)
    reducing = min(abs(position.amount), order.quantity) if position.amount * order.sign < 0 else ZERO
    price = order.price if order.type == "LIMIT" else engine.mark(order.symbol)
    notional = (order.quantity - reducing) * price
    option, brackets = engine.account.option(order.symbol), engine.brackets(order.symbol)
    if notional > 0:
        _require_one_cross_position(engine, order.symbol)
    if (abs(position.amount) - reducing) * price + notional > most_notional(option.leverage, brackets):
        raise VenueRejection(400, -2027, "Exceeded the maximum allowable position at current leverage.")
    needed = notional / option.leverage + notional * rate_of(engine, maker=False)
    marks = engine.marks() | {order.symbol: engine.mark(order.symbol)}
    tied = beside.remaining * beside.price / option.leverage if beside is not None else ZERO
    if needed > available(engine.account, marks, margin_asset_of(order.symbol)) + tied:
        raise VenueRejection(400, -2019, "Margin is insufficient.")


def _require_one_cross_position(engine: EngineState, symbol: str) -> None:
    """Several positions on one cross margin are not simulated, and that is said rather than got wrong."""
    account = engine.account
    held = [p.symbol for p in account.positions.values() if p.amount != 0 and p.symbol != symbol]
    if not account.option(symbol).isolated and any(not account.option(s).isolated for s in held):
        raise VenueRejection(400, -4000, "trader venue: one cross-margin position at a time; use isolated margin.")


def require_fitting(engine: EngineState, order: Order) -> None:
    """Where the switch says so, refuse what a triggered quantity stop became if it is larger than the position."""
    if not order.reduce_only or order.close_position or engine.switches.stop_above_position == "trimmed":
        return
    if order.quantity > engine.allowed(order, order.quantity):
        raise VenueRejection(400, -2022, "ReduceOnly Order is rejected.")
