"""Mistakes planted for the mutation score, and the page that it is written to."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from typing import Any

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
SOURCE = '''
LIMIT = 5

def size(cap: int = 3, *, name: "1 + 1" = "a") -> float | None:
    """Not 1 + 1."""
    room: "int" = cap - LIMIT
    if room < 0 and not name:
        return None
    if name:
        raise ValueError(f"über {cap + 1}")
    return room * 2.5
'''


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module


def test_every_mistake_is_one_change_of_code_that_still_parses(script: Any) -> None:
    found = script("mutations").mutations(SOURCE)
    told = [(one.kind, one.line, one.after) for one in found]
    assert told == [
        ("arithmetic", 6, "(cap + LIMIT)"),
        ("comparison", 7, "(room <= 0)"),
        ("and/or", 7, "(room < 0 or not name)"),
        ("constant", 7, "(1)"),
        ("not", 7, "(name)"),
        ("not", 9, "(not name)"),
        ("result dropped", 11, "return None"),
        ("arithmetic", 11, "(room / 2.5)"),
        ("constant", 11, "(3.5)"),
    ]
    for one in found:
        changed = one.applied(SOURCE)
        assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse(SOURCE))
        assert len(changed.splitlines()) == len(SOURCE.splitlines())


def test_a_section_is_written_in_place_of_itself_alone(script: Any, tmp_path: Path) -> None:
    write, page = script("results_page").write_section, tmp_path / "results.md"
    for title, text in (("One", "1"), ("Two", "2\n\n### Of two\n"), ("One", "11"), ("Three", "3")):
        write(title, text, page)
    assert page.read_text().partition("## ")[2] == "One\n\n11\n\n## Two\n\n2\n\n### Of two\n\n## Three\n\n3\n"
