"""A command says what it did to what was there, and takes no word for another than it is."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from trader_cli.cli.commands import enter as enter_command
from trader_cli.cli.commands import run as run_command
from trader_cli.cli.commands import status as status_command
from trader_cli.cli.options import live_meant
from trader_cli.core.errors import ExchangeUnavailable, ExitCode, UsageError
from trader_cli.exchange.connection.error_table import translate
from trader_cli.execution.coverage import naming_what_is_left
from trader_cli.pipelines.venue_service import reset_tape
from trader_cli.settings import as_settings
from trader_cli.settings.workspace import workspace_of
from trader_cli.storage.ledger import Ledger
from trader_cli.storage.ledger_rows import Intent


@pytest.mark.parametrize("mode", ["paper", "sim", "demo"])
def test_live_is_no_word_for_another_profile(mode: str) -> None:
    with pytest.raises(UsageError, match=mode):
        live_meant(SimpleNamespace(mode=mode), live=True)  # type: ignore[arg-type]
    live_meant(SimpleNamespace(mode=mode), live=False)  # type: ignore[arg-type]
    live_meant(SimpleNamespace(mode="live"), live=True)  # type: ignore[arg-type]


@pytest.mark.parametrize("app", [run_command.app, enter_command.app])
@pytest.mark.parametrize("profile", ["paper", "sim"])
def test_no_command_that_opens_takes_it_for_one(app: Any, profile: str) -> None:
    ran = CliRunner().invoke(app, ["ETHUSDT", "--timeframe", "15m", "--live", "--profile", profile])
    assert isinstance(ran.exception, UsageError)
    assert profile in str(ran.exception)


def test_who_is_not_answered_any_more_says_what_is_left(tmp_path: Path) -> None:
    said: list[str] = []
    with Ledger.opened(tmp_path / "l.sqlite") as ledger:
        with pytest.raises(ExchangeUnavailable), naming_what_is_left(ledger, said.append):
            raise ExchangeUnavailable("no answer")
        assert said == [], "nothing was ever sent"
        ledger.intend(Intent("a", "d", "ETHUSDT", "entry", "BUY", Decimal(1), 1))
        ledger.note("a", "sending", 1)
        with pytest.raises(ExchangeUnavailable), naming_what_is_left(ledger, said.append):
            raise ExchangeUnavailable("no answer")
        assert len(said) == 1
        assert said[0].startswith("Left as it is: ETHUSDT: ")


def test_winding_a_tape_back_names_what_it_forgets(tmp_path: Path) -> None:
    settings = as_settings({"mode": "sim", "state_dir": str(tmp_path)})
    with Ledger.opened(workspace_of(settings).ledger_path) as ledger:
        ledger.intend(Intent("a", "d", "ETHUSDT", "entry", "BUY", Decimal(1), 1))
        fill = SimpleNamespace(trade_id=1, order_id="1", symbol="ETHUSDT", side="BUY", price=Decimal(100))
        rest: dict[str, Any] = {
            "quantity": Decimal(1),
            "commission": Decimal(0),
            "commission_asset": "USDT",
            "realized_profit": Decimal(0),
            "maker": False,
            "time_ms": 1,
        }
        ledger.fill("a", SimpleNamespace(**vars(fill), **rest))  # type: ignore[arg-type]
    done = reset_tape(workspace_of(settings))
    assert done.forgotten == ("ETHUSDT 1",)
    assert [Path(path).exists() for path in done.set_aside] == [True]
    assert reset_tape(workspace_of(settings)).set_aside == ()


@pytest.mark.parametrize(("may", "asked", "code"), [(True, True, 0), (False, True, ExitCode.LOOK), (False, False, 0)])
def test_status_leaves_with_a_code_of_its_own_where_it_is_asked_to(
    may: bool, asked: bool, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trader_cli.pipelines.trading.account_status.begin_snapshot", lambda _settings: None)
    monkeypatch.setattr(
        "trader_cli.pipelines.trading.account_status.account_status", lambda *_: SimpleNamespace(walk_away=may)
    )
    monkeypatch.setattr("trader_cli.pipelines.stages.stored_status.status", lambda *_: None)
    monkeypatch.setattr(status_command, "_show", lambda *_: None)
    ran = CliRunner().invoke(status_command.app, ["--exit-code"] if asked else [])
    assert ran.exit_code == code


def test_where_nothing_came_back_the_reason_of_the_system_is_said() -> None:
    from trader_cli.exchange.connection.ccxt_binance import ccxt_binance

    error = ccxt_binance()[1].ExchangeNotAvailable("binanceusdm GET https://fapi.binance.com/fapi/v1/time")
    error.__cause__ = OSError(-2, "Name or service not known")
    assert "cannot be reached" in str(translate(error))
    assert "(Name or service not known)" in str(translate(error))
    assert "did not answer properly" in str(translate(error, status=502))
