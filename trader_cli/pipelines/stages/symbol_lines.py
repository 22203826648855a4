"""A file of symbols, read line by line as editors and spreadsheets write it: what is wrong is told with its line."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trader_cli.core.errors import UsageError
from trader_cli.core.market.symbols import symbol_of

if TYPE_CHECKING:
    from pathlib import Path

_BETWEEN = re.compile(r"[,;\"']")
"""What spreadsheets put between and around words."""


@dataclass(frozen=True)
class SymbolLine:
    """What a line says, one word at least, and where it stands."""

    file: Path
    number: int
    words: tuple[str, ...]

    @property
    def place(self) -> str:
        """`mine.txt, line 3`."""
        return f"{self.file}, line {self.number}"

    def symbol(self, word: str) -> str:
        """A word as a symbol. Raises `UsageError` with the place for what cannot be one."""
        try:
            return symbol_of(word)
        except UsageError as error:
            raise UsageError(f"{self.place}: {error.sentence}", hint=error.hint) from None


def symbol_lines(file: Path) -> list[SymbolLine]:
    """The lines that say something; `#` begins a comment. Raises `UsageError` for a file that cannot be read."""
    try:
        text = _as_text(file.expanduser().read_bytes())
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"The file of symbols {file} cannot be read: {error}.", hint="Name a text file with one symbol a line."
        ) from error
    said = (_BETWEEN.sub(" ", line.partition("#")[0]).split() for line in text.splitlines())
    return [SymbolLine(file, number, tuple(words)) for number, words in enumerate(said, 1) if words]


def _as_text(content: bytes) -> str:
    """UTF-8, or UTF-16 where its mark says so, as editors and spreadsheets write it; the marks are no part of it."""
    utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if utf16 else "utf-8").replace("\ufeff", "")
