"""The breaker and the runaway brake: after what breakdowns nothing is opened until a person has looked. Pure.

A latch keeps entries of one symbol back, a halt those of all. Neither closes anything, nor stops what protects or
reduces. Lines of the ledger are folded in the order they were written; the times in them are the exchange's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trader_cli.core.market.timeframes import DAY_MS

if TYPE_CHECKING:
    from collections.abc import Iterable

UNPROTECTED = "unprotected"
"""Closed because no stop could be had: a breakdown."""
BEYOND_BACKSTOP = "beyond_backstop"
"""Closed because price was beyond the backstop already: a stop-out, and no breakdown."""
TOO_MANY = "too_many_entries"
HOUR_MS = 3_600_000

LATCHING = {
    UNPROTECTED: "a position was left because no stop could be had for it",
    "foreign": "a position or orders appeared there that are not ours",
    "liquidation": "the exchange liquidated the position",
    "adl": "the exchange reduced the position against others' losses (ADL)",
    "settlement": "the exchange settled the position by force",
    "second_trader": "orders or trades with our ids appeared that this ledger does not know: a second trader",
}
"""Codes that latch entries of a symbol, and what happened. Any other reason to close latches nothing."""
HALTING = frozenset({"liquidation", "second_trader"})
"""Codes that also halt entries of all symbols, the first time already."""


@dataclass(frozen=True)
class LatchLine:
    """A line of the ledger: entries of a symbol are held back from here on, or a person has unlocked them.

    `cause` names what happened (the decision that was closed, the moment of the exchange's act), so that it is counted
    once; "" where nothing names it.
    """

    number: int
    symbol: str
    latched: bool
    code: str
    reason: str
    at_ms: int
    cause: str = ""


@dataclass(frozen=True)
class Breakdown:
    """A position that was closed as unprotected: whose, by which decision, and when by the exchange's time."""

    symbol: str
    cause: str
    at_ms: int


@dataclass(frozen=True)
class Brake:
    """Most entries that are sent: for one symbol within an hour, for the account within 24 hours."""

    symbol_hour: int
    account_day: int


@dataclass(frozen=True)
class Runaway:
    """The brake is broken: of one symbol, or with `symbol` None of the account."""

    symbol: str | None
    sentence: str


def in_force(lines: Iterable[LatchLine]) -> dict[str, LatchLine]:
    """The latch of each symbol whose entries are held back. Unlocking lifts whatever was latched before it."""
    standing: dict[str, LatchLine] = {}
    for line in lines:
        if line.latched:
            standing[line.symbol] = line
        else:
            standing.pop(line.symbol, None)
    return standing


def breakdowns_of(lines: Iterable[LatchLine]) -> list[Breakdown]:
    """Every unprotected close that was latched, each once, unlocked or not."""
    found = {
        (line.symbol, line.cause or line.number): Breakdown(line.symbol, line.cause, line.at_ms)
        for line in lines
        if line.latched and line.code == UNPROTECTED
    }
    return list(found.values())


def missed(closed: Iterable[Breakdown], lines: Iterable[LatchLine]) -> list[Breakdown]:
    """Unprotected closes of which no line tells: the process ended in between. The first sight of each counts."""
    told = {(line.symbol, line.cause) for line in lines if line.code == UNPROTECTED}
    found: dict[tuple[str, str], Breakdown] = {}
    for breakdown in closed:
        key = breakdown.symbol, breakdown.cause
        if key not in told:
            found.setdefault(key, breakdown)
    return list(found.values())


def one_within_a_day(breakdown: Breakdown, earlier: Iterable[Breakdown]) -> Breakdown | None:
    """Another breakdown, on any symbol, less than 24 h away; what a person unlocked since counts all the same."""
    for other in earlier:
        if other != breakdown and abs(other.at_ms - breakdown.at_ms) < DAY_MS:
            return other
    return None


def runaway(
    entries: Iterable[tuple[str, int]],
    symbol: str,
    now_ms: int,
    brake: Brake,
    *,
    unlocked_ms: int = 0,
    cleared_ms: int = 0,
) -> Runaway | None:
    """Whether one more entry on `symbol` would be more than the brake allows.

    `entries` are (symbol, time) of what was sent. What was sent before a person unlocked the symbol (`unlocked_ms`),
    or lifted a halt (`cleared_ms`), has been looked at and does not count for that brake again.
    """
    sent = list(entries)
    within_a_day = sum(at > max(now_ms - DAY_MS, cleared_ms) for _, at in sent)
    if within_a_day >= brake.account_day:
        return Runaway(
            None, f"{within_a_day} entries were sent within 24 hours; at most {brake.account_day} are allowed"
        )
    within_an_hour = sum(name == symbol and at > max(now_ms - HOUR_MS, unlocked_ms) for name, at in sent)
    if within_an_hour >= brake.symbol_hour:
        return Runaway(
            symbol, f"{within_an_hour} entries were sent within an hour; at most {brake.symbol_hour} are allowed"
        )
    return None
