"""Digests: the names of content. Equal values give equal digests on every machine and in every run."""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

_SIZE = 16


def digest_bytes(*parts: bytes) -> str:
    """Hex digest (32 characters) of byte strings, each prefixed by its length so that boundaries count."""
    state = blake2b(digest_size=_SIZE)
    for part in parts:
        state.update(len(part).to_bytes(8, "big"))
        state.update(part)
    return state.hexdigest()


def digest_value(value: Any) -> str:
    """Hex digest of a JSON-able value; the order of mapping keys does not matter, NaN is refused."""
    return digest_bytes(canonical_json(value))


def canonical_json(value: Any) -> bytes:
    """The one JSON text of a value: sorted keys, no white space, no NaN (ValueError)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def digest_frame(frame: pl.DataFrame) -> str:
    """Hex digest of a frame of numbers and times: column names, types, values and nulls, in order."""
    return FrameRows(frame).digest(0, frame.height)


class FrameRows:
    """A frame of numbers and times as rows of bytes, so that digests of many overlapping spans of it are cheap."""

    def __init__(self, frame: pl.DataFrame) -> None:
        import numpy as np

        self._header = canonical_json([[column.name, str(column.dtype)] for column in frame.iter_columns()])
        parts = []
        for column in frame.iter_columns():
            physical = column.to_physical()
            values = (physical.fill_null(0) if physical.null_count() else physical).to_numpy()
            parts.append(np.ascontiguousarray(values).view(np.uint8).reshape(frame.height, -1))
            parts.append(column.is_null().to_numpy().astype(np.uint8).reshape(frame.height, 1))
        self._rows = np.concatenate(parts, axis=1) if parts else np.empty((0, 0), dtype=np.uint8)

    def digest(self, first: int, stop: int) -> str:
        """The digest of rows first to stop, as that of a frame of just these."""
        return digest_bytes(self._header, self._rows[first:stop].tobytes())
