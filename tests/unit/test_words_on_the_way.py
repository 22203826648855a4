"""What a long command says where nobody draws a bar, and a subcommand that was misspelt."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest
from support.commands.in_process import Inside

from trader_cli.cli.show import _without_bars


def test_without_a_terminal_a_long_command_says_how_far_it_is_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    seconds = count(0, 4)
    report = _without_bars(lambda: float(next(seconds)))
    for case in range(7):
        report("cases tried", case, 7)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == ["cases tried: 2 of 7", "cases tried: 5 of 7"]
    for _ in range(2):
        report("asking [who knows]", 0, 0)
    assert capsys.readouterr().err.splitlines() == ["asking [who knows]"], "once, and at once"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (("shwo", "abc"), "trader backtest show abc"),
        (("compere", "a", "b"), "trader backtest compare a b"),
        (("lst",), "trader backtest list"),
    ],
)
def test_a_misspelt_subcommand_is_no_symbol(tmp_path: Path, typed: tuple[str, ...], meant: str) -> None:
    done = Inside(tmp_path, ("--profile", "sim")).run("backtest", *typed)
    assert done.code == 2
    assert f"Did you mean `{meant}" in done.err


@pytest.mark.parametrize("symbol", ["SHOWUSDT", "LIST", "ethusdt"])
def test_a_symbol_is_no_misspelt_subcommand(tmp_path: Path, symbol: str) -> None:
    done = Inside(tmp_path, ("--profile", "sim")).run("backtest", symbol)
    assert "subcommand" not in done.err
