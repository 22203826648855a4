"""Where a position is left, and how far the price may be from the signal's before it is opened. Pure."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.core.money.plans import PlanLevels

if TYPE_CHECKING:
    from trader_cli.core.money.orders import SymbolRules
    from trader_cli.core.types import Side


def plan_levels(
    side: Side, price: Decimal, barriers: tuple[float, float], rules: SymbolRules, backstop: float, drift: Decimal
) -> PlanLevels:
    """Where a position that is opened at a price is left: at a signal's (stop, target), on ticks, each the nearer one.

    `backstop`: how far the last stop lies, in distances of the stop.
    """
    is_long, sign = side == "long", 1 if side == "long" else -1
    stop, target = _on_tick(barriers[0], rules, up=is_long), _on_tick(barriers[1], rules, up=not is_long)
    furthest = float(price - sign * abs(price - stop) * Decimal(str(backstop)))
    return PlanLevels(side, price, stop, _on_tick(furthest, rules, up=is_long), target, drift)


def most_drift(price: float, stop_price: float, share: float) -> Decimal:
    """How far the price may be from the signal's: a share of its distance to the stop."""
    return Decimal(str(share * abs(price - stop_price)))


def _on_tick(price: float, rules: SymbolRules, *, up: bool) -> Decimal:
    """A price on a tick: the next one up or down."""
    exact = Decimal(repr(price))
    down = rules.price_down(exact)
    return down + rules.tick if up and down != exact else down
