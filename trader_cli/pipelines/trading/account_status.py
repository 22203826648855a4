"""What we hold, what protects it, what is open, whether anything is wrong, and whether one can walk away.

From the exchange and the ledger side by side, or from one of them where the other is lost; never a guess: what has not
answered is unknown. In sim and paper the account lives with us, and the ledger is as of the last command.
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.core.errors import DataError
from trader_cli.core.identity.ids import purpose_of
from trader_cli.core.money.averages import readable
from trader_cli.core.proofs import doubts
from trader_cli.core.proofs.assurance import Doubt, prove_recorded, prove_walk_away
from trader_cli.core.proofs.evidence import ZERO, AccountSnapshot, Books, NoBooks, explained, foreign, is_a_stop
from trader_cli.storage.ledger_books import books_of, other_ledgers
from trader_cli.storage.ledger_lock import owner_of
from trader_cli.storage.ledger_reading import LedgerReading
from trader_cli.storage.owner_requests import request_of
from trader_cli.storage.state import VenueState

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from trader_cli.core.proofs.assurance import Recorded, WalkAway
    from trader_cli.exchange.account.account_snapshot import AccountSnapshotReader
    from trader_cli.settings import Workspace

_MADE_AGAIN = "run `trader ledger rebuild`, then `trader reset`"
_MOST_EXPLAINED = 10
"""Symbols whose past orders are asked for."""


@dataclass(frozen=True)
class HeldStatus:
    """One position of ours. Prices and quantities as text; `stop` and `backstop` None where none is known to rest.

    `amount` is the ledger's, or without a ledger what orders with our ids explain; `shown` the exchange's, None where
    it has not answered.
    """

    symbol: str
    amount: str
    entry_price: str
    mark_price: str | None
    profit: str | None
    stop: str | None
    backstop: str | None
    take_profit: str | None
    problem: str | None
    shown: str | None = None


@dataclass(frozen=True)
class AccountStatus:
    """The account of the settings. `seen` says whose word it is: the exchange's, or the ledger's last line.

    `profit` and `trades` are None where the ledger cannot be read; `profits` are by asset, `profit` is the first of
    them. `owner` is the process at work on the ledger.
    """

    account: str
    ledger: str
    seen: str
    held: tuple[HeldStatus, ...]
    unknown: tuple[str, ...]
    foreign: tuple[str, ...]
    halted: str | None
    cared_for: bool
    profit: str | None
    trades: int | None
    refusals: dict[str, int]
    walk_away: bool
    verdict: str
    latched: dict[str, str] = field(default_factory=dict)
    owner: str | None = None
    profits: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Kept:
    """What the ledger tells: for the proof, and for showing."""

    books: Books | NoBooks
    halted: str | None
    entry_prices: dict[str, Decimal] = field(default_factory=dict)
    profit: str | None = None
    trades: int | None = None
    refusals: dict[str, int] = field(default_factory=dict)
    latched: dict[str, str] = field(default_factory=dict)
    profits: dict[str, str] = field(default_factory=dict)


def begin_snapshot(workspace: Workspace) -> AccountSnapshotReader | None:
    """Ask the exchange, where it has the account or the time; the answers are waited for by `account_status`."""
    if workspace.mode == "sim" or (workspace.mode == "paper" and workspace.settings.binance_exchange.clock != "venue"):
        return None
    from trader_cli.exchange.account.account_snapshot import AccountSnapshotReader

    return AccountSnapshotReader.begin(workspace.settings.binance_exchange, account=_has_exchange(workspace))


def _has_exchange(workspace: Workspace) -> bool:
    """Whether the account lies at an exchange, and not with us."""
    return workspace.mode not in {"sim", "paper"}


def account_status(workspace: Workspace, asking: AccountSnapshotReader | None = None) -> AccountStatus:
    """The status of the account, `asking` having been begun by `begin_snapshot`."""
    asking, path = asking or begin_snapshot(workspace), workspace.ledger_path
    kept = _kept(workspace, path)
    snapshot = (
        None if asking is None or not _has_exchange(workspace) else _with_past(asking, asking.snapshot(), kept.books)
    )
    proof: WalkAway | Recorded | Doubt = (
        prove_recorded(kept.books) if snapshot is None else prove_walk_away(snapshot, kept.books)
    )
    owner = owner_of(path)
    return AccountStatus(
        workspace.account.fingerprint,
        str(path),
        _seen(snapshot),
        _held(kept, snapshot),
        _moving(kept.books),
        _not_ours(kept.books, snapshot),
        kept.halted,
        owner is not None,
        kept.profit,
        kept.trades,
        kept.refusals,
        not isinstance(proof, Doubt),
        proof.sentence,
        kept.latched,
        None if owner is None else str(owner),
        kept.profits,
    )


def _kept(workspace: Workspace, path: Path) -> _Kept:
    """The ledger's part, whatever state its file is in."""
    others = other_ledgers(workspace.ledgers)
    try:
        with LedgerReading.shown(path) as ledger:
            if ledger is not None and (ledger.client_ids() or not _has_traded_here(workspace)):
                return _of_ledger(ledger, others)
            if ledger is not None:
                anew = f"the ledger {path} knows no order, and the account that is kept here has traded"
                return _Kept(NoBooks(anew, _MADE_AGAIN, others=others), ledger.halted())
    except DataError as error:
        return _Kept(NoBooks(error.sentence.rstrip("."), _as_clause(error.hint), others=others), _asked_halt(path))
    if _has_traded_here(workspace):
        gone = f"there is no ledger at {path}, and the account that is kept here has traded"
        return _Kept(NoBooks(gone, _MADE_AGAIN, others=others), _asked_halt(path))
    lost = NoBooks(
        f"there is no ledger at {path}", "if one was lost, run `trader ledger rebuild`", fresh=True, others=others
    )
    return _Kept(lost, _asked_halt(path), profit=f"{ZERO:f}", trades=0)


