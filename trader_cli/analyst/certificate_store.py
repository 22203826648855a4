"""Certificates in the artifact store: made once per specification, code and libraries, found ever after.

Who builds features ensures one; who learns from them or trades on them requires one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from trader_cli.analyst.feature_code import feature_code_digest
from trader_cli.analyst.isolated_process import impure_in_new_process
from trader_cli.core.errors import DataInvalid, DataMissing, DataStale
from trader_cli.core.identity.digests import digest_value
from trader_cli.core.ports import silent
from trader_cli.features.certificates import Certificate, certify, identity_digest
from trader_cli.features.certification_tape import certification_frame, rows_needed
from trader_cli.features.column_verdicts import IMPURE
from trader_cli.features.library_versions import library_versions

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

    from trader_cli.core.identity.manifests import Manifest
    from trader_cli.core.ports import Progress
    from trader_cli.features.feature_spec import FeatureSpec
    from trader_cli.settings.model import FeatureSettings
    from trader_cli.storage.artifacts import ArtifactStore

SYNTHETIC = "synthetic"
STORED = "stored"
_SEED = 20230301
PROBES = 240
"""Rows made alone where the package's own tests do not stand behind the families, or a person asks."""
_LEAST_STORED = 3000


def certificate_key(spec: FeatureSpec) -> str:
    """The key of a certificate: the families with their parameters, their base frame, and the code they run on."""
    return digest_value([spec.timeframe.name, identity_digest(spec), feature_code_digest()])


def synthetic_tape(spec: FeatureSpec) -> pl.DataFrame:
    """The bars every specification is certified on."""
    return certification_frame(spec.timeframe, spec.inputs, rows=rows_needed(spec), seed=_SEED)


def make_certificate(
    spec: FeatureSpec,
    twin: FeatureSpec | None = None,
    bars: pl.DataFrame | None = None,
    *,
    probes: int = 0,
    options: FeatureSettings | None = None,
) -> Certificate:
    """Certify on the synthetic tape, and on the last of `bars`, BARS with the inputs of `spec`, where they are given.

    `twin`: the same specification made anew, so that what a family keeps between calls is found. With `options`,
    families of one's own are also made in another process.
    """
    tapes: dict[str, pl.DataFrame] = {SYNTHETIC: synthetic_tape(spec)}
    if bars is not None:
        tapes[STORED] = bars.tail(max(rows_needed(spec), _LEAST_STORED))
    found = certify(spec, tapes, probes=probes, seed=_SEED, twin=twin, versions=library_versions())
    if options is None or not _has_own(spec):
        return found
    impure = impure_in_new_process(spec, options)
    return replace(
        found, columns=tuple(replace(c, status=IMPURE, reach=None) if c.name in impure else c for c in found.columns)
    )


def _has_own(spec: FeatureSpec) -> bool:
    return any(family.source for family in spec.families)


def find_certificate(store: ArtifactStore, spec: FeatureSpec) -> Certificate | None:
    """The stored certificate of just these families and this code, or `None`; a damaged one is none."""
    body = store.certificate(certificate_key(spec))
    if body is None:
        return None
    try:
        found = Certificate.from_dict(body)
    except DataInvalid:
        return None
    return found if found.spec == identity_digest(spec) and found.timeframe == spec.timeframe.name else None


def store_certificate(store: ArtifactStore, spec: FeatureSpec, certificate: Certificate) -> None:
    """Make this the certificate of these families."""
    store.put_certificate(certificate_key(spec), certificate.as_dict())


def ensure_certificate(
    store: ArtifactStore,
    spec: FeatureSpec,
    twin: FeatureSpec | None = None,
    progress: Progress = silent,
    bars: pl.DataFrame | None = None,
    options: FeatureSettings | None = None,
) -> Certificate:
    """The stored certificate of these families, made now where there is none. It may tell of failures.

    Families of one's own are tried harder: on the stored `bars`, too, and with `options` in another process.
    """
    found = find_certificate(store, spec)
    if found is None:
        progress(f"certifying {len(spec.columns)} feature columns, once for these settings", 0, 0)
        own = _has_own(spec)
        found = make_certificate(spec, twin, bars if own else None, probes=PROBES if own else 0, options=options)
        store_certificate(store, spec, found)
    return found


def require_certificate(store: ArtifactStore, spec: FeatureSpec, command: str) -> Certificate:
    """The stored certificate of these families, without a failure. `command` makes it.

    Raises `DataMissing` where there is none, `VerificationFailed` for one that names bad columns.
    """
    found = find_certificate(store, spec)
    if found is None:
        raise DataMissing(
            f"There is no certificate that the {len(spec.columns)} feature columns of {spec.timeframe} do not see the"
            " future, for these settings and this version.",
            hint=f"Run `trader {command}`, or give the --config it was run with.",
        )
    return found.require()


def require_certified(store: ArtifactStore, spec: FeatureSpec, made: Manifest, command: str) -> Certificate:
    """The certificate of features that are about to be used: it must be stored, without a failure, and name them.

    Raises what `require_certificate` raises, and `DataStale` for features made without one or with another's.
    """
    found = require_certificate(store, spec, command)
    if made.settings != found.spec or "certificate" not in made.notes:
        raise DataStale(
            f"The features of {made.symbol} {made.timeframe} name no certificate of their own families.",
            hint=f"Run `trader {command}`.",
        )
    return found


def naming(made: Manifest, certificate: Certificate) -> Manifest:
    """The features' manifest with the digest of their certificate."""
    notes: Mapping[str, object] = {**made.notes, "certificate": certificate.digest}
    return replace(made, notes=dict(notes))
