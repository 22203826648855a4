"""What a bundle holds: a trained model, or a rule of one's own with its claim."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trader_cli.analyst.trained_model import TrainedModel
from trader_cli.analyst.trained_rule import RULE_KIND, TrainedRule
from trader_cli.analyst.user_rules import rule_origin
from trader_cli.core.errors import DataStale
from trader_cli.core.json_values import object_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trader_cli.settings.model import RuleSettings

Trained = TrainedModel | TrainedRule


def from_bundle(files: Mapping[str, bytes], description: Mapping[str, object]) -> Trained:
    """The value of a bundle. Raises `DataInvalid` for one that does not fit together."""
    if description.get("kind") == RULE_KIND:
        return TrainedRule.from_description(description)
    return TrainedModel.from_bundle(files, description)


def is_of(trained: Trained, rule: RuleSettings) -> bool:
    """Whether it is of what the settings name: of a model where they name no rule, else of this source and parameters.

    The rule's code does not run for it, so parameters that are not given are not compared.
    """
    if isinstance(trained, TrainedModel) or rule.name is None:
        return isinstance(trained, TrainedModel) and rule.name is None
    given = object_of(trained.rule["parameters"])
    same = all(given.get(name) == value for name, value in rule.parameters.items())
    return same and trained.rule["source"] == rule_origin(rule.name).digest


def refuse_other_kind(trained: Trained, rule: str | None, command: str) -> None:
    """Raises `DataStale` where the bundle is of a rule and the settings name none, or the other way round."""
    if isinstance(trained, TrainedRule) and rule is None:
        raise DataStale(
            f"The stored claim is of the rule {trained.name}; the settings name no rule.",
            hint=f"Set rule.name, or run `trader {command}` for a trained model.",
        )
    if isinstance(trained, TrainedModel) and rule is not None:
        raise DataStale(
            f"The settings name the rule {rule}; what is stored is a trained model.", hint=f"Run `trader {command}`."
        )
