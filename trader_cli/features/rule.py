"""A rule of one's own: a small frozen class with typed parameters that says what it would hold after each closed bar.

It knows bars and features, and nothing else: no account, no venue, no clock. Size, leverage, stops at the exchange and
orders are made of its word by the program. See docs/signals.md.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import Field, dataclass, field, fields
from difflib import get_close_matches
from typing import TYPE_CHECKING, ClassVar, TypeVar

import numpy as np

from trader_cli.core.errors import ConfigurationError, DataInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

    from trader_cli.features.bar_arrays import Floats, Times

    Number = TypeVar("Number", bool, int, float)

ParameterValue = bool | int | float
NOTHING = np.inf
"""The distance of a target where there is none."""


def parameter(default: Number, *, least: Number, most: Number, unit: str) -> Number:
    """A parameter of a rule: its value where none is given, its range, ends included, and its unit in words."""
    made: Number = field(default=default, metadata={"least": least, "most": most, "unit": unit})
    return made


@dataclass(frozen=True)
class BarSignals:
    """What a rule would hold after the close of each bar: +1 long, −1 short, 0 nothing; shape (n,).

    A position is opened where the side becomes another than at the bar before, and left where it does again: what was
    stopped stays out until then. `stop` and `target` are distances from the entry, as fractions of its price, shape
    (n,); infinite where there is none.
    """

    side: NDArray[np.int8]
    stop: Floats
    target: Floats

    @classmethod
    def of(cls, side: ArrayLike, stop: ArrayLike, target: ArrayLike = NOTHING) -> BarSignals:
        """From sides (n,) and distances of each bar, or one for all."""
        sides = np.asarray(side)
        distances = (np.broadcast_to(np.asarray(given, dtype=np.float64), sides.shape) for given in (stop, target))
        return cls(sides, *distances)


@dataclass(frozen=True)
class RuleBars:
    """Closed bars as a rule sees them: `bars["close"]`, shape (n,), of the inputs it declares; not to be written to.

    `open_ms`: UTC milliseconds. A feature that is not known at a bar is NaN there.
    """

    open_ms: Times
    values: Mapping[str, Floats]

    def __len__(self) -> int:
        return len(self.open_ms)

    def __getitem__(self, name: str) -> Floats:
        """An input by its name. Raises `KeyError` for one that is not declared."""
        if name not in self.values:
            raise KeyError(f"{name!r} is not among the rule's inputs: {', '.join(self.values)}")
        return self.values[name]

    def cut(self, first: int, stop: int) -> RuleBars:
        """Rows [first, stop); not copied."""
        return RuleBars(self.open_ms[first:stop], {name: array[first:stop] for name, array in self.values.items()})


@dataclass(frozen=True)
class Rule(ABC):
    """What rules are made of: a frozen dataclass whose fields are `parameter(…)`s, `warmup` and `signals`.

    `inputs`: columns of the bars and of the features that `signals` reads, by name. `finite` promises that row t
    depends on rows t − warmup … t alone, to the bit, wherever the evaluation began; other rules are evaluated anew from
    the start of each UTC day (frames above 4h: month) less their warm-up. `version` is raised where a package that the
    rule imports changes what it says; files beside its own are part of its source.
    """

    inputs: ClassVar[tuple[str, ...]] = ("close",)
    finite: ClassVar[bool] = False
    version: ClassVar[int] = 1

    @property
    @abstractmethod
    def warmup(self) -> int:
        """How many of the first bars it is shown are not enough to say anything."""

    @abstractmethod
    def signals(self, bars: RuleBars) -> BarSignals:
        """What it would hold after each of these bars; row t uses rows ≤ t only."""


@dataclass(frozen=True)
class NamedRule:
    """A rule with its name and the digest of its source, which name its answer together with its parameters."""

    name: str
    source: str
    rule: Rule

    @property
    def parameters(self) -> dict[str, ParameterValue]:
        """Every parameter's value, by name."""
        return {spec.name: getattr(self.rule, spec.name) for spec in fields(self.rule)}

    def identity(self) -> dict[str, object]:
        """JSON-able: everything besides the bars that can change what it says."""
        return {
            "name": self.name,
            "source": self.source,
            "version": self.rule.version,
            "parameters": self.parameters,
            "inputs": list(self.rule.inputs),
            "finite": self.rule.finite,
            "warmup": self.rule.warmup,
        }

    def said(self, bars: RuleBars) -> BarSignals:
        """What it says of these bars, checked. Raises `DataInvalid` for what is no such thing."""
        return self.checked(self.rule.signals(bars), len(bars))

    def checked(self, found: object, n: int) -> BarSignals:
        """Sides as int8 and distances as float64 of n bars. Raises `DataInvalid` for what is no such thing."""
        return _checked(found, self.name, n)


