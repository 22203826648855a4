"""What a bundle holds: a trained model, a pair of them, or a rule of one's own with its claim."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from trader_cli.analyst.trained_model import BUNDLE_SCHEMA, TrainedModel
from trader_cli.analyst.trained_pair import PAIR_SCHEMA, TrainedPair
from trader_cli.analyst.trained_rule import RULE_KIND, RULE_SCHEMA, TrainedRule
from trader_cli.analyst.user_rules import rule_origin
from trader_cli.core.errors import DataStale
from trader_cli.core.json_values import object_of
from trader_cli.core.model_validity import PAIR_KIND

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trader_cli.settings.model import RuleSettings

Trained = TrainedModel | TrainedPair | TrainedRule
KINDS: Mapping[str, int] = MappingProxyType({"model": BUNDLE_SCHEMA, PAIR_KIND: PAIR_SCHEMA, RULE_KIND: RULE_SCHEMA})
"""The schema that is read of each kind of bundle."""


def from_bundle(files: Mapping[str, bytes], description: Mapping[str, object]) -> Trained:
    """The value of a bundle. Raises `DataInvalid` for one that does not fit together."""
    if description.get("kind") == RULE_KIND:
        return TrainedRule.from_description(description)
    if description.get("kind") == PAIR_KIND:
        return TrainedPair.from_bundle(files, description)
    return TrainedModel.from_bundle(files, description)


def is_of(trained: Trained, rule: RuleSettings, fast_timeframe: str = "") -> bool:
    """Whether it is of what the settings name: of a model where they name no rule, a pair where they name a fast frame,
    else of this rule's source and parameters.

    The rule's code does not run for it, so parameters that are not given are not compared.
    """
    if not isinstance(trained, TrainedRule) or rule.name is None:
        return not isinstance(trained, TrainedRule) and rule.name is None and _times_in(trained) == fast_timeframe
    given = object_of(trained.rule["parameters"])
    same = all(given.get(name) == value for name, value in rule.parameters.items())
    return same and trained.rule["source"] == rule_origin(rule.name).digest


def _times_in(trained: Trained) -> str:
    """The fast frame it times entries in; empty: none."""
    return trained.fast_timeframe if isinstance(trained, TrainedPair) else ""


def refuse_other_kind(trained: Trained, rule: str | None, fast_timeframe: str, command: str) -> None:
    """Raises `DataStale` where the bundle is of a rule and the settings name none, or the other way round; and where
    they name another fast frame than it times entries in."""
    if isinstance(trained, TrainedRule) and rule is None:
        raise DataStale(
            f"The stored claim is of the rule {trained.name}; the settings name no rule.",
            hint=f"Set rule.name, or run `trader {command}` for a trained model.",
        )
    if not isinstance(trained, TrainedRule) and rule is not None:
        raise DataStale(
            f"The settings name the rule {rule}; what is stored is a trained model.", hint=f"Run `trader {command}`."
        )
    times_in = _times_in(trained)
    if times_in != fast_timeframe:
        stored = f"times entries in {times_in}" if times_in else "times entries in no fast frame"
        named = f"analyst.fast_timeframe is {fast_timeframe}" if fast_timeframe else "analyst.fast_timeframe is empty"
        raise DataStale(f"The stored model {stored}; {named}.", hint=f"Run `trader {command}`.")
