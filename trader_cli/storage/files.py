"""Files that are whole or not there: atomic writes and locks between processes."""

from __future__ import annotations

import asyncio
import fcntl
import os
import tempfile
import time
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from trader_cli.core.errors import DataError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from typing import IO

    from trader_cli.core.ports import Clock

_ASKED_AGAIN_S = 0.05


def write_atomic(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write `path` so that a reader sees the old file or the new one, never a part. Raises `DataError` on a full disk.

    `durable` waits for the disk; what can be made again, and is checked when read, need not.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=".part-", dir=path.parent)
    except OSError as error:
        raise DataError(f"Cannot write {path}: {error.strerror}.", mend="Nothing was changed.") from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        Path(temporary).replace(path)
    except OSError as error:
        raise DataError(f"Cannot write {path}: {error.strerror}.", mend="Nothing was changed.") from error
    finally:
        Path(temporary).unlink(missing_ok=True)


@contextmanager
def exclusive(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the lock file `path`; calls `waiting` once if another process holds it, then waits for that one to end."""
    with _opened(path) as file:
        if not _taken(file):
            waiting()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@asynccontextmanager
async def exclusive_among(path: Path, clock: Clock, waiting: Callable[[], None]) -> AsyncIterator[None]:
    """`exclusive` among tasks: others go on while this one waits, and it can be cancelled.

    The process that holds the lock lives in real time, whatever `clock` shows; that one stands still meanwhile.
    """
    with _opened(path) as file:
        if not _taken(file):
            waiting()
            with clock.held():
                while not _taken(file):
                    await asyncio.to_thread(time.sleep, _ASKED_AGAIN_S)
        yield


def _opened(path: Path) -> IO[str]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("a")
    except OSError as error:
        raise DataError(f"Cannot use {path}: {error.strerror}.", mend="Check cache_dir.") from error


def _taken(file: IO[str]) -> bool:
    """Whether the lock on an open file is ours now."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
