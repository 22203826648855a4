"""Certificates of causality: per column, what was found when the future was cut off, redrawn and crashed.

A family passes through the very `Builder` that makes features, so a fault of a join or an anchor is found as well as
one of a formula. What a certificate says, and what it cannot: docs/certificates.md.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from trader_cli.core.errors import DataInvalid, VerificationFailed
from trader_cli.core.identity.digests import digest_frame, digest_value
from trader_cli.core.json_values import built, flat, objects_of
from trader_cli.features.column_verdicts import PASSED, ColumnVerdict, merge

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

    from trader_cli.core.json_values import JsonObject
    from trader_cli.features.feature_spec import FeatureSpec

SCHEMA = 1


@dataclass(frozen=True)
class Tape:
    """Bars a certificate was made on: what they are called, the digest of all of them, how many, how many cuts."""

    name: str
    digest: str
    rows: int
    cuts: int


@dataclass(frozen=True)
class Certificate:
    """Verdicts on every column of a specification. `spec` is the digest of its identity, `versions` the libraries'."""

    timeframe: str
    spec: str
    columns: tuple[ColumnVerdict, ...]
    tapes: tuple[Tape, ...]
    seed: int
    versions: Mapping[str, str] = field(default_factory=dict)
    schema: int = SCHEMA

    @cached_property
    def digest(self) -> str:
        """The certificate's name."""
        return digest_value(self.as_dict())

    @property
    def failures(self) -> tuple[ColumnVerdict, ...]:
        """The columns that may not be used, by name."""
        return tuple(sorted((c for c in self.columns if c.status != PASSED), key=lambda c: c.name))

    def require(self) -> Certificate:
        """The certificate itself. Raises `VerificationFailed` naming each bad column, with its reach in bars."""
        bad = self.failures
        if bad:
            families = ", ".join(Counter(column.family for column in bad))
            raise VerificationFailed(
                f"{len(bad)} of {len(self.columns)} feature columns fail their certificate:"
                f" {', '.join(map(str, bad))}.",
                hint=f"Correct the families {families}, or switch them off; docs/certificates.md says what is wrong.",
            )
        return self

    def as_dict(self) -> JsonObject:
        """The JSON shape."""
        parts = {"columns": tuple(map(flat, self.columns)), "tapes": tuple(map(flat, self.tapes))}
        return {**flat(self), **parts, "versions": dict(self.versions)}

    @classmethod
    def from_dict(cls, body: Mapping[str, object]) -> Certificate:
        """The inverse of `as_dict`. Raises `DataInvalid` where fields do not fit."""
        try:
            if body["schema"] != SCHEMA:
                raise DataInvalid(f"A certificate of schema {SCHEMA} was expected; found {body['schema']}.")
            columns = tuple(built(ColumnVerdict, column) for column in objects_of(body["columns"]))
            tapes = tuple(built(Tape, tape) for tape in objects_of(body["tapes"]))
            return built(cls, {**body, "columns": columns, "tapes": tapes})
        except (KeyError, TypeError) as error:
            raise DataInvalid(f"This is no certificate: {error!r}.", hint="Run `trader features --certify`.") from error


def identity_digest(spec: FeatureSpec) -> str:
    """The digest of everything besides the bars that can change a column; what a features manifest calls settings."""
    return digest_value(spec.identity())


def require_causal(name: str, certificate: Certificate) -> Certificate:
    """The certificate itself. Raises `VerificationFailed` naming the rule, and what was found of each of its words."""
    bad = certificate.failures
    if bad:
        found = ", ".join(map(str, (replace(verdict, name=verdict.name.removeprefix(f"{name}_")) for verdict in bad)))
        worst = Counter(verdict.status for verdict in bad).most_common(1)[0][0]
        raise VerificationFailed(
            f"The rule {name} {worst} and may not be used: {found}.",
            hint="docs/certificates.md says what was tried; row t of signals() may use rows up to t only.",
        )
    return certificate


def certify(
    spec: FeatureSpec,
    frames: Mapping[str, pl.DataFrame],
    *,
    cuts: int = 16,
    probes: int = 0,
    seed: int = 0,
    twin: FeatureSpec | None = None,
    versions: Mapping[str, str] | None = None,
) -> Certificate:
    """Try every column of `spec` on `frames`, tapes by name: BARS with every input of `spec`.

    At `cuts` or more rows of each tape the future is cut off, redrawn and crashed, and all rows before it are compared
    to the bit, null pattern included. The last rows, and `probes` others, are also made alone; a `twin`, the same
    specification made anew, sees other bars first and must say the same. Pure; `seed` decides cuts and futures. What is
    tried, and why: docs/certificates.md.
    """
    from trader_cli.features.column_trials import Effort, try_columns

    effort = Effort(cuts, probes, seed)
    found = {name: try_columns(spec, frame, effort, twin or spec) for name, frame in frames.items()}
    columns = [verdict for verdicts, _ in found.values() for verdict in verdicts]
    merged = tuple(merge([column for column in columns if column.name == name]) for name in spec.columns)
    tapes = tuple(
        Tape(name, digest_frame(frames[name]), frames[name].height, cuts) for name, (_, cuts) in found.items()
    )
    return Certificate(spec.timeframe.name, identity_digest(spec), merged, tapes, seed, dict(versions or {}))
