"""The tables of the ledger, and how an older one becomes the newest: scripts numbered by `user_version`."""

from __future__ import annotations

MIGRATIONS = (
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
    """
    CREATE INDEX orders_of_an_intent ON orders (client_id, number);
    CREATE INDEX orders_by_exchange_id ON orders (exchange_id);
    CREATE INDEX intents_of_a_decision ON intents (decision_id);
    CREATE INDEX intents_of_a_symbol ON intents (symbol);
    CREATE INDEX fills_of_an_intent ON fills (client_id);
    CREATE TRIGGER decisions_once BEFORE INSERT ON decisions WHEN EXISTS (SELECT 1 FROM decisions WHERE id = NEW.id)
        BEGIN SELECT RAISE(IGNORE); END;
    CREATE TRIGGER intents_once BEFORE INSERT ON intents
        WHEN EXISTS (SELECT 1 FROM intents WHERE client_id = NEW.client_id) BEGIN SELECT RAISE(IGNORE); END;
    CREATE TRIGGER fills_once BEFORE INSERT ON fills
        WHEN EXISTS (SELECT 1 FROM fills WHERE symbol = NEW.symbol AND trade_id = NEW.trade_id)
        BEGIN SELECT RAISE(IGNORE); END;
    CREATE TRIGGER income_once BEFORE INSERT ON income WHEN EXISTS (SELECT 1 FROM income WHERE id = NEW.id)
        BEGIN SELECT RAISE(IGNORE); END;
    CREATE INDEX assessments_of_a_symbol ON assessments (symbol, action, at_ms);
    """,
    """
    CREATE TABLE latches (number INTEGER PRIMARY KEY, symbol TEXT NOT NULL, latched INTEGER NOT NULL,
        code TEXT NOT NULL, reason TEXT NOT NULL, cause TEXT NOT NULL, at_ms INTEGER NOT NULL) STRICT;
    CREATE INDEX exits_by_reason ON assessments (json_extract(body, '$.reason')) WHERE action = 'exit';
    CREATE INDEX entries_by_time ON intents (at_ms) WHERE purpose = 'entry';
    """,
    """
    ALTER TABLE income ADD COLUMN asset TEXT;
    """,
    """
    CREATE TABLE levels (number INTEGER PRIMARY KEY, asset TEXT NOT NULL, wallet TEXT NOT NULL, equity TEXT NOT NULL,
        at_ms INTEGER NOT NULL) STRICT;
    CREATE TABLE transfers (id TEXT PRIMARY KEY, kind TEXT NOT NULL, amount TEXT NOT NULL, asset TEXT NOT NULL,
        time_ms INTEGER NOT NULL) STRICT;
    CREATE TRIGGER transfers_once BEFORE INSERT ON transfers WHEN EXISTS (SELECT 1 FROM transfers WHERE id = NEW.id)
        BEGIN SELECT RAISE(IGNORE); END;
    CREATE TABLE identity (number INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT;
    """,
)
TABLES = (
    "decisions",
    "intents",
    "orders",
    "fills",
    "income",
    "assessments",
    "halts",
    "latches",
    "levels",
    "transfers",
    "identity",
)


def migration(number: int) -> str:
    """The script that makes version `number`, in one transaction; its tables can only be appended to."""
    before = "".join(MIGRATIONS[:number])
    guards = "".join(
        f"CREATE TRIGGER IF NOT EXISTS {table}_no_{verb} BEFORE {verb} ON {table}"
        " BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;\n"
        for table in TABLES
        for verb in ("update", "delete")
        if f"CREATE TABLE {table} " in before
    )
    return f"BEGIN; {MIGRATIONS[number - 1]} {guards} PRAGMA user_version={number}; COMMIT;"
