"""The libraries under a feature column: what was made with other versions of them may hold other numbers."""

from __future__ import annotations

from functools import lru_cache
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@lru_cache(maxsize=1)
def made_with() -> dict[str, str]:
    """The libraries whose version can change a column: TA-Lib's MFI differs by 12 points between 0.6.8 and 0.8.2."""
    return {name: version(name) for name in ("numpy", "PyWavelets", "TA-Lib")}


def otherwise_than(theirs: Mapping[str, str]) -> str | None:
    """How the libraries something was made with differ from those here, in words; `None` where they do not."""
    if not theirs:
        return "an earlier version of trader, which did not note its libraries"
    here = made_with()
    others = [f"{name} {theirs.get(name)} (here {here[name]})" for name in here if theirs.get(name) != here[name]]
    return " and ".join(others) or None
