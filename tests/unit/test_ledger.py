"""The ledger: append-only, once each, on disk, and the fold of fills is the position."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trader_cli.core.errors import DataError, DataInvalid, ExitCode
from trader_cli.core.money.loss_limits import EquityPoint
from trader_cli.core.money.orders import IncomeState, TradeState
from trader_cli.storage.ledger import Ledger, LedgerDamaged
from trader_cli.storage.ledger_reading import LedgerReading
from trader_cli.storage.ledger_rows import Intent
from trader_cli.storage.ledger_schema import migration
from trader_cli.storage.owner_requests import ask
from trader_cli.venue.engine.books import Account, Order
from trader_cli.venue.engine.engine import Engine


def trade(number: int, side: Any, quantity: str, price: str = "100", realized: str = "0") -> TradeState:
    return TradeState(
        number,
        "1",
        "E",
        side,
        Decimal(price),
        Decimal(quantity),
        Decimal("0.04"),
        "USDT",
        Decimal(realized),
        False,
        number,
    )


def intent(client_id: str = "a", **extra: Any) -> Intent:
    return Intent(client_id, "d", "E", "entry", "BUY", Decimal("1.50"), 1, **extra)


def test_everything_is_recorded_once(tmp_path: Path) -> None:
    with Ledger.opened(tmp_path / "l.sqlite") as ledger:
        assert [ledger.intend(intent()) for _ in range(2)] == [True, False]
        assert [ledger.decide("d", "E", 1, "approved", {"x": 1}, 2) for _ in range(2)] == [True, False]
        assert [ledger.fill("a", trade(7, "BUY", "1")) for _ in range(2)] == [True, False]
        assert [ledger.receive("f1", "FUNDING_FEE", "E", Decimal("-0.1"), 3) for _ in range(2)] == [True, False]
        assert ledger.last_trade_id("E") == 7
        assert ledger.net_income() == Decimal("-0.14")


def test_what_was_written_is_there_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "l.sqlite"
    wanted = intent(price=Decimal("10.10"), trigger_price=Decimal("9.90"), reduce_only=True)
    with Ledger.opened(path) as ledger:
        ledger.intend(wanted)
        ledger.note("a", "sent", 1)
        ledger.note("a", "unknown", 2, note="timed out")
        ledger.halt("daily loss", 3)
    with Ledger.opened(path) as ledger:
        assert ledger.intents() == [wanted]
        assert (ledger.status("a"), ledger.status("b")) == ("unknown", None)
        assert ledger.halted() == "daily loss"
        ledger.clear_halt("looked at it", 4)
        assert ledger.halted() is None
        assert ledger.symbols() == ["E"]


@pytest.mark.parametrize("table", ["decisions", "intents", "orders", "fills", "income", "assessments", "halts"])
def test_nothing_is_ever_changed_or_deleted(tmp_path: Path, table: str) -> None:
    path = tmp_path / "l.sqlite"
    with Ledger.opened(path) as ledger:
        ledger.intend(intent())
        ledger.decide("d", "E", 1, "approved", {}, 2)
        ledger.note("a", "sent", 1)
        ledger.fill("a", trade(1, "BUY", "1"))
        ledger.receive("i", "FUNDING_FEE", "E", Decimal(1), 1)
        ledger.assess("E", "stay", {}, 1)
        ledger.halt("r", 1)
        for statement in (f"DELETE FROM {table}", f"UPDATE {table} SET rowid = rowid"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                ledger._db.execute(statement)


def test_a_fill_needs_an_intent(tmp_path: Path) -> None:
    with Ledger.opened(tmp_path / "l.sqlite") as ledger, pytest.raises(sqlite3.IntegrityError):
        ledger.fill("nobody", trade(1, "BUY", "1"))


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "l.sqlite"
    code = f"""
