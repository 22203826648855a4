"""Standard streams that cannot fail: closed, full, ASCII, or read by somebody who has had enough.

What is done is done, whoever reads of it: a line that cannot be written is dropped, and so are all after it.
"""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Buffer


class PatientFile(io.RawIOBase):
    """A descriptor that takes everything; what it cannot write is dropped, as if it were the null device."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor

    def write(self, content: Buffer, /) -> int:
        """How many bytes were taken: as many as the descriptor did, or all after it failed."""
        while True:
            try:
                return os.write(self._descriptor, content)
            except BlockingIOError:
                select.select([], [self._descriptor], [])
            except OSError as error:
                if error.errno != errno.EINTR:
                    self._point_at_nothing()
                    if self._descriptor == 1 and error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EIO}:
                        with suppress(OSError):
                            os.write(2, f"What was printed is lost: {error.strerror}.\n".encode())
                    return memoryview(content).nbytes

    def _point_at_nothing(self) -> None:
        """The same number, so that nothing that is opened later gets it and is written into."""
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, self._descriptor)
        os.close(nothing)

    def writable(self) -> bool:
        """Always."""
        return True

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor

    def isatty(self) -> bool:
        """Whether a person sees it."""
        return os.isatty(self._descriptor)


def make_patient() -> None:
    """Give the process standard streams that take everything, and every character."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest free number is this one: left free, the ledger could get it, and be printed into.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdout = _patient(1, getattr(sys.stdout, "encoding", None))
    sys.stderr = _patient(2, getattr(sys.stderr, "encoding", None))


def _patient(descriptor: int, encoding: str | None) -> io.TextIOWrapper:
    """A stream whose lines are out when they are written, so that who reads a pipe need not wait for its end."""
    buffered = io.BufferedWriter(PatientFile(descriptor))
    return io.TextIOWrapper(buffered, encoding=encoding or "utf-8", errors="backslashreplace", line_buffering=True)
