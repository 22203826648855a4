"""What a feature family is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from trader_cli.core.timeframes import Timeframe
    from trader_cli.features.series import BarSeries, Floats

    Compute = Callable[[BarSeries], dict[str, Floats]]


@dataclass(frozen=True)
class Family:
    """A named group of columns computed together on bars of one time frame.

    `compute` maps n bars to arrays of shape (n,), one per column in `columns`; row t uses rows ≤ t only. The first
    `warmup` rows it returns are never used; NaN and infinities after them become nulls. `parameters` and `version` are
    all that can change its answer besides the bars; `inputs` are the bar columns it reads.
    """

    name: str
    version: int
    columns: tuple[str, ...]
    inputs: tuple[str, ...]
    warmup: int
    timeframe: Timeframe
    parameters: tuple[tuple[str, object], ...]
    compute: Compute

    def identity(self) -> dict[str, object]:
        """JSON-able: everything that names this family's answer, for digests."""
        return {
            "name": self.name,
            "version": self.version,
            "timeframe": self.timeframe.name,
            "warmup": self.warmup,
            "parameters": [[key, str(value)] for key, value in self.parameters],
            "columns": list(self.columns),
        }
