"""Reading the ledger: what was decided, sent, filled and said. What we hold is the fold of our fills."""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING

from trader_cli.core.money.breaker import UNPROTECTED, Breakdown
from trader_cli.settings.private import keep_private
from trader_cli.storage.journal_digest import digest_of
from trader_cli.storage.ledger_columns import booked_fill, filled_quantity, intent_of
from trader_cli.storage.ledger_decisions import DecisionReading
from trader_cli.storage.ledger_faults import (
    REBUILD,
    GuardedConnection,
    LedgerDamaged,
    guarded,
    reading,
    require_absent,
)
from trader_cli.storage.ledger_identity import require_own
from trader_cli.storage.ledger_money import MoneyReading, decimal_of
from trader_cli.storage.ledger_rows import Booked, Holding, Intent, Note, cost_after

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


SETTLED = frozenset({"refused", "absent", "done"})
"""Statuses of an intent about which nothing more can come."""
_RECENT = 4
_NEVER_SENT = frozenset({"external", "settled"})
_INTENTS = (
    "SELECT client_id, decision_id, symbol, purpose, side, quantity, at_ms, price, trigger_price, reduce_only"
    " FROM intents"
)


class LedgerReading(DecisionReading, MoneyReading):
    """The ledger of one account as it can be read, also while another process writes it."""

    def __init__(self, db: GuardedConnection, path: Path) -> None:
        self._db, self.path = db, path
        self._folds: dict[str, Holding] = {}
        self._unwritten: dict[str, Note] = {}
        self._last_notes: dict[str, Note | None] | None = None  # the only writer remembers; a reader looks each time
        self._unsettled: dict[str, Intent] | None = None
        self._unbooked: dict[str, list[Decimal]] = {}
        self._settled = self._read_settled()

    def _read_settled(self) -> set[str]:
        last = self._db.execute("SELECT client_id, status, MAX(number) FROM orders GROUP BY client_id")
        return {client_id for client_id, status, _ in last if status in SETTLED}

    @classmethod
    @contextmanager
    def shown(cls, path: Path) -> Iterator[LedgerReading | None]:
        """The ledger at `path` for reading only, whoever writes it; `None` if there is none.

        Raises `LedgerDamaged` for what cannot be read as one or is another's, an empty file included.
        """
        with guarded(path):
            size = path.stat().st_size if path.exists() else None
        if size is None:
            require_absent(path)
            yield None
            return
        if size == 0 and not path.with_name(f"{path.name}-wal").exists():
            raise LedgerDamaged(f"The ledger {path} is empty.", hint=REBUILD)
        with reading(path) as db:
            require_own(db, path)
            yield cls(db, path)

    def entries(self, symbol: str) -> list[str]:
        """Ids of the decisions whose entry filled, oldest first."""
        rows = self._rows(
            "SELECT i.decision_id, i.client_id, EXISTS (SELECT 1 FROM fills f WHERE f.client_id = i.client_id)"
            " FROM intents i WHERE i.symbol = ? AND i.purpose = 'entry' ORDER BY i.rowid",
            (symbol,),
        )
        return [str(decision) for decision, client_id, booked in rows if booked or self.filled(client_id) > 0]

    def unprotected_exits(self) -> list[Breakdown]:
        """Positions whose exit as unprotected filled, by the decision they came from, at the time of that fill."""
        rows = self._db.execute(
            "SELECT a.symbol, i.decision_id, COALESCE((SELECT MIN(f.time_ms) FROM fills f"
            " WHERE f.client_id = i.client_id), 0), a.at_ms, i.client_id FROM assessments a"
            " JOIN intents i ON i.client_id = json_extract(a.body, '$.client_id')"
            " WHERE a.action = 'exit' AND json_extract(a.body, '$.reason') = ? ORDER BY a.number",
            (UNPROTECTED,),
        )
        return [
            Breakdown(symbol, decision, filled_ms or at_ms)
            for symbol, decision, filled_ms, at_ms, client_id in rows
            if filled_ms or self.filled(client_id) > 0
        ]

    def entries_sent(self, since_ms: int) -> list[tuple[str, int]]:
        """(symbol, time) of the entries that were sent since then, whatever became of them."""
        rows = self._db.execute(
            "SELECT i.symbol, i.at_ms FROM intents i WHERE i.purpose = 'entry' AND i.at_ms > ?"
            " AND EXISTS (SELECT 1 FROM orders o WHERE o.client_id = i.client_id) ORDER BY i.at_ms",
            (since_ms,),
        )
        return [(str(symbol), int(at_ms)) for symbol, at_ms in rows]

    def intents(self, symbol: str | None = None) -> list[Intent]:
        """Every intent, oldest first."""
        where, values = ("", ()) if symbol is None else ("WHERE symbol = ?", (symbol,))
        return [intent_of(row) for row in self._db.execute(f"{_INTENTS} {where} ORDER BY rowid", values)]

    def intent(self, client_id: str) -> Intent | None:
        """One intent."""
        row = self._db.execute(f"{_INTENTS} WHERE client_id = ?", (client_id,)).fetchone()
        return None if row is None else intent_of(row)

    def client_ids(self) -> list[str]:
        """The client id of every intent."""
        return [str(row[0]) for row in self._db.execute("SELECT client_id FROM intents ORDER BY rowid")]

    def intents_of(self, decision_id: str) -> list[Intent]:
        """Every intent of a decision, oldest first."""
        rows = self._db.execute(f"{_INTENTS} WHERE decision_id = ? ORDER BY rowid", (decision_id,))
        return [intent_of(row) for row in rows]

    def unsettled(self, symbol: str | None = None) -> list[Intent]:
        """Intents of which more can come: sent or unknown, resting, or written down and never sent."""
        if self._unsettled is None:
            names = [name for name in self.client_ids() if name not in self._settled]
            self._unsettled = {name: found for name in names if (found := self.intent(name)) is not None}
        return [intent for intent in self._unsettled.values() if symbol in {None, intent.symbol}]

    def status(self, client_id: str) -> str | None:
        """The last thing known of an intent; `None` if nothing was ever noted, so that nothing was sent."""
        last = self.last_note(client_id)
        return None if last is None else last.status

    def last_note(self, client_id: str) -> Note | None:
        """The last line written about an intent."""
        if self._last_notes is None:
            return self._note("client_id = ? ORDER BY number DESC", (client_id,))
        if client_id not in self._last_notes:
            self._last_notes[client_id] = self._note("client_id = ? ORDER BY number DESC", (client_id,))
        return self._last_notes[client_id]

    def latest_note(self, client_id: str, status: str) -> Note | None:
        """The last line with this status."""
        return self._note("client_id = ? AND status = ? ORDER BY number DESC", (client_id, status))

    def first_note(self, client_id: str, status: str) -> Note | None:
        """The first line with this status."""
        return self._note("client_id = ? AND status = ? ORDER BY number", (client_id, status))

    def _note(self, where: str, values: tuple[str, ...]) -> Note | None:
        rows = self._rows(
            f"SELECT status, exchange_id, note, at_ms FROM orders WHERE {where} LIMIT 1",  # noqa: S608
            values,
        )
        return Note(*rows[0]) if rows else None

    def filled(self, client_id: str) -> Decimal:
        """How much of an order the exchange said has filled, whether its trades are booked yet or not."""
        last = self.last_note(client_id)
        return filled_quantity(last.note if last and last.exchange_id else None)

    def unbooked(self, symbol: str) -> list[Decimal]:
        """Signed quantities that have filled, by the exchange's word about each order, and are in no booked trade yet.

        Of the last few entries and everything that was sent for them, however many tries that took.
        """
        if self._last_notes is None or symbol not in self._unbooked:
            self._unbooked[symbol] = self._counted_unbooked(symbol)
        return self._unbooked[symbol]

    def _counted_unbooked(self, symbol: str) -> list[Decimal]:
        recent = self._db.execute(
            "SELECT decision_id FROM intents WHERE symbol = ? AND purpose = 'entry' ORDER BY rowid DESC LIMIT ?",
            (symbol, _RECENT),
        )
        sent = [i for (decision_id,) in recent for i in self.intents_of(decision_id)]
        filled = [(i, self.filled(i.client_id)) for i in sent if i.symbol == symbol and i.purpose not in _NEVER_SENT]
        missing = [(i.side, quantity - self._booked(i.client_id)) for i, quantity in filled if quantity]
        return [quantity if side == "BUY" else -quantity for side, quantity in missing if quantity > 0]

    def _booked(self, client_id: str) -> Decimal:
        """How much of an order is in booked trades."""
        rows = self._db.execute("SELECT quantity FROM fills WHERE client_id = ?", (client_id,))
        return sum((decimal_of(quantity) for (quantity,) in rows), Decimal(0))

    def dead_entries(self) -> frozenset[str]:
        """Entries that were sent and are taken to be absent, or were refused."""
        rows = self._db.execute(
            "SELECT i.client_id, (SELECT o.status FROM orders o WHERE o.client_id = i.client_id ORDER BY o.number DESC"
            " LIMIT 1) AS status FROM intents i WHERE i.purpose = 'entry' AND status IN ('absent', 'refused')"
        )
        return frozenset(row[0] for row in rows)

    def owner(self, symbol: str, exchange_id: str) -> str | None:
        """The client id of the intent that became this order at the exchange."""
        row = self._db.execute(
            "SELECT o.client_id FROM orders o JOIN intents i USING (client_id)"
            " WHERE i.symbol = ? AND o.exchange_id = ? LIMIT 1",
            (symbol, exchange_id),
        ).fetchone()
        return None if row is None else str(row[0])

    def fills(self, client_id: str | None = None, decision_id: str | None = None) -> list[Booked]:
        """Fills of an intent, of a decision, or all, in order of time."""
        given = {"f.client_id": client_id, "i.decision_id": decision_id}
        chosen = {column: value for column, value in given.items() if value is not None}
        where = " AND ".join(f"{column} = ?" for column in chosen) or "1"
        rows = self._rows(
            "SELECT f.symbol, f.trade_id, f.client_id, i.purpose, f.side, f.price, f.quantity, f.commission,"  # noqa: S608
            f" f.realized, f.time_ms, f.commission_asset FROM fills f JOIN intents i USING (client_id) WHERE {where}"
            " ORDER BY f.time_ms, f.trade_id",
            tuple(chosen.values()),
        )
        return [booked_fill(row) for row in rows]

    def journal_digest(self) -> str:
        """A digest of what was decided, intended and done: two sessions with the same one traded the same."""
        done = [(symbol, line) for symbol in self.symbols() for line in self.assessments(symbol)]
        return digest_of(self.decisions(), self.intents(), done)

    def backup(self, path: Path) -> None:
        """A consistent copy, taken while this ledger is in use."""
        with guarded(path), closing(sqlite3.connect(path)) as copy:
            self._db.backup(copy)
            keep_private(path)

    def last_trade_id(self, symbol: str) -> int:
        """The newest fill recorded of a symbol, 0 if there is none."""
        return int(
            self._db.execute("SELECT COALESCE(MAX(trade_id), 0) FROM fills WHERE symbol = ?", (symbol,)).fetchone()[0]
        )

    def symbols(self) -> list[str]:
        """Every symbol we ever had an intent on."""
        return [str(row[0]) for row in self._rows("SELECT DISTINCT symbol FROM intents ORDER BY symbol")]

    def holding(self, symbol: str) -> Holding:
        """The fold of our fills of a symbol, in order of time."""
        if symbol not in self._folds:
            self._folds[symbol] = self._folded(symbol)
        return self._folds[symbol]

    def _folded(self, symbol: str) -> Holding:
        amount = cost = Decimal(0)
        rows = self._db.execute(
            "SELECT side, price, quantity FROM fills WHERE symbol = ? ORDER BY time_ms, trade_id", (symbol,)
        )
        for side, price, quantity in rows:
            signed = decimal_of(quantity) if side == "BUY" else -decimal_of(quantity)
            cost = cost_after(amount, cost, signed, decimal_of(price))
            amount += signed
        return Holding(symbol, amount, cost / amount if amount else Decimal(0))
