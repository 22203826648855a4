"""What one process asks of the one that owns the ledger: files beside it, so that no lock can stand in the way."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from trader_cli.core.errors import DataError
from trader_cli.storage.files import write_atomic

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_BY_HAND = "by hand"


def ask(path: Path, what: str, reason: str, symbols: Sequence[str] = ()) -> None:
    """Ask for a "halt", a "reset" or a "flatten", with the reason; where the disk is full, without.

    `symbols`: of these alone. Raises `DataError` if no file can be left.
    """
    with suppress(OSError):
        path.with_suffix(f".{what}.ack").unlink()
    _leave(path.with_suffix(f".{what}"), "\n".join([" ".join(reason.split()) or _BY_HAND, *symbols]).encode())


def request_of(path: Path, what: str) -> str | None:
    """The reason given with what is asked for, if it is."""
    try:
        return path.with_suffix(f".{what}").read_text("utf-8", "replace").split("\n")[0] or _BY_HAND
    except FileNotFoundError:
        return None


def requested_symbols(path: Path, what: str) -> frozenset[str]:
    """The symbols it is asked for; empty: for all."""
    try:
        return frozenset(path.with_suffix(f".{what}").read_text("utf-8", "replace").split("\n")[1:])
    except OSError:
        return frozenset()


def forget_request(path: Path, what: str) -> None:
    """It has been done."""
    path.with_suffix(f".{what}").unlink(missing_ok=True)
    path.with_suffix(f".{what}.ack").unlink(missing_ok=True)


def acknowledge(path: Path, what: str) -> None:
    """The owner of the ledger says that it has seen what is asked for. A disk that takes nothing is borne."""
    said = json.dumps({"pid": os.getpid(), "at": time.time(), "request": _stamp(path, what)})
    with suppress(DataError):
        _leave(path.with_suffix(f".{what}.ack"), said.encode())


def is_acknowledged(path: Path, what: str) -> bool:
    """Whether the owner of the ledger has seen the request that stands now."""
    try:
        said = path.with_suffix(f".{what}.ack").read_text("utf-8")
        return not said or bool(json.loads(said)["request"] == _stamp(path, what))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _leave(path: Path, content: bytes) -> None:
    """Leave a file; an empty one where the disk is full, which has room for a name more often than for a word."""
    try:
        write_atomic(path, content)
    except DataError as full:
        try:
            path.write_bytes(b"")
        except OSError:
            raise full from None


def _stamp(path: Path, what: str) -> int:
    """Tells one request from the next; 0 if there is none."""
    try:
        return path.with_suffix(f".{what}").stat().st_mtime_ns
    except OSError:
        return 0
