"""What to build: feature families on a base time frame, checked to fit together."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trader_cli.core.errors import ConfigurationError
from trader_cli.features.bar_arrays import PRICE_INPUTS

if TYPE_CHECKING:
    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.features.family import Family


@dataclass(frozen=True)
class FeatureSpec:
    """What to build: families on a base time frame, in this order. `left_out`: those whose inputs are not known."""

    timeframe: Timeframe
    families: tuple[Family, ...]
    left_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        named = Counter(family.name for family in self.families), Counter(self.columns)
        twice = next((name for counted in named for name, count in counted.items() if count > 1), None)
        if twice is not None:
            having = [family.name for family in self.families if twice in {family.name, *family.columns}]
            raise ConfigurationError(
                f"The name {twice!r} is given twice, in the feature families {' and '.join(having)}.",
                hint="Rename the one that is yours.",
            )
        for family in self.families:
            extra = sorted(set(family.inputs).difference(PRICE_INPUTS))
            if extra and family.frame(self.timeframe) != self.timeframe:
                raise ConfigurationError(
                    f"The feature family {family.name!r} reads {extra[0]!r}, which bars of a higher frame do not have.",
                    hint=f"They have {', '.join(PRICE_INPUTS)}.",
                )
            frame = family.frame(self.timeframe)
            if frame.ms < self.timeframe.ms or frame.ms % self.timeframe.ms:
                raise ConfigurationError(f"A higher frame of {self.timeframe} is a multiple of it; {frame} is not.")

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column, in order."""
        return tuple(column for family in self.families for column in family.columns)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Every input some family reads, those of the bars first."""
        read = dict.fromkeys(name for family in self.families for name in family.inputs)
        return tuple(dict.fromkeys((*PRICE_INPUTS, *read)))

    def identity(self) -> list[dict[str, object]]:
        """JSON-able: everything besides the bars that can change a column."""
        return [family.identity(self.timeframe) for family in self.families]
