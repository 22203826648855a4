"""Writing the ledger: every line on disk before a call returns, and what its only writer remembers of what it wrote."""

from __future__ import annotations

import json
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from trader_cli.core.money.assets import margin_asset_of
from trader_cli.core.money.breaker import in_force
from trader_cli.storage.ledger_columns import fill_row
from trader_cli.storage.ledger_faults import GuardedConnection, LedgerDamaged, LedgerUnwritable, is_another
from trader_cli.storage.ledger_reading import SETTLED, LedgerReading
from trader_cli.storage.ledger_rows import Note
from trader_cli.storage.owner_requests import forget_request, request_of
from trader_cli.storage.row_reading import RememberedRows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from decimal import Decimal
    from pathlib import Path

    from trader_cli.core.money.loss_limits import EquityPoint
    from trader_cli.core.money.orders import IncomeState, TradeState
    from trader_cli.storage.ledger_rows import Intent

    Body = Mapping[str, object]
    """What is written down of a decision or an act, as JSON."""


class LedgerWriting(LedgerReading):
    """A ledger that this process alone writes. Raises `LedgerUnwritable` where the disk is full or takes no line."""

    _file: tuple[int, int] | None = None
    _remembered: RememberedRows

    def __init__(self, db: GuardedConnection, path: Path) -> None:
        super().__init__(db, path)
        self._remembered = RememberedRows()
        self._unwritten_intents: dict[str, Intent] = {}
        self._intents: dict[str, Intent] = {}
        self._intents_of: dict[str, list[Intent]] = {}
        self._booked_of: dict[str, Decimal] = {}
        self._first_notes: dict[tuple[str, str], Note | None] = {}

    def require_in_place(self) -> None:
        """Raises `LedgerUnwritable` where the file was deleted or replaced: what sqlite writes on nobody would find."""
        if self._file is not None and is_another(self.path, self._file):
            raise LedgerUnwritable(
                f"The ledger {self.path} was deleted or replaced while it was in use: it takes no line any more.",
                hint="Put it back; or end this process, run `trader ledger rebuild`, and begin again.",
            )

    def _write(self, statement: str, values: tuple[object, ...]) -> bool:
        """Whether a row was added; it is on disk when this returns."""
        self.require_in_place()
        return self._run(statement, values)

    def _run(self, statement: str, values: tuple[object, ...] = ()) -> bool:
        self._remembered.forget(statement, values)
        try:
            return self._db.execute(statement, values).rowcount > 0
        except LedgerDamaged as error:
            raise LedgerUnwritable(error.sentence, hint=error.hint) from error

    @contextmanager
    def together(self, *, synced: bool = True) -> Iterator[None]:
        """Everything written in the block is on disk at its end, or none of it.

        With `synced=False` it outlives this process at once and a power cut a little later, with the next line that is
        synced: enough for what the exchange can be asked again.
        """
        if self._db.in_transaction:
            yield
            return
        if not synced:
            self._run("PRAGMA synchronous=NORMAL")
        try:
            self._write("BEGIN IMMEDIATE", ())
            yield
            self._write("COMMIT", ())
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            self._remember_anew()
            raise
        finally:
            if not synced:
                self._run("PRAGMA synchronous=FULL")

    def _remember_anew(self) -> None:
        """After something was undone: what is remembered is what the file holds, and what the disk would not take."""
        self._remembered = RememberedRows()
        self._last_notes = None if self._last_notes is None else dict(self._unwritten)
        self._unsettled = None
        self._unbooked.clear()
        self._folds.clear()
        self._intents.clear()
        self._intents_of.clear()
        self._booked_of.clear()
        self._first_notes.clear()
        with suppress(LedgerDamaged):  # a disk that does not even read: what was known stays known
            self._settled = self._read_settled()
        for client_id, note in self._unwritten.items():
            (self._settled.add if note.status in SETTLED else self._settled.discard)(client_id)

    def decide(self, decision_id: str, symbol: str, decision_ms: int, kind: str, body: Body, at_ms: int) -> bool:
        """Record a decision once; False if it is there already."""
        values = (decision_id, symbol, decision_ms, kind, json.dumps(dict(body), sort_keys=True), at_ms)
        return self._write("INSERT OR IGNORE INTO decisions VALUES (?, ?, ?, ?, ?, ?)", values)

    def intend(self, intent: Intent) -> bool:
        """Record an intent once; False if one with this client id is there already, and then nothing may be sent."""
        values = (
            intent.client_id,
            intent.decision_id,
            intent.symbol,
            intent.purpose,
            intent.side,
            _text(intent.quantity),
            _text(intent.price),
            _text(intent.trigger_price),
            int(intent.reduce_only),
            intent.at_ms,
        )
        is_new = self._write("INSERT OR IGNORE INTO intents VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
        if is_new and self._unsettled is not None:
            self._unsettled[intent.client_id] = intent
        if is_new:
            self._intents[intent.client_id] = intent
            if self._last_notes is not None:
                self._last_notes[intent.client_id] = None
            self._unbooked.clear()
            self._intents_of.pop(intent.decision_id, None)
        return is_new

    def intent(self, client_id: str) -> Intent | None:
        """One intent. It never changes: what was read once is known to the only writer."""
        found = self._intents.get(client_id) or super().intent(client_id)
        if found is not None:
            self._intents[client_id] = found
        return found

    def intents_of(self, decision_id: str) -> list[Intent]:
        """Every intent of a decision, oldest first."""
        if decision_id not in self._intents_of:
            self._intents_of[decision_id] = super().intents_of(decision_id)
        return list(self._intents_of[decision_id])

    def note(self, client_id: str, status: str, at_ms: int, *, exchange_id: str | None = None, note: str = "") -> None:
        """Record what became of an intent: sent, placed, unknown, refused, or the exchange's own status."""
        self._write(
            "INSERT INTO orders (client_id, status, exchange_id, note, at_ms) VALUES (?, ?, ?, ?, ?)",
            (client_id, status, exchange_id, note, at_ms),
        )
        self._unwritten.pop(client_id, None)
        if self._first_notes.get((client_id, status)) is None:
            self._first_notes.pop((client_id, status), None)
        self._know(client_id, Note(status, exchange_id, note, at_ms))

    def first_note(self, client_id: str, status: str) -> Note | None:
        """The first line with this status: each look at a plan asks for that of every stop that was ever tried."""
        if (client_id, status) not in self._first_notes:
            self._first_notes[client_id, status] = super().first_note(client_id, status)
        return self._first_notes[client_id, status]

    def remember(self, intent: Intent, note: Note) -> None:
        """What the disk would not take is known all the same, as long as this process lives: care goes by it."""
        self._unwritten[intent.client_id] = note
        self._unwritten_intents[intent.client_id] = intent
        self._know(intent.client_id, note)

    def _booked(self, client_id: str) -> Decimal:
        if client_id not in self._booked_of:
            self._booked_of[client_id] = super()._booked(client_id)
        return self._booked_of[client_id]

    def _counted_unbooked(self, symbol: str) -> list[Decimal]:
        """Also of orders of which the disk took no line at all."""
        others = [
            i for i in self._unwritten_intents.values() if i.symbol == symbol and self.intent(i.client_id) is None
        ]
        filled = [self.filled(i.client_id) * (1 if i.side == "BUY" else -1) for i in others]
        return [*super()._counted_unbooked(symbol), *(quantity for quantity in filled if quantity)]

    def _know(self, client_id: str, note: Note) -> None:
        self._unbooked.clear()
        if self._last_notes is not None:
            self._last_notes[client_id] = note
        if note.status not in SETTLED and client_id in self._settled:
            self._settled.discard(client_id)
            self._unsettled = None
        elif note.status in SETTLED:
            self._settled.add(client_id)
            (self._unsettled or {}).pop(client_id, None)

    def fill(self, client_id: str, trade: TradeState) -> bool:
        """Record a fill once, by symbol and trade id; False if it is there already."""
        self._folds.pop(trade.symbol, None)
        self._unbooked.pop(trade.symbol, None)
        self._booked_of.pop(client_id, None)
        return self._write(
            "INSERT OR IGNORE INTO fills VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", fill_row(client_id, trade)
        )

    def receive(
        self, income_id: str, kind: str, symbol: str, amount: Decimal, time_ms: int, asset: str | None = None
    ) -> bool:
        """Record an income such as funding once; without `asset` it is of the symbol's margin asset."""
        values = (income_id, kind, symbol, str(amount), time_ms, asset or margin_asset_of(symbol))
        return self._write("INSERT OR IGNORE INTO income VALUES (?, ?, ?, ?, ?, ?)", values)

    def transfer(self, row: IncomeState) -> bool:
        """Record once what was paid in or out: it moves the level that losses are counted from."""
        values = (row.income_id, row.kind, str(row.amount), row.asset, row.time_ms)
        return self._write("INSERT OR IGNORE INTO transfers VALUES (?, ?, ?, ?, ?)", values)

    def see(self, asset: str, level: EquityPoint) -> None:
        """Record what a look at the account saw of an asset; enough if it outlives a power cut a little later."""
        with self.together(synced=False):
            self._write(
                "INSERT INTO levels (asset, wallet, equity, at_ms) VALUES (?, ?, ?, ?)",
                (asset, str(level.wallet), str(level.equity), level.time_ms),
            )

    def assess(self, symbol: str, action: str, body: Body, at_ms: int) -> None:
        """Record an assessment of a position, "stay" included."""
        self._write(
            "INSERT INTO assessments (symbol, action, body, at_ms) VALUES (?, ?, ?, ?)",
            (symbol, action, json.dumps(dict(body), sort_keys=True), at_ms),
        )

    def halt(self, reason: str, at_ms: int) -> None:
        """Latch a halt."""
        self._write("INSERT INTO halts (halted, reason, at_ms) VALUES (1, ?, ?)", (reason, at_ms))

    def clear_halt(self, reason: str, at_ms: int) -> None:
        """A person lifts the halt."""
        self._write("INSERT INTO halts (halted, reason, at_ms) VALUES (0, ?, ?)", (reason, at_ms))

    def latch(self, symbol: str, code: str, reason: str, at_ms: int, *, cause: str = "") -> None:
        """Hold entries of a symbol back until a person unlocks it; `cause` names what happened, so it counts once."""
        self._write(
            "INSERT INTO latches (symbol, latched, code, reason, cause, at_ms) VALUES (?, 1, ?, ?, ?, ?)",
            (symbol, code, reason, cause, at_ms),
        )

    def unlatch(self, symbol: str, reason: str, at_ms: int) -> None:
        """A person unlocks the symbol."""
        self._write(
            "INSERT INTO latches (symbol, latched, code, reason, cause, at_ms) VALUES (?, 0, 'unlocked', ?, '', ?)",
            (symbol, reason, at_ms),
        )

    def take_requests(self, at_ms: int) -> None:
        """Write down what other processes asked for: a halt, that one is lifted, that a symbol is unlocked.

        A halt outlives its own lifting; a latch newer than the one a person saw outlives the unlocking.
        """
        self._take_unlocks(at_ms)
        requested, lifted = request_of(self.path, "halt"), request_of(self.path, "reset")
        if lifted is not None:
            self.clear_halt(lifted, at_ms)
            forget_request(self.path, "reset")
        if requested is not None:
            self.halt(requested, at_ms)
            forget_request(self.path, "halt")

    def _take_unlocks(self, at_ms: int) -> None:
        for symbol, line in in_force(self.latch_lines()).items():
            requested = request_of(self.path, f"unlock-{symbol}")
            if requested is None:
                continue
            number, _, reason = requested.partition(" ")
            if number == str(line.number):
                self.unlatch(symbol, reason, at_ms)
            forget_request(self.path, f"unlock-{symbol}")


def _text(value: Decimal | None) -> str | None:
    return None if value is None else f"{value:f}"
