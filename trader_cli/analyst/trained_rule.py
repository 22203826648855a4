"""What a rule of one's own has come to on stored history: its claim, how its trades ended; a bundle without boosters.

Bound to the rule's source and parameters, to costs (`analyst.claim_basis`), and to the span it was judged on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trader_cli.analyst.trained_basis import TrainedBasis
from trader_cli.core.errors import DataInvalid
from trader_cli.core.identity.manifests import another_version
from trader_cli.core.json_values import built

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trader_cli.core.json_values import JsonObject
    from trader_cli.features.rule import NamedRule

RULE_KIND, RULE_SCHEMA = "rule", 2


@dataclass(frozen=True, kw_only=True)
class TrainedRule(TrainedBasis):
    """A rule judged. `rule` is its identity (`NamedRule.identity`), `features` those it reads.

    `win_share` is the mean over its trades of how far between stop (0) and target (1) they ended: at that probability
    of the target a trade between the two returns what the rule's trades returned.
    """

    rule: JsonObject
    win_share: float

    @property
    def name(self) -> str:
        """What the rule is called."""
        return str(self.rule["name"])

    @property
    def act(self) -> None:
        """There is no act model."""
        return

    @property
    def base_features(self) -> tuple[str, ...]:
        """The columns of the features artifact that it reads."""
        return self.features

    def files(self) -> dict[str, bytes]:
        """No file beside the description: there is nothing that was fitted."""
        return {}

    def description(self, producer: str) -> JsonObject:
        """What `bundle.json` says."""
        own: JsonObject = {"kind": RULE_KIND, "schema": RULE_SCHEMA, "rule": self.rule, "win_share": self.win_share}
        return {**self.basis(producer), **own}

    @classmethod
    def from_description(cls, description: Mapping[str, object]) -> TrainedRule:
        """The inverse. Raises `DataInvalid` for one of another schema."""
        if description.get("schema") != RULE_SCHEMA:
            raise DataInvalid(
                f"The rule's bundle was made by {another_version(description.get('schema'), RULE_SCHEMA)}.",
                hint="Run `trader train` again.",
            )
        own = {name: description[name] for name in ("rule", "win_share")}
        return built(cls, {**cls.basis_of(description), **own})

    def differs_from(self, named: NamedRule) -> str | None:
        """What is other of the rule now than when it was judged, in words; `None` where nothing is."""
        now = named.identity()
        if now["name"] != self.rule["name"]:
            return f"the settings name the rule {now['name']}; it is of {self.rule['name']}"
        if now["parameters"] != self.rule["parameters"]:
            return f"the rule's parameters are {now['parameters']}; it is of {self.rule['parameters']}"
        return None if now == self.rule else f"the source of the rule {named.name} has changed"
