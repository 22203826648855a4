"""What a feature family is."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from trader_cli.core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from trader_cli.core.timeframes import Timeframe
    from trader_cli.features.series import BarSeries, Floats

    Compute = Callable[..., Mapping[str, Floats]]


@dataclass(frozen=True)
class Family:
    """A named group of columns computed together on bars of one time frame.

    `compute(bars, **parameters)` maps n bars to arrays of shape (n,), one per column in `columns`; row t uses rows ≤ t
    only. The first `warmup` rows it returns are never used; NaN and infinities after them become nulls. `parameters`,
    `version` and `source` (a digest of the code, for families that are not part of the package) are all that can change
    its answer besides the bars; `inputs` are the columns it reads: those of the bars, or others of `features.inputs`.
    `timeframe` is the frame of the bars it wants; `None`: the base frame.

    `finite` promises more than causality: row t is a function of rows t − warmup … t alone, to the bit, wherever the
    evaluation began. Other families are evaluated anew from the anchor of each UTC block.
    """

    name: str
    columns: tuple[str, ...]
    compute: Compute
    warmup: int
    inputs: tuple[str, ...] = ("close",)
    parameters: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    timeframe: Timeframe | None = None
    version: int = 1
    finite: bool = False
    source: str = ""

    def __post_init__(self) -> None:
        if not self.columns or len(set(self.columns)) < len(self.columns) or self.warmup < 0:
            raise ConfigurationError(
                f"The feature family {self.name!r} needs distinct columns and a warm-up of at least 0 bars;"
                f" found {list(self.columns)}, {self.warmup}."
            )

    def frame(self, base: Timeframe) -> Timeframe:
        """The time frame of the bars it wants, where the base frame is `base`."""
        return self.timeframe or base

    def evaluate(self, bars: BarSeries) -> Mapping[str, Floats]:
        """The columns on these bars."""
        return self.compute(bars, **self.parameters)

    def at(self, timeframe: Timeframe) -> Family:
        """The same family on another time frame."""
        return replace(self, timeframe=timeframe)

    def identity(self, base: Timeframe) -> dict[str, object]:
        """JSON-able: everything that names this family's answer, for digests."""
        return {
            "name": self.name,
            "version": self.version,
            "timeframe": self.frame(base).name,
            "warmup": self.warmup,
            "finite": self.finite,
            "inputs": list(self.inputs),
            "parameters": [[key, str(value)] for key, value in sorted(self.parameters.items())],
            "columns": list(self.columns),
            "source": self.source,
        }
