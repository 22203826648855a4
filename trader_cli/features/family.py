"""What a feature family is, and what families are made for."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from trader_cli.core.errors import ConfigurationError
from trader_cli.core.identity.digests import digest_bytes
from trader_cli.features.bar_arrays import PRICE_INPUTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from trader_cli.core.market.timeframes import Timeframe
    from trader_cli.features.bar_arrays import BarSeries, Floats

    Compute = Callable[..., Mapping[str, Floats]]
    MakeFamilies = Callable[["FamilyOptions"], Iterable["Family"]]


@dataclass(frozen=True)
class FamilyOptions:
    """What families are made for: the base time frame, the inputs that are known, the settings' parameters."""

    timeframe: Timeframe
    inputs: frozenset[str] = frozenset(PRICE_INPUTS)
    wavelets: tuple[str, ...] = ("haar", "db4")
    wavelet_levels: int = 4
    wavelet_window: int = 64
    higher: tuple[Timeframe, ...] = ()


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
        whole = isinstance(self.warmup, int) and self.warmup >= 0
        if not self.columns or len(set(self.columns)) < len(self.columns) or not whole:
            raise ConfigurationError(
                f"The feature family {self.name!r} needs distinct columns and a warm-up of 0 bars or more;"
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
            "parameters": [[key, _named(value)] for key, value in sorted(self.parameters.items())],
            "columns": list(self.columns),
            "source": self.source,
        }


def _named(parameter: object) -> str:
    """A text that no other value has: the whole of arrays, of which `str` leaves out most."""
    if isinstance(parameter, np.ndarray):
        return f"{parameter.dtype}{parameter.shape}{digest_bytes(np.ascontiguousarray(parameter).tobytes())}"
    if isinstance(parameter, tuple | list):
        return str([_named(one) for one in parameter])
    if isinstance(parameter, dict):
        return str([[str(key), _named(one)] for key, one in sorted(parameter.items())])
    if parameter is None or isinstance(parameter, str | int | float | np.generic):
        return str(parameter)
    raise ConfigurationError(
        f"Parameters of a feature family are numbers, texts, arrays, and lists or dicts of them; found {parameter!r}."
    )
