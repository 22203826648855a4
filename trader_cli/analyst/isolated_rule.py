"""A rule tried in a process of its own with a time limit: a line of JSON in, a line of JSON out."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from trader_cli.analyst.certificate_store import STORED, SYNTHETIC
from trader_cli.analyst.configured_families import configured_spec, own_families
from trader_cli.analyst.isolated_process import answer, ask_new_process, last_words
from trader_cli.analyst.opened_files import OpenedFiles
from trader_cli.analyst.user_rules import SETTING, load_rule, rule_origin
from trader_cli.core import errors
from trader_cli.core.errors import ConfigurationError, TraderError
from trader_cli.core.json_values import object_of, texts_of
from trader_cli.core.market.schemas import BARS
from trader_cli.core.market.timeframes import Timeframe
from trader_cli.features.certificates import Certificate
from trader_cli.features.column_verdicts import IMPURE
from trader_cli.features.inputs import ALL_INPUTS
from trader_cli.features.rule_series import features_read, rule_frame
from trader_cli.features.rule_trial import SEED, digests_of, refuse_unknown_inputs, trial_tape, try_rule
from trader_cli.settings import as_settings

if TYPE_CHECKING:
    from trader_cli.core.json_values import JsonObject
    from trader_cli.features.feature_spec import FeatureSpec
    from trader_cli.settings.model import FeatureSettings
    from trader_cli.settings.room_options import RuleOptions

_MODULE = "trader_cli.analyst.isolated_rule"
_STORED_ROWS = 4000


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
    settings = as_settings(object_of(request["settings"]))
    timeframe = Timeframe.parse(str(request["timeframe"]))
    spec = feature_spec(settings.feature_engineering_orchestrator, timeframe)
    opened = OpenedFiles()
    named = load_rule(settings.rule)
    refuse_unknown_inputs(named, spec.columns)
    digests: JsonObject = {**digests_of(named, timeframe, trial_tape(named, timeframe, spec, SEED + 1))}
    opened.refuse(rule_origin(str(settings.rule.name)))
    if not request.get("certify"):
        return {"digests": digests}
    tapes = {SYNTHETIC: trial_tape(named, timeframe, spec)}
    if "stored" in request:
        stored = pl.read_ipc(str(request["stored"]))
        if set(features_read(named)) <= set(stored.columns):
            own = stored.select(name for name in stored.columns if name in BARS.columns)
            tapes[STORED] = rule_frame(named, own, stored)
    certificate = try_rule(named, load_rule(settings.rule), timeframe, tapes)
    return {"digests": digests, "certificate": certificate.as_dict()}


def feature_spec(options: FeatureSettings, timeframe: Timeframe) -> FeatureSpec:
    """Every feature these settings may give."""
    return configured_spec(options, timeframe, ALL_INPUTS, own_families(options))


if __name__ == "__main__":
    answer(answered(json.load(sys.stdin)))
