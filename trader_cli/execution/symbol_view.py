"""What is known of one symbol: what the exchange showed last, and that brought level with what the ledger says."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trader_cli.core.money.orders import PositionState, StopState

ZERO = Decimal(0)


@dataclass
class PositionSnapshot:
    """What was last seen of a symbol: its position (`None`: flat), what of it is foreign, and stops that are not ours.

    `requested_ms` is when the position was asked for, on the monotonic clock; −1: never answered.
    """

    position: PositionState | None = None
    requested_ms: int = -1
    foreign: Decimal = ZERO
    others: tuple[StopState, ...] = ()

    @property
    def amount(self) -> Decimal:
        """The signed amount the exchange showed."""
        return self.position.amount if self.position else ZERO


@dataclass(frozen=True)
class View:
    """One symbol as reconciled: the exchange's position, our part of it, what is foreign, and our resting stops.

    `presumed` is what the position shows of an entry whose order and trades do not say so yet; `is_booked` whether the
    trades of everything that has filled are in the ledger.
    """

    symbol: str
    position: PositionState | None
    ours: Decimal
    foreign: Decimal
    stops: tuple[StopState, ...]
    foreign_orders: int
    unknown_orders: int
    unbooked: Decimal = ZERO
    presumed: Decimal = ZERO
    requested_ms: int = -1
    is_booked: bool = True

    @property
    def expected(self) -> Decimal:
        """What of ours there should be: the fold of our fills, what has filled and is not booked, what is presumed."""
        return self.ours + self.unbooked + self.presumed

    @property
    def held(self) -> Decimal:
        """What of ours the exchange shows: never more than either side says."""
        shown = self.position.amount if self.position else ZERO
        if shown * self.expected <= 0:
            return ZERO
        return min(shown, self.expected, key=abs)

    @property
    def is_flat(self) -> bool:
        """Whether nothing of ours is open. A position that is merely not shown is not flat: trades must explain it."""
        return self.expected == 0

    @property
    def is_missing(self) -> bool:
        """Whether less than ours is shown, and nothing else: what is not shown yet is nobody else's."""
        return self.foreign * self.expected < 0 and abs(self.foreign) <= abs(self.expected)
