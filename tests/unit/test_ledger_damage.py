"""A ledger whose file is lost, torn, replaced or not to be written is told apart, wherever it is met."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from trader_cli.core.errors import DataError, TraderError
from trader_cli.core.money.orders import OrderState, TradeState
from trader_cli.core.proofs.evidence import AccountSnapshot
from trader_cli.execution.exchange_history import REMEMBERED_MS, WINDOW_MS, windows
from trader_cli.execution.orphan_orders import require_no_orphans
from trader_cli.storage.ledger import Ledger, LedgerDamaged, LedgerUnwritable
from trader_cli.storage.ledger_books import books_of
from trader_cli.storage.ledger_faults import guarded
from trader_cli.storage.ledger_reading import LedgerReading
from trader_cli.storage.ledger_rows import Intent

ETH = "ETHUSDT"


def written(path: Path, lines: int = 30) -> Path:
    """A ledger with so many positions opened and closed, the last one open."""
    with Ledger.opened(path) as ledger:
        for number in range(lines):
            ledger.decide(f"d{number}", ETH, number, "plan", {"side": "long", "quantity": "1"}, number)
            for side, purpose in (("BUY", "entry"), ("SELL", "exit")):
                name = f"td-{purpose[1]}-{number}-{side}"
                ledger.intend(Intent(name, f"d{number}", ETH, purpose, side, Decimal(1), number))
                ledger.note(name, "done", number, exchange_id=name, note="FILLED 1")
                if side == "BUY" or number < lines - 1:
                    price = Decimal(2000 + number)
                    trade_id = 2 * number + (side == "SELL")
                    ledger.fill(
                        name,
                        TradeState(
                            trade_id,
                            name,
                            ETH,
                            side,
                            price,
                            Decimal(1),
                            Decimal("0.8"),
                            "USDT",
                            Decimal(0),
                            maker=False,
                            time_ms=number,
                        ),
                    )
            ledger.assess(ETH, "stay", {"reason": "nothing"}, number)
        ledger.halt("test", 1)
        ledger.clear_halt("test", 2)
    return path


def read_all(path: Path) -> Any:
    """Everything there is to be read of a ledger."""
    with LedgerReading.shown(path) as ledger:
        assert ledger is not None
        return (
            books_of(ledger),
            ledger.net_income(),
            ledger.journal_digest(),
            ledger.counted_refusals(),
            ledger.fills(),
            ledger.decisions(),
            ledger.halted(),
            ledger.entries(ETH),
            ledger.latches(),
        )


def flipped(path: Path, at: int, mask: int = 0xFF) -> None:
    """Sixteen bytes turned over."""
    body = bytearray(path.read_bytes())
    body[at : at + 16] = bytes(byte ^ mask for byte in body[at : at + 16])
    path.write_bytes(body)


def folder_in_place(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: dict[str, Any] = {
    "emptied": lambda path: path.write_bytes(b""),
    "header overwritten": lambda path: path.write_bytes(b"x" * 100 + path.read_bytes()[100:]),
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:5000]),
    "a text": lambda path: path.write_text("not a ledger"),
    "a folder in its place": folder_in_place,
    "a page turned over": lambda path: flipped(path, 4096),
    "without tables": lambda path: (path.unlink(), closing(sqlite3.connect(path)).thing.execute("CREATE TABLE a (b)")),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_what_cannot_be_read_is_called_damaged_and_names_the_cure(kind: str, tmp_path: Path) -> None:
    path = written(tmp_path / "ledger.sqlite")
    DAMAGES[kind](path)
    with pytest.raises(LedgerDamaged) as found:
        read_all(path)
    assert found.value.hint == "Run `trader ledger rebuild`."
    if kind not in {"emptied", "without tables"}:  # those are begun anew: what the exchange shows tells (orphans)
        with pytest.raises(LedgerDamaged), Ledger.opened(path):
            pass


@pytest.mark.parametrize("mask", [0xFF, 0x01, 0x20])
def test_wherever_sixteen_bytes_are_turned_over_it_is_noticed_or_read_and_never_a_bug(
    mask: int, tmp_path: Path
) -> None:
    whole = written(tmp_path / "whole.sqlite", lines=12).read_bytes()
    path, noticed = tmp_path / "ledger.sqlite", 0
    for at in range(0, len(whole) - 16, 997):
        path.write_bytes(whole)
        flipped(path, at, mask)
        try:
            read_all(path)
            with Ledger.opened(path) as ledger:
                ledger.halt("test", 1)
        except DataError:
            noticed += 1
        for part in ("-wal", "-shm"):
            path.with_name(path.name + part).unlink(missing_ok=True)
    assert noticed > 0


def test_a_page_torn_while_it_is_open_is_no_line_that_stops_care(tmp_path: Path) -> None:
    path = written(tmp_path / "ledger.sqlite")
    with Ledger.opened(path) as ledger:
        with closing(sqlite3.connect(path)) as other:
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        path.write_bytes(b"x" * path.stat().st_size)
        with pytest.raises(LedgerUnwritable):
            ledger._db.execute("PRAGMA cache_size=1")
            ledger.note("td-n-0-BUY", "done", 1)
    with pytest.raises(LedgerDamaged), LedgerReading.shown(path):
        pass


def test_a_full_disk_asks_for_room_and_for_no_rebuild(tmp_path: Path) -> None:
    with Ledger.opened(written(tmp_path / "ledger.sqlite")) as ledger:
        pages = ledger._db.execute("PRAGMA page_count").fetchone()[0]
        ledger._db.execute(f"PRAGMA max_page_count={pages}")
        with pytest.raises(LedgerUnwritable) as found:
            for number in range(1000):
                ledger.assess(ETH, "stay", {"reason": "x" * 400}, number)
    assert found.value.hint == "Free some disk."
    for number, kind, hint in ((28, LedgerUnwritable, "Free some disk."), (5, LedgerDamaged, "rebuild")):
        with pytest.raises(kind, match="cannot be") as told, guarded(tmp_path):
            raise OSError(number, "test")
        assert hint in str(told.value)


def test_readers_go_on_while_another_process_writes(tmp_path: Path) -> None:
    path = written(tmp_path / "ledger.sqlite")
    with Ledger.opened(path) as ledger, ledger.together():
        ledger.assess(ETH, "stay", {"reason": "x"}, 1)
        before = read_all(path)
    assert before[0].held == {ETH: 1}
    assert read_all(path)[0] == before[0]


def test_a_ledger_is_evidence(tmp_path: Path) -> None:
    with Ledger.opened(tmp_path / "ledger.sqlite") as ledger:
        assert ledger.is_new
        for name, purpose, status in (("a", "entry", "unknown"), ("b", "backstop", "open"), ("c", "stop", "refused")):
            ledger.intend(Intent(name, "d", ETH, purpose, "BUY", Decimal(2), 1, trigger_price=Decimal(7)))
            ledger.note(name, status, 1)
        ledger.intend(Intent("never sent", "d", ETH, "exit", "BUY", Decimal(2), 1))
        ledger.note("a", "open", 2, exchange_id="9", note="PARTIALLY_FILLED 0.5")
        books = books_of(ledger)
    assert books.known == {"a", "b", "c", "never sent"}
    assert [(m.client_id, m.status) for m in books.moving] == [("a", "open")]
    assert [(r.client_id, r.level, r.quantity) for r in books.resting] == [("b", 7, None)]
    assert books.unbooked == {ETH: Decimal("0.5")}
    with Ledger.opened(tmp_path / "ledger.sqlite") as ledger:
        assert not ledger.is_new


def test_nothing_is_opened_over_orders_of_our_kind_that_are_not_in_the_ledger(tmp_path: Path) -> None:
    def order(name: str) -> OrderState:
        return OrderState("1", name, ETH, "BUY", "FILLED", Decimal(1), Decimal(1), None, reduce_only=False, update_ms=1)

    empty = AccountSnapshot(1, (), (), ())
    strange = AccountSnapshot(1, (), (), (), past=(order("td-e-1"), order("by hand")))
    with Ledger.opened(tmp_path / "ledger.sqlite") as ledger:
        assert require_no_orphans(ledger, empty, 1) is None
        assert ledger.halted() is None, "a fresh account begins unhalted"
        lost = require_no_orphans(ledger, strange, 1)
        assert lost is not None
        assert (lost.code, "trader ledger rebuild" in lost.sentence) == ("ledger_lost", True)
        assert "ledger_lost" in (ledger.halted() or "")
        ledger.intend(Intent("td-e-2", "d", ETH, "entry", "BUY", Decimal(1), 1))
        second = require_no_orphans(ledger, strange, 1)
        assert second is not None
        assert (second.code, "td-e-1" in second.sentence) == ("second_trader", True)
        ledger.intend(Intent("td-e-1", "d", ETH, "entry", "BUY", Decimal(1), 1))
        assert require_no_orphans(ledger, strange, 1) is None


def test_windows_of_the_past_meet_and_are_no_longer_than_the_exchange_takes() -> None:
    now = 1_800_000_000_000
    spans = list(windows(now))
    assert spans[0][1] > now
    assert now - spans[-1][0] <= REMEMBERED_MS
    assert now - spans[-1][0] > REMEMBERED_MS - WINDOW_MS / 100
    for (start, end), (_, before) in zip(spans, spans[1:], strict=False):
        assert before == start - 1
        assert 0 < end - start < WINDOW_MS


def test_errors_of_ours_stay_bugs() -> None:
    with pytest.raises(sqlite3.IntegrityError), guarded(""):
        raise sqlite3.IntegrityError("append-only")
    with pytest.raises(TraderError), guarded("x"):
        raise sqlite3.DatabaseError("file is not a database")
