"""Digests: the names of content. Equal values give equal digests on every machine and in every run."""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    Bytes = NDArray[np.uint8]

_SIZE = 16
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest_bytes(*parts: bytes) -> str:
    """Hex digest (32 characters) of byte strings, each prefixed by its length so that boundaries count."""
    state = blake2b(digest_size=_SIZE)
    for part in parts:
        state.update(len(part).to_bytes(8, "big"))
        state.update(part)
    return state.hexdigest()


def digest_value(value: object) -> str:
    """Hex digest of a JSON-able value; the order of mapping keys does not matter, NaN is refused."""
    return digest_bytes(canonical_json(value))


def canonical_json(value: object) -> bytes:
    """The one JSON text of a value: sorted keys, no white space, no NaN (ValueError)."""
    return _CANONICAL.encode(value).encode()


def digest_frame(frame: pl.DataFrame) -> str:
    """Hex digest of a frame of numbers and times: column names, types, values and nulls, in order."""
    return FrameRows(frame).digest(0, frame.height)


class FrameRows:
    """A frame of numbers and times as rows of bytes, so that digests of many overlapping spans of it are cheap."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self._rows_of = {column.name: _column_rows(column) for column in frame.iter_columns()}
        self._types = {column.name: str(column.dtype) for column in frame.iter_columns()}
        self._rows = self._joined(frame.columns)
        self._header = self._named(frame.columns)

    def only(self, names: Sequence[str]) -> FrameRows:
        """The same rows of just these columns, in this order."""
        part = object.__new__(FrameRows)
        part._rows_of, part._types = self._rows_of, self._types
        part._rows, part._header = self._joined(names), self._named(names)
        return part

    def digest(self, first: int, stop: int) -> str:
        """The digest of rows first to stop, as that of a frame of just these."""
        return digest_bytes(self._header, self._rows[first:stop].tobytes())

    def _joined(self, names: Sequence[str]) -> Bytes:
        import numpy as np

        parts = [part for name in names for part in self._rows_of[name]]
        return np.concatenate(parts, axis=1) if parts else np.empty((0, 0), dtype=np.uint8)

    def _named(self, names: Sequence[str]) -> bytes:
        return canonical_json([[name, self._types[name]] for name in names])


def _column_rows(column: pl.Series) -> tuple[Bytes, Bytes]:
    """Values and nulls of a column, one row of bytes each."""
    import numpy as np

    physical = column.to_physical()
    values = (physical.fill_null(0) if physical.null_count() else physical).to_numpy()
    nulls = column.is_null().to_numpy() if column.null_count() else np.zeros(len(column), dtype=np.bool_)
    return (
        np.ascontiguousarray(values).view(np.uint8).reshape(len(column), -1),
        nulls.view(np.uint8).reshape(len(column), 1),
    )
