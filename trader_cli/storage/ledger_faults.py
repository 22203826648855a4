"""What can be wrong with the file of the ledger, told apart by what a person must do.

Every statement goes through a connection made here, so that a torn page, a folder in the file's place or a full disk is
one of our errors wherever it is met, and never sqlite's own.
"""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import tempfile
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trader_cli.core.errors import DataError
from trader_cli.settings.private import keep_private

if TYPE_CHECKING:
    from collections.abc import Iterator

REBUILD = "Run `trader ledger rebuild`."
_ROOM = "Free some disk."
_WRITABLE = "Make its folder writable again; `trader status` and `trader flatten` need neither."
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NOT_WRITABLE = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
_CHECKED_WHOLE = 4 << 20
_CHECKED = 32 << 20
"""Bytes up to which a ledger is looked through when it is opened: with its indexes, and without."""


_NO_SIDE_FILES = frozenset(
    {
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
    }
)
_ROOMY = ("/dev/shm",)  # noqa: S108
"""Where a copy may lie when there is no room for temporary files."""


class LedgerUnwritable(DataError):
    """The disk would not take a line of the ledger."""


class LedgerDamaged(DataError):
    """What lies where the ledger belongs cannot be read as one."""


Row = tuple[Any, ...]
"""A row as SQLite gives it: STRICT tables say what its columns are, whoever makes a value of it checks the rest."""


class GuardedCursor(sqlite3.Cursor):
    """A cursor whose errors are ours. Iterating takes all rows at once."""

    def execute(self, statement: str, values: Any = (), /) -> GuardedCursor:
        """One statement."""
        with guarded():
            super().execute(statement, values)
        return self

    def fetchone(self) -> Any:
        """The next row."""
        with guarded():
            return super().fetchone()

    def fetchall(self) -> list[Row]:
        """Every row that is left."""
        with guarded():
            return super().fetchall()

    def __iter__(self) -> Iterator[Row]:  # type: ignore[override]
        return iter(self.fetchall())


class GuardedConnection(sqlite3.Connection):
    """A connection to a ledger whose errors are ours."""

    def execute(self, statement: str, values: Any = (), /) -> GuardedCursor:
        """One statement."""
        return self.cursor(GuardedCursor).execute(statement, values)


@contextmanager
def guarded(path: Path | str = "") -> Iterator[None]:
    """Whatever sqlite or the file system cannot do in the block becomes `LedgerUnwritable` or `LedgerDamaged`.

    A broken rule of ours (a line changed, a missing intent) and a wrong statement stay what they are: bugs.
    """
    try:
        yield
    except (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.InterfaceError):
        raise
    except sqlite3.Error as error:
        raise _of_sqlite(error, path) from error
    except UnicodeDecodeError as error:
        raise LedgerDamaged(f"The ledger {path} cannot be read: {error.reason}.", hint=REBUILD) from error
    except OSError as error:
        raise of_the_disk(error, path) from error


def _of_sqlite(error: sqlite3.Error, path: Path | str) -> DataError:
    name = f"The ledger {path}".rstrip()
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
    if code in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}:
        return LedgerUnwritable(f"{name} cannot be written: {error}.", hint=_ROOM)
    if code == sqlite3.SQLITE_READONLY or (code == sqlite3.SQLITE_CANTOPEN and not _takes_files(path)):
        return LedgerUnwritable(f"{name} cannot be written: {error}.", hint=_WRITABLE)
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return LedgerUnwritable(f"{name} is in use: {error}.", hint="Try again in a moment.")
    return LedgerDamaged(f"{name} cannot be read: {error}.", hint=REBUILD)


def of_the_disk(error: OSError, path: Path | str) -> DataError:
    """The ledger's error for a file system's."""
    said = error.strerror or str(error)
    if error.errno in _NO_ROOM:
        return LedgerUnwritable(f"The ledger {path} cannot be written: {said}.", hint=_ROOM)
    if error.errno in _NOT_WRITABLE and not _takes_files(path):
        return LedgerUnwritable(f"The ledger {path} cannot be written: {said}.", hint=_WRITABLE)
    return LedgerDamaged(f"The ledger {path} cannot be read: {said}.", hint=REBUILD)


