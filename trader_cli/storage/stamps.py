"""Stamps: what a stage came to, beside the digest of all it depended on, so that it need not be looked into again.

    root/stamps/<profile>/<symbol>/<timeframe>/<stage>.json

A stamp is no artifact: without it, or where it is damaged or of something else, the stage does its work.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING

from trader_cli.core.errors import DataError
from trader_cli.core.identity.digests import canonical_json, digest_value
from trader_cli.core.json_values import object_of
from trader_cli.storage.files import write_atomic

if TYPE_CHECKING:
    from pathlib import Path

    from trader_cli.core.identity.manifests import ArtifactKey
    from trader_cli.core.json_values import JsonObject

STAMPS = "stamps"


def read_stamp(root: Path, key: ArtifactKey, requested: str) -> JsonObject | None:
    """What the stage came to when it depended on just this; `None` where nobody knows."""
    try:
        written = object_of(json.loads(_path(root, key).read_bytes()))
        found = object_of(written["found"])
        whole = written["digest"] == digest_value([requested, found])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if whole else None


def write_stamp(root: Path, key: ArtifactKey, requested: str, found: JsonObject) -> None:
    """Remember what the stage came to; a disk that takes nothing more is no trouble of the stage."""
    with suppress(DataError):
        body = {"digest": digest_value([requested, found]), "found": found}
        write_atomic(_path(root, key), canonical_json(body), durable=False)


def _path(root: Path, key: ArtifactKey) -> Path:
    return root / STAMPS / key.profile / key.symbol / key.timeframe / f"{key.stage}.json"
