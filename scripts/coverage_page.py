"""Write what `make coverage` measured, by rooms, to docs/results.md.

Counted are lines that the tests reach in their own process: what only a `trader` process runs is not seen.
"""

from __future__ import annotations

import argparse
import datetime as dt
from collections import defaultdict
from pathlib import Path

from coverage import Coverage
from results_page import ROOT, commit, table, write_section

PACKAGE = ROOT / "trader_cli"


def by_room(measured: Coverage) -> dict[str, tuple[int, int]]:
    """(lines that can run, lines that did), by the first folder under the package."""
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for path in sorted(PACKAGE.rglob("*.py")):
        _, lines, _, missing, _ = measured.analysis2(str(path))
        room = path.relative_to(PACKAGE).parts[0] if path.parent != PACKAGE else "(top)"
        sums[room][0] += len(lines)
        sums[room][1] += len(lines) - len(missing)
    return {room: (lines, reached) for room, (lines, reached) in sums.items() if lines}


def page(rooms: dict[str, tuple[int, int]], what: str) -> str:
    """The section's text."""
    whole = (sum(lines for lines, _ in rooms.values()), sum(reached for _, reached in rooms.values()))
    rows = [[name, str(lines), f"{reached / lines:.1%}"] for name, (lines, reached) in {**rooms, "all": whole}.items()]
    told = f"Of {what}, on {commit()}, {dt.datetime.now(dt.UTC):%Y-%m-%d} (`make coverage`). "
    own = "Lines reached in the tests' own process; what only a `trader` process runs is not counted."
    return f"{told}{own}\n\n{table(['room', 'lines', 'reached'], rows)}"


def main() -> None:
    """Read the data file, write the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT / ".coverage")
    parser.add_argument("--what", default="the quick and the slow tests that look at no real clock")
    arguments = parser.parse_args()
    measured = Coverage(data_file=str(arguments.data))
    measured.load()
    text = page(by_room(measured), arguments.what)
    write_section("Coverage", text)
    print(text)


if __name__ == "__main__":
    main()
