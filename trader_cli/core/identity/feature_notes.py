"""What the manifest of a features artifact notes of it besides rows and chunks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trader_cli.core.json_values import built, flat, objects_of, texts_of, whole_of

if TYPE_CHECKING:
    from trader_cli.core.identity.manifests import Manifest
    from trader_cli.core.json_values import JsonObject


@dataclass(frozen=True)
class FamilyNote:
    """A family as it was built: its columns, the inputs it read, its warm-up and the time frame of its bars."""

    name: str
    columns: tuple[str, ...]
    inputs: tuple[str, ...]
    warmup_bars: int
    timeframe: str

    def as_dict(self) -> JsonObject:
        """The JSON shape."""
        return {**flat(self), "columns": list(self.columns), "inputs": list(self.inputs)}


@dataclass(frozen=True)
class FeatureNotes:
    """How many columns there are and of which families, which inputs were known, and how good the bars are.

    `left_out`: families whose inputs were not known. `quality`: findings among the bars, by kind. `certificate`: the
    digest of the certificate of causality, once it is named.
    """

    columns: int
    wavelet_columns: int
    known_inputs: tuple[str, ...]
    left_out: tuple[str, ...]
    quality: dict[str, int]
    families: tuple[FamilyNote, ...]
    certificate: str | None = None

    def as_dict(self) -> JsonObject:
        """The JSON shape; a certificate that is not named yet is left out."""
        return {
            "columns": self.columns,
            "wavelet_columns": self.wavelet_columns,
            "known_inputs": list(self.known_inputs),
            "left_out": list(self.left_out),
            "quality": self.quality,
            "families": [family.as_dict() for family in self.families],
            **({} if self.certificate is None else {"certificate": self.certificate}),
        }

    @classmethod
    def of(cls, made: Manifest) -> FeatureNotes:
        """What the manifest of features says. Raises `KeyError` or `TypeError` for one of something else."""
        notes, named = made.notes, made.notes.get("certificate")
        return cls(
            columns=whole_of(notes["columns"]),
            wavelet_columns=whole_of(notes["wavelet_columns"]),
            known_inputs=texts_of(notes.get("known_inputs", ())),
            left_out=texts_of(notes.get("left_out", ())),
            quality=made.quality,
            families=tuple(_family(family) for family in objects_of(notes.get("families", ()))),
            certificate=None if named is None else str(named),
        )


def _family(body: JsonObject) -> FamilyNote:
    return built(FamilyNote, {**body, "columns": texts_of(body["columns"]), "inputs": texts_of(body["inputs"])})
