"""Files that are whole or not there: atomic writes and locks between processes."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import tempfile
import time
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from trader_cli.core.errors import DataError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from typing import IO

    from trader_cli.core.ports import Clock

_ASKED_AGAIN_S = 0.05


PART = ".part-"
"""What the name of everything begins with that is not whole yet."""
WORK = "work-"


def write_atomic(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write `path` so that a reader sees the old file or the new one, never a part. Raises `DataError` on a full disk.

    `durable` waits for the disk; what can be made again, and is checked when read, need not.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=PART, dir=path.parent)
    except OSError as error:
        raise DataError(f"Cannot write {path}: {error.strerror}.", hint="Nothing was changed.") from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        Path(temporary).replace(path)
    except OSError as error:
        raise DataError(f"Cannot write {path}: {error.strerror}.", hint="Nothing was changed.") from error
    finally:
        Path(temporary).unlink(missing_ok=True)


@contextmanager
def exclusive(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the lock file `path`; calls `waiting` once if another process holds it, then waits for that one to end.

    The file's time of change is when the lock was taken: what its holder writes is younger (`storage.sweeping`).
    """
    with _opened(path) as file:
        if not _taken(file):
            waiting()
            fcntl.flock(file, fcntl.LOCK_EX)
        os.utime(path)
        yield


def is_held(path: Path) -> bool:
    """Whether some process, this one included, holds the lock file `path`."""
    try:
        opened = path.open("r")
    except OSError:
        return False
    with opened as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def freshen(path: Path) -> bool:
    """Make `path` as young as if it had been written now, for it is used again; False if it is not there."""
    try:
        os.utime(path)
    except OSError:
        return path.exists()
    return True


def remove_folder(folder: Path) -> None:
    """Remove a folder with all that is in it so that nobody sees a part of it under its name, also after a kill."""
    leaving = folder if folder.name.startswith(PART) else Path(tempfile.mkdtemp(prefix=PART, dir=folder.parent))
    if leaving != folder:
        folder.rename(leaving)
    shutil.rmtree(leaving)


@contextmanager
def at_work(folder: Path) -> Iterator[None]:
    """Say, by a lock file of one's own in `folder`, that things are being made that nothing refers to yet."""
    path = folder / f"{WORK}{os.getpid()}-{os.urandom(6).hex()}.lock"
    with exclusive(path, lambda: None):
        try:
            yield
        finally:
            with suppress(OSError):
                path.unlink()


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
        os.utime(path)
        yield


def _opened(path: Path) -> IO[str]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("a")
    except OSError as error:
        raise DataError(f"Cannot use {path}: {error.strerror}.", hint="Check cache_dir.") from error


def _taken(file: IO[str]) -> bool:
    """Whether the lock on an open file is ours now."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
