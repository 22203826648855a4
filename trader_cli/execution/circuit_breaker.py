"""The breaker at work: what a close latches, and whether an entry is held back. It writes lines; it closes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trader_cli.core.market.timeframes import DAY_MS
from trader_cli.core.money.breaker import (
    HALTING,
    LATCHING,
    TOO_MANY,
    UNPROTECTED,
    Brake,
    Breakdown,
    breakdowns_of,
    missed,
    one_within_a_day,
    runaway,
)
from trader_cli.core.money.plans import Refused

if TYPE_CHECKING:
    from trader_cli.core.money.breaker import Runaway
    from trader_cli.settings.model import ExecutionSettings
    from trader_cli.storage.ledger import Ledger


def after_close(ledger: Ledger, symbol: str, reason: str, at_ms: int) -> list[str]:
    """What a close (or what the exchange did to a position) latches is written down; the sentences to say, if any.

    `reason` is why the position ended; `at_ms` is when, by the exchange's time. Called again for the same close it
    writes and says nothing. Raises `LedgerUnwritable`; an unprotected close is found again by `catch_up` then.
    """
    if reason not in LATCHING:
        return []
    entries = ledger.entries(symbol) if reason == UNPROTECTED else []
    cause = entries[-1] if entries else str(at_ms)
    if any((line.symbol, line.code, line.cause) == (symbol, reason, cause) for line in ledger.latch_lines()):
        return []
    return _latched(ledger, Breakdown(symbol, cause, at_ms), reason)


def hold_back(ledger: Ledger, symbol: str, code: str, detail: str, at_ms: int) -> list[str]:
    """Latch a symbol for what is found there (foreign quantity, a second trader), unless it is latched for it already.

    `detail` is a clause that says what was found; `code` one of `LATCHING`.
    """
    standing = ledger.latched(symbol)
    if standing is not None and standing[0] == code:
        return []
    return _latched(ledger, Breakdown(symbol, str(at_ms), at_ms), code, detail)


def catch_up(ledger: Ledger) -> list[str]:
    """Latch what was closed as unprotected by a process that ended before it could write so; the sentences to say."""
    found = missed(ledger.unprotected_exits(), ledger.latch_lines())
    return [sentence for breakdown in found for sentence in _latched(ledger, breakdown, UNPROTECTED)]


def _latched(ledger: Ledger, breakdown: Breakdown, code: str, detail: str = "") -> list[str]:
    """The lines of a breakdown in one stroke: the symbol's latch, and the halt of all where it is due."""
    symbol, at_ms = breakdown.symbol, breakdown.at_ms
    what = f"{LATCHING[code]}{f' ({detail})' if detail else ''}"
    other = one_within_a_day(breakdown, breakdowns_of(ledger.latch_lines())) if code == UNPROTECTED else None
    said = [f"Entries of {symbol} are held back: {what}. A person lifts this with `trader unlock {symbol}`."]
    halt = f"{symbol}: {what}" if code in HALTING else None
    if other is not None:
        halt = f"{symbol}: {what}, the second time within 24 hours (before it {other.symbol})"
    with ledger.together():
        ledger.latch(symbol, code, what, at_ms, cause=breakdown.cause)
        if halt is not None:
            ledger.halt(halt, at_ms)
    if halt is not None:
        said.append(f"Entries of all symbols are halted: {halt}. A person lifts this with `trader reset`.")
    return said


def latch_of(ledger: Ledger, symbol: str) -> Refused | None:
    """Why entries of a symbol are held back, if they are."""
    standing = ledger.latched(symbol)
    if standing is None:
        return None
    return Refused(
        "symbol_latched",
        f"Entries of {symbol} are held back: {standing[1]}. A person lifts this with `trader unlock {symbol}`.",
    )


def check_breaker(ledger: Ledger, symbol: str, now_ms: int, options: ExecutionSettings) -> Refused | None:
    """Why nothing may be opened on a symbol: a latch, a halt, or the runaway brake, which latches as it is broken.

    To be asked once per entry, just before it is written down. What an earlier process closed as unprotected and could
    not write down is caught up with first.
    """
    catch_up(ledger)
    halted = ledger.halted()
    if halted is not None:
        return Refused("entries_halted", f"Entries are halted: {halted}. A person lifts this with `trader reset`.")
    standing = latch_of(ledger, symbol)
    if standing is not None:
        return standing
    broken = runaway(
        ledger.entries_sent(now_ms - DAY_MS),
        symbol,
        now_ms,
        brake_of(options),
        cleared_ms=ledger.cleared_ms(),
        unlocked_ms=max(
            (line.at_ms for line in ledger.latch_lines() if line.symbol == symbol and not line.latched), default=0
        ),
    )
    return None if broken is None else _braked(ledger, broken, now_ms)


def _braked(ledger: Ledger, broken: Runaway, now_ms: int) -> Refused:
    """The brake is broken: latched, so that it holds after the hour or the day has passed."""
    if broken.symbol is None:
        ledger.halt(broken.sentence, now_ms)
        return Refused(
            TOO_MANY, f"{broken.sentence}. Entries of all are halted; a person lifts this with `trader reset`."
        )
    ledger.latch(broken.symbol, TOO_MANY, broken.sentence, now_ms)
    return Refused(
        TOO_MANY, f"{broken.symbol}: {broken.sentence}. A person lifts this with `trader unlock {broken.symbol}`."
    )


def brake_of(options: ExecutionSettings) -> Brake:
    """The brake as set."""
    return Brake(options.max_entries_per_hour, options.max_entries_per_day)
