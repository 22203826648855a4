"""Typed configuration: the guide's YAML keys and ours, overlays, environment. Unknown keys are refused."""

from trader_cli.settings.load import as_settings, load_settings
from trader_cli.settings.model import Settings
from trader_cli.settings.workspace import Workspace, workspace_of

__all__ = ["Settings", "Workspace", "as_settings", "load_settings", "workspace_of"]
