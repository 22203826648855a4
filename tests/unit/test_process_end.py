"""How a `trader` process ends: at once, and with everything written that was still to be written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from trader_cli.cli import entry

ENDING = """
import atexit, gc, sys, threading
from pathlib import Path
from trader_cli.cli.entry import main
unwritten = Path(sys.argv[1]).open("w")
unwritten.write("kept")
ending = threading.Event()
threading.Thread(target=lambda: (ending.wait(), print("the thread is waited for"))).start()
threading._register_atexit(ending.set)
atexit.register(lambda: print("looked through at the end:", len(gc.get_objects()) > 1000))
sys.argv = ["trader", "--version"]
main()
"""


def test_objects_in_use_are_not_looked_through_and_nothing_is_lost(tmp_path: Path) -> None:
    file = tmp_path / "unwritten"
    ran = subprocess.run([sys.executable, "-c", ENDING, str(file)], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[1:] == ["the thread is waited for", "looked through at the end: False"]
    assert file.read_text() == "kept"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("fetch", "ETHUSDT"), "run the command again to go on"),
        (("train",), "begins anew"),
        (("--version",), "run the command again to go on"),
        (("stress",), "begins anew"),
        (("backtest", "compare", "a", "b"), "only once it is done"),
        (("backtest", "ETHUSDT"), "models that were trained are kept"),
        (("report", "--open"), "begins anew"),
    ],
)
def test_a_signal_says_what_the_command_finds_again(
    words: tuple[str, ...], told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("trader_cli.cli.main.app", interrupted)
    monkeypatch.setattr(sys, "argv", ["trader", *words])
    assert entry._run() == 130
    said = capsys.readouterr().err
    assert said.startswith("Interrupted. Everything on disk is whole; ")
    assert told in said


STRIKING = """
import sys
from trader_cli.cli import entry, main
class Struck:
    def __set_name__(self, owner, name):
        raise {signal}
def app(**_):
    class Made:
        one = Struck()
main.app = app
sys.argv = ["trader", "status"]
entry.main()
"""


@pytest.mark.parametrize(("struck", "code"), [("KeyboardInterrupt", 130), ("entry.Terminated", 143)])
def test_a_signal_that_strikes_while_a_class_is_made_is_one_all_the_same(struck: str, code: int) -> None:
    """Python up to 3.11 raises an error of its own there."""
    command = [sys.executable, "-c", STRIKING.format(signal=struck)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ran.returncode, "Everything on disk is whole" in ran.stderr) == (code, True), ran.stderr
    assert "bug" not in ran.stderr
