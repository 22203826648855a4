"""An earlier version of the product beside this one, to be measured in the same run."""

from __future__ import annotations

import compileall
import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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


def spent(command: Sequence[str], folder: Path, environment: Mapping[str, str], code: int = 0) -> tuple[float, int]:
    """(CPU seconds, user and system; peak bytes) of a process in a folder; what it says is there in the file `said`.

    Raises `AssertionError` where it ends with another exit code.
    """
    around = {**os.environ, "OMP_WAIT_POLICY": "passive", **environment}
    around.pop("PYTHONDONTWRITEBYTECODE", None)
    with (folder / "said").open("w") as said:
        process = subprocess.Popen(command, cwd=folder, env=around, stdout=said, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == code, (folder / "said").read_text()
    return used.ru_utime + used.ru_stime, used.ru_maxrss * 1024


def told(folder: Path) -> dict[str, Any]:
    """The JSON that the last process in a folder said after its progress."""
    said = (folder / "said").read_text()
    return dict(json.loads(said[said.index("{") :]))
