"""The program's own source, parsed once for all tests that read it."""

from __future__ import annotations

import ast
from functools import cache


@cache
def parsed(source: str) -> ast.Module:
    """The tree of a source text; shared, so only to be looked at."""
    return ast.parse(source)
