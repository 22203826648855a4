"""Features as models read them: single precision, the same in training and live.

Bins, cuts and fitted families are made of these very numbers; a model is never shown a digit more than it learned from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Singles = NDArray[np.float32]
    Flags = NDArray[np.bool_]

_SINGLE = np.dtype(np.float32)
_AT_ONCE = 4096
"""Rows: a piece of them fits into a processor's cache."""


def as_read(x: Floats | Singles) -> Singles:
    """x in single precision, row by row in memory, same shape; what is beyond its range becomes infinite."""
    if x.dtype is _SINGLE and x.flags.c_contiguous:
        return x  # type: ignore[return-value]
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(x, dtype=np.float32)


def beside(x: Singles, columns: Floats | Singles) -> Singles:
    """Features (n, f) and further columns (n, e): (n, f + e), as read."""
    return np.hstack([x, as_read(columns)]) if columns.shape[1] else x


def read_complete(
    frame: pl.DataFrame, names: Sequence[str], wanted: Flags, looked: Flags, share: float
) -> tuple[Singles, Flags]:
    """(the wanted rows as read (m, f), piece by piece; which of the rows that are looked at have this share of the
    features known, (n,)).

    The wanted rows (n,) are among those that are looked at (n,); without that share they are left out. NaN where a
    value is unknown.
    """
    x = np.empty((int(wanted.sum()), len(names)), dtype=np.float32)
    complete, filled, columns = np.zeros(len(wanted), dtype=np.bool_), 0, frame.select(names)
    for first in range(0, len(wanted), _AT_ONCE):
        part = slice(first, first + _AT_ONCE)
        if not looked[part].any():
            continue
        piece = as_read(columns[part].to_numpy())
        complete[part] = looked[part] & (np.isfinite(piece).mean(axis=1) >= share)
        taken = piece[complete[part] & wanted[part]]
        x[filled : filled + len(taken)] = taken
        filled += len(taken)
    return x[:filled], complete