def _takes_files(path: Path | str) -> bool:
    """Whether the folder of a file can be written to, so that making the file again can help."""
    return os.access(Path(path).parent, os.W_OK)


def require_absent(path: Path) -> None:
    """Raises `LedgerDamaged` where no file is at `path` because what leads there is broken: that is not "no ledger"."""
    for part in (path, *path.parents):
        if part.is_dir():
            return
        if os.path.lexists(part):
            what = "leads nowhere" if part.is_symlink() else "is no folder"
            raise LedgerDamaged(
                f"The ledger {path} cannot be looked for: {part} {what}.",
                hint="Set state_dir to a folder that is there.",
            )


def file_at(path: Path) -> tuple[int, int] | None:
    """Which file lies at `path`; `None` if there is none. Raises `OSError` where that cannot be seen."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino


def is_another(path: Path, was: tuple[int, int]) -> bool:
    """Whether a file that was opened is there no more; a disk that does not say is told of by what fails on it."""
    with suppress(OSError):
        return file_at(path) != was
    return False


@contextmanager
def connection(path: Path, *, writing: bool) -> Iterator[GuardedConnection]:
    """A connection to the file at `path`, closed at the end; the file is looked through where that is cheap."""
    with guarded(path):
        if path.is_dir():
            raise LedgerDamaged(f"The ledger {path} cannot be read: it is a folder.", hint=REBUILD)
        where = str(path) if writing else f"{path.absolute().as_uri()}?mode=ro"
        made = sqlite3.connect(where, uri=not writing, isolation_level=None, factory=GuardedConnection)
    with closing(made) as db:
        with guarded(path):
            check(db, path)
        if writing:
            keep_private(path)
        yield db


@contextmanager
def reading(path: Path) -> Iterator[GuardedConnection]:
    """A connection for reading only.

    Where the folder is read-only or its disk full, sqlite lacks the file it keeps beside a ledger in use: then a copy
    is read.
    """
    with ExitStack() as stack:
        try:
            db = stack.enter_context(connection(path, writing=False))
        except DataError as error:
            if getattr(error.__cause__, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF not in _NO_SIDE_FILES:
                raise
            db = stack.enter_context(_copied(path, error))
        yield db


@contextmanager
def _copied(path: Path, first: DataError) -> Iterator[GuardedConnection]:
    """The file and its log as they are now, elsewhere. Raises `first` where there is no room for it."""
    with ExitStack() as stack:
        copy = next((made for folder in (None, *_ROOMY) if (made := _copy_in(folder, path, stack)) is not None), None)
        if copy is None:
            raise first
        yield stack.enter_context(connection(copy, writing=True))


def _copy_in(folder: str | None, path: Path, stack: ExitStack) -> Path | None:
    """A copy in a folder that goes when the stack is left; `None` if it cannot be made there."""
    with suppress(OSError):
        there = stack.enter_context(tempfile.TemporaryDirectory(dir=folder, ignore_cleanup_errors=True))
        copy = Path(there) / "ledger.sqlite"
        for ending in ("", "-wal"):
            if path.with_name(path.name + ending).exists():
                shutil.copyfile(path.with_name(path.name + ending), f"{copy}{ending}")
        return copy
    return None


def check(db: GuardedConnection, path: Path) -> None:
    """Look the file through. Raises `LedgerDamaged`."""
    size = path.stat().st_size if path.exists() else 0
    if size > _CHECKED:
        return
    kind = "integrity_check" if size <= _CHECKED_WHOLE else "quick_check"
    found = db.execute(f"PRAGMA {kind}(1)").fetchone()[0]
    if found != "ok":
        raise LedgerDamaged(f"The ledger {path} is damaged: {' '.join(str(found).split())}.", hint=REBUILD)
