"""Measurements in a process of their own: what they leave in memory and in caches touches no other."""

from __future__ import annotations

import importlib
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

EXTRAS = Path(__file__).parents[1] / ".bench"
"""Where `make bench` puts what only references need (pandas): with it in sight, TA-Lib and LightGBM import it."""


def in_a_child(name: str, *given: str, optional: str = "") -> dict[str, float]:
    """What `module:function` returns there, of these arguments. `optional` names a package from `EXTRAS`; without it,
    nothing.
    """
    paths = [str(Path(__file__).parents[1]), *([str(EXTRAS)] if optional else [])]
    if optional and not (EXTRAS / optional).is_dir():
        print(f"{name}: left out, {optional} is not there; `make bench` fetches it")
        return {}
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_WAIT_POLICY": "passive"}
    command = [sys.executable, "-m", "benchmarks.children", name, *given]
    ran = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return dict(json.loads(ran.stdout))


def peak_bytes() -> int:
    """The most memory this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def report_child(name: str, found: dict[str, float], asked: str) -> None:
    """Time per row and column against TA-Lib's, and memory against the output's."""
    from benchmarks.timing import report

    report(name, found["ns"], found["reference_ns"], "ns/row/col", asked)
    mib = 1 << 20
    report(
        "  memory over the input, against the output", found["extra_bytes"] / mib, found["output_bytes"] / mib, "MiB"
    )


if __name__ == "__main__":
    module, _, function = sys.argv[1].partition(":")
    print(json.dumps(getattr(importlib.import_module(module), function)(*sys.argv[2:])))
