"""docs/architecture.md tells the truth: its folders are those there are, its answers name what is defined where it says."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from support.source_trees import parsed

import trader_cli

PACKAGE = Path(trader_cli.__file__).parent
ROOT = PACKAGE.parent
PAGE = (ROOT / "docs" / "architecture.md").read_text()
QUESTIONS = {
    asked: re.findall(r"`([\w/]+\.py): (\w+)`", answer)
    for asked, answer in re.findall(r"^- \*\*(.+?\?)\*\* (.+)$", PAGE, re.MULTILINE)
}


def defined(source: str) -> set[str]:
    """Names of classes, functions, methods and module-level values."""
    tree = parsed(source)
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = {node.name for node in ast.walk(tree) if isinstance(node, kinds)}
    for node in tree.body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        found |= {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}
    return found


def missing(file: str, name: str) -> str | None:
    """What is wrong with a step of a path, if anything is."""
    path = PACKAGE / file
    if not path.is_file():
        return f"{file} is not there"
    return None if name in defined(path.read_text()) else f"{file} does not define {name}"


def test_at_least_twenty_questions_are_answered() -> None:
    assert len(QUESTIONS) >= 20
    assert PAGE.count("\n- **") == len(QUESTIONS)


@pytest.mark.parametrize("asked", QUESTIONS)
def test_an_answer_is_a_path_of_at_most_three_files_that_are_there(asked: str) -> None:
    path = QUESTIONS[asked]
    assert 1 <= len(path) <= 3
    assert [found for file, name in path if (found := missing(file, name)) is not None] == []


def test_a_step_that_leads_nowhere_is_found() -> None:
    assert missing("core/nowhere.py", "Broker") == "core/nowhere.py is not there"
    assert missing("core/ports.py", "Nobody") == "core/ports.py does not define Nobody"
    assert missing("core/ports.py", "Broker") is None


def test_the_table_names_exactly_the_folders_there_are() -> None:
    named = set(re.findall(r"^\| `([\w/]+)/` \|", PAGE, re.MULTILINE))
    folders = {
        folder.relative_to(PACKAGE).as_posix()
        for folder in PACKAGE.rglob("*")
        if folder.is_dir() and folder.name != "__pycache__" and any(file.is_file() for file in folder.iterdir())
    }
    assert named == folders


PATHS = re.compile(r"`((?:[\w-]+/)+[\w-]*\.?\w*)`")
PAGES = [ROOT / "CONTRIBUTING.md", ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def absent(text: str) -> list[str]:
    """Paths of the package, the tests, docs or scripts that a page names and that are not there."""
    tops = {path.name for path in PACKAGE.iterdir() if path.is_dir()} | {"trader_cli", "tests", "docs", "scripts"}
    named = [found for found in PATHS.findall(text) if found.split("/")[0] in tops]
    return [
        path
        for path in named
        if not any((base / path).exists() or (base / f"{path}.py").exists() for base in (ROOT, PACKAGE))
        and not any((base / path.rpartition(".")[0]).with_suffix(".py").exists() for base in (ROOT, PACKAGE))
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_that_a_page_names_are_there(page: Path) -> None:
    assert absent(page.read_text()) == []


def test_a_path_that_is_not_there_is_found() -> None:
    assert absent("see `core/nothing.py`, `core/ports.py` and `core/money/sizing.caps`") == ["core/nothing.py"]


ROOMS = "core|settings|features|venue|storage|exchange|execution|analyst|tactician|pipelines|cli"
MODULES = re.compile(rf"`((?:{ROOMS})\.[\w.]+)`")


def unknown_modules(text: str) -> list[str]:
    """Modules of the package that a docstring names (`room.module`, `room.folder.module.name`) and that are not there."""
    paths = {named: named.replace(".", "/") for named in MODULES.findall(text)}
    return [
        named
        for named, path in paths.items()
        if not any((PACKAGE / p).exists() or (PACKAGE / f"{p}.py").exists() for p in (path, path.rpartition("/")[0]))
    ]


def test_modules_that_docstrings_name_are_there() -> None:
    unknown = {str(file.relative_to(PACKAGE)): unknown_modules(file.read_text()) for file in PACKAGE.rglob("*.py")}
    assert {name: found for name, found in unknown.items() if found} == {}


def test_a_module_that_is_not_there_is_found() -> None:
    assert unknown_modules("`core.limits.breaches`, `core.money.loss_limits.breaches`") == ["core.limits.breaches"]
