"""CPU of commands that have little or nothing to do, against the commit before they were made to answer at once.

Each version prepares a cache and an account of its own on the simulated exchange; every call begins from a fresh copy
of it, in turns. CPU is user and system time of the whole process, threads and all; time spent waiting is not in it.

`python -m benchmarks.nothing_to_do 9 features status` measures just these, so many times.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.versions import ROOT, checked_out, compiled, spent

BEFORE = "7e25df2"
RUNS = 7
PREPARED = (
    ("fetch", "ETHUSDT", "--timeframe", "15m"),
    ("features",),
    ("train",),
    ("analyze", "--wait", "96"),
    ("tactics",),
)
"""What leaves bars, features, a model, an analysis with a signal, and a plan."""
ALONE, ASKING = "asks nobody", "asks the exchange"


@dataclass(frozen=True)
class Call:
    """A command line, whether it has anything to ask the network for, and the exit code it is to end with."""

    words: tuple[str, ...]
    kind: str
    code: int = 0

    @property
    def name(self) -> str:
        """As it is typed."""
        return " ".join(self.words)


def _called(kind: str, *lines: str) -> list[Call]:
    return [Call(tuple(line.split()), kind) for line in lines]


CONFIG = Call(("config",), ALONE)
CALLS = [
    CONFIG,
    *_called(ALONE, "--help", "status", "ledger show", "cache stats", "cache gc --dry-run", "features", "train"),
    *_called(ALONE, "analyze", "halt", "reset"),
    *_called(ASKING, "fetch ETHUSDT --timeframe 15m", "tactics", "enter --dry-run", "enter", "flatten"),
    *_called(ASKING, "monitor", "run ETHUSDT --timeframe 15m"),
]


@dataclass(frozen=True)
class Version:
    """A version of the product, and a folder with what its stages left."""

    tree: Path
    prepared: Path

    def cpu_s(self, call: Call) -> float:
        """CPU seconds of one call, on a copy of what is prepared."""
        with tempfile.TemporaryDirectory() as folder:
            fresh = Path(folder) / "here"
            shutil.copytree(self.prepared, fresh)
            return self.spent(call, fresh)

    def spent(self, call: Call, folder: Path) -> float:
        """CPU seconds of one call in a folder. Raises `AssertionError` for another exit code than is stated."""
        settings = {"TRADER_PROFILE": "sim", "TRADER_CACHE_DIR": "cache", "TRADER_STATE_DIR": "state"}
        command = [sys.executable, "-m", "trader_cli", *call.words]
        return spent(command, folder, {**settings, "PYTHONPATH": str(self.tree)}, call.code)[0]


def prepared(tree: Path, folder: Path) -> Version:
    """A version with all that its stages leave."""
    folder.mkdir()
    version = Version(tree, folder)
    for words in PREPARED:
        version.spent(Call(words, ALONE), folder)
    return version


def measured(then: Version, now: Version, calls: list[Call], runs: int) -> dict[str, tuple[float, float]]:
    """Median CPU seconds (then, now) by call, the two in turns."""
    spent: dict[str, tuple[list[float], list[float]]] = {call.name: ([], []) for call in calls}
    for _ in range(runs):
        for call in calls:
            for version, times in zip((then, now), spent[call.name], strict=True):
                times.append(version.cpu_s(call))
    return {name: (statistics.median(before), statistics.median(after)) for name, (before, after) in spent.items()}


def run(runs: int = RUNS, names: tuple[str, ...] = ()) -> None:
    """Print CPU then and now, their ratio, and what is asked."""
    calls = [call for call in CALLS if not names or call is CONFIG or call.words[0] in names]
    with tempfile.TemporaryDirectory() as folder:
        tree = checked_out(BEFORE, Path(folder) / "then")
        if tree is None:
            print(f"CPU of commands against {BEFORE}: left out, that commit is not in this repository")
            return
        compiled(ROOT)
        then, now = prepared(tree, Path(folder) / "before"), prepared(ROOT, Path(folder) / "after")
        found = measured(then, now, calls, runs)
    print(f"CPU seconds of whole processes, medians of {runs}, against {BEFORE}")
    print(f"{'command':32} {'then':>7} {'now':>7} {'ratio':>6} {'of config':>10}  asked")
    for call in calls:
        _show(call, *found[call.name], found[CONFIG.name][1])


def _show(call: Call, before: float, after: float, config: float) -> None:
    asked, held = _asked(call, before, after, config)
    line = f"{call.name:32} {before:7.3f} {after:7.3f} {after / before:6.2f} {after / config:10.2f}"
    print(f"{line}  {asked}{'' if held else '  NOT HELD'}", flush=True)


def _asked(call: Call, before: float, after: float, config: float) -> tuple[str, bool]:
    """What is asked of a call, in words, and whether it holds."""
    if call in {CONFIG, Call(("--help",), ALONE)}:
        return "no more than then", after <= 1.05 * before
    if call.kind == ASKING:
        return "ratio at most 0.6", after <= 0.6 * before
    return "ratio at most 0.4, or 1.5 of config", after <= max(0.4 * before, 1.5 * config)


if __name__ == "__main__":
    run(int(sys.argv[1]) if len(sys.argv) > 1 else RUNS, tuple(sys.argv[2:]))
