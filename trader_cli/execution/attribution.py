"""How much of a position shown at the exchange is ours, where no ledger can say. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.core.identity.ids import purpose_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from trader_cli.core.money.orders import OrderState, StopState

ZERO = Decimal(0)


@dataclass(frozen=True)
class Attribution:
    """A position as shown (signed), how much of it is ours (unsigned), what says so, and what did not answer.

    `resting`: the quantity for which stops of ours rest, unsigned; 0 where they name none.
    """

    symbol: str
    shown: Decimal
    ours: Decimal
    because: str
    unanswered: tuple[str, ...] = ()
    resting: Decimal = ZERO

    @property
    def foreign(self) -> Decimal:
        """What nothing of ours explains, unsigned."""
        return abs(self.shown) - self.ours


def explained(
    symbol: str,
    shown: Decimal,
    known: Decimal | None,
    orders: Sequence[OrderState] | None,
    stops: Sequence[StopState] | None,
    resting: Sequence[StopState] | None,
) -> Attribution:
    """Ours is the fold of our orders; where that explains nothing, our resting stops; else what a ledger knew.

    Stops older than our last fill say nothing: they are left over. `None` is what did not answer. `known` is the signed
    quantity of a ledger that can be read but not be written.
    """
    told = {"allOrders": orders, "allAlgoOrders": stops, "openAlgoOrders": resting}
    unanswered = tuple(name for name, found in told.items() if found is None)
    sign = 1 if shown > 0 else -1
    filled = _filled(orders or (), stops or ())
    last_ms = max((order.update_ms for order in filled), default=-1)
    there = resting if resting is not None else stops or ()
    cover, sized = covered([stop for stop in there if stop.create_ms > last_ms], shown)
    ways = (
        (folded(filled) * sign, "orders with our ids have filled"),
        (cover, "stops of ours rest there"),
        ((known or ZERO) * sign, "the ledger says so"),
    )
    amount, because = next(((a, b) for a, b in ways if a > 0), (ZERO, "no order with our ids explains it"))
    return Attribution(symbol, shown, min(amount, abs(shown)), because, unanswered, cover if sized else ZERO)


def _filled(orders: Iterable[OrderState], stops: Iterable[StopState]) -> list[OrderState]:
    """Our orders that filled, those that a stop of ours became among them."""
    became = {stop.actual_order_id for stop in stops if purpose_of(stop.client_id) and stop.actual_order_id}
    return [o for o in orders if o.filled > 0 and (purpose_of(o.client_id) or o.order_id in became)]


def folded(ours: Iterable[OrderState]) -> Decimal:
    """The signed sum of what our orders filled, oldest first.

    History has a beginning: a reducing order reduces what is there, and never turns it.
    """
    held = ZERO
    for order in sorted(ours, key=lambda o: (o.update_ms, o.order_id)):
        signed = order.filled if order.side == "BUY" else -order.filled
        if order.reduce_only or purpose_of(order.client_id) != "entry":
            signed = max(-held, min(signed, ZERO)) if held > 0 else min(-held, max(signed, ZERO))
        held += signed
    return held


def covered(stops: Iterable[StopState], shown: Decimal) -> tuple[Decimal, bool]:
    """The quantity, unsigned, that orders of ours would close: the largest stop, else the target; whether they name it.

    A stop that closes the whole position, alone, says that the whole position is ours: beside anything foreign ours
    have a quantity.
    """
    side = "SELL" if shown > 0 else "BUY"
    ours = [s for s in stops if s.is_open and s.side == side and purpose_of(s.client_id)]
    for kind in ("stop", "take_profit"):
        sized = [s.quantity for s in ours if s.kind == kind and not s.close_position]
        if sized:
            return max(sized), True
    return (abs(shown) if any(s.close_position for s in ours) else ZERO), False
