"""What of the settings decides what is traded: written down with every run, to be compared and made again."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trader_cli.core.json_values import JsonObject
    from trader_cli.settings import Workspace

_SECTIONS = (
    "analyst",
    "tactician",
    "monitor",
    "execution",
    "costs",
    "backtest",
    "feature_engineering_orchestrator",
    "position_monitoring_interval",
    "high_risk_threshold",
    "medium_risk_threshold",
    "low_risk_threshold",
)


def deciding_settings(workspace: Workspace) -> JsonObject:
    """As JSON; of a rule of one's own its parameters and the digest of its source."""
    dumped = workspace.settings.model_dump(mode="json", include=set(_SECTIONS))
    rule = workspace.settings.rule
    if rule.name is not None:
        from trader_cli.analyst.user_rules import rule_origin

        dumped["rule"] = {**rule.parameters, "name": rule.name, "source": rule_origin(rule.name).digest}
    return {**dumped, "balance": workspace.settings.sim.balance}
