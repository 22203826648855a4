"""The ledger: why positions are what they are. Append-only; what we hold is the fold of our fills.

One SQLite file per (venue, account, mode) in the state directory, one writer at a time, on disk before a call returns.
Money and ids are text, times are integer milliseconds. An order may be sent only once its intent is in here.
"""

from __future__ import annotations

import fcntl
import json
import sqlite3
from contextlib import closing, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

from trader_cli.core.errors import DataError, DataInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from trader_cli.core.orders import TradeState

Purpose = Literal["entry", "backstop", "stop", "take_profit", "exit"]
_MIGRATIONS = (
    """
    CREATE TABLE decisions (id TEXT PRIMARY KEY, symbol TEXT NOT NULL, decision_ms INTEGER NOT NULL, kind TEXT NOT NULL,
        body TEXT NOT NULL, at_ms INTEGER NOT NULL) STRICT;
    CREATE TABLE intents (client_id TEXT PRIMARY KEY, decision_id TEXT NOT NULL, symbol TEXT NOT NULL,
        purpose TEXT NOT NULL, side TEXT NOT NULL, quantity TEXT, price TEXT, trigger_price TEXT,
        reduce_only INTEGER NOT NULL, at_ms INTEGER NOT NULL) STRICT;
    CREATE TABLE orders (number INTEGER PRIMARY KEY, client_id TEXT NOT NULL REFERENCES intents, status TEXT NOT NULL,
        exchange_id TEXT, note TEXT NOT NULL, at_ms INTEGER NOT NULL) STRICT;
    CREATE TABLE fills (symbol TEXT NOT NULL, trade_id INTEGER NOT NULL, client_id TEXT NOT NULL REFERENCES intents,
        side TEXT NOT NULL, price TEXT NOT NULL, quantity TEXT NOT NULL, commission TEXT NOT NULL,
        commission_asset TEXT NOT NULL, realized TEXT NOT NULL, maker INTEGER NOT NULL, time_ms INTEGER NOT NULL,
        PRIMARY KEY (symbol, trade_id)) STRICT;
    CREATE TABLE income (id TEXT PRIMARY KEY, kind TEXT NOT NULL, symbol TEXT NOT NULL, amount TEXT NOT NULL,
        time_ms INTEGER NOT NULL) STRICT;
    CREATE TABLE assessments (number INTEGER PRIMARY KEY, symbol TEXT NOT NULL, action TEXT NOT NULL,
        body TEXT NOT NULL, at_ms INTEGER NOT NULL) STRICT;
    CREATE TABLE halts (number INTEGER PRIMARY KEY, halted INTEGER NOT NULL, reason TEXT NOT NULL,
        at_ms INTEGER NOT NULL) STRICT;
    """,
)
_TABLES = ("decisions", "intents", "orders", "fills", "income", "assessments", "halts")


@dataclass(frozen=True)
class Intent:
    """What an order or stop is for, written down before it is sent. Its client id is the digest of what it means."""

    client_id: str
    decision_id: str
    symbol: str
    purpose: Purpose
    side: Literal["BUY", "SELL"]
    quantity: Decimal | None
    at_ms: int
    price: Decimal | None = None
    trigger_price: Decimal | None = None
    reduce_only: bool = False


@dataclass(frozen=True)
class Holding:
    """The fold of our fills of a symbol: signed amount, average entry of what is held, profit and fees so far."""

    symbol: str
    amount: Decimal
    entry_price: Decimal
    realized: Decimal
    commission: Decimal


