"""Files of the state directory are their user's alone: what one trades and holds is nobody else's business."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

PRIVATE = 0o600
_BESIDE = ("", "-wal", "-shm", "-journal")
"""What sqlite keeps beside a file; it makes them with the rights of the file."""


def make_private(path: Path) -> None:
    """Make an empty file of mode 0600 where there is none. Raises `OSError`."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE))
    keep_private(path)


def keep_private(path: Path) -> None:
    """Take everybody else's rights from a file, and from what sqlite keeps beside it, where they are there.

    Files of earlier versions were readable by all. A disk that does not let one, or another's file, stays as it is.
    """
    for end in _BESIDE:
        with suppress(OSError):
            name = f"{path}{end}"
            mode = os.stat(name, follow_symlinks=False).st_mode  # noqa: PTH116 (of a link, not of what it names)
            if stat.S_ISREG(mode) and mode & 0o077:
                os.chmod(name, PRIVATE)  # noqa: PTH101