def _has_traded_here(workspace: Workspace) -> bool:
    """Whether an account that lives with us has carried out anything; `False` for one at an exchange."""
    if _has_exchange(workspace):
        return False
    from trader_cli.venue.engine.venue_journal import last_command_ms

    kind = "virtual" if workspace.mode == "sim" else "paper"
    try:
        return last_command_ms(VenueState(workspace.state_dir).accounts(workspace.source, kind)) > 0
    except (sqlite3.Error, OSError):
        return True


def _of_ledger(ledger: LedgerReading, others: tuple[str, ...]) -> _Kept:
    books, nets = books_of(ledger, others), ledger.nets()
    return _Kept(
        books,
        ledger.halted(),
        {symbol: ledger.holding(symbol).entry_price for symbol in books.held},
        f"{next(iter(nets.values()), ZERO):f}",
        sum(len(ledger.entries(symbol)) for symbol in ledger.symbols()),
        ledger.counted_refusals(),
        {symbol: f"{line.code}: {line.reason}" for symbol, line in ledger.latches().items()},
        {asset: f"{net:f}" for asset, net in nets.items()},
    )


def _asked_halt(path: Path) -> str | None:
    with suppress(OSError):
        return request_of(path, "halt")
    return None


def _as_clause(hint: str | None) -> str:
    """A mend within a sentence."""
    said = (hint or "look yourself").rstrip(".")
    return said[0].lower() + said[1:]


def _with_past(asking: AccountSnapshotReader, snapshot: AccountSnapshot, books: Books | NoBooks) -> AccountSnapshot:
    """The look with past orders of the symbols the ledger does not explain."""
    held = {} if isinstance(books, NoBooks) else books.held
    unexplained = [p.symbol for p in snapshot.positions or () if p.amount != held.get(p.symbol, ZERO)]
    return asking.with_past(snapshot, unexplained[:_MOST_EXPLAINED]) if unexplained else snapshot


