"""What a room needs of several sections of the settings, as one frozen value for each purpose.

Where a room needs one section only, it takes that section.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trader_cli.settings.model import PaperSettings, Settings


@dataclass(frozen=True)
class PaperOptions:
    """The account of the paper profile, and how far prices may lie apart for one to count (share of the mark price)."""

    account: PaperSettings
    max_price_spread: float

    @classmethod
    def of(cls, settings: Settings) -> PaperOptions:
        """Those of these settings."""
        return cls(settings.paper, settings.execution.max_price_spread)
