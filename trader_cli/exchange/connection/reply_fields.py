"""Numbers and truths in the fields of a reply. Each raises `ValueError` for what is none. Loads nothing heavy."""

from __future__ import annotations

import math
from decimal import Decimal, InvalidOperation
from typing import Any


def number(value: Any, *, above: float | None = None, least: float | None = None) -> float:
    """A finite float, above or at least a bound. Raises `ValueError`."""
    found = float(value)
    if not math.isfinite(found) or (above is not None and found <= above) or (least is not None and found < least):
        raise ValueError(f"out of range: {value!r}")
    return found


def decimal(value: Any) -> Decimal:
    """A finite decimal. Raises `ValueError`."""
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        raise ValueError(f"not a number: {value!r}") from None
    if not number.is_finite():
        raise ValueError(f"not a finite number: {value!r}")
    return number


def truth(value: Any) -> bool:
    """A boolean, written as one or as text. Raises `ValueError`."""
    if isinstance(value, bool):
        return value
    if str(value).lower() in {"true", "false"}:
        return str(value).lower() == "true"
    raise ValueError(f"not true or false: {value!r}")
