"""The exit codes no other test of the command line reaches: a bug, and a request the exchange refuses."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from aiohttp import web
from support.commands.command_line import CommandLine
from support.hosts.tape_host import playing_now, serving

from trader_cli.core.errors import ExitCode
from trader_cli.venue.simulated_market.synthetic import synthetic_tape

pytestmark = pytest.mark.slow

BROKEN = """
import sys
from trader_cli.cli import main
def app(**_):
    raise RuntimeError("something nobody thought of")
main.app = app
sys.argv = ["trader", "status"]
from trader_cli.cli import entry
entry.main()
"""


def test_a_bug_says_that_it_is_one(trader: CommandLine) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", BROKEN],
        cwd=trader.folder,
        env=trader.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == ExitCode.BUG
    assert "This is a bug in trader: RuntimeError: something nobody thought of" in ran.stderr


def test_a_request_the_exchange_refuses(trader: CommandLine) -> None:
    def refused(_body: Any) -> web.Response:
        return web.json_response({"code": -1100, "msg": "Illegal characters found in a parameter."}, status=400)

    with serving(playing_now(synthetic_tape(("ETHUSDT",), 12, 0.0, 3)), {"/fapi/v1/klines": refused}) as url:
        ran = trader.run("fetch", "ETHUSDT", "--timeframe", "15m", TRADER_BINANCE_EXCHANGE__BASE_URL=url)
    assert ran.code == ExitCode.REJECTED, ran.err
    assert "Illegal characters" in ran.err


def test_a_reader_that_has_had_enough_is_no_bug(trader: CommandLine) -> None:
    process = trader.start("config")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(60) == ExitCode.DONE
    assert "bug" not in process.stderr.read()
