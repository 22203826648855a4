"""Sentences a person relies on, each made from a proof that cannot be built without its evidence.

"Yes", "flat", "closed", "nothing" and "protected" are written here and nowhere else. A proof holds what the exchange
showed (`AccountSnapshot`) and what the ledger knows (`Books`), and its constructor looks through both: while a doubt is
left it raises `Unproved`. What has not answered is unknown, and unknown is no proof. This module asks nobody; it only
weighs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trader_cli.core.proofs import doubts
from trader_cli.core.proofs.evidence import (
    ZERO,
    AccountSnapshot,
    Books,
    NoBooks,
    Traces,
    covering,
    foreign,
    is_a_stop,
    tightest,
)

if TYPE_CHECKING:
    from collections.abc import Collection
    from decimal import Decimal


QUESTION = "walk away?"
"""What is asked about an account; a `WalkAway`, a `Recorded` or a `Doubt` answers it."""


class Unproved(ValueError):
    """A proof was to be built over evidence that leaves a doubt."""


@dataclass(frozen=True)
class Doubt:
    """Why something reassuring may not be said, each reason with what to run."""

    reasons: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.reasons:
            raise Unproved("A doubt needs a reason.")

    @property
    def sentence(self) -> str:
        """All reasons in one line."""
        return f"NO: {'; '.join(self.reasons)}."


# --- proofs ---


@dataclass(frozen=True)
class Flat:
    """No position of ours is open on a symbol, no order of ours rests there and none is under way."""

    symbol: str
    snapshot: AccountSnapshot
    books: Books

    def __post_init__(self) -> None:
        _certain(doubts.of_flat(self.symbol, self.snapshot, self.books))

    @property
    def sentence(self) -> str:
        """What is proved."""
        left = "stop" if self.snapshot.orders is None else "order"
        return f"{self.symbol}: no position of ours is open, and no {left} of ours is left."

    @property
    def brief(self) -> str:
        """The same after a sentence that names the symbol."""
        return "Nothing is open."


@dataclass(frozen=True)
class Closed:
    """So much of a symbol was closed, and it is flat."""

    flat: Flat
    quantity: Decimal

    def __post_init__(self) -> None:
        _certain(() if self.quantity > 0 else (f"{self.flat.symbol}: no quantity has left",))

    @property
    def sentence(self) -> str:
        """What is proved."""
        return self.flat.sentence.replace(":", f": {self.quantity:f} closed;", 1)


@dataclass(frozen=True)
class AllFlat:
    """No position of ours is open on the whole account, no order of ours rests and none is under way."""

    snapshot: AccountSnapshot
    books: Books

    def __post_init__(self) -> None:
        _certain(doubts.of_all_flat(self.snapshot, self.books))

    @property
    def sentence(self) -> str:
        """What is proved."""
        return "flat: no position of ours is open."


@dataclass(frozen=True)
class Protected:
    """The whole of our position on a symbol lies behind stops of ours that the exchange itself shows."""

    symbol: str
    snapshot: AccountSnapshot
    books: Books

    def __post_init__(self) -> None:
        _certain(doubts.of_protected(self.symbol, self.snapshot, self.books))

    @property
    def sentence(self) -> str:
        """What is proved."""
        held = self.books.held[self.symbol]
        level = tightest(covering(self.symbol, held, self.snapshot, self.books))
        beside = self.snapshot.amount(self.symbol) - held
        note = f" {beside:f} beside it is not ours." if beside else ""
        return f"{doubts.is_open(self.symbol, held)}, protected by a stop at {level:f} resting at the exchange.{note}"


@dataclass(frozen=True)
class WalkAway:
    """The account can be left alone: the exchange answered everything, and ledger and exchange agree on all of it."""

    snapshot: AccountSnapshot
    books: Books | NoBooks

    def __post_init__(self) -> None:
        _certain(doubts.of_walk_away(self.snapshot, self.books))

    @property
    def sentence(self) -> str:
        """What is proved, and what is not ours."""
        extra = foreign(self.snapshot, self.books)
        note = f" Not ours and left alone: {', '.join(extra)}." if extra else ""
        if isinstance(self.books, NoBooks):
            return f"yes: no ledger is here, and the exchange shows no position and no order of ours.{note}"
        if not self.books.held:
            return f"yes: no position of ours is open.{note}"
        return f"yes: each position has its stop resting; only `trader monitor` trails, re-assesses and times.{note}"


@dataclass(frozen=True)
class Recorded:
    """The same of an account that lives with us (sim, paper): by the ledger's word alone, no exchange was asked."""

    books: Books | NoBooks

    def __post_init__(self) -> None:
        _certain(doubts.of_recorded(self.books))

    @property
    def sentence(self) -> str:
        """What the ledger says, and that it is the ledger who says it."""
        if isinstance(self.books, NoBooks):
            return "yes: nothing was traded here yet (the account is kept here, and there is no ledger)."
        if not self.books.held:
            return "yes: no position of ours is open (by the ledger, as of the last command)."
        return (
            "yes: each position had its stop resting (by the ledger, as of the last command; no exchange was asked);"
            " only `trader monitor` trails, re-assesses and times."
        )


