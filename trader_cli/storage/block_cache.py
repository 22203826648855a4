"""The block cache: diskcache that holds bytes and nothing else. Pickles are refused on the way in and on the way out.

diskcache unpickles what it finds on disk (CVE-2025-69872); a `Disk` that never does makes the file harmless.
"""

from __future__ import annotations

import io
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import diskcache
import polars as pl

from trader_cli.core.errors import DataError, DataInvalid
from trader_cli.core.identity.digests import digest_bytes
from trader_cli.storage.inventory import BLOCK_CACHE_BYTES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[np.float64]]
    """Columns of equal length by name."""

_PLAIN = (bytes, str, int, float)
_SEAL = 32


class PlainDisk(diskcache.Disk):  # type: ignore[misc]
    """Stores bytes, text and numbers. Raises `DataInvalid` for anything that would need a pickle."""

    def put(self, key: object) -> object:
        _refuse_objects(key)
        return super().put(key)

    def get(self, key: object, raw: bool) -> object:
        if not raw:
            raise DataInvalid("The block cache holds a pickled key.", hint="Delete its folder; it will be made anew.")
        return super().get(key, raw)

    def store(self, value: object, read: bool, key: object = diskcache.UNKNOWN) -> object:
        if not read:
            _refuse_objects(value)
        return super().store(value, read, key=key)

    def fetch(self, mode: int, filename: str | None, value: object, read: bool) -> object:
        if mode == diskcache.core.MODE_PICKLE:
            raise DataInvalid("The block cache holds a pickle.", hint="Delete its folder; it will be made anew.")
        return super().fetch(mode, filename, value, read)


def _refuse_objects(value: object) -> None:
    if not isinstance(value, _PLAIN):
        raise DataInvalid(f"The block cache stores bytes, text and numbers; got {type(value).__name__}.")


def _sealed(digest: str, content: bytes) -> bytes:
    """What a stored value begins with: a digest of its name and content."""
    return digest_bytes(digest.encode(), content).encode()


class BlockCache:
    """Named float arrays by digest, kept in a diskcache folder of its own (mode 0700)."""

    def __init__(self, folder: str | Path) -> None:
        path = Path(folder).expanduser()
        try:
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(0o700)
            self._cache = diskcache.Cache(
                str(path), disk=PlainDisk, eviction_policy="least-recently-used", size_limit=BLOCK_CACHE_BYTES
            )
        except (sqlite3.Error, OSError) as error:
            raise DataError(
                f"The block cache {path} cannot be used: {error}.", hint="Delete the folder; it will be made anew."
            ) from error
        self.hits = 0
        self.misses = 0

    def get(self, digest: str) -> Arrays | None:
        """The arrays stored under `digest`, or `None` where there are none or they are not what was stored."""
        content = self._content(digest)
        if content is None:
            self.misses += 1
            return None
        self.hits += 1
        frame = pl.read_ipc(io.BytesIO(content))
        return {column.name: column.to_numpy() for column in frame.iter_columns()}

    def _content(self, digest: str) -> bytes | None:
        try:
            stored = self._cache.get(digest)
        except (DataInvalid, sqlite3.Error, OSError):
            return None
        if not isinstance(stored, bytes) or len(stored) <= _SEAL:
            return None
        seal, content = stored[:_SEAL], stored[_SEAL:]
        return content if seal == _sealed(digest, content) else None

    def put(self, digest: str, arrays: Arrays) -> None:
        """Store arrays of equal length; NaN stays NaN."""
        buffer = io.BytesIO()
        pl.DataFrame(arrays).write_ipc(buffer, compression="lz4")
        content = buffer.getvalue()
        with suppress(sqlite3.Error, OSError):  # a cache that cannot be written costs time, not truth
            self._cache.set(digest, _sealed(digest, content) + content)

    def cull(self) -> None:
        """Forget what has been used least recently, down to the size limit."""
        with suppress(sqlite3.Error, OSError):
            self._cache.cull()

    def close(self) -> None:
        """Close the cache's database."""
        self._cache.close()
