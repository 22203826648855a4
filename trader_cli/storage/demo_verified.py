"""Which versions of this program passed `verify` tier 2 on the exchange's demo trading: live waits for it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from trader_cli.storage.files import write_atomic

if TYPE_CHECKING:
    from pathlib import Path

TIER = 2
"""The tier that counts: the life of an order on demo trading."""


def record(state_dir: Path, version: str, at_ms: int) -> Path:
    """Write down that tier 2 passed on demo trading with this version; where."""
    path = _path(state_dir, version)
    write_atomic(path, json.dumps({"version": version, "tier": TIER, "passed": True, "at_ms": at_ms}).encode())
    return path


def is_verified(state_dir: Path, version: str) -> bool:
    """Whether a record says so. One that is missing, cannot be read or is of something else says nothing."""
    try:
        body = json.loads(_path(state_dir, version).read_bytes())
    except (OSError, ValueError):
        return False
    if not isinstance(body, dict):
        return False
    return (body.get("version"), body.get("tier"), body.get("passed")) == (version, TIER, True)


def _path(state_dir: Path, version: str) -> Path:
    return state_dir / "verified" / f"demo-{version}.json"
