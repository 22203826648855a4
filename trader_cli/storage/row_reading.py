"""Reading rows of a ledger. Its only writer remembers them: they stand until it writes a line that they could hold.

A look at a position asks some forty times, and writes to one table. A reader beside the writer looks each time.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

from trader_cli.storage.ledger_faults import Row

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trader_cli.storage.ledger_faults import GuardedConnection

Read = Callable[..., list[Row]]
"""From a statement and its values to its rows."""
_LINE = re.compile(r"INSERT (?:OR IGNORE )?INTO (\w+)(?: \((.*)\) VALUES \([?, ]*\)$)?")
_CONDITION = re.compile(r"(\w+) (=|>|>=|IN) \(?((?:\?, )*\?)")
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

    def forget(self, statement: str, values: tuple[object, ...] = ()) -> None:
        """This statement is carried out: what its line can be among is read anew; of any other, everything."""
        if statement.startswith(_CHANGES_NOTHING):
            return
        line = _LINE.match(statement)
        if line is None:
            self._rows = {}
            return
        added = dict(zip(line[2].split(", "), values, strict=True)) if line[2] else {}
        self._rows = {
            query: rows for query, rows in self._rows.items() if line[1] not in query[0] or _leaves_out(*query, added)
        }


def _leaves_out(statement: str, values: tuple[object, ...], added: Mapping[str, object]) -> bool:
    """Whether a reading statement names, for a column of one added line, other values than that line has."""
    conditions = _conditions(statement)
    if sum(count for _, _, count in conditions) != len(values):
        return False  # it says more than columns and values
    left = list(values)
    for column, operator, count in conditions:
        named, left = left[:count], left[count:]
        if operator in {"=", "IN"} and isinstance(added.get(column), str) and added[column] not in named:
            return True
    return False


@lru_cache(maxsize=256)
def _conditions(statement: str) -> tuple[tuple[str, str, int], ...]:
    """(column, operator, number of values) of what a statement asks of one table; none where it asks otherwise."""
    if " OR " in statement or "JOIN" in statement or statement.count("SELECT") != 1:
        return ()
    return tuple((found[1], found[2], found[3].count("?")) for found in _CONDITION.finditer(statement))


class RowReading:
    """Reads by statements."""

    _db: GuardedConnection
    _remembered: RememberedRows | None = None

    def _rows(self, statement: str, values: tuple[object, ...] = ()) -> list[Row]:
        """Every row; not to be changed."""
        if self._remembered is not None:
            return self._remembered.of(self._db, statement, values)
        return self._db.execute(statement, values).fetchall()
