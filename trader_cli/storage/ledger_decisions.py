"""What the ledger says was decided, seen and held back: decisions, assessments, halts, latches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trader_cli.core.money.breaker import LatchLine, in_force
from trader_cli.storage.ledger_columns import decision_of, document_of
from trader_cli.storage.ledger_rows import Assessed, Decided
from trader_cli.storage.owner_requests import request_of
from trader_cli.storage.row_reading import RowReading

if TYPE_CHECKING:
    from pathlib import Path

    from trader_cli.core.money.plans import TradePlan

_DECISIONS = "SELECT id, symbol, decision_ms, kind, body FROM decisions"


class DecisionReading(RowReading):
    """What was decided and said, by symbol and in the order it was written."""

    path: Path

    def decision(self, decision_id: str) -> Decided | None:
        """What was recorded of a decision."""
        rows = self._rows(f"{_DECISIONS} WHERE id = ?", (decision_id,))
        return decision_of(rows[0]) if rows else None

    def plan(self, decision_id: str) -> TradePlan | None:
        """The plan that was recorded under this id."""
        recorded = self.decision(decision_id)
        return None if recorded is None else recorded.plan

    def decisions(self) -> list[Decided]:
        """Every decision, oldest first."""
        return [decision_of(row) for row in self._db.execute(f"{_DECISIONS} ORDER BY rowid")]

    def halted(self) -> str | None:
        """The reasons of the halt in force, oldest first; one asked for by another process counts at once."""
        rows = self._db.execute(
            "SELECT reason FROM halts WHERE halted = 1"
            " AND number > (SELECT COALESCE(MAX(number), 0) FROM halts WHERE halted = 0) ORDER BY number"
        )
        requested, reasons = request_of(self.path, "halt"), [str(row[0]) for row in rows.fetchall()]
        said: list[str] = []
        for reason in [*reasons, requested] if requested is not None else reasons:
            if not any(reason in earlier for earlier in said):
                said = [*(earlier for earlier in said if earlier not in reason), reason]
        return "; ".join(said) if said else None

    def latch_lines(self) -> list[LatchLine]:
        """Every line that latched or unlocked a symbol, in the order they were written."""
        if not self._rows("SELECT 1 FROM sqlite_master WHERE name = 'latches'"):
            return []  # shown as an older trader wrote it: only its next owner adds the table
        rows = self._rows("SELECT number, symbol, latched, code, reason, at_ms, cause FROM latches ORDER BY number")
        return [LatchLine(r[0], r[1], bool(r[2]), *r[3:]) for r in rows]

    def latches(self) -> dict[str, LatchLine]:
        """The symbols whose entries are held back, and why; unlocking asked for by another process counts at once."""
        standing = in_force(self.latch_lines())
        requested = {symbol: request_of(self.path, f"unlock-{symbol}") for symbol in standing}
        return {s: line for s, line in standing.items() if (requested[s] or "").partition(" ")[0] != str(line.number)}

    def latched(self, symbol: str) -> tuple[str, str] | None:
        """(code, reason) of the latch that holds entries of a symbol back, if one does."""
        line = self.latches().get(symbol)
        return None if line is None else (line.code, line.reason)

    def cleared_ms(self) -> int:
        """When a person last lifted a halt, 0 if never."""
        (row,) = self._rows("SELECT MAX(at_ms) FROM halts WHERE halted = 0")
        return int(row[0] or 0)

    def assessments(self, symbol: str, since_ms: int = 0, actions: tuple[str, ...] = ()) -> list[Assessed]:
        """The assessments of a symbol, oldest first; only of these `actions` if given."""
        chosen = f" AND action IN ({', '.join('?' * len(actions))})" if actions else ""
        rows = self._rows(
            f"SELECT action, body, at_ms FROM assessments WHERE symbol = ? AND at_ms >= ?{chosen} ORDER BY number",  # noqa: S608
            (symbol, since_ms, *actions),
        )
        return [Assessed(r[0], document_of(r[1]), r[2]) for r in rows]

    def last_assessment(self, symbol: str, actions: tuple[str, ...]) -> Assessed | None:
        """The newest assessment of a symbol with one of these actions."""
        rows = [
            row
            for action in actions
            for row in self._rows(
                "SELECT action, body, at_ms, number FROM assessments WHERE symbol = ? AND action = ?"
                " ORDER BY at_ms DESC, number DESC LIMIT 1",
                (symbol, action),
            )
        ]
        newest = max(rows, key=lambda row: (row[2], row[3]), default=None)
        return None if newest is None else Assessed(newest[0], document_of(newest[1]), newest[2])

    def counted_refusals(self) -> dict[str, int]:
        """How often each reason was given for not trading."""
        rows = self._db.execute(
            "SELECT json_extract(body, '$.code'), COUNT(*) FROM decisions WHERE kind != 'plan' GROUP BY 1 ORDER BY 1"
        )
        return {str(code): int(count) for code, count in rows}
