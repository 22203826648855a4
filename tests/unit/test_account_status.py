"""`status` of an account that lives with us: by the ledger's word, which is never more than it knows."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

from trader_cli.core.money.orders import TradeState
from trader_cli.pipelines.trading.account_status import AccountStatus, account_status
from trader_cli.settings import Settings, as_settings
from trader_cli.settings.workspace import workspace_of
from trader_cli.storage.ledger import Ledger
from trader_cli.storage.ledger_rows import Intent
from trader_cli.storage.state import VenueState

ETH = "ETHUSDT"


def of(folder: Path, mode: Any = "sim") -> Settings:
    return as_settings({"mode": mode, "state_dir": str(folder / "state"), "cache_dir": str(folder / "cache")})


def opened(settings: Settings, *purposes: str) -> AccountStatus:
    """The status once an entry has filled and these stops of it were last seen open."""
    with Ledger.opened(workspace_of(settings).ledger_path) as ledger:
        ledger.decide("d", ETH, 1, "plan", {"side": "long", "quantity": "1"}, 1)
        for purpose in ("entry", *purposes):
            level = None if purpose == "entry" else Decimal(1900)
            side: Any = "BUY" if purpose == "entry" else "SELL"
            name: Any = purpose
            ledger.intend(Intent(f"td-{purpose}", "d", ETH, name, side, Decimal(1), 1, trigger_price=level))
            ledger.note(f"td-{purpose}", "done" if purpose == "entry" else "open", 1, exchange_id="1", note="FILLED")
        trade = TradeState(
            1, "1", ETH, "BUY", Decimal(2000), Decimal(1), Decimal(0), "USDT", Decimal(0), maker=False, time_ms=1
        )
        ledger.fill("td-entry", trade)
        ledger.latch(ETH, "unprotected", "no stop could be had", 1)
    return account_status(workspace_of(settings))


def test_a_position_and_its_stops_are_told_by_the_ledger_and_it_says_so(tmp_path: Path) -> None:
    said = opened(of(tmp_path), "backstop", "stop")
    assert said.walk_away
    assert "by the ledger, as of the last command" in said.verdict
    assert (said.held[0].amount, said.held[0].stop, said.held[0].backstop) == ("1", "1900", "1900")
    assert said.held[0].shown is None
    assert said.latched == {ETH: "unprotected: no stop could be had"}


def test_an_average_is_shown_with_the_digits_of_a_price(tmp_path: Path) -> None:
    settings = of(tmp_path)
    opened(settings, "backstop", "stop")
    with Ledger.opened(workspace_of(settings).ledger_path) as ledger:
        for number, price in ((2, "2000.07"), (3, "2000.11")):
            trade = TradeState(
                number,
                "1",
                ETH,
                "BUY",
                Decimal(price),
                Decimal(1),
                Decimal(0),
                "USDT",
                Decimal(0),
                maker=False,
                time_ms=1,
            )
            ledger.fill("td-entry", trade)
    assert account_status(workspace_of(settings)).held[0].entry_price == "2000.06"


def test_without_a_stop_it_is_no(tmp_path: Path) -> None:
    said = opened(of(tmp_path), "take_profit")
    assert (said.walk_away, "NO stop is known to rest" in said.verdict) == (False, True)


def test_no_ledger_is_no_comfort_where_the_account_has_traded(tmp_path: Path) -> None:
    for mode, kind in (("sim", "virtual"), ("paper", "paper")):
        settings = of(tmp_path / mode, mode)
        assert account_status(workspace_of(settings)).walk_away, "a fresh account"
        folder = VenueState(workspace_of(settings).state_dir).accounts(workspace_of(settings).source, kind)
        folder.mkdir(parents=True)
        with closing(sqlite3.connect(folder / "journal.sqlite")) as db, db:
            db.execute("CREATE TABLE commands (time_ms INTEGER)")
            db.execute("INSERT INTO commands VALUES (1)")
        lost = account_status(workspace_of(settings))
        assert not lost.walk_away
        assert "has traded; run `trader ledger rebuild`" in lost.verdict


def test_a_damaged_ledger_is_no_comfort_and_no_traceback(tmp_path: Path) -> None:
    settings = of(tmp_path)
    path = workspace_of(settings).ledger_path
    for content in (b"", b"x" * 8192):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        said = account_status(workspace_of(settings))
        assert (said.walk_away, said.profit, said.trades) == (False, None, None)
        assert "run `trader ledger rebuild`" in said.verdict
