"""Typed configuration: the guide's YAML keys and ours, overlays, environment. Unknown keys are refused."""

from trader_cli.settings.load import as_settings, load_settings
from trader_cli.settings.model import Settings

__all__ = ["Settings", "as_settings", "load_settings"]
