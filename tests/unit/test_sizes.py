"""Small functions, files one can read, and public things that say what they are. By count, so that no drift goes unseen."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from support.source_trees import parsed

import trader_cli

PACKAGE = Path(trader_cli.__file__).parent
FUNCTION_MEDIAN, FUNCTION_TENTH = 6, 18
MODULE_TENTH, MODULE_LONGEST = 260, 380
DOCSTRINGS = 0.94
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def modules() -> list[ast.Module]:
    return [parsed(file.read_text()) for file in PACKAGE.rglob("*.py")]


def quantile(lengths: list[int], share: float) -> int:
    """The length that this share of them does not reach, or just reaches."""
    return sorted(lengths)[int(len(lengths) * share)]


def public(node: ast.AST) -> Iterator[ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    """A module, its public classes and functions, and the public methods of those classes."""
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        yield node
    if isinstance(node, ast.Module | ast.ClassDef):
        for child in node.body:
            if isinstance(child, (ast.ClassDef, *FUNCTIONS)) and not child.name.startswith("_"):
                yield from public(child)


def test_functions_are_short() -> None:
    lengths = [
        (node.end_lineno or 0) - node.lineno + 1
        for module in modules()
        for node in ast.walk(module)
        if isinstance(node, FUNCTIONS)
    ]
    assert quantile(lengths, 0.5) <= FUNCTION_MEDIAN
    assert quantile(lengths, 0.9) <= FUNCTION_TENTH


def test_files_can_be_read() -> None:
    lengths = [file.read_text().count("\n") for file in PACKAGE.rglob("*.py") if file.name != "__init__.py"]
    assert quantile(lengths, 0.9) <= MODULE_TENTH
    assert max(lengths) <= MODULE_LONGEST


def test_what_is_public_says_what_it_is() -> None:
    everything = [node for module in modules() for node in public(module)]
    said = sum(ast.get_docstring(node) is not None for node in everything)
    assert said / len(everything) >= DOCSTRINGS


def test_what_is_counted_as_public() -> None:
    code = "class A:\n    def b(self): ...\n    def _c(self): ...\nclass _D:\n    def e(self): ...\ndef f():\n    def g(): ...\n"
    assert [getattr(node, "name", "module") for node in public(parsed(code))] == ["module", "A", "b", "f"]
