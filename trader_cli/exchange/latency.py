"""How long a command is on its way to a simulated exchange: seeded, by the command's own id."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp
from statistics import NormalDist

from trader_cli.core.identity.digests import digest_value

USUAL_LATENCY_MS = 100.0
"""Median, on a real market, where no other is set."""
_UNITS = 1 << 52
_NORMAL = NormalDist()


@dataclass(frozen=True)
class Latency:
    """Log-normal: `median_ms`, and `spread`, the standard deviation of its logarithm. An id takes as long again."""

    median_ms: float
    spread: float
    seed: int

    def of(self, command: str) -> int:
        """Whole milliseconds that a command takes."""
        share = (int(digest_value(["latency", self.seed, command])[:13], 16) + 0.5) / _UNITS
        return round(self.median_ms * exp(self.spread * _NORMAL.inv_cdf(share)))
