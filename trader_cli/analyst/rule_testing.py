"""For the test of a rule of one's own: bars it can be asked about, and what its certificate would find."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trader_cli.analyst.certificate_store import SYNTHETIC
from trader_cli.analyst.isolated_rule import feature_spec
from trader_cli.core.market.timeframes import Timeframe
from trader_cli.features.rule import NamedRule, rule_name
from trader_cli.features.rule_series import rule_bars, rule_signals
from trader_cli.features.rule_trial import refuse_unknown_inputs, trial_tape, try_rule
from trader_cli.settings.load import shipped_settings

if TYPE_CHECKING:
    from trader_cli.features.rule import BarSignals, Rule, RuleBars

_QUARTER = Timeframe.parse("15m")


def made_up_bars(rule: Rule, timeframe: Timeframe = _QUARTER) -> RuleBars:
    """Bars of a made-up market as the rule sees them, with the features of the shipped settings."""
    named, spec = _named(rule), feature_spec(shipped_settings().feature_engineering_orchestrator, timeframe)
    refuse_unknown_inputs(named, spec.columns)
    return rule_bars(trial_tape(named, timeframe, spec), rule.inputs)


def signals_on(rule: Rule, bars: RuleBars, timeframe: Timeframe = _QUARTER) -> BarSignals:
    """What the rule says after each bar, as the program asks it: nothing in its warm-up."""
    return rule_signals(_named(rule), bars, timeframe)


def faults_of(rule: Rule, timeframe: Timeframe = _QUARTER) -> tuple[str, ...]:
    """What its certificate would find: nothing where it does not see the future."""
    named, spec = _named(rule), feature_spec(shipped_settings().feature_engineering_orchestrator, timeframe)
    refuse_unknown_inputs(named, spec.columns)
    found = try_rule(named, named, timeframe, {SYNTHETIC: trial_tape(named, timeframe, spec)})
    return tuple(map(str, found.failures))


def _named(rule: Rule) -> NamedRule:
    return NamedRule(rule_name(type(rule)), "tested", rule)
