"""A rule tried for a look ahead, as a feature is: futures cut off, redrawn and crashed, bar by bar, and by a twin.

A side is one of three, so it tells less of what it was made from than a feature does: more cuts are made, and more rows
are made alone, than for features.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from trader_cli.core.errors import ConfigurationError
from trader_cli.core.identity.digests import digest_bytes
from trader_cli.core.market.schemas import BARS
from trader_cli.features.bar_arrays import PRICE_INPUTS
from trader_cli.features.build import Builder, build_features
from trader_cli.features.certificates import certify
from trader_cli.features.certification_tape import certification_frame, rows_needed
from trader_cli.features.feature_spec import FeatureSpec
from trader_cli.features.library_versions import library_versions
from trader_cli.features.rule_series import OF_BARS, features_read, rule_family

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.features.certificates import Certificate
    from trader_cli.features.rule import NamedRule

CUTS, PROBES = 48, 900
SEED = 20230301


def refuse_unknown_inputs(named: NamedRule, features: tuple[str, ...]) -> None:
    """Raises `ConfigurationError` for an input that is neither of the bars nor one of these features."""
    unknown = [name for name in features_read(named) if name not in features]
    if unknown:
        near = get_close_matches(unknown[0], [*features, *OF_BARS], n=1, cutoff=0)
        raise ConfigurationError(
            f"The rule {named.name} reads {unknown[0]!r}, which is no column of the bars and no feature of these"
            " settings.",
            hint=f"The nearest is {near[0]!r}." if near else None,
        )


def trial_tape(named: NamedRule, timeframe: Timeframe, spec: FeatureSpec, seed: int = SEED) -> pl.DataFrame:
    """Bars made up from a seed, with the features beside them that the rule reads, of those of `spec`."""
    wanted = features_read(named)
    families = tuple(family for family in spec.families if set(family.columns).intersection(wanted))
    whole = FeatureSpec(timeframe, (*families, rule_family(named)))
    inputs = tuple(name for family in families for name in family.inputs)
    frame = certification_frame(timeframe, (*PRICE_INPUTS, *inputs), rows=rows_needed(whole), seed=seed)
    bars = frame.select(name for name in frame.columns if name in BARS.columns)
    if not wanted:
        return bars
    made = build_features(frame, FeatureSpec(timeframe, families))
    return bars.with_columns(made[name] for name in wanted)


def try_rule(
    named: NamedRule,
    twin: NamedRule,
    timeframe: Timeframe,
    tapes: Mapping[str, pl.DataFrame],
    *,
    cuts: int = CUTS,
    probes: int = PROBES,
) -> Certificate:
    """The certificate of a rule on these tapes, by name: BARS with its features beside them, row for row.

    `twin`: the same rule made anew. Raises what the rule raises.
    """
    spec, other = (FeatureSpec(timeframe, (rule_family(one),)) for one in (named, twin))
    versions = library_versions()
    return certify(spec, tapes, cuts=cuts, probes=probes, seed=SEED, twin=other, versions=versions)


def digests_of(named: NamedRule, timeframe: Timeframe, tape: pl.DataFrame) -> dict[str, str]:
    """The digest of each column of the rule's family on a tape."""
    family = rule_family(named)
    builder = Builder(tape, FeatureSpec(timeframe, (family,)), 0)
    made = builder.fill(family, builder.room(family))
    return {name: digest_bytes(row.tobytes()) for name, row in zip(family.columns, made, strict=True)}
