"""Certificates of rules: made in a process of its own with a time limit, before the rule is first used, and stored.

They are bound to the digest of the rule's source, its class, its parameters and the code and libraries under it. Until
there is one, the rule's code does not run in this process: a file that never ends keeps nobody waiting for ever.
"""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from trader_cli.analyst.certificate_store import STORED, SYNTHETIC, code_digest
from trader_cli.analyst.configured_families import configured_spec, own_families
from trader_cli.analyst.isolated_process import ask_new_process, last_words
from trader_cli.analyst.user_rules import SETTING, load_rule, rule_origin
from trader_cli.core import errors
from trader_cli.core.errors import ConfigurationError, DataInvalid, DataMissing, TraderError
from trader_cli.core.identity.digests import digest_value
from trader_cli.core.json_values import object_of, texts_of
from trader_cli.core.market.schemas import BARS
from trader_cli.core.market.timeframes import Timeframe
from trader_cli.core.ports import silent
from trader_cli.features.certificates import Certificate
from trader_cli.features.column_verdicts import IMPURE
from trader_cli.features.inputs import ALL_INPUTS
from trader_cli.features.rule_trial import (
    SEED,
    digests_of,
    features_read,
    refuse_unknown_inputs,
    require_causal,
    trial_tape,
    try_rule,
)

if TYPE_CHECKING:
    import polars as pl

    from trader_cli.core.json_values import JsonObject
    from trader_cli.core.ports import Progress
    from trader_cli.features.feature_spec import FeatureSpec
    from trader_cli.features.rule import NamedRule
    from trader_cli.settings.model import FeatureSettings, RuleSettings
    from trader_cli.settings.room_options import RuleOptions
    from trader_cli.storage.artifacts import ArtifactStore

_MODULE = "trader_cli.analyst.isolated_rule"
_STORED_ROWS = 4000


def rule_certificate_key(rule: RuleSettings, timeframe: Timeframe) -> str:
    """The key of a rule's certificate. Its source is read for it, and not run."""
    source = rule_origin(str(rule.name)).digest
    return digest_value(["rule", timeframe.name, rule.name, source, rule.parameters, code_digest()])


def find_rule_certificate(store: ArtifactStore, rule: RuleSettings, timeframe: Timeframe) -> Certificate | None:
    """The stored certificate of just this rule, these parameters and this code, or `None`."""
    body = store.certificate(rule_certificate_key(rule, timeframe))
    try:
        return None if body is None else Certificate.from_dict(body)
    except DataInvalid:
        return None


def certified_rule(
    store: ArtifactStore,
    options: RuleOptions,
    timeframe: Timeframe,
    progress: Progress = silent,
    stored: pl.DataFrame | None = None,
) -> NamedRule:
    """The configured rule, which is certified now if it was not before: on `stored` bars with features, too.

    Raises `VerificationFailed` for one that sees the future, `ConfigurationError` for one that fails or does not end.
    """
    rule = options.rule
    found = find_rule_certificate(store, rule, timeframe)
    if found is None:
        progress(f"certifying the rule {rule.name}, once for these parameters", 0, 0)
        found = make_rule_certificate(options, timeframe, stored)
        store.put_certificate(rule_certificate_key(rule, timeframe), found.as_dict())
    return _passed(options, found)


def require_certified_rule(store: ArtifactStore, options: RuleOptions, timeframe: Timeframe, command: str) -> NamedRule:
    """The configured rule, which must have been certified. Raises `DataMissing` naming the command that does it."""
    found = find_rule_certificate(store, options.rule, timeframe)
    if found is None:
        raise DataMissing(
            f"There is no certificate that the rule {options.rule.name} does not see the future, as it is now and with"
            " these parameters.",
            hint=f"Run `trader {command}`.",
        )
    return _passed(options, found)


def _passed(options: RuleOptions, found: Certificate) -> NamedRule:
    require_causal(found.columns[0].family, found)
    return load_rule(options.rule)


