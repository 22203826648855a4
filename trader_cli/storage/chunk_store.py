"""Immutable chunks of frames on disk, named by what they were made from and what they hold; each read is checked."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from trader_cli.core.errors import DataInvalid
from trader_cli.core.identity.digests import digest_bytes, digest_value
from trader_cli.core.identity.manifests import Chunk
from trader_cli.storage.files import freshen, write_atomic

if TYPE_CHECKING:
    from collections.abc import Iterable

    import polars as pl


REMEMBERED_BYTES = 256 << 20
_REMEMBERED_ROWS = 10_000
"""Larger chunks are read again when they are wanted again: years of minute bars do not stay in memory."""


class ChunkStore:
    """Chunks under one root folder. They never change, so those read or found once are remembered."""

    def __init__(self, root: str | Path, remembered_bytes: int = REMEMBERED_BYTES) -> None:
        self.root = Path(root).expanduser()
        self._remembered_bytes = remembered_bytes
        self._found: dict[str, Chunk] = {}
        self._told: dict[str, Chunk] = {}
        self._frames: dict[str, pl.DataFrame] = {}
        self._held_bytes = 0
        self._remembering = Lock()

    def chunk_path(self, key: str, content: str) -> Path:
        """Where the chunk of this key and content digest lies."""
        return self.root / "chunks" / key[:2] / f"{key}.{content}.parquet"

    def put_chunk(self, key: str, frame: pl.DataFrame) -> Chunk:
        """Store a non-empty frame whose first column is a time; damaged files of the same key go."""
        written = _parquet(frame)
        return self._put(key, digest_bytes(written), written, frame)

    def put_rows(self, stage: str, frame: pl.DataFrame) -> Chunk:
        """Store a non-empty frame of a raw series, named by nothing but what it holds."""
        written = _parquet(frame)
        content = digest_bytes(written)
        return self._put(digest_value([stage, content]), content, written, frame)

    def _put(self, key: str, content: str, written: bytes, frame: pl.DataFrame) -> Chunk:
        path = self.chunk_path(key, content)
        if _content_of(path) != content or not freshen(path):
            write_atomic(path, written, durable=False)
        for other in self._content_named(key):
            if other != content:
                self.chunk_path(key, other).unlink(missing_ok=True)
        times = frame.to_series(0).to_physical()
        self._found[key] = Chunk(key, content, frame.height, int(times[0]), int(times[-1]))
        return self._found[key]

    def holds(self, chunk: Chunk) -> bool:
        """Whether the file of a chunk is there and what its manifest says."""
        known = self._found.get(chunk.key)
        if known is None or known.content != chunk.content:
            path = self.chunk_path(chunk.key, chunk.content)
            if _content_of(path) != chunk.content or not freshen(path):
                return False
            self._found[chunk.key] = chunk
        return True

    def find_chunk(self, key: str) -> Chunk | None:
        """The chunk of this key if there is one whose bytes are those that were written. It counts as used now."""
        known = self._found.get(key) or self._searched(key)
        if known is None or not freshen(self.chunk_path(key, known.content)):
            self._found.pop(key, None)
            return None
        self._found[key] = known
        return known

    def tell(self, chunks: Iterable[Chunk]) -> None:
        """What a manifest says of its chunks: where one of them is found, it need not be opened to know its span."""
        self._told.update((chunk.key, replace(chunk, part="")) for chunk in chunks)

    def _searched(self, key: str) -> Chunk | None:
        for content in self._content_named(key):
            path = self.chunk_path(key, content)
            if _content_of(path) == content:
                told = self._told.get(key)
                return told if told is not None and told.content == content else _chunk_at(path, key, content)
        return None

    def _content_named(self, key: str) -> list[str]:
        """The digests in the names of a key's files."""
        try:
            names = [path.name for path in (self.root / "chunks" / key[:2]).iterdir()]
        except (FileNotFoundError, NotADirectoryError):
            return []
        begin, end = f"{key}.", ".parquet"
        return sorted(name[len(begin) : -len(end)] for name in names if name.startswith(begin) and name.endswith(end))

    def read_chunk(self, chunk: Chunk, columns: tuple[str, ...] | None = None) -> pl.DataFrame:
        """The frame of a chunk, or some of its columns.

        Raises `DataInvalid` if the file is missing or not what the manifest says.
        """
        known = self._frames.get(chunk.content)
        if known is not None:
            return known if columns is None else known.select(columns)
        frame = self._frame(chunk, columns)
        if columns is None and chunk.rows <= _REMEMBERED_ROWS:
            self._remember(chunk.content, frame)
        return frame

    def _remember(self, content: str, frame: pl.DataFrame) -> None:
        with self._remembering:
            if content not in self._frames:
                self._frames[content] = frame
                self._held_bytes += int(frame.estimated_size())
            while self._held_bytes > self._remembered_bytes:
                self._held_bytes -= int(self._frames.pop(next(iter(self._frames))).estimated_size())

    def _frame(self, chunk: Chunk, columns: tuple[str, ...] | None) -> pl.DataFrame:
        import polars as pl

        path = self.chunk_path(chunk.key, chunk.content)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise DataInvalid(f"The artifact file {path} cannot be read: {error.strerror}.") from error
        if digest_bytes(content) != chunk.content:
            raise DataInvalid(f"The artifact file {path} is corrupt: it is not what its manifest describes.")
        return pl.read_parquet(io.BytesIO(content), columns=None if columns is None else list(columns))


def _parquet(frame: pl.DataFrame) -> bytes:
    """The bytes of a frame; the same however it was put together in memory."""
    buffer = io.BytesIO()
    frame.rechunk().write_parquet(buffer, compression="lz4", statistics=True)
    return buffer.getvalue()


def _chunk_at(path: Path, key: str, content: str) -> Chunk:
    """What a file whose bytes are right says itself."""
    import polars as pl

    times = pl.read_parquet(path, columns=[0]).to_series().to_physical()
    return Chunk(key, content, len(times), int(times[0]), int(times[-1]))


def _content_of(path: Path) -> str | None:
    """The digest of a file's bytes, or `None` if it cannot be read."""
    try:
        return digest_bytes(path.read_bytes())
    except OSError:
        return None
