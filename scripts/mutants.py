"""How many small mistakes in rooms of the product the tests notice: the mutation score.

`python scripts/mutants.py [--rooms core execution tactician] [--sample N --seed S] [--data .coverage]`. A mutant is the
product with one mistake (`mutations.py`), drawn by seed from all there are. Asked are the tests that reach its line (by
the contexts of `make coverage`), the quickest files first, until one fails. One that no test reaches has survived.
`make mutants` writes docs/results.md.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from break_verify import NOT_COPIED, environment
from coverage import CoverageData
from mutations import Mutation, mutations
from results_page import ROOT, commit, table, write_section

MOST_TESTS, MOST_S = 120, 600.0
"""Of the tests that reach a line, so many are asked, spread over all of them; a mutant that takes longer is noticed."""


@dataclass(frozen=True)
class Mutant:
    """A mistake in a file of the package."""

    file: str
    mutation: Mutation

    @property
    def room(self) -> str:
        """Where it is."""
        return self.file.split("/")[1]


@dataclass(frozen=True)
class Judged:
    """What the tests made of a mutant: `by` is the one that failed, "" if none did."""

    mutant: Mutant
    tests: int
    by: str
    seconds: float


def all_mutants(rooms: list[str]) -> list[Mutant]:
    """Every mistake in the rooms."""
    files = [path for room in rooms for path in sorted((ROOT / "trader_cli" / room).rglob("*.py"))]
    named = [(str(path.relative_to(ROOT)), path.read_text("utf-8")) for path in files]
    return [Mutant(name, one) for name, source in named for one in mutations(source)]


def reaching(data: CoverageData, tree: str, mutant: Mutant) -> list[str]:
    """The tests that run the mutant's line."""
    contexts = data.contexts_by_lineno(f"{tree}/{mutant.file}").get(mutant.mutation.line, [])
    return sorted({name.partition("|")[0] for name in contexts if "::" in name})


def some_of(tests: list[str], seed: int) -> list[str]:
    """At most `MOST_TESTS`, of as many files as can be."""
    shuffled = random.Random(seed).sample(tests, len(tests))
    seen: Counter[str] = Counter()
    ranked = []
    for name in shuffled:
        file = name.partition("::")[0]
        ranked.append((seen[file], name))
        seen[file] += 1
    return [name for _, name in sorted(ranked)[:MOST_TESTS]]


def judged(mutant: Mutant, tests: list[str], copy: Path) -> Judged:
    """Whether one of these tests fails on the mutant, in a copy of the project."""
    if not tests:
        return Judged(mutant, 0, "", 0.0)
    path, began = copy / mutant.file, time.perf_counter()
    sound = path.read_text("utf-8")
    path.write_text(mutant.mutation.applied(sound), "utf-8")
    try:
        by = failing(tests, copy)
    finally:
        path.write_text(sound, "utf-8")
    return Judged(mutant, len(tests), by, time.perf_counter() - began)


def failing(tests: list[str], copy: Path) -> str:
    """The first of these tests that fails, "" if none does."""
    words = [sys.executable, "-m", "pytest", "-x", "-q", "-n", "0", "--tb=no", *tests]
    data = ROOT.parent / "shared" / "data"
    more = {"PYTHONDONTWRITEBYTECODE": "1"} | ({"MARKET_DATA_DIR": str(data)} if data.is_dir() else {})
    try:
        ran = subprocess.run(
            words, cwd=copy, env=environment(copy, **more), capture_output=True, text=True, check=False, timeout=MOST_S
        )
    except subprocess.TimeoutExpired:
        return "no end"
    if ran.returncode == 0:
        return ""
    failed = [line.partition(" - ")[0] for line in ran.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return failed[0].partition(" ")[2] if failed else f"exit code {ran.returncode}"


def campaign(work: list[tuple[Mutant, list[str]]], lanes: int) -> list[Judged]:
    """Judge all, each lane in a copy of its own; a line on stdout for each."""
    with tempfile.TemporaryDirectory(prefix="trader-mutants-") as folder:
        copies: SimpleQueue[Path] = SimpleQueue()
        for number in range(lanes):
            copies.put(Path(shutil.copytree(ROOT, Path(folder) / str(number), ignore=NOT_COPIED)))

        def one(given: tuple[Mutant, list[str]]) -> Judged:
            copy = copies.get()
            try:
                done = judged(*given, copy)
            finally:
                copies.put(copy)
            print(
                f"{'seen' if done.by else 'SURVIVED':9}{told(done.mutant)}  {done.seconds:.0f} s {done.by}", flush=True
            )
            return done

        with ThreadPoolExecutor(lanes) as pool:
            return list(pool.map(one, work))


def told(mutant: Mutant) -> str:
    """A mutant in a line."""
    texts = (" ".join(text.split())[:70] for text in (mutant.mutation.before, mutant.mutation.after))
    return f"{mutant.file}:{mutant.mutation.line} `{' → '.join(texts)}`"


def page(done: list[Judged], known: int, seed: int) -> str:
    """The section's text."""

    def row(name: str, some: list[Judged]) -> list[str]:
        seen, reached = sum(bool(one.by) for one in some), sum(bool(one.tests) for one in some)
        return [name, str(len(some)), f"{reached / len(some):.0%}", f"{seen / len(some):.0%}"]

    rooms = sorted({one.mutant.room for one in done})
    kinds = sorted({one.mutant.mutation.kind for one in done})
    rows = [row(f"`{room}/`", [one for one in done if one.mutant.room == room]) for room in rooms]
    rows += [row(kind, [one for one in done if one.mutant.mutation.kind == kind]) for kind in kinds]
    head = (
        f"{len(done)} of {known} mistakes, drawn with seed {seed}, on {commit()}, "
        f"{dt.datetime.now(dt.UTC):%Y-%m-%d} (`make mutants`). A mutant that no test reaches has survived."
    )
    survivors = "\n".join(f"- {told(one.mutant)}" for one in done if not one.by and one.tests)
    whole = table(["of", "mutants", "reached", "noticed"], [*rows, row("all", done)])
    return f"{head}\n\n{whole}\n\nSurvivors that a test reaches:\n\n{survivors or '- none'}"


def main() -> None:
    """Draw, judge, write the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rooms", nargs="+", default=["core", "execution", "tactician"])
    parser.add_argument("--sample", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lanes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--data", type=Path, default=ROOT / ".coverage")
    parser.add_argument("--tree", default=str(ROOT), help="where the package lay when its coverage was measured")
    arguments = parser.parse_args()
    data = CoverageData(str(arguments.data))
    data.read()
    known = all_mutants(arguments.rooms)
    drawn = random.Random(arguments.seed).sample(known, min(arguments.sample, len(known)))
    work = [(one, some_of(reaching(data, arguments.tree, one), arguments.seed)) for one in drawn]
    text = page(campaign(work, arguments.lanes), len(known), arguments.seed)
    write_section("Mutation score", text)
    print(text)


if __name__ == "__main__":
    main()
