"""A simulated exchange that is harder to trade at than its tape says: dearer, and not every entry is filled."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.core.identity.digests import digest_value
from trader_cli.exchange.simulated_exchange import SimulatedExchange
from trader_cli.venue.engine.margin import MAKER_FEE

if TYPE_CHECKING:
    from trader_cli.core.money.orders import NotPlaced, OrderRequest, OrderState
    from trader_cli.venue.simulated_market.tape import Tape

_OUT_OF_REACH = Decimal("0.03")
"""How far from the mark a limit lies that nobody meets: within the exchange's filter of prices, beyond any spread."""


@dataclass(frozen=True)
class Strain:
    """What is harder: fees by a factor; a share of the entries finds nobody, drawn by the order's id and `seed`."""

    fees: int = 1
    missed: float = 0.0
    seed: int = 0


class StrainedExchange(SimulatedExchange):
    """Those who decide know nothing of it: they expect the costs they always did."""

    def __init__(self, tape: Tape, start_ms: int, balance: Decimal, *, strain: Strain) -> None:
        super().__init__(tape, start_ms, balance)
        self._strain = strain
        self.charge(self.engine.fills.taker_fee, MAKER_FEE)

    def charge(self, taker_fee: Decimal, maker_fee: Decimal) -> None:
        """From now on the account pays these rates, strained."""
        super().charge(taker_fee * self._strain.fees, maker_fee * self._strain.fees)

    def place(self, order: OrderRequest) -> OrderState | NotPlaced:
        """Send an order; an entry that is missed goes out at a limit nobody meets."""
        if order.reduce_only or not self._is_missed(order.client_id):
            return super().place(order)
        mark, rules = self.engine.mark(order.symbol), self.rules(order.symbol)
        away = mark * (1 - _OUT_OF_REACH) if order.side == "BUY" else mark * (1 + _OUT_OF_REACH)
        return super().place(replace(order, price=rules.price_down(away), time_in_force="IOC"))

    def _is_missed(self, client_id: str) -> bool:
        drawn = int(digest_value([client_id, self._strain.seed])[:8], 16) / 16**8
        return drawn < self._strain.missed
