"""Who owns a ledger: a lock the kernel keeps until the process ends, and a record of which process that is.

The lock file lies beside the ledger. Its record holds pid, start time, machine and command of the owner, and an epoch
that grows by one with each owner. The record has one length, so that it can be written anew on a full disk.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from trader_cli.core.errors import DataError, LedgerLocked
from trader_cli.settings.private import PRIVATE, keep_private

if TYPE_CHECKING:
    from types import TracebackType

_LENGTH = 1024
_COMMAND = 240
_TRIES, _BETWEEN_S = 6, 0.03
_HELD = frozenset({errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES})
_NOT_WRITABLE = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})


@dataclass(frozen=True)
class Owner:
    """A process that owns a ledger; pid 0 if the last owner left. `started` tells it from a later one of this pid."""

    pid: int
    started: str
    command: str
    epoch: int
    host: str = ""

    @property
    def is_here(self) -> bool:
        """Whether it runs on this machine, as far as is known."""
        return self.host in {"", socket.gethostname()}

    @property
    def is_alive(self) -> bool:
        """Whether this very process, no later one of its pid, is there; only told of one on this machine."""
        return self.pid > 0 and self.is_here and bool(self.started) and start_of(self.pid) == self.started

    def __str__(self) -> str:
        where = "" if self.is_here else f" on {self.host}"
        return f"{self.pid or '(pid unknown)'} ({self.command or 'command unknown'}){where}"


class OwnerLock:
    """The ownership of a ledger, held until `release` or the end of the process."""

    def __init__(self, file: int, path: Path, record: Owner) -> None:
        self._file, self._path, self._record = file, path, record
        self._told: Owner | None = record

    @classmethod
    def acquire(cls, path: Path, command: str) -> OwnerLock:
        """Own the ledger at `path`. Raises `LedgerLocked` naming the owner, `DataError` if no lock can be made."""
        lock = lock_file(path)
        try:
            file = _opened(lock)
        except OSError as error:
            raise DataError(
                f"The lock {lock} of the ledger cannot be used: {error.strerror}.",
                hint="Its folder must be there and writable.",
            ) from error
        if not _flocked(file, fcntl.LOCK_EX, tries=_TRIES):
            os.close(file)
            raise LedgerLocked(str(path), str(recorded(path) or "(pid unknown)"))
        before = recorded(path)
        epoch = 1 + (before.epoch if before else 0)
        owned = cls(file, path, Owner(os.getpid(), start_of(os.getpid()), command, epoch, socket.gethostname()))
        if not _written(file, owned._record):
            # A full or read-only disk: the lock is ours all the same, until somebody writes another record.
            owned._told = recorded(path)
        return owned

    @property
    def epoch(self) -> int:
        """Which owner this is, counted from the first."""
        return self._record.epoch

    def is_current(self) -> bool:
        """Whether nobody has taken over: the record is as this owner left it. Read from the disk at each call.

        Whoever takes over writes the record, so that a lock file that is gone, or a disk that cannot be read, has no
        new owner in it.
        """
        try:
            found = _read(lock_file(self._path))
        except OSError:
            return True
        return found == self._told

    def release(self) -> None:
        """Leave; the epoch stays for the next owner."""
        if self._file < 0:
            return
        if self.is_current():
            _written(self._file, replace(self._record, pid=0, started=""))
        os.close(self._file)
        self._file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def owner_of(path: Path) -> Owner | None:
    """Who owns the ledger at `path`; `None` if nobody does."""
    try:
        file = os.open(lock_file(path), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if _flocked(file, fcntl.LOCK_SH):
            return None
    finally:
        os.close(file)
    return recorded(path) or Owner(0, "", "", 0)


def recorded(path: Path) -> Owner | None:
    """What the lock's record says, whether its owner is there or not; `None` if there is nothing to be read."""
    with suppress(OSError):
        return _read(lock_file(path))
    return None


def supersede(path: Path) -> bool:
    """Write a new epoch over an owner that cannot be ended, so that it sends nothing more. Whether it was written."""
    before = recorded(path) or Owner(0, "", "", 0)
    try:
        file = os.open(lock_file(path), os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return _written(file, replace(before, epoch=before.epoch + 1))
    finally:
        os.close(file)


def lock_file(path: Path) -> Path:
    """The lock of the ledger at `path`."""
    return path.with_suffix(".lock")


def this_command() -> str:
    """The command line of this process, as a person typed it."""
    return " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])[:_COMMAND] if sys.argv else "python"


def start_of(pid: int) -> str:
    """When a process began, as its system tells it; empty if there is no such process."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except FileNotFoundError:
        return "" if Path("/proc/self/stat").exists() else _start_by_ps(pid)
    except OSError:
        return ""
    return "" if after_name[0] in "ZX" else after_name[19]


def _start_by_ps(pid: int) -> str:
    shown = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)  # noqa: S603, S607
    return shown.stdout.strip()


def _opened(lock: Path) -> int:
    """The lock file, made if it is not there; for reading only on a disk that is."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        keep_private(lock)
        return os.open(lock, flags, PRIVATE)
    except OSError as error:
        if error.errno not in _NOT_WRITABLE:
            raise
    return os.open(lock, os.O_RDONLY | os.O_CLOEXEC)


def _flocked(file: int, kind: int, *, tries: int = 1) -> bool:
    """Whether the lock was had. Somebody who only looks holds it for a moment, so that one tries again."""
    for number in range(tries):
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _HELD:
                raise
        else:
            return True
        if number + 1 < tries:
            time.sleep(_BETWEEN_S)
    return False


def _written(file: int, owner: Owner) -> bool:
    """Whether the record is on disk."""
    line = json.dumps(asdict(owner)).encode()
    if len(line) >= _LENGTH:
        line = json.dumps(asdict(replace(owner, command=""))).encode()
    try:
        os.pwrite(file, line.ljust(_LENGTH - 1) + b"\n", 0)
        os.fsync(file)
    except OSError:
        return False
    return True


def _read(lock: Path) -> Owner | None:
    """The record; `None` if it is empty or cannot be understood. Raises `OSError` if it cannot be read."""
    try:
        return Owner(**json.loads(lock.read_bytes()[:_LENGTH]))
    except (ValueError, TypeError):
        return None
