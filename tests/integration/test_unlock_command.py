"""`trader unlock`: a person lets a symbol in again, whoever holds the ledger, and what it was is told."""

from __future__ import annotations

import pytest
from support.commands.command_line import CommandLine

from trader_cli.settings.workspace import workspace_of
from trader_cli.storage.ledger import Ledger

pytestmark = pytest.mark.slow


def test_a_symbol_is_unlocked_whoever_holds_the_ledger(trader: CommandLine) -> None:
    path = workspace_of({"state_dir": str(trader.folder / "state")}).ledger_path
    with Ledger.opened(path) as ledger:
        ledger.latch("ETHUSDT", "unprotected", "no stop could be had", 1)
        ledger.latch("BTCUSDT", "adl", "reduced", 2)
        ledger.halt("looked bad", 3)
        done = trader.run("unlock", "ETHUSDT", "--reason", "looked", "--json")
        assert (done.code, done.json["was_latched"]) == (0, {"code": "unprotected", "reason": "no stop could be had"})
        assert set(ledger.latches()) == {"BTCUSDT"}
        assert [line.latched for line in ledger.latch_lines()] == [True, True], "the owner writes it down, nobody else"
        ledger.take_requests(4)
        assert ledger.latch_lines()[-1].reason == "looked"
    done = trader.run("unlock", "BTCUSDT")
    assert (done.code, "reduced" in done.out) == (0, True)
    with Ledger.opened(path) as ledger:
        assert (ledger.latches(), ledger.halted()) == ({}, "looked bad")
        assert ledger.latch_lines()[-1].latched is False
    assert trader.run("unlock", "BTCUSDT", "--json").json == {"symbol": "BTCUSDT", "was_latched": None}
    assert trader.run("unlock").code == 2
