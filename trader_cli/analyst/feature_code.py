"""The name of the code that makes features and evaluates rules."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import trader_cli.core
import trader_cli.features
from trader_cli.core.identity.digests import digest_bytes
from trader_cli.features.library_versions import library_versions


@lru_cache(maxsize=1)
def feature_code_digest() -> str:
    """The digest of the code that makes features, and of the versions of the libraries under it."""
    files = [
        path
        for package in (trader_cli.core, trader_cli.features)
        for path in sorted(Path(package.__path__[0]).rglob("*.py"))
    ]
    return digest_bytes(*(path.read_bytes() for path in files), *map(str.encode, library_versions().values()))
