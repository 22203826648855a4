"""Chunks of a download under way: what a killed fetch had, the next one goes on from."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from trader_cli.core.identity.digests import canonical_json
from trader_cli.core.identity.manifests import Chunk
from trader_cli.storage.files import write_atomic

if TYPE_CHECKING:
    from pathlib import Path

    from trader_cli.storage.artifacts import ArtifactStore


class Staging:
    """The list of chunks already stored for one series, in a file of its own. One process at a time uses it."""

    def __init__(self, store: ArtifactStore, name: str) -> None:
        self._path = store.root / "staging" / f"{name}.json"

    def chunks(self) -> list[Chunk]:
        """The chunks, in the order they were added; none where the list is missing or damaged."""
        return staged_chunks(self._path)

    def add(self, chunk: Chunk) -> None:
        """Remember a stored chunk."""
        listed = [asdict(known) for known in (*self.chunks(), chunk)]
        write_atomic(self._path, canonical_json(listed), durable=False)

    def clear(self) -> None:
        """Forget all of them: they are part of an artifact now."""
        self._path.unlink(missing_ok=True)


def staged_chunks(path: Path) -> list[Chunk]:
    """The chunks a staging file lists."""
    try:
        found = [Chunk(**body) for body in json.loads(path.read_bytes())]
    except (OSError, ValueError, TypeError):
        return []
    return found if all(map(_is_named, found)) else []


def _is_named(chunk: Chunk) -> bool:
    """Whether names are digests and numbers are numbers: a damaged list must not lead out of the store."""
    digests = isinstance(chunk.key, str) and isinstance(chunk.content, str)
    whole = all(isinstance(number, int) for number in (chunk.rows, chunk.first_ms, chunk.last_ms))
    return digests and whole and chunk.key.isalnum() and chunk.content.isalnum()
