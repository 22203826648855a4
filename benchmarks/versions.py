"""An earlier version of the product beside this one, to be measured in the same run."""

from __future__ import annotations

import compileall
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]


def checked_out(commit: str, into: Path) -> Path | None:
    """The product as it was at a commit, unpacked and compiled; `None` where the repository does not hold it."""
    made = subprocess.run(["git", "archive", commit, "trader_cli"], cwd=ROOT, capture_output=True, check=False)
    if made.returncode:
        return None
    into.mkdir()
    subprocess.run(["tar", "-x", "-C", str(into)], input=made.stdout, check=True)
    compiled(into)
    return into


def compiled(tree: Path) -> None:
    """Make its byte code, so that no process measured has to."""
    compileall.compile_dir(tree / "trader_cli", quiet=1)
