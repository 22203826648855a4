"""A standard output that is closed, full, ASCII or no longer read changes no exit code and makes no traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.commands.command_line import CommandLine

from trader_cli.cli.main import COMMANDS

pytestmark = pytest.mark.slow

CALLS = [
    ("config",),
    ("config", "--json"),
    ("status",),
    ("halt",),
    ("reset",),
    ("flatten", "--json"),
    ("cache",),
    ("ledger",),
    ("--help",),
    ("--version",),
    ("fetch", "ETHUSDT", "--timeframe", "15m", "--limit", "100"),
]
ENDS = {
    "closed": ">&-",
    "both closed": ">&- 2>&-",
    "all closed": "<&- >&- 2>&-",
    "full": "> /dev/full",
    "both full": "> /dev/full 2> /dev/full",
}


def shell(trader: CommandLine, call: tuple[str, ...], end: str, **environment: str) -> subprocess.CompletedProcess[str]:
    line = " ".join([sys.executable, "-m", "trader_cli", *call, *(trader.base if call[0][0] != "-" else ()), end])
    given = {**trader.environment(), "TRADER_SIM__DAYS": "12", **environment}
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],
        cwd=trader.folder,
        env=given,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize("call", CALLS, ids=" ".join)
def test_every_end_of_the_output_gives_the_same_exit_code(sim: CommandLine, call: tuple[str, ...]) -> None:
    plain = shell(sim, call, "")
    for name, end in [*ENDS.items(), ("head", "| head -0"), ("one line", "| head -1")]:
        ran = shell(sim, call, end)
        assert ran.returncode == plain.returncode, (name, ran.stderr)
        assert "Traceback" not in ran.stderr, name
        assert "Exception" not in ran.stderr, name
    for environment in ({"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}):
        ran = shell(sim, call, "", **environment)
        assert (ran.returncode, "Traceback" in ran.stderr) == (plain.returncode, False), ran.stderr
        assert ran.stdout.isascii()


def test_every_command_shows_its_help_to_a_closed_output(trader: CommandLine) -> None:
    for name in COMMANDS:
        assert shell(trader, (name, "--help"), ">&-", PYTHONIOENCODING="ascii").returncode == 0, name


def test_what_is_opened_after_a_closed_output_is_not_printed_into(sim: CommandLine) -> None:
    assert shell(sim, ("fetch", "ETHUSDT", "--timeframe", "15m", "--limit", "100"), "").returncode == 0
    assert shell(sim, ("halt", "--json"), "<&- >&- 2>&-").returncode == 0
    assert shell(sim, ("status", "--json"), "").stdout.startswith("{")
    assert not [f for f in Path(sim.folder).rglob("*.sqlite*") if b'{"halted"' in f.read_bytes()]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGHUP, 129), (signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_terminal_that_goes_away_ends_a_command_as_a_signal_does(
    trader: CommandLine, number: signal.Signals, code: int
) -> None:
    process = trader.start("venue", "serve", "--port", "0", "--clock", "wall", TRADER_SIM__DAYS="12")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    process.send_signal(number)
    assert process.wait(30) == code
    assert "Traceback" not in process.stderr.read()


def test_a_pipe_that_is_full_for_a_while_is_waited_for(tmp_path: Path) -> None:
    code = "from trader_cli.cli.output import make_patient\nmake_patient()\nprint('x' * 1_000_000)\nprint('end')\n"
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=writing)
    os.close(writing)
    time.sleep(1)
    with os.fdopen(reading) as pipe:
        assert pipe.read().endswith("x\nend\n")
    assert process.wait(30) == 0


def test_a_full_output_is_said(trader: CommandLine) -> None:
    said = shell(trader, ("config",), "> /dev/full").stderr
    assert said.count("What was printed is lost: No space left on device.") == 1, said
    assert "lost" not in shell(trader, ("config",), "| head -0").stderr
