"""Reading rows of a ledger. Its only writer remembers them: they stand until it writes to a table they came from.

A look at a position asks some forty times, and writes to one table. A reader beside the writer looks each time.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from trader_cli.storage.ledger_faults import Row

if TYPE_CHECKING:
    from trader_cli.storage.ledger_faults import GuardedConnection

Read = Callable[..., list[Row]]
"""From a statement and its values to its rows."""
_LINE = re.compile(r"INSERT (?:OR IGNORE )?INTO (\w+)")
_CHANGES_NOTHING = ("BEGIN", "COMMIT", "PRAGMA synchronous")


class RememberedRows:
    """Rows by statement and values."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, tuple[object, ...]], list[Row]] = {}

    def of(self, db: GuardedConnection, statement: str, values: tuple[object, ...]) -> list[Row]:
        """The rows of a statement that only reads."""
        query = statement, values
        if query not in self._rows:
            self._rows[query] = db.execute(statement, values).fetchall()
        return self._rows[query]

    def forget(self, statement: str) -> None:
        """This statement is carried out: what names the table of its line is read anew; of any other, everything."""
        if statement.startswith(_CHANGES_NOTHING):
            return
        line = _LINE.match(statement)
        self._rows = (
            {} if line is None else {query: rows for query, rows in self._rows.items() if line[1] not in query[0]}
        )


class RowReading:
    """Reads by statements."""

    _db: GuardedConnection
    _remembered: RememberedRows | None = None

    def _rows(self, statement: str, values: tuple[object, ...] = ()) -> list[Row]:
        """Every row; not to be changed."""
        if self._remembered is not None:
            return self._remembered.of(self._db, statement, values)
        return self._db.execute(statement, values).fetchall()
