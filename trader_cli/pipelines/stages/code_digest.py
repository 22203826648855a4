"""Which code decided and filled: a digest of the rooms that a backtest's result depends on, and of their libraries."""

from __future__ import annotations

from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

import trader_cli
from trader_cli.core.identity.digests import digest_bytes, digest_value

ROOMS = ("core", "settings", "features", "venue", "exchange", "execution", "analyst", "tactician", "backtest")
_LIBRARIES = ("lightgbm", "numpy", "polars", "PyWavelets", "TA-Lib")


@lru_cache(maxsize=1)
def code_digest() -> str:
    """Of this process, which does not change while it runs."""
    root = Path(trader_cli.__file__).parent
    files = sorted(file for room in ROOMS for file in (root / room).rglob("*.py"))
    sources = [[file.relative_to(root).as_posix(), digest_bytes(file.read_bytes())] for file in files]
    return digest_value([trader_cli.__version__, {name: version(name) for name in _LIBRARIES}, sources])