def make_rule_certificate(
    options: RuleOptions, timeframe: Timeframe, stored: pl.DataFrame | None = None
) -> Certificate:
    """Certify the configured rule in a process of its own, and compare what a second one says, with other hashes."""
    request: JsonObject = {
        "settings": {
            "rule": options.rule.model_dump(mode="json"),
            "feature_engineering_orchestrator": options.features.model_dump(mode="json"),
        },
        "timeframe": timeframe.name,
    }
    with tempfile.TemporaryDirectory() as folder:
        if stored is not None:
            path = Path(folder) / "stored.arrow"
            stored.tail(_STORED_ROWS).write_ipc(path)
            request["stored"] = str(path)
        made = _asked(options, {**request, "certify": True}, hash_seed="1")
    again = _asked(options, request, hash_seed="2")
    found = Certificate.from_dict(object_of(made["certificate"]))
    here, there = object_of(made["digests"]), object_of(again["digests"])
    columns = (replace(c, status=IMPURE, reach=None) if here[c.name] != there[c.name] else c for c in found.columns)
    return replace(found, columns=tuple(columns))


def _asked(options: RuleOptions, request: JsonObject, hash_seed: str) -> JsonObject:
    """The answer of a process of its own. Raises what it raised, `ConfigurationError` where it does not end."""
    rule = options.rule
    try:
        said = ask_new_process(_MODULE, request, rule.time_limit, hash_seed)
    except subprocess.TimeoutExpired as error:
        raise ConfigurationError(
            f"{SETTING}: the rule {rule.name} did not end within {rule.time_limit:g} s of its certification.",
            hint="rule.time_limit sets how long it may take.",
        ) from error
    except subprocess.SubprocessError as error:
        raise ConfigurationError(f"{SETTING}: the rule {rule.name} ended its process: {last_words(error)}.") from error
    if "error" in said:
        kind, sentence, *hint = texts_of(said["error"])
        raise getattr(errors, kind, ConfigurationError)(sentence, hint=hint[0] if hint else None)
    return said


def answered(request: JsonObject) -> JsonObject:
    """What the process of its own says: the certificate where it is asked for, digests, or an error in words."""
    try:
        return _tried(request)
    except TraderError as error:
        return {"error": [type(error).__name__, error.sentence, *([error.hint] if error.hint else [])]}


def _tried(request: JsonObject) -> JsonObject:
    from trader_cli.settings import as_settings

    settings = as_settings(object_of(request["settings"]))
    timeframe = Timeframe.parse(str(request["timeframe"]))
    spec = feature_spec(settings.feature_engineering_orchestrator, timeframe)
    named = load_rule(settings.rule)
    refuse_unknown_inputs(named, spec.columns)
    digests: JsonObject = {**digests_of(named, timeframe, trial_tape(named, timeframe, spec, SEED + 1))}
    if not request.get("certify"):
        return {"digests": digests}
    tapes = {SYNTHETIC: trial_tape(named, timeframe, spec)}
    if "stored" in request:
        import polars as pl

        stored = pl.read_ipc(str(request["stored"]))
        own = stored.select(name for name in stored.columns if name in BARS.columns)
        tapes[STORED] = rule_frame(named, own, stored)
    certificate = try_rule(named, load_rule(settings.rule), timeframe, tapes)
    return {"digests": digests, "certificate": certificate.as_dict()}


def feature_spec(options: FeatureSettings, timeframe: Timeframe) -> FeatureSpec:
    """Every feature these settings may give."""
    return configured_spec(options, timeframe, ALL_INPUTS, own_families(options))


def rule_frame(named: NamedRule, bars: pl.DataFrame, features: pl.DataFrame) -> pl.DataFrame:
    """BARS with the features that a rule reads beside them, row for row. Raises `DataMissing` where one is absent."""
    absent = [name for name in features_read(named) if name not in features.columns]
    if absent:
        raise DataMissing(
            f"The rule {named.name} reads the feature {absent[0]!r}, which these features do not have.",
            hint="Fetch what it is made of, or set the feature settings so that it is made.",
        )
    return bars.with_columns(features[name] for name in features_read(named))
