"""Small changes of a program, each a mistake that somebody could have made.

A comparison turned or its border moved, `and` for `or`, a condition negated, `+` for `-`, a number off, a result dropped.
Texts, annotations, defaults of fields and what only type checkers read stay as they are.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
_COUNTED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
}


@dataclass(frozen=True)
class Mutation:
    """Another text for a stretch of a file. `line` counts from 1; `start` and `end` are places in its UTF-8 bytes."""

    kind: str
    line: int
    start: int
    end: int
    before: str
    after: str

    def applied(self, source: str) -> str:
        """The file with this mistake."""
        content = source.encode()
        return (content[: self.start] + self.after.encode() + content[self.end :]).decode()


def mutations(source: str) -> list[Mutation]:
    """Every mistake known for a file, in the order of the text."""
    content = source.encode()
    starts = [0]
    for line in content.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    found = []
    for node, kind, other in _changes(ast.parse(source)):
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        start, end = starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset
        after = ast.unparse(other) if isinstance(other, ast.stmt) else f"({ast.unparse(other)})"
        found.append(Mutation(kind, node.lineno, start, end, content[start:end].decode(), after))
    return sorted(found, key=lambda one: (one.start, one.end, one.kind, one.after))


def _changes(tree: ast.Module) -> Iterator[tuple[ast.expr | ast.stmt, str, ast.expr | ast.stmt]]:
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for statement in function.body:
                yield from _below(statement)


def _below(node: ast.AST) -> Iterator[tuple[ast.expr | ast.stmt, str, ast.expr | ast.stmt]]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.JoinedStr | ast.Raise | ast.Assert):
        return  # functions are visited by themselves; texts and what only checks types are not changed
    yield from _change(node)
    for name, value in ast.iter_fields(node):
        if name == "annotation":
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _below(child)


def _change(node: ast.AST) -> Iterator[tuple[ast.expr | ast.stmt, str, ast.expr | ast.stmt]]:
    match node:
        case ast.Compare(left, [op], [right]) if type(op) in _COMPARED:
            yield node, "comparison", ast.Compare(left, [_COMPARED[type(op)]()], [right])
        case ast.BoolOp(op, values):
            yield node, "and/or", ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), values)
        case ast.UnaryOp(ast.Not(), operand):
            yield node, "not", operand
        case ast.BinOp(left, op, right) if type(op) in _COUNTED and not _is_text(left, right):
            yield node, "arithmetic", ast.BinOp(left, _COUNTED[type(op)](), right)
        case ast.Constant(bool() as value):
            yield node, "constant", ast.Constant(not value)
        case ast.Constant(int() | float() as value):
            yield node, "constant", ast.Constant(value + 1)
        case ast.Return(value) if value is not None and not (isinstance(value, ast.Constant) and value.value is None):
            yield node, "result dropped", ast.Return(ast.Constant(None))
        case ast.If(test=test) if not isinstance(test, ast.Compare | ast.BoolOp | ast.UnaryOp):
            yield test, "not", ast.UnaryOp(ast.Not(), test)


def _is_text(*parts: ast.expr) -> bool:
    return any(
        isinstance(p, ast.JoinedStr) or (isinstance(p, ast.Constant) and isinstance(p.value, str)) for p in parts
    )
