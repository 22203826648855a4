"""Missing bars as values, and times in words. Nothing heavy is loaded for them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True)
class Gap:
    """Bars missing between two that are there: the opening times of the first and last missing one."""

    first_ms: int
    last_ms: int
    bars: int

    def __str__(self) -> str:
        noun = "bar" if self.bars == 1 else "bars"
        return f"{self.bars} {noun} missing, {utc_text(self.first_ms)} to {utc_text(self.last_ms)}"


def utc_text(time_ms: int) -> str:
    """`2023-07-03 23:26:00 UTC`."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
