"""Do `trader verify` and the tests see what is broken? Breaks a copy of the product in one way at a time and asks them.

`python scripts/break_verify.py [NAME…] [--by verify|tests] [--sample N --seed S]`. A break survives verify where it does
not leave with exit code 10 and name the checks that were meant to see it. It survives the tests where one that was meant
to see it passes on the copy, or only crashes. Then this leaves with 1. `make breaks` runs all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from backtest_breaks import FAST_BREAKS
from breaks import BREAKS as FIRST_BREAKS
from breaks import Break

BREAKS = (*FIRST_BREAKS, *FAST_BREAKS)
ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "trader_cli"
FAILED, TESTS_FAILED = 10, 1
CRASHES = (
    "NameError",
    "TypeError",
    "AttributeError",
    "ImportError",
    "SyntaxError",
    "IndentationError",
    "ModuleNotFound",
)
"""What is raised where the copy was broken too clumsily to run: that proves nothing."""
NOT_COPIED = shutil.ignore_patterns(
    ".git", ".venv", ".bench", ".coverage*", ".*_cache", ".hypothesis", "__pycache__", "cache", "dist"
)


def broken_copy(one: Break, folder: Path) -> None:
    """The whole project in `folder`, its package broken. Raises `ValueError` for a text that is not there just once."""
    shutil.copytree(ROOT, folder, ignore=NOT_COPIED)
    for name, text, other in one.replacements:
        path = folder / PACKAGE.name / name
        source = path.read_text("utf-8")
        if source.count(text) != 1:
            raise ValueError(f"{one.name}: {source.count(text)} times in {name}, not once: {text!r}")
        path.write_text(source.replace(text, other), "utf-8")


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Of a process that imports the package in `folder`, whatever is installed; no setting of the machine reaches it."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith("TRADER_")}
    return kept | {"PYTHONPATH": os.pathsep.join((str(folder), str(folder / "scripts"))), **more}


def verified(folder: Path, only: tuple[str, ...]) -> tuple[int, set[str]]:
    """(exit code, names of the checks that failed) of a verification with the package in `folder`."""
    words = [word for name in only for word in ("--only", name)]
    with tempfile.TemporaryDirectory(prefix="trader-break-") as empty:
        ran = subprocess.run(
            [sys.executable, "-m", "trader_cli", "verify", "--json", *words],
            cwd=empty,
            env=environment(folder, TRADER_STATE_DIR=f"{empty}/state"),
            capture_output=True,
            text=True,
            check=False,
        )
    try:
        results = json.loads(ran.stdout)["results"]
    except (ValueError, KeyError):
        return ran.returncode, {f"no report: {ran.stderr.strip().splitlines()[-1:]}"}
    crashed = [r["error"] for r in results if str(r["error"]).startswith(CRASHES)]
    if crashed:
        return ran.returncode, {f"a crash: {crashed[0]}"}
    return ran.returncode, {result["name"] for result in results if not result["passed"]}


def node(folder: Path, name: str) -> str:
    """A test as pytest takes it, of a file named by its own name alone."""
    file, mark, rest = name.partition("::")
    (path,) = (folder / "tests").rglob(file)
    return f"{path}{mark}{rest}"


def tested(folder: Path, names: tuple[str, ...]) -> tuple[int, str]:
    """(exit code, what it was by) of tests in `folder`, which have to have imported the package there."""
    witness, data = folder / "witness.json", ROOT.parent / "shared" / "data"
    more = {"MARKET_DATA_DIR": str(data)} if "MARKET_DATA_DIR" not in os.environ and data.is_dir() else {}
    ran = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-x",
            "-q",
            "-n",
            "0",
            "-p",
            "copy_witness",
            *(node(folder, name) for name in names),
        ],
        cwd=folder,
        env=environment(folder, BREAK_COPY=str(folder), BREAK_WITNESS=str(witness), **more),
        capture_output=True,
        text=True,
        check=False,
    )
    if not witness.exists():
        return ran.returncode, f"no report: {(ran.stdout + ran.stderr).strip().splitlines()[-1:]}"
    told = json.loads(witness.read_text("utf-8"))
    witness.unlink()
    if told["elsewhere"] or not told["modules"]:
        raise RuntimeError(f"The tests did not look at the copy in {folder} but at {told['elsewhere'] or 'nothing'}.")
    for where, kind, message in told["failures"]:
        crash = kind.startswith(CRASHES) or any(f"{word}: " in message for word in CRASHES)
        return ran.returncode, f"a crash: {kind}: {message[:200]}" if crash else re.sub(r"^[^:]*/", "", where)
    return ran.returncode, "nothing"


def unseen_by_verify(one: Break, folder: Path) -> tuple[bool, str]:
    """(whether verify does not see it, by what it was seen)."""
    code, failed = verified(folder, one.seen_by)
    return code != FAILED or not set(one.seen_by) <= failed, ", ".join(sorted(failed)) or "nothing"


def unseen_by_tests(one: Break, folder: Path) -> tuple[bool, str]:
    """(whether a test that was meant to does not see it, by what it was seen)."""
    found = [tested(folder, (name,)) for name in one.tests]
    unseen = any(code != TESTS_FAILED or by.startswith(("a crash", "nothing")) for code, by in found)
    return unseen, ", ".join(by for _, by in found)


BY = {"verify": unseen_by_verify, "tests": unseen_by_tests}


def survives(one: Break, ways: list[str]) -> bool:
    """Break, ask verify and the tests, print a line each; whether one of them did not see it."""
    survived = False
    with tempfile.TemporaryDirectory(prefix="trader-break-") as name:
        folder = Path(name).resolve() / "copy"
        broken_copy(one, folder)
        for way in ways:
            if not (one.seen_by if way == "verify" else one.tests):
                continue
            began = time.perf_counter()
            unseen, by = BY[way](one, folder)
            survived |= unseen
            seconds = time.perf_counter() - began
            print(f"{'SURVIVED' if unseen else 'seen':9} {one.name:46} {seconds:5.1f} s  by {way}: {by}", flush=True)
    return survived


def whole(breaks: list[Break], ways: list[str]) -> str | None:
    """What fails where nothing is broken, if something does."""
    checks = tuple(dict.fromkeys(name for one in breaks for name in one.seen_by))
    tests = tuple(dict.fromkeys(name for one in breaks for name in one.tests))
    with tempfile.TemporaryDirectory(prefix="trader-break-") as name:
        folder = Path(name).resolve() / "copy"
        broken_copy(Break("nothing", (), (), ()), folder)
        if "verify" in ways:
            code, failed = verified(folder, checks)
            if code != 0:
                return f"verify: exit code {code}, {sorted(failed)}"
        if "tests" in ways and tests:
            code, by = tested(folder, tests)
            if code != 0:
                return f"the tests: exit code {code}, {by}"
    return None


def chosen(arguments: argparse.Namespace) -> list[Break]:
    """The breaks named, or a seeded sample, or all."""
    known = {one.name: one for one in BREAKS}
    picked = [known[name] for name in arguments.names] if arguments.names else list(BREAKS)
    return random.Random(arguments.seed).sample(picked, arguments.sample) if arguments.sample else picked


def main() -> int:
    """1 if a break survives, or if something fails where nothing is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", choices=[*(one.name for one in BREAKS), []])
    parser.add_argument("--by", choices=list(BY))
    parser.add_argument("--sample", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    breaks, ways = chosen(arguments), [arguments.by] if arguments.by else list(BY)
    wrong = whole(breaks, ways)
    if wrong is not None:
        print(f"Where nothing is broken this fails: {wrong}")
        return 1
    survivors = [one.name for one in breaks if survives(one, ways)]
    print(f"{len(breaks) - len(survivors)} of {len(breaks)} breaks seen")
    for name in survivors:
        print(f"survived: {name}")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
