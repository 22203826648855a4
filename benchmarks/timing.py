"""How things are timed here: interleaved runs and the median of each, so that noise disturbs both sides alike."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def median_seconds(*works: Callable[[], object], runs: int = 7, warm: bool = True, cpu: bool = False) -> list[float]:
    """Median wall (or CPU) seconds of each piece of work over interleaved runs, after one run to warm up."""
    clock = time.process_time if cpu else time.perf_counter
    taken: list[list[float]] = [[] for _ in works]
    for work in works if warm else ():
        work()
    for _ in range(runs):
        for work, times in zip(works, taken, strict=True):
            began = clock()
            work()
            times.append(clock() - began)
    return [statistics.median(times) for times in taken]


def report(name: str, ours: float, reference: float, unit: str, limit: str = "") -> None:
    """One line: our figure, the reference's, their ratio, and what is asked."""
    asked = f"  (asked: {limit})" if limit else ""
    print(
        f"{name:58} {ours:10.3f} {unit:10} reference {reference:10.3f}  ratio {ours / reference:6.2f}{asked}",
        flush=True,
    )
