"""Columns of numbers as short texts in a page: whole numbers of a decimal unit, their differences, deflated, in base64.

A browser gives them back exactly (`assets/unpack.js`): a price is so many ticks, and no digit of it is lost.
"""

from __future__ import annotations

import base64
import zlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from trader_cli.core.json_values import JsonObject

MISSING = -(2**31)
"""Stands for a number that is not there."""
_MOST = 2**31 - 2
_PLACES = 8


def decimal_places(values: NDArray[np.float64], most: int = _PLACES) -> int:
    """The fewest decimals that write each of these as it is, at most `most`, and so few that 32 bits hold them."""
    known = values[np.isfinite(values)]
    largest = float(np.abs(known).max(initial=0.0))
    fitting = [places for places in range(most + 1) if largest * 10.0**places <= _MOST]
    for places in fitting:
        if np.all(np.abs(np.round(known, places) - known) <= 4e-15 * np.abs(known)):
            return places
    return fitting[-1] if fitting else 0


def packed(
    values: NDArray[np.float64] | Sequence[float], places: int | None = None, *, steps: bool = True
) -> JsonObject:
    """A column (n,) as `{count, places, steps, z}`; NaN is kept. `steps`: differences, for what moves little by little.

    `places` None finds how many decimals the values have. Raises `ValueError` for what 32 bits do not hold.
    """
    column = np.asarray(values, dtype=np.float64)
    decimals = decimal_places(column) if places is None else places
    scaled = np.round(column * 10.0**decimals)
    if np.any(np.abs(scaled[np.isfinite(scaled)]) > _MOST):
        raise ValueError(f"a column of {decimals} decimals holds {np.nanmax(np.abs(column))}")
    whole = np.where(np.isfinite(scaled), scaled, MISSING).astype(np.int64)
    if steps:
        whole = np.diff(whole, prepend=0)
    planes = np.ascontiguousarray(whole.astype(np.int32)[:, None].view(np.uint8).reshape(-1, 4).T)
    deflated = base64.b64encode(zlib.compress(planes.tobytes(), 9)).decode()
    return {"count": len(column), "places": decimals, "steps": steps, "z": deflated}


def packed_words(words: Sequence[str | None]) -> JsonObject:
    """A column of texts as those there are, each once, and which stands where; None is kept."""
    known = sorted({word for word in words if word is not None})
    at = {word: number for number, word in enumerate(known)}
    return {"words": known, "at": packed([np.nan if word is None else at[word] for word in words], 0, steps=False)}
