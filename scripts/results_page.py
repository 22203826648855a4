"""Sections of docs/results.md, each written by what measured it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "results.md"
HEAD = "# Results\n\nWhat long targets have measured; each section says by what, when and on which commit.\n"


def write_section(title: str, text: str, page: Path = PAGE) -> None:
    """Put `text` under the heading `## title`, in place of what was there."""
    before = page.read_text("utf-8") if page.exists() else HEAD
    section = f"## {title}\n\n{text.strip()}\n"
    found = re.search(rf"^## {re.escape(title)}\n.*?(?=^## |\Z)", before, re.MULTILINE | re.DOTALL)
    if found:
        rest = before[found.end() :]
        whole = before[: found.start()] + section + ("\n" + rest if rest else "")
    else:
        whole = f"{before.rstrip()}\n\n{section}"
    page.write_text(whole, "utf-8")


def commit() -> str:
    """The commit that is measured, as git shortens it."""
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def table(head: list[str], rows: list[list[str]]) -> str:
    """A table whose first column is words and whose others are numbers."""
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
