"""The versions of what can change a column besides its family and the bars."""

from __future__ import annotations

from functools import lru_cache
from importlib.metadata import version

from trader_cli import __version__

_LIBRARIES = ("numpy", "polars", "PyWavelets", "TA-Lib")


@lru_cache(maxsize=1)
def library_versions() -> dict[str, str]:
    """By name of the package; ours is `trader`."""
    return {"trader": __version__, **{name: version(name) for name in _LIBRARIES}}
