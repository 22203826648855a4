"""Seeds and a budget of CPU seconds from the command line, for what is looked at seed by seed."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def seeds_within(says: str | None, usual: str, budget_s: float) -> Iterator[int]:
    """The seeds of `--seeds first:stop`, until `--budget` is spent."""
    parser = argparse.ArgumentParser(description=says)
    parser.add_argument("--seeds", default=usual, help="first:stop")
    parser.add_argument("--budget", type=float, default=budget_s, help="CPU seconds")
    chosen = parser.parse_args()
    first, stop = map(int, chosen.seeds.split(":"))
    began = time.process_time()
    for seed in range(first, stop):
        if time.process_time() - began > chosen.budget:
            break
        yield seed
    print(f"{time.process_time() - began:.0f} CPU s")