def _seen(snapshot: AccountSnapshot | None) -> str:
    """Whose word the status is."""
    if snapshot is None:
        return "the ledger, as of the last command"
    silent = [part is None for part in (snapshot.positions, snapshot.stops, snapshot.orders)]
    if all(silent):
        return f"the ledger alone: {' '.join(snapshot.problems)}"
    return f"the exchange in part: {' '.join(snapshot.problems)}" if any(silent) else "the exchange, now"


def _moving(books: Books | NoBooks) -> tuple[str, ...]:
    moving = () if isinstance(books, NoBooks) else books.moving
    return tuple(f"{m.symbol} {m.purpose} {m.client_id}: {m.status}" for m in moving)


def _not_ours(books: Books | NoBooks, snapshot: AccountSnapshot | None) -> tuple[str, ...]:
    """What the exchange shows beyond ours; without a ledger, beyond what orders with our ids explain."""
    if snapshot is None:
        return ()
    if isinstance(books, Books):
        return foreign(snapshot, books)
    return foreign(snapshot, Books({s: amount for s, amount in explained(snapshot).items() if amount != 0}, ()))


def _held(kept: _Kept, snapshot: AccountSnapshot | None) -> tuple[HeldStatus, ...]:
    if isinstance(kept.books, Books):
        return tuple(_line(kept.books, symbol, kept.entry_prices[symbol], snapshot) for symbol in kept.books.held)
    if snapshot is None:
        return ()
    ours = Books({s: amount for s, amount in explained(snapshot).items() if amount != 0}, _ours_resting(snapshot))
    prices = {p.symbol: p.entry_price for p in snapshot.positions or ()}
    return tuple(_line(ours, symbol, prices[symbol], snapshot) for symbol in ours.held)


def _line(books: Books, symbol: str, entry_price: Decimal, snapshot: AccountSnapshot | None) -> HeldStatus:
    held = books.held[symbol]
    position = snapshot.position(symbol) if snapshot is not None else None
    levels = _levels(books, symbol, snapshot)
    if snapshot is not None:
        problem = "; ".join(doubts.of_protected(symbol, snapshot, books)) or None
    else:
        problem = None if levels["stop"] or levels["backstop"] else "NO stop is known to rest; run `trader monitor`"
    answered = snapshot is not None and snapshot.positions is not None
    return HeldStatus(
        symbol,
        f"{held:f}",
        f"{_shown(entry_price, levels):f}",
        f"{position.mark_price:f}" if position else None,
        f"{position.unrealized_profit:f}" if position else None,
        levels["stop"],
        levels["backstop"],
        levels["take_profit"],
        problem,
        f"{snapshot.amount(symbol):f}" if snapshot is not None and answered else None,
    )


def _shown(entry_price: Decimal, levels: Mapping[str, str | None]) -> Decimal:
    """An average by the digits of our stops, which lie on ticks."""
    return readable(entry_price, *(Decimal(level) for level in levels.values() if level is not None))


def _levels(books: Books, symbol: str, snapshot: AccountSnapshot | None) -> dict[str, str | None]:
    """The level of each kind of stop of ours that rests, by the exchange if it has answered."""
    levels: dict[str, str | None] = {"stop": None, "backstop": None, "take_profit": None}
    if snapshot is None or snapshot.stops is None:
        known = [k for k in books.resting if k.symbol == symbol and (is_a_stop(k) or k.purpose == "take_profit")]
        return levels | {k.purpose: f"{k.level:f}" for k in known if k.level is not None}
    resting = [s for s in snapshot.stops if s.symbol == symbol and s.is_open and s.client_id in books.known]
    return levels | {purpose: f"{s.trigger_price:f}" for s in resting if (purpose := purpose_of(s.client_id))}


def _ours_resting(snapshot: AccountSnapshot) -> frozenset[str]:
    return frozenset(order.client_id for order in snapshot.resting if purpose_of(order.client_id))
