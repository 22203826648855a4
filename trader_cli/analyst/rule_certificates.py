"""Certificates of rules: made in a process of its own with a time limit, before the rule is first used, and stored.

They are bound to the digest of the rule's source, its class, its parameters and the code and libraries under it. Until
there is one, the rule's code does not run in this process: a file that never ends keeps nobody waiting for ever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trader_cli.analyst.feature_code import feature_code_digest
from trader_cli.analyst.user_rules import load_rule, rule_origin
from trader_cli.core.errors import DataInvalid, DataMissing
from trader_cli.core.identity.digests import digest_value
from trader_cli.core.ports import silent
from trader_cli.features.certificates import Certificate, require_causal

if TYPE_CHECKING:
    from collections.abc import Callable

    import polars as pl

    from trader_cli.analyst.rule_process import RuleProcess
    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.core.ports import Progress
    from trader_cli.features.rule import NamedRule
    from trader_cli.settings.model import RuleSettings
    from trader_cli.settings.room_options import RuleOptions
    from trader_cli.storage.artifacts import ArtifactStore


def rule_certificate_key(rule: RuleSettings, timeframe: Timeframe) -> str:
    """The key of a rule's certificate. Its source is read for it, and not run."""
    source = rule_origin(str(rule.name)).digest
    return digest_value(["rule", timeframe.name, rule.name, source, rule.parameters, feature_code_digest()])


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
    stored: Callable[[], pl.DataFrame] | None = None,
) -> NamedRule:
    """The configured rule, which is certified now if it was not before: on `stored` bars with features, too.

    Raises `VerificationFailed` for one that sees the future, `ConfigurationError` for one that fails or does not end.
    """
    rule = options.rule
    found = find_rule_certificate(store, rule, timeframe)
    if found is None:
        progress(f"certifying the rule {rule.name}, once for these parameters", 0, 0)
        from trader_cli.analyst.isolated_rule import make_rule_certificate

        found = make_rule_certificate(options, timeframe, None if stored is None else stored())
        store.put_certificate(rule_certificate_key(rule, timeframe), found.as_dict())
    return _passed(options, found)


def require_certified_rule(
    store: ArtifactStore, options: RuleOptions, timeframe: Timeframe, command: str, process: RuleProcess | None = None
) -> NamedRule:
    """The configured rule, which must have been certified; loaded in `process`, if one is given.

    Raises `DataMissing` naming the command that certifies it.
    """
    found = find_rule_certificate(store, options.rule, timeframe)
    if found is None:
        raise DataMissing(
            f"There is no certificate that the rule {options.rule.name} does not see the future, as it is now and with"
            " these parameters.",
            hint=f"Run `trader {command}`.",
        )
    return _passed(options, found, process)


def _passed(options: RuleOptions, found: Certificate, process: RuleProcess | None = None) -> NamedRule:
    require_causal(found.columns[0].family, found)
    return load_rule(options.rule) if process is None else process.named()
