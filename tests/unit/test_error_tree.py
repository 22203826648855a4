"""The tree that `core.errors` draws is the tree of the classes, and every other error hangs on it."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

from support.source_trees import parsed

import trader_cli
from trader_cli.core import errors
from trader_cli.core.errors import TraderError

PACKAGE = Path(trader_cli.__file__).parent
DRAWN = re.compile(r"^ {4}(?P<branch>(?:[│ ] {3})*(?:[├└]── )?)(?P<name>[A-Z]\w+) +(?P<code>\d+)")


def drawn(text: str) -> set[tuple[str, str, int]]:
    """(class, its base, exit code) of every line of the drawing."""
    found, path = set(), ["Exception"]
    for line in text.splitlines():
        if (parts := DRAWN.match(line)) is not None:
            depth = len(parts["branch"]) // 4
            found.add((parts["name"], path[depth], int(parts["code"])))
            path[depth + 1 :] = [parts["name"]]
    return found


def test_the_drawing_is_the_tree_of_the_classes() -> None:
    classes = [one for _, one in inspect.getmembers(errors, inspect.isclass) if issubclass(one, TraderError)]
    assert drawn(errors.__doc__ or "") == {
        (one.__name__, one.__bases__[0].__name__, int(one.exit_code)) for one in classes
    }


def test_a_line_that_is_missing_or_hangs_elsewhere_is_seen() -> None:
    text = "    One     1\n    ├── Two     2  what to do\n    │   └── Three  2\n    └── Four  3\n"
    assert drawn(text) == {("One", "Exception", 1), ("Two", "One", 2), ("Three", "Two", 2), ("Four", "One", 3)}


def test_errors_of_other_rooms_are_named_beside_it() -> None:
    """Read from the source: what is derived from a `TraderError`, under whatever room."""
    known = {name for name, _, _ in drawn(errors.__doc__ or "")}
    others: set[str] = set()
    files = [parsed(file.read_text()) for file in PACKAGE.rglob("*.py") if file.name != "errors.py"]
    for _ in range(3):  # leaves of leaves
        for tree in files:
            for node in ast.walk(tree):
                if isinstance(node, ast.ClassDef) and {ast.unparse(b) for b in node.bases} & (known | others):
                    others.add(node.name)
    public = {name for name in others if not name.startswith("_")}
    assert {name for name in public if f"`{name}`" not in (errors.__doc__ or "")} == set()