def rule_name(kind: type) -> str:
    """`SmaCross` is called sma_cross."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", kind.__name__).lower()


def fitting_parameters(kind: type[Rule], given: Mapping[str, object]) -> dict[str, ParameterValue]:
    """The given parameters of a rule, each of its type and in its range. Raises `ConfigurationError`."""
    name, specs = rule_name(kind), {spec.name: spec for spec in fields(kind)}
    for spec in specs.values():
        if not {"least", "most", "unit"} <= spec.metadata.keys():
            raise ConfigurationError(
                f"The parameter {spec.name} of the rule {name} has no range.",
                hint=f"Write it as {spec.name}: int = parameter(20, least=2, most=500, unit='bars').",
            )
        if spec.name in _TAKEN:
            raise ConfigurationError(
                f"A parameter of the rule {name} is called {spec.name}.", hint="Call it otherwise."
            )
        _fitting(name, spec, spec.default)
    unknown = sorted(set(given) - set(specs))
    if unknown:
        near = get_close_matches(unknown[0], specs, n=1, cutoff=0)
        raise ConfigurationError(
            f"The rule {name} has no parameter {unknown[0]!r}.",
            hint=f"The nearest is {near[0]!r}." if near else "It has none.",
        )
    return {key: _fitting(name, specs[key], value) for key, value in given.items()}


def _fitting(rule: str, spec: Field[object], value: object) -> ParameterValue:
    """A parameter's value of its own type and within its range."""
    kind = type(spec.default)
    fits = type(value) is kind or (kind is float and type(value) is int)
    least, most = spec.metadata["least"], spec.metadata["most"]
    if not fits or not least <= value <= most:
        raise ConfigurationError(
            f"The parameter {spec.name} of the rule {rule} is {_WORDS.get(kind, kind.__name__)} from {least} to {most}"
            f" ({spec.metadata['unit']}); found {value!r}."
        )
    return kind(value)  # type: ignore[call-arg,return-value]


_TAKEN = {"name", "source"}
"""What is written down of a rule beside its parameters."""
_WORDS = {int: "a whole number", float: "a number", bool: "true or false,"}


def _checked(found: object, name: str, n: int) -> BarSignals:
    """Every array of shape (n,) and of numbers that make sense; where there is no side, no distance counts."""
    if not isinstance(found, BarSignals):
        raise DataInvalid(
            f"The rule {name} gives {type(found).__name__}; BarSignals are wanted.",
            hint="End its signals() with `return BarSignals.of(side, stop)`.",
        )
    side, stop, target = np.asarray(found.side), np.asarray(found.stop), np.asarray(found.target)
    arrays: dict[str, NDArray[np.generic]] = {"side": side, "stop": stop, "target": target}
    for what, array in arrays.items():
        if array.shape != (n,) or array.dtype.kind not in "fiub":
            raise DataInvalid(
                f"The {what} of the rule {name} is of shape {array.shape}, {array.dtype}; {n} bars want ({n},) numbers."
            )
    if side.dtype.kind == "f":
        side = np.where(np.isnan(side), 0.0, side)
    _require(np.abs(side) * np.abs(side) == np.abs(side), side, f"The sides of the rule {name} are −1, 0 or +1")
    taken = side != 0
    _require(~taken | ((stop > 0) & (stop < 1)), stop, f"The stop of the rule {name} is a fraction between 0 and 1")
    _require(~taken | (target > 0), target, f"The target of the rule {name} is a fraction above 0, or infinite")
    return BarSignals(side.astype(np.int8), stop.astype(np.float64), target.astype(np.float64))


def _require(holds: NDArray[np.bool_], given: NDArray[np.generic], rule: str) -> None:
    if not holds.all():
        row = int(np.argmin(holds))
        raise DataInvalid(f"{rule}; found {given[row]} at bar {row} of {len(given)}.")
