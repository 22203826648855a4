"""Names of tests: how many each file has and a digest of them; or, given the list of another commit, what differs.

`python scripts/test_names.py` writes a line for each file; `… --ids` the names themselves; `… --against FILE` (a list that
`--ids` wrote elsewhere) the names that only one of both has.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import sys
from itertools import groupby
from pathlib import Path

import pytest


class Names:
    """A plugin of pytest that keeps what was collected."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Everything is collected."""
        self.ids = sorted(item.nodeid for item in session.items)


def file_of(name: str) -> str:
    """The file of a test."""
    return name.partition("::")[0]


def main() -> int:
    """Collect, then tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ids", action="store_true")
    parser.add_argument("--against", type=Path)
    arguments, names = parser.parse_args(), Names()
    with contextlib.redirect_stdout(sys.stderr):
        code = pytest.main(["--collect-only", "-q", "-q"], plugins=[names])
    if arguments.against:
        there = set(arguments.against.read_text("utf-8").splitlines())
        for name in sorted(there ^ set(names.ids)):
            print(f"{'+' if name not in there else '-'} {name}")
    elif arguments.ids:
        print("\n".join(names.ids))
    else:
        for file, group in groupby(names.ids, file_of):
            found = list(group)
            digest = hashlib.sha256("\n".join(found).encode()).hexdigest()
            print(f"{digest[:12]} {len(found):4} {file}")
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
