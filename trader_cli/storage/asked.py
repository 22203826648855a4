"""What one process asks of the one that owns the ledger: files beside it, so that no lock can stand in the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trader_cli.storage.files import write_atomic

if TYPE_CHECKING:
    from pathlib import Path


def ask(path: Path, what: str, reason: str) -> None:
    """Ask for a "halt", a "reset" or a "flatten", with the reason."""
    write_atomic(path.with_suffix(f".{what}"), (reason or "by hand").encode())


def asked_of(path: Path, what: str) -> str | None:
    """The reason given with what is asked for, if it is."""
    try:
        return path.with_suffix(f".{what}").read_text("utf-8")
    except FileNotFoundError:
        return None


def forget_asked(path: Path, what: str) -> None:
    """It has been done."""
    path.with_suffix(f".{what}").unlink(missing_ok=True)
