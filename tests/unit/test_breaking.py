"""The breaker: what latches a symbol, what halts all, what a person lifts, and that no restart forgets it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trader_cli.core.market.timeframes import DAY_MS
from trader_cli.core.money.breaker import (
    HOUR_MS,
    LATCHING,
    Brake,
    Breakdown,
    LatchLine,
    breakdowns_of,
    in_force,
    missed,
    one_within_a_day,
    runaway,
)
from trader_cli.core.money.orders import TradeState
from trader_cli.execution.circuit_breaker import after_close, catch_up, check_breaker, hold_back
from trader_cli.settings import as_settings
from trader_cli.storage import owner_requests
from trader_cli.storage.ledger import Ledger
from trader_cli.storage.ledger_reading import LedgerReading
from trader_cli.storage.ledger_rows import Intent
from trader_cli.storage.ledger_schema import MIGRATIONS, TABLES

EXAMPLES = settings(max_examples=60, deadline=None)
SETTINGS = as_settings({"mode": "demo"})
START = 1_700_000_000_000
E, B = "ETHUSDT", "BTCUSDT"
Opened = Callable[[], Any]


@pytest.fixture
def opened(tmp_path: Path) -> Opened:
    """The ledger as each new process finds it."""
    return lambda: Ledger.opened(tmp_path / "l.sqlite")


_numbers = count(1)


def entry(ledger: Ledger, symbol: str, at_ms: int, decision: str, *, closed: str = "", filled: bool = True) -> None:
    """An entry that was sent, and, with `closed`, its exit for that reason a second later."""
    for purpose, side in (("entry", "BUY"), *([("exit", "SELL")] if closed else [])):
        client_id = f"{decision}-{purpose}"
        ledger.intend(Intent(client_id, decision, symbol, purpose, side, Decimal(1), at_ms))  # type: ignore[arg-type]
        if purpose == "exit":
            at_ms += 1000
            ledger.assess(symbol, "exit", {"reason": closed, "client_id": client_id}, at_ms)
        ledger.note(client_id, "sent", at_ms)
        if filled:
            ledger.fill(
                client_id,
                TradeState(
                    next(_numbers),
                    "1",
                    symbol,
                    side,
                    Decimal(100),
                    Decimal(1),
                    Decimal(0),  # type: ignore[arg-type]
                    "USDT",
                    Decimal(0),
                    False,
                    at_ms,
                ),
            )


def code(ledger: Ledger, symbol: str, now_ms: int = START, **execution: Any) -> str | None:
    refused = check_breaker(ledger, symbol, now_ms, as_settings({"mode": "demo", "execution": execution}).execution)
    assert refused is None or refused.sentence.endswith(".")
    return None if refused is None else refused.code


# --- the fold ---

lines_ = st.lists(
    st.tuples(st.sampled_from([E, B]), st.booleans(), st.sampled_from([*LATCHING]), st.integers(0, 5)), max_size=20
).map(lambda rows: [LatchLine(n, s, held, c, "why", at) for n, (s, held, c, at) in enumerate(rows, 1)])


@EXAMPLES
@given(lines_)
def test_the_last_line_of_a_symbol_decides_and_no_time_in_it(lines: list[LatchLine]) -> None:
    for symbol in (E, B):
        own = [line for line in lines if line.symbol == symbol]
        assert in_force(lines).get(symbol) == (own[-1] if own and own[-1].latched else None)


@EXAMPLES
@given(lines_, st.integers(0, 20))
def test_folding_in_two_lives_is_folding_in_one(lines: list[LatchLine], cut: int) -> None:
    before, after = lines[:cut], lines[cut:]
    assert in_force([*in_force(before).values(), *after]) == in_force(lines)


@EXAMPLES
@given(lines_)
def test_symbols_do_not_mind_each_other(lines: list[LatchLine]) -> None:
    alone = in_force([line for line in lines if line.symbol == E])
    assert in_force(lines).get(E) == alone.get(E)


breakdowns = st.lists(
    st.tuples(st.sampled_from([E, B, "SOLUSDT"]), st.integers(0, 3 * DAY_MS)), min_size=1, max_size=6, unique=True
).map(lambda rows: [Breakdown(symbol, f"d{n}", at) for n, (symbol, at) in enumerate(rows)])


@EXAMPLES
@given(breakdowns, st.randoms(use_true_random=False))
def test_whether_two_lie_within_a_day_depends_on_no_order(found: list[Breakdown], shuffler: Any) -> None:
    other = list(found)
    shuffler.shuffle(other)
    pairs = [any(one_within_a_day(b, order) for b in order) for order in (found, other)]
    times = sorted(b.at_ms for b in found)
    near = any(later - earlier < DAY_MS for earlier, later in zip(times, times[1:], strict=False))
    assert pairs == [near, near]


@EXAMPLES
@given(breakdowns, st.integers(-DAY_MS, DAY_MS))
def test_only_distances_in_time_count(found: list[Breakdown], shift: int) -> None:
    moved = [Breakdown(b.symbol, b.cause, b.at_ms + shift) for b in found]
    assert [one_within_a_day(b, found) is None for b in found] == [one_within_a_day(b, moved) is None for b in moved]


def test_a_day_is_24_hours_and_not_more() -> None:
    one = Breakdown(E, "a", START)
    assert one_within_a_day(Breakdown(E, "b", START + DAY_MS - 1), [one]) == one
    assert one_within_a_day(Breakdown(E, "b", START + DAY_MS), [one]) is None
    assert one_within_a_day(one, [one]) is None, "one breakdown is one, however often it is told"


@EXAMPLES
@given(breakdowns, st.integers(0, 6))
def test_what_no_line_tells_is_found_and_what_one_tells_is_not(found: list[Breakdown], told: int) -> None:
    lines = [LatchLine(n, b.symbol, True, "unprotected", "", b.at_ms, b.cause) for n, b in enumerate(found[:told], 1)]
    assert missed([*found, *found], lines) == found[told:]
    assert breakdowns_of(lines) == found[:told]


@EXAMPLES
@given(
    st.lists(st.tuples(st.sampled_from([E, B]), st.integers(START - 2 * DAY_MS, START)), max_size=30),
    st.integers(1, 5),
    st.integers(1, 12),
)
def test_the_brake_never_lets_one_more_through(entries: list[tuple[str, int]], hour: int, day: int) -> None:
    brake = Brake(hour, day)
    in_a_day = sum(at > START - DAY_MS for _, at in entries)
    in_an_hour = sum(symbol == E and at > START - HOUR_MS for symbol, at in entries)
    broken = runaway(entries, E, START, brake)
    assert (broken is not None) == (in_a_day >= day or in_an_hour >= hour)
    assert broken is None or (broken.symbol is None) == (in_a_day >= day)
    assert runaway(entries, E, START, brake, unlocked_ms=START, cleared_ms=START) is None


# --- in the ledger ---


def test_an_unprotected_close_latches_its_symbol_until_a_person_unlocks_it(opened: Opened) -> None:
    with opened() as ledger:
        entry(ledger, E, START, "d1", closed="unprotected")
        said = after_close(ledger, E, "unprotected", START + 1000)
        assert [E in sentence and f"trader unlock {E}" in sentence for sentence in said] == [True]
        assert after_close(ledger, E, "unprotected", START + 9000) == [], "told once"
    with opened() as ledger:
        assert code(ledger, E) == "symbol_latched"
        assert code(ledger, B) is None
        assert ledger.halted() is None
        assert ledger.latched(E) is not None
        assert ledger.latched(E)[0] == "unprotected"
        ledger.unlatch(E, "looked", START + 5000)
    with opened() as ledger:
        assert code(ledger, E) is None
        assert ledger.latches() == {}


@pytest.mark.parametrize("reason", ["beyond_backstop", "stop", "backstop", "take_profit", "by_hand", "time", "halt"])
def test_other_closes_latch_nothing(opened: Opened, reason: str) -> None:
    with opened() as ledger:
        entry(ledger, E, START, "d1", closed=reason)
        assert after_close(ledger, E, reason, START) == []
        assert catch_up(ledger) == []
        assert code(ledger, E) is None


@pytest.mark.parametrize(
    ("symbols", "apart_ms", "unlocked", "halts"),
    [
        ((E, B), DAY_MS - 1, False, True),
        ((E, E), DAY_MS - 1, True, True),
        ((E, B), DAY_MS, False, False),
        ((E, E), 3 * DAY_MS, True, False),
    ],
)
def test_the_second_within_a_day_halts_all(
    opened: Opened, symbols: tuple[str, str], apart_ms: int, unlocked: bool, halts: bool
) -> None:
    for n, symbol in enumerate(symbols):
        with opened() as ledger:
            entry(ledger, symbol, START + n * apart_ms - 1000, f"d{n}", closed="unprotected")
            said = after_close(ledger, symbol, "unprotected", START + n * apart_ms)
            assert any("trader reset" in sentence for sentence in said) == (halts and n == 1)
            if unlocked:
                ledger.unlatch(symbol, "looked", START + n * apart_ms + 1)
    with opened() as ledger:
        assert code(ledger, "SOLUSDT", START + apart_ms) == ("entries_halted" if halts else None)
        ledger.clear_halt("looked", START + apart_ms + 10)
        assert code(ledger, "SOLUSDT", START + apart_ms) is None, "what was lifted is not latched again"


@pytest.mark.parametrize("reason", sorted(LATCHING))
def test_what_the_exchange_or_a_stranger_does_latches(opened: Opened, reason: str) -> None:
    with opened() as ledger:
        after_close(ledger, E, reason, START)
        halts = reason in {"liquidation", "second_trader"}
        assert code(ledger, E) == ("entries_halted" if halts else "symbol_latched")
        assert code(ledger, B) == ("entries_halted" if halts else None)
        assert after_close(ledger, E, reason, START) == []


def test_what_is_found_is_held_back_once_and_again_after_it_was_unlocked(opened: Opened) -> None:
    with opened() as ledger:
        assert hold_back(ledger, E, "foreign", "0.5 ETHUSDT", START)
        assert hold_back(ledger, E, "foreign", "0.5 ETHUSDT", START + 1) == []
        ledger.unlatch(E, "looked", START + 2)
        assert hold_back(ledger, E, "foreign", "0.5 ETHUSDT", START + 3)
        assert len(ledger.latch_lines()) == 3


def test_a_process_that_died_before_it_could_latch_is_caught_up_with(opened: Opened) -> None:
    with opened() as ledger:
        entry(ledger, E, START, "d1", closed="unprotected")
        entry(ledger, B, START + HOUR_MS, "d2", closed="unprotected")
    with opened() as ledger:
        assert code(ledger, "SOLUSDT", START + 2 * HOUR_MS) == "entries_halted"
        assert set(ledger.latches()) == {E, B}
        assert breakdowns_of(ledger.latch_lines()) == [
            Breakdown(E, "d1", START + 1000),
            Breakdown(B, "d2", START + HOUR_MS + 1000),
        ]
        assert catch_up(ledger) == []
        assert after_close(ledger, B, "unprotected", START + HOUR_MS + 1000) == []


def test_an_exit_that_never_filled_is_no_breakdown(opened: Opened) -> None:
    with opened() as ledger:
        entry(ledger, E, START, "d1", closed="unprotected", filled=False)
        assert code(ledger, E) is None


def test_the_brake_is_as_set_and_latches(opened: Opened) -> None:
    with opened() as ledger:
        for n in range(3):
            entry(ledger, E, START + n, f"d{n}")
        now = START + 10
        ledger.intend(Intent("never-sent", "x", E, "entry", "BUY", Decimal(1), now))
        assert code(ledger, E, now, max_entries_per_hour=4) is None
        assert code(ledger, B, now, max_entries_per_hour=3) is None
        assert code(ledger, E, now, max_entries_per_hour=3) == "too_many_entries"
        assert code(ledger, E, now + 9 * DAY_MS, max_entries_per_hour=3) == "symbol_latched", "until a person looks"
        ledger.unlatch(E, "looked", now + 1)
        assert code(ledger, E, now + 2, max_entries_per_hour=3) is None, "what was looked at does not count again"
        assert code(ledger, B, now, max_entries_per_day=3) == "too_many_entries"
        assert code(ledger, B, now + 9 * DAY_MS) == "entries_halted"
        ledger.clear_halt("looked", now + 1)
        assert code(ledger, B, now + 2, max_entries_per_day=3) is None


def test_unlocking_asked_for_counts_at_once_and_lifts_only_what_was_seen(opened: Opened, tmp_path: Path) -> None:
    path = tmp_path / "l.sqlite"
    with opened() as ledger:
        ledger.latch(E, "unprotected", "first", START)
        owner_requests.ask(path, f"unlock-{E}", "1 looked at it")
        with LedgerReading.shown(path) as shown:
            assert shown is not None
            assert shown.latched(E) is None
        ledger.latch(E, "liquidation", "second", START + 1)
        assert ledger.latched(E) == ("liquidation", "second"), "nobody has looked at this one"
        ledger.take_requests(START + 2)
        assert ledger.latched(E) == ("liquidation", "second")
        assert owner_requests.request_of(path, f"unlock-{E}") is None
        owner_requests.ask(path, f"unlock-{E}", "2 looked at that, too")
        ledger.take_requests(START + 3)
        assert owner_requests.request_of(path, f"unlock-{E}") is None
        last = ledger.latch_lines()[-1]
        assert (last.latched, last.reason, last.at_ms) == (False, "looked at that, too", START + 3)
    with opened() as ledger:
        assert ledger.latched(E) is None


def test_latches_are_append_only_and_come_to_older_ledgers(tmp_path: Path) -> None:
    path = tmp_path / "l.sqlite"
    with sqlite3.connect(path, isolation_level=None) as db:
        for script in MIGRATIONS[:2]:
            db.executescript(script)
        db.execute("PRAGMA user_version = 2")
    with LedgerReading.shown(path) as shown:
        assert shown is not None
        assert (shown.latches(), shown.latched(E)) == ({}, None)
    with Ledger.opened(path) as ledger:
        ledger.latch(E, "unprotected", "r", 1)
        for statement in ("DELETE FROM latches", "UPDATE latches SET latched = 0"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                ledger._db.execute(statement)
    assert "latches" in TABLES
