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
    parts: list[bytes] = []
    for column in frame.iter_columns():
        parts.append(f"{column.name}:{column.dtype}".encode())
        parts.append(column.is_null().to_numpy().tobytes() if column.null_count() else b"")
        physical = column.to_physical()
        parts.append((physical.fill_null(0) if column.null_count() else physical).to_numpy().tobytes())
    return digest_bytes(*parts)
