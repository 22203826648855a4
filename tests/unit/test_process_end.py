"""How a `trader` process ends: at once, and with everything written that was still to be written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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