class Ledger:
    """Open with `Ledger.opened(path)`. Raises `DataError` if another process writes, or the disk is full."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    @classmethod
    @contextmanager
    def opened(cls, path: Path) -> Iterator[Ledger]:
        """The ledger at `path`, made if it is not there, migrated if it is older, locked until the block ends."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_suffix(".lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DataError(
                    f"Another trader process writes the ledger {path}.", mend="Let it end, or stop it."
                ) from None
            with closing(sqlite3.connect(path, isolation_level=None)) as db:
                ledger = cls(db)
                ledger._prepare(path)
                yield ledger

    def _prepare(self, path: Path) -> None:
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute("PRAGMA foreign_keys=ON")
        version = int(self._db.execute("PRAGMA user_version").fetchone()[0])
        if version > len(_MIGRATIONS):
            raise DataInvalid(f"The ledger {path} was written by a newer trader (version {version}).", mend="Upgrade.")
        for number, script in enumerate(_MIGRATIONS[version:], start=version + 1):
            guards = "".join(
                f"CREATE TRIGGER IF NOT EXISTS {table}_no_{verb} BEFORE {verb} ON {table}"
                " BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;\n"
                for table in _TABLES
                for verb in ("update", "delete")
            )
            self._db.executescript(f"BEGIN; {script} {guards} PRAGMA user_version={number}; COMMIT;")

    def _write(self, statement: str, values: tuple[Any, ...]) -> bool:
        """Whether a row was added; it is on disk when this returns."""
        try:
            return self._db.execute(statement, values).rowcount > 0
        except sqlite3.OperationalError as error:
            raise DataError(f"The ledger cannot be written: {error}.", mend="Nothing was sent.") from error

    def decide(
        self, decision_id: str, symbol: str, decision_ms: int, kind: str, body: dict[str, Any], at_ms: int
    ) -> bool:
        """Record a decision once; False if it is there already."""
        values = (decision_id, symbol, decision_ms, kind, json.dumps(body, sort_keys=True), at_ms)
        return self._write("INSERT OR IGNORE INTO decisions VALUES (?, ?, ?, ?, ?, ?)", values)

    def intend(self, intent: Intent) -> bool:
        """Record an intent once; False if one with this client id is there already, and then nothing may be sent."""
        values = (
            intent.client_id, intent.decision_id, intent.symbol, intent.purpose, intent.side, _text(intent.quantity),
            _text(intent.price), _text(intent.trigger_price), int(intent.reduce_only), intent.at_ms,
        )  # fmt: skip
        return self._write("INSERT OR IGNORE INTO intents VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)

    def note(self, client_id: str, status: str, at_ms: int, *, exchange_id: str | None = None, note: str = "") -> None:
        """Record what became of an intent: sent, placed, unknown, refused, or the exchange's own status."""
        self._write(
            "INSERT INTO orders (client_id, status, exchange_id, note, at_ms) VALUES (?, ?, ?, ?, ?)",
            (client_id, status, exchange_id, note, at_ms),
        )

    def fill(self, client_id: str, trade: TradeState) -> bool:
        """Record a fill once, by symbol and trade id; False if it is there already."""
        values = (
            trade.symbol, trade.trade_id, client_id, trade.side, str(trade.price), str(trade.quantity),
            str(trade.commission), trade.commission_asset, str(trade.realized_profit), int(trade.maker), trade.time_ms,
        )  # fmt: skip
        return self._write("INSERT OR IGNORE INTO fills VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)

    def receive(self, income_id: str, kind: str, symbol: str, amount: Decimal, time_ms: int) -> bool:
        """Record an income such as funding once."""
        values = (income_id, kind, symbol, str(amount), time_ms)
        return self._write("INSERT OR IGNORE INTO income VALUES (?, ?, ?, ?, ?)", values)

    def assess(self, symbol: str, action: str, body: dict[str, Any], at_ms: int) -> None:
        """Record an assessment of a position, "stay" included."""
        self._write(
            "INSERT INTO assessments (symbol, action, body, at_ms) VALUES (?, ?, ?, ?)",
            (symbol, action, json.dumps(body, sort_keys=True), at_ms),
        )

    def halt(self, reason: str, at_ms: int) -> None:
        """Latch a halt."""
        self._write("INSERT INTO halts (halted, reason, at_ms) VALUES (1, ?, ?)", (reason, at_ms))

    def clear_halt(self, reason: str, at_ms: int) -> None:
        """A person lifts the halt."""
        self._write("INSERT INTO halts (halted, reason, at_ms) VALUES (0, ?, ?)", (reason, at_ms))

    def halted(self) -> str | None:
        """The reason of the halt in force, if there is one."""
        row = self._db.execute("SELECT halted, reason FROM halts ORDER BY number DESC LIMIT 1").fetchone()
        return str(row[1]) if row and row[0] else None

    def intents(self, symbol: str | None = None) -> list[Intent]:
        """Every intent, oldest first."""
        rows = self._db.execute(
            "SELECT client_id, decision_id, symbol, purpose, side, quantity, at_ms, price, trigger_price, reduce_only"
            " FROM intents WHERE ? IS NULL OR symbol = ? ORDER BY rowid",
            (symbol, symbol),
        )
        return [
            Intent(r[0], r[1], r[2], r[3], r[4], _number(r[5]), r[6], _number(r[7]), _number(r[8]), bool(r[9]))
            for r in rows
        ]

    def status(self, client_id: str) -> str | None:
        """The last thing known of an intent."""
        row = self._db.execute(
            "SELECT status FROM orders WHERE client_id = ? ORDER BY number DESC LIMIT 1", (client_id,)
        ).fetchone()
        return None if row is None else str(row[0])

    def last_trade_id(self, symbol: str) -> int:
        """The newest fill recorded of a symbol, 0 if there is none."""
        return int(
            self._db.execute("SELECT COALESCE(MAX(trade_id), 0) FROM fills WHERE symbol = ?", (symbol,)).fetchone()[0]
        )

    def symbols(self) -> list[str]:
        """Every symbol we ever had an intent on."""
        return [str(row[0]) for row in self._db.execute("SELECT DISTINCT symbol FROM intents ORDER BY symbol")]

    def holding(self, symbol: str) -> Holding:
        """The fold of our fills of a symbol, in order of time."""
        amount = cost = realized = commission = Decimal(0)
        rows = self._db.execute(
            "SELECT side, price, quantity, realized, commission FROM fills WHERE symbol = ? ORDER BY time_ms, trade_id",
            (symbol,),
        )
        for side, price, quantity, profit, fee in rows:
            signed = Decimal(quantity) if side == "BUY" else -Decimal(quantity)
            cost = _cost_after(amount, cost, signed, Decimal(price))
            amount += signed
            realized += Decimal(profit)
            commission += Decimal(fee)
        return Holding(symbol, amount, cost / amount if amount else Decimal(0), realized, commission)

    def net_income(self) -> Decimal:
        """What all our fills and other income have done to the wallet."""
        fills = self._db.execute("SELECT realized, commission FROM fills")
        other = self._db.execute("SELECT amount FROM income")
        return sum((Decimal(r) - Decimal(c) for r, c in fills), Decimal(0)) + sum(
            (Decimal(a) for (a,) in other), Decimal(0)
        )

    def backup(self, path: Path) -> None:
        """A consistent copy, taken while this ledger is in use."""
        with closing(sqlite3.connect(path)) as copy:
            self._db.backup(copy)


def _cost_after(amount: Decimal, cost: Decimal, signed: Decimal, price: Decimal) -> Decimal:
    """Signed cost of what is held after a fill: adds the price paid, shrinks in proportion, starts anew on a turn."""
    if amount * signed >= 0:
        return cost + signed * price
    if abs(signed) <= abs(amount):
        return cost * (amount + signed) / amount
    return (amount + signed) * price


def _text(value: Decimal | None) -> str | None:
    return None if value is None else f"{value:f}"


def _number(value: str | None) -> Decimal | None:
    return None if value is None else Decimal(value)