@dataclass(frozen=True)
class Absent:
    """An entry never reached the exchange: its order, the trades and the position all say so, for long enough."""

    traces: Traces

    def __post_init__(self) -> None:
        _certain(doubts.of_absence(self.traces))

    @property
    def sentence(self) -> str:
        """What is proved."""
        return f"{self.traces.symbol}: the entry never reached the exchange; nothing was opened."


@dataclass(frozen=True)
class NotSent:
    """An order was written down at most: its last line is `status`, None if it has none."""

    client_id: str
    status: str | None

    def __post_init__(self) -> None:
        _certain(() if self.status in {None, "absent"} else (f"{self.client_id} was sent: it is {self.status}",))

    @property
    def sentence(self) -> str:
        """What is proved."""
        return "Nothing was sent."


def prove_flat(symbol: str, snapshot: AccountSnapshot, books: Books) -> Flat | Doubt:
    """That nothing of ours is open or resting on a symbol."""
    reasons = doubts.of_flat(symbol, snapshot, books)
    return Doubt(reasons) if reasons else Flat(symbol, snapshot, books)


def prove_closed(symbol: str, quantity: Decimal, snapshot: AccountSnapshot, books: Books) -> Closed | Doubt:
    """That so much was closed and the symbol is flat."""
    flat = prove_flat(symbol, snapshot, books)
    if isinstance(flat, Doubt):
        return flat
    return Closed(flat, quantity) if quantity > 0 else Doubt((f"{symbol}: no quantity has left",))


def prove_all_flat(snapshot: AccountSnapshot, books: Books) -> AllFlat | Doubt:
    """That nothing of ours is open or resting anywhere."""
    reasons = doubts.of_all_flat(snapshot, books)
    return Doubt(reasons) if reasons else AllFlat(snapshot, books)


def prove_protected(symbol: str, snapshot: AccountSnapshot, books: Books) -> Protected | Doubt:
    """That stops of ours, shown by the exchange, cover all that we hold of a symbol."""
    reasons = doubts.of_protected(symbol, snapshot, books)
    return Doubt(reasons) if reasons else Protected(symbol, snapshot, books)


def prove_walk_away(snapshot: AccountSnapshot, books: Books | NoBooks) -> WalkAway | Doubt:
    """That the account can be left alone."""
    reasons = doubts.of_walk_away(snapshot, books)
    return Doubt(reasons) if reasons else WalkAway(snapshot, books)


def prove_recorded(books: Books | NoBooks) -> Recorded | Doubt:
    """That the ledger of an account that lives with us knows of no trouble."""
    reasons = doubts.of_recorded(books)
    return Doubt(reasons) if reasons else Recorded(books)


def prove_absent(traces: Traces) -> Absent | Doubt:
    """That an entry that was sent is not at the exchange."""
    reasons = doubts.of_absence(traces)
    return Doubt(reasons) if reasons else Absent(traces)


def standing(symbol: str, snapshot: AccountSnapshot, books: Books) -> str:
    """One sentence about a symbol: what is open and what protects it, or why that is not known."""
    held = books.held.get(symbol, ZERO)
    proof = prove_protected(symbol, snapshot, books) if held else prove_flat(symbol, snapshot, books)
    if isinstance(proof, Doubt) and held:
        return f"{doubts.is_open(symbol, held)} by the ledger; {proof.sentence}"
    return f"{symbol}: {proof.sentence}" if isinstance(proof, Doubt) else proof.sentence


def unprotected(symbol: str, held: Decimal) -> str:
    """The alarm about a position that no stop covers."""
    return f"{doubts.is_open(symbol, held)} and NOTHING protects it."


def last_known(symbol: str, books: Books) -> str:
    """What the ledger last saw of a symbol: what is open, and which stops rest. No word of the exchange is in it."""
    held = books.held.get(symbol, ZERO)
    levels = [f"{s.level:f}" for s in books.resting if s.symbol == symbol and is_a_stop(s) and s.level is not None]
    stops = f"stops were last seen resting at {', '.join(levels)}" if levels else "NO stop of ours is known to rest"
    what = f"{held:f} is booked" if held else "an entry was sent whose fill is not confirmed"
    return f"{symbol}: {what}; {stops}."


def _certain(reasons: Collection[str]) -> None:
    if reasons:
        raise Unproved("; ".join(reasons))
