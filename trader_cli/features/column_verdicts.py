"""What trials find of a feature column, worst first, and the one verdict of those on several tapes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Reach = int | Literal["whole"]
PASSED = "passed"
IMPURE = "impure"
AHEAD = "looks ahead"
NOT_FINITE = "reads beyond its warm-up"
STREAMING = "differs when made bar by bar"
UNDECLARED = "reads an input it does not declare"
UNEXERCISED = "unexercised"
_WORST_FIRST = (IMPURE, AHEAD, NOT_FINITE, STREAMING, UNDECLARED, PASSED, UNEXERCISED)
"""A column known on one tape need not be known on another, so that it is exercised on any of them is enough."""


@dataclass(frozen=True)
class ColumnVerdict:
    """What was found of one column.

    `reach`: how many bars ahead of its row the information lay, at least; "whole": everything known of its block moved.
    `restart_bars`: bars of the family's own frame before a row after which it no longer matters what came earlier
    (within 1e-6 σ; to the bit in a finite family); `None`: more than the declared warm-up. `constant`: it never varied.
    """

    name: str
    family: str
    status: str
    reach: Reach | None = None
    restart_bars: int | None = None
    constant: bool = False

    def __str__(self) -> str:
        if self.status != AHEAD:
            return f"{self.name} ({self.status})"
        ahead = "the whole block" if self.reach == "whole" else f"{self.reach} bar{'' if self.reach == 1 else 's'}"
        return f"{self.name} ({self.status}, {ahead})"


def merge(verdicts: list[ColumnVerdict]) -> ColumnVerdict:
    """One verdict of those on several tapes: the worst status and reach, the longest restart."""
    worst = min(verdicts, key=lambda verdict: _WORST_FIRST.index(verdict.status))
    reaches = [verdict.reach for verdict in verdicts if verdict.reach is not None]
    bars = [reach for reach in reaches if isinstance(reach, int)]
    farthest: Reach | None = "whole" if "whole" in reaches else max(bars, default=None)
    tried = [verdict.restart_bars for verdict in verdicts if verdict.status != UNEXERCISED]
    known = [bars for bars in tried if bars is not None]
    longest = max(known) if known and len(known) == len(tried) else None
    constant = all(verdict.constant for verdict in verdicts)
    return ColumnVerdict(worst.name, worst.family, worst.status, farthest, longest, constant)
