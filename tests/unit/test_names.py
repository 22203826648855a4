"""One name, one thing: file names across rooms, and the words that docs/glossary.md decides."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest
from support.source_trees import parsed

import trader_cli

PACKAGE = Path(trader_cli.__file__).parent
GLOSSARY = PACKAGE.parent / "docs" / "glossary.md"
FACES = {
    "ledger": ("cli", "storage", "`trader ledger` is the face of the ledger"),
}
"""Names that two rooms may share, and why. The public classes of the guide live where it says: see `MODULES`."""
COMMANDS = PACKAGE / "cli" / "commands"


def shared_names(files: list[Path]) -> dict[str, set[str]]:
    """File names that live in two or more rooms (first folders), with the rooms."""
    rooms: dict[str, set[str]] = defaultdict(set)
    for file in files:
        if file.stem not in {"__init__", "__main__"}:
            rooms[file.stem].add(file.parts[0])
    return {name: found for name, found in rooms.items() if len(found) > 1}


def package_files() -> list[Path]:
    return [file.relative_to(PACKAGE) for file in PACKAGE.rglob("*.py")]


def test_no_file_name_lives_in_two_rooms_but_for_the_faces() -> None:
    expected = {name: {one, other} for name, (one, other, _why) in FACES.items()}
    assert shared_names(package_files()) == expected
    assert all(f"{name}.py" in {file.name for file in COMMANDS.glob("*.py")} for name in expected), "a command each"


def test_within_a_room_no_file_name_lives_twice() -> None:
    seen: dict[tuple[str, str], list[Path]] = defaultdict(list)
    for file in package_files():
        if file.stem not in {"__init__", "__main__"}:
            seen[file.parts[0], file.stem].append(file)
    assert [files for files in seen.values() if len(files) > 1] == []


def test_a_file_name_in_two_rooms_is_found() -> None:
    assert shared_names([Path("venue/engine/limits.py"), Path("core/limits.py"), Path("core/ports.py")]) == {
        "limits": {"venue", "core"}
    }


def rows() -> list[tuple[str, str, str, str]]:
    """(word, meaning, said before, where) of the glossary's table."""
    lines = [line for line in GLOSSARY.read_text().splitlines() if line.startswith("| ") and "---" not in line]
    cells = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines[1:]]
    assert all(len(row) == 4 for row in cells), "four columns a row"
    return cells  # type: ignore[return-value]


def gone() -> set[str]:
    return {name for _, _, before, _ in rows() for name in re.findall(r"`(\w+)`", before)}


def identifiers(source: str) -> set[str]:
    """Every name that a piece of code defines or uses; words in strings and comments are none."""
    found: set[str] = set()
    for node in ast.walk(parsed(source)):
        for field in ("id", "attr", "arg", "name", "asname", "module"):
            value = getattr(node, field, None)
            if isinstance(value, str):
                found |= set(value.split("."))
    return found


def said_again(source: str, words: set[str]) -> set[str]:
    return identifiers(source) & words


def test_what_the_glossary_has_replaced_does_not_come_back() -> None:
    words = gone()
    assert len(words) > 50
    again = {str(file): said for file in package_files() if (said := said_again((PACKAGE / file).read_text(), words))}
    assert again == {}


def test_a_word_that_comes_back_is_found() -> None:
    code = 'class Courier:\n    def sight(self, *, mend: str) -> None:\n        self.glimpse = "bare asked"\n'
    assert said_again(code, {"Courier", "sight", "mend", "glimpse", "bare", "asked"}) == {
        "Courier",
        "sight",
        "mend",
        "glimpse",
    }


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_where_the_glossary_points_there_is_something(row: tuple[str, str, str, str]) -> None:
    word, meaning, _, where = row
    paths = re.findall(r"`([\w/]+\.py)`", where)
    assert word
    assert meaning
    assert paths
    assert [path for path in paths if not (PACKAGE / path).is_file()] == []


def test_every_word_stands_once_and_in_order() -> None:
    words = [word.strip("`").lower() for word, *_ in rows()]
    assert words == sorted(set(words))
