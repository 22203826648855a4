"""What is known when something is to be said about the account: what the exchange showed, and what the ledger knows.

None of a kind means that it did not answer, which is never "none there". No sentence is made here: see `doubts` for
what speaks against a comforting one, `assurance` for the comforting ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.core.identity.ids import is_ours

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from trader_cli.core.identity.ids import Purpose
    from trader_cli.core.money.orders import OrderState, PositionState, StopState

ZERO = Decimal(0)


@dataclass(frozen=True)
class AccountSnapshot:
    """What the exchange showed at `requested_ms`. None of a kind: it did not answer about it; never "none there".

    `symbols` is what was asked about, None for the whole account. `problems` say why something did not answer. `past`:
    orders of the last days, whatever became of them, of symbols where something was to be explained.
    """

    requested_ms: int
    positions: tuple[PositionState, ...] | None
    stops: tuple[StopState, ...] | None
    orders: tuple[OrderState, ...] | None
    problems: tuple[str, ...] = ()
    symbols: frozenset[str] | None = None
    past: tuple[OrderState, ...] = ()

    def position(self, symbol: str) -> PositionState | None:
        """The position of a symbol, None where none is shown."""
        return next((p for p in self.positions or () if p.symbol == symbol and p.amount != 0), None)

    def amount(self, symbol: str) -> Decimal:
        """The signed amount shown of a symbol."""
        found = self.position(symbol)
        return found.amount if found else ZERO

    @property
    def resting(self) -> tuple[OrderState | StopState, ...]:
        """Every order and stop that is shown to rest."""
        found: list[OrderState | StopState] = [*(self.orders or ()), *(self.stops or ())]
        return tuple(order for order in found if order.is_open)


@dataclass(frozen=True)
class LedgerOrder:
    """An order or stop of ours as the ledger last knew it. A stop without `quantity` closes the whole position."""

    symbol: str
    client_id: str
    purpose: Purpose
    status: str
    level: Decimal | None = None
    quantity: Decimal | None = None


@dataclass(frozen=True)
class Books:
    """What the ledger knows.

    `held`: the fold of our fills, by symbol, without zeros. `moving`: entries and exits of unknown end. `unbooked`:
    signed quantity that has filled and is in no booked trade. `resting`: stops last seen waiting. `known`: every
    client id it ever wrote down. `others`: sentences about other ledgers of the same account that hold something.
    `dead`: entries it takes to be absent or refused.
    """

    held: Mapping[str, Decimal]
    known: Collection[str]
    moving: tuple[LedgerOrder, ...] = ()
    unbooked: Mapping[str, Decimal] = field(default_factory=dict)
    resting: tuple[LedgerOrder, ...] = ()
    others: tuple[str, ...] = ()
    dead: Collection[str] = ()


@dataclass(frozen=True)
class NoBooks:
    """There is no ledger that can be read. `sentence` says why, `hint` what to run; `fresh` if there is simply none."""

    sentence: str
    hint: str
    fresh: bool = False
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class Traces:
    """What was found of an entry that was sent: None where the exchange did not answer.

    `ordered`: whether an order of its id is shown. `traded`: quantity in trades nobody explains, on its side.
    `before` and `after`: the position when it was written down and now. `waited_ms` of at least `enough_ms`.
    """

    symbol: str
    client_id: str
    ordered: bool | None
    traded: Decimal | None
    before: Decimal | None
    after: Decimal | None
    waited_ms: int
    enough_ms: int


def covering(symbol: str, held: Decimal, snapshot: AccountSnapshot, books: Books) -> tuple[StopState, ...]:
    """Stops of ours that close a position of this sign: the exchange shows them and the ledger knows them."""
    side = "SELL" if held > 0 else "BUY"
    return tuple(
        s
        for s in snapshot.stops or ()
        if s.symbol == symbol
        and s.side == side
        and s.is_open
        and s.kind == "stop"
        and s.by_mark_price
        and (s.close_position or s.reduce_only)
        and s.client_id in books.known
    )


def tightest(stops: Iterable[StopState]) -> Decimal:
    """The level of these stops that the market meets first."""
    found = list(stops)
    levels = [s.trigger_price for s in found]
    return max(levels) if found[0].side == "SELL" else min(levels)


def foreign(snapshot: AccountSnapshot, books: Books | NoBooks) -> tuple[str, ...]:
    """What the exchange shows beyond ours, by symbol."""
    held = {} if isinstance(books, NoBooks) else books.held
    extra = {p.symbol: p.amount - held.get(p.symbol, ZERO) for p in snapshot.positions or ()}
    return tuple(f"{symbol} {amount:f}" for symbol, amount in extra.items() if amount != 0)


def explained(snapshot: AccountSnapshot) -> dict[str, Decimal]:
    """What of each position orders with our ids explain, by the exchange's word alone: never more than it shows."""
    return {p.symbol: _part(p.amount, _ours(snapshot, p)) for p in snapshot.positions or () if p.amount != 0}


def _ours(snapshot: AccountSnapshot, position: PositionState) -> Decimal:
    """The fold of our past orders; where they are not remembered, what our quantity stops were made for."""
    past = [o for o in snapshot.past if o.symbol == position.symbol and is_ours(o.client_id) and o.filled]
    if past:
        return sum((o.filled if o.side == "BUY" else -o.filled for o in past), ZERO)
    closing = "SELL" if position.amount > 0 else "BUY"
    stops = [s for s in snapshot.stops or () if s.symbol == position.symbol and s.side == closing and s.is_open]
    behind = sum((s.quantity for s in stops if s.kind == "stop" and is_ours(s.client_id)), ZERO)
    return behind if position.amount > 0 else -behind


def _part(shown: Decimal, ours: Decimal) -> Decimal:
    return min(shown, ours, key=abs) if shown * ours > 0 else ZERO


def orphans(states: Iterable[OrderState | StopState], known: Collection[str]) -> tuple[str, ...]:
    """Client ids of our kind that this ledger never wrote down, among open orders, stops and past orders."""
    return tuple(dict.fromkeys(o.client_id for o in states if is_ours(o.client_id) and o.client_id not in known))


def is_a_stop(kept: LedgerOrder) -> bool:
    """Whether an order the ledger knows closes a losing position."""
    return kept.purpose in {"stop", "backstop"}