import pathlib
from trader_cli.storage.ledger import Ledger, LedgerDamaged
from trader_cli.storage.ledger_reading import LedgerReading
from trader_cli.storage.ledger_schema import migration
from trader_cli.core.money.loss_limits import EquityPoint
from trader_cli.core.errors import ExitCode
from trader_cli.core.money.orders import IncomeState
try:
    with Ledger.opened(pathlib.Path({str(path)!r})): print("opened")
except Exception as error: print(error)
"""

    def other() -> str:
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    with Ledger.opened(path):
        assert "Another trader process" in other()
    assert "opened" in other()


def test_a_full_disk_stops_before_anything_is_sent(tmp_path: Path) -> None:
    with Ledger.opened(tmp_path / "l.sqlite") as ledger:
        pages = ledger._db.execute("PRAGMA page_count").fetchone()[0]
        ledger._db.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(DataError, match="cannot be written"):
            for number in range(10_000):
                ledger.intend(intent(f"id-{number}"))


def test_a_newer_ledger_is_refused_and_a_backup_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "l.sqlite"
    with Ledger.opened(path) as ledger:
        ledger.intend(intent())
        ledger.backup(tmp_path / "copy.sqlite")
    with Ledger.opened(tmp_path / "copy.sqlite") as copy:
        assert [i.client_id for i in copy.intents()] == ["a"]
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(DataInvalid, match="newer trader"), Ledger.opened(path):
        pass


@given(
    st.lists(
        st.tuples(st.sampled_from(["BUY", "SELL"]), st.integers(1, 500), st.integers(90, 110)), min_size=1, max_size=30
    )
)
@settings(max_examples=60, deadline=None)
def test_the_fold_of_fills_is_the_exchanges_position(fills: list[tuple[Any, int, int]]) -> None:
    """The ledger's arithmetic against the exchange engine's, on the same fills."""
    engine = Engine({}, Account(Decimal(10**6)), 0)
    with sqlite3.connect(":memory:", isolation_level=None) as db:
        Ledger._prepared(db, Path("memory"))
        ledger = Ledger(db, Path("memory"))
        ledger.intend(intent())
        for number, (side, lots, price) in enumerate(fills, start=1):
            quantity = Decimal(lots) / 1000
            realized = engine._move(Order(number, "x", "E", side, "MARKET", quantity, number), Decimal(price), quantity)
            ledger.fill("a", trade(number, side, str(quantity), str(price), str(realized)))
        held, position = ledger.holding("E"), engine.account.position("E")
    assert held.amount == position.amount
    assert float(held.entry_price) == pytest.approx(float(position.entry), rel=1e-12)


def test_a_line_cannot_be_replaced_either(tmp_path: Path) -> None:
    path = tmp_path / "l.sqlite"
    with Ledger.opened(path) as ledger:
        ledger.intend(intent())
        ledger.fill("a", trade(1, "BUY", "1"))
    with sqlite3.connect(path, isolation_level=None) as stranger:
        stranger.execute(
            "INSERT OR REPLACE INTO fills SELECT symbol, trade_id, client_id, side, price, '9', commission,"
            " commission_asset, realized, maker, time_ms FROM fills"
        )
    with Ledger.opened(path) as ledger:
        assert ledger.holding("E").amount == 1


def test_a_halt_keeps_every_reason_until_a_person_lifts_it(tmp_path: Path) -> None:
    with Ledger.opened(tmp_path / "l.sqlite") as ledger:
        assert ledger.halted() is None
        for at_ms, reason in enumerate(
            ("no stop could be had", "flatten", "no stop could be had", "flatten; lost 3 %")
        ):
            ledger.halt(reason, at_ms)
        assert ledger.halted() == "no stop could be had; flatten; lost 3 %"
        ask(ledger.path, "halt", "by hand,\nbefore the weekend")
        assert ledger.halted() == "no stop could be had; flatten; lost 3 %; by hand, before the weekend"
        ledger.take_requests(5)
        assert ledger.halted() == "no stop could be had; flatten; lost 3 %; by hand, before the weekend"
        ledger.clear_halt("looked", 6)
        assert ledger.halted() is None
        ledger.halt("", 7)
        assert ledger.halted() == ""


@pytest.mark.parametrize("broken", ["a file", "a link to nowhere"])
def test_a_broken_way_to_a_ledger_is_not_no_ledger(broken: str, tmp_path: Path) -> None:
    if broken == "a file":
        (tmp_path / "state").write_text("")
    else:
        (tmp_path / "state").symlink_to(tmp_path / "unmounted")
    with (
        pytest.raises(DataError, match="state_dir"),
        LedgerReading.shown(tmp_path / "state" / "ledgers" / "a" / "l.sqlite"),
    ):
        pytest.fail("shown as if there were none")
    with LedgerReading.shown(tmp_path / "fresh" / "ledgers" / "l.sqlite") as none:
        assert none is None


# --- whose it is ---

OWN, OTHERS = "0123456789ab-live.sqlite", ("0123456789ab-demo.sqlite", "ba9876543210-live.sqlite")


def place(tmp_path: Path, venue: str, name: str) -> Path:
    path = tmp_path / "ledgers" / venue / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


@pytest.mark.parametrize(("venue", "name"), [("a", OTHERS[0]), ("a", OTHERS[1]), ("b", OWN)])
def test_a_ledger_of_another_account_mode_or_market_is_refused(tmp_path: Path, venue: str, name: str) -> None:
    own, wrong = place(tmp_path, "a", OWN), place(tmp_path, venue, name)
    with Ledger.opened(own) as ledger:
        ledger.intend(intent())
        ledger.backup(wrong)
    before = wrong.read_bytes()
    for opening in (Ledger.opened, Ledger.imagined, LedgerReading.shown):
        with pytest.raises(LedgerDamaged, match="another account: for a/0123456789ab-live") as refused, opening(wrong):
            pass
        assert refused.value.exit_code == ExitCode.DATA
    assert wrong.read_bytes() == before
    wrong.replace(own)  # put back where it belongs
    with Ledger.opened(own) as ledger:
        assert [i.client_id for i in ledger.intents()] == ["a"]


def test_an_older_ledger_takes_its_identity_at_its_first_opening(tmp_path: Path) -> None:
    own, wrong = place(tmp_path, "a", OWN), place(tmp_path, "a", OTHERS[0])
    with sqlite3.connect(own, isolation_level=None) as db:
        for number in range(1, 5):
            db.executescript(migration(number))
    with LedgerReading.shown(own) as shown:
        assert shown is not None
        assert (shown.levels(), shown.transfers("USDT"), shown.last_income_ms()) == ([], [], 0)
    with Ledger.opened(own) as ledger:
        ledger.backup(wrong)
    with pytest.raises(LedgerDamaged, match="another account"), Ledger.opened(wrong):
        pass


def test_levels_and_transfers_are_remembered_once_each(tmp_path: Path) -> None:
    path = tmp_path / "l.sqlite"
    row = IncomeState("TRANSFER-1", "TRANSFER", "", Decimal(-5), "USDT", 7)
    level = EquityPoint(9, Decimal("10.50"), Decimal("11.25"))
    with Ledger.opened(path) as ledger:
        assert [ledger.transfer(row) for _ in range(2)] == [True, False]
        ledger.see("USDT", level)
    with Ledger.opened(path) as ledger:
        assert (ledger.levels(), ledger.transfers("USDT"), ledger.transfers("USDC")) == (
            [(1, "USDT", level)],
            [(7, Decimal(-5))],
            [],
        )
        assert ledger.levels(after=1) == []
        assert (ledger.money_since_ms(), ledger.last_income_ms()) == (9, 7)
        for table in ("levels", "transfers"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                ledger._db.execute(f"DELETE FROM {table}")
