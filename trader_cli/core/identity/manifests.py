"""What describes an artifact: its key, its chunks and its manifest. Values only; `storage.artifacts` keeps them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from trader_cli.core.identity.digests import digest_value
from trader_cli.core.json_values import built, items_of, object_of, objects_of, whole_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trader_cli.core.json_values import JsonObject

MANIFEST_SCHEMA = 1


def another_version(found: object, read: int) -> str:
    """Who wrote an artifact of another schema, in words."""
    known = isinstance(found, int) and not isinstance(found, bool)
    which = "a later" if known and found > read else "an earlier"  # type: ignore[operator]
    return f"{which} version of trader (schema {found if known else 'unknown'}; this one reads {read})"


@dataclass(frozen=True)
class ArtifactKey:
    """Where a reference to the current artifact of a stage is found."""

    profile: str
    symbol: str
    timeframe: str
    stage: str

    def __str__(self) -> str:
        return f"{self.profile}/{self.symbol}/{self.timeframe}/{self.stage}"


@dataclass(frozen=True)
class Chunk:
    """One immutable Parquet file. `key` is what it was made from, `content` the digest of its bytes.

    Chunks of one `part` follow each other in time; an artifact with several parts has its columns side by side.
    """

    key: str
    content: str
    rows: int
    first_ms: int
    last_ms: int
    part: str = ""


_CHUNK = tuple(Chunk.__dataclass_fields__)


@dataclass(frozen=True)
class Manifest:
    """The description of one artifact. Its digest is its name.

    `source` says whose market it is (`binance-um`, or a tape's name and digest); `inputs` maps the names of the
    artifacts it was made from to their digests; `notes` holds what a person wants to know (gaps, column counts).
    """

    stage: str
    producer: str
    source: str
    symbol: str
    timeframe: str
    settings: str
    inputs: dict[str, str] = field(default_factory=dict)
    chunks: tuple[Chunk, ...] = ()
    rows: int = 0
    first_ms: int | None = None
    last_ms: int | None = None
    gaps: tuple[tuple[int, int, int], ...] = ()
    notes: JsonObject = field(default_factory=dict)
    schema: int = MANIFEST_SCHEMA

    @cached_property
    def digest(self) -> str:
        """The manifest's name."""
        return digest_value(self.as_dict())

    @property
    def quality(self) -> dict[str, int]:
        """How many bars the findings of each kind of the data-quality report hold; empty where there is none."""
        return {kind: whole_of(bars) for kind, bars in object_of(self.notes.get("quality", {})).items()}

    def tail(self, rows: int = 1) -> Manifest:
        """The same artifact, of only those last chunks of each part that hold at least this many rows."""
        kept: list[Chunk] = []
        counts: dict[str, int] = {}
        for chunk in reversed(self.chunks):
            if counts.get(chunk.part, 0) < rows:
                counts[chunk.part] = counts.get(chunk.part, 0) + chunk.rows
                kept.append(chunk)
        return replace(self, chunks=tuple(reversed(kept)))

    def as_dict(self) -> JsonObject:
        """The JSON shape."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {**fields, "chunks": tuple({name: getattr(chunk, name) for name in _CHUNK} for chunk in self.chunks)}

    @classmethod
    def from_dict(cls, body: Mapping[str, object]) -> Manifest:
        """The inverse of `as_dict`. Raises `TypeError`, `ValueError` or `KeyError` where fields do not fit."""
        chunks = tuple(built(Chunk, chunk) for chunk in objects_of(body["chunks"]))
        gaps = tuple(_gap(gap) for gap in items_of(body["gaps"]))
        return built(cls, {**body, "chunks": chunks, "gaps": gaps})


def _gap(field: object) -> tuple[int, int, int]:
    first, last, missing = map(whole_of, items_of(field))
    return first, last, missing
